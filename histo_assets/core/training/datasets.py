"""The training set: which side each tile is on, and the frozen order of every epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd
import polars as pl

from histo_assets.core.cohort.settings import SplitSettings
from histo_assets.core.networks.errors import LearningError
from histo_assets.core.training.settings import ExperimentSettings, LearningSettings, Unit

if TYPE_CHECKING:
    from histo_assets.core.networks.errors import TileBytes

_KEPT = ("tile", "slide", "donor", "tissue", "shard", "offset", "length")


@dataclass(frozen=True)
class TrainingTiles:
    """The tiles that every experiment of a study learns from.

    Attributes
    ----------
    rows
        What `build_training_set` returned.
    reader
        Gives their JPEGs.
    labels
        The tissues in the order of their labels.
    """

    rows: pl.DataFrame
    reader: TileBytes
    labels: Sequence[str]


def build_training_set(
    index: pl.DataFrame,
    split: pd.DataFrame,
    tissues: Sequence[str],
    settings: LearningSettings,
    split_settings: SplitSettings,
    orders: Mapping[tuple[Unit, int], int] | None = None,
) -> pl.DataFrame:
    """Return every tile with its label, its side of the split and its place in each epoch.

    Parameters
    ----------
    index
        The tile indexes of all tissues, one below the other.
    split
        Columns donor and side.
    tissues
        The study's tissues; a tissue's place in it is its label.
    orders
        For how many epochs each order is wanted; None means `settings.orders`.

    Returns
    -------
    pl.DataFrame
        Columns tile, slide, donor, tissue, label (Int64), side, `side_by_<unit>` for the units that
        experiments ask for, shard, offset, length and `epoch_001`, ... (Int32: the tile's place in
        that epoch's order, null outside train) for as many epochs as the longest experiment has;
        `epoch_column` names those of further orders. Rows are ordered by label, then tile. Where
        the study's unit is the tile, sides are drawn tile by tile within each tissue, donors
        ignored.

    Raises
    ------
    LearningError
        A tile stands twice, its tissue is none of the study's or its donor not in the split, a
        donor is split twice, or no tile is left to train on.
    """
    tiles = index.select(_KEPT)
    _refuse_strays(tiles, tissues)
    labels = {tissue: label for label, tissue in enumerate(tissues)}
    tiles = tiles.with_columns(
        label=pl.col("tissue").replace_strict(labels, return_dtype=pl.Int64),
    ).sort("label", "tile")
    orders = settings.orders if orders is None else orders
    sides = {unit: _sides(tiles, split, split_settings, unit) for unit, _ in orders}
    epochs = []
    for (unit, order), count in orders.items():
        train = np.flatnonzero(np.asarray(sides[unit]) == "train")
        if len(train) < 2:
            raise LearningError("fewer than two tiles are on the training side; the split leaves nothing to learn from")
        epochs += _epoch_orders(train, tiles.height, count, settings.seed, order, unit)
    of_split = [pl.Series(side_column(unit), values, dtype=pl.String) for unit, values in sides.items()]
    return tiles.select(*_KEPT[:4], "label", *of_split, *_KEPT[4:], *epochs)


def training_rows(training_set: pl.DataFrame, experiment: ExperimentSettings) -> pl.DataFrame:
    """Return the training set as an experiment sees it: its own side and `epoch_001`, ... and no other.

    Raises
    ------
    LearningError
        The training set was made before the experiment's split, order or epochs were asked for.
    """
    numbers = range(1, experiment.epochs + 1)
    own = {epoch_column(n): epoch_column(n, experiment.order, experiment.split) for n in numbers}
    own["side"] = side_column(experiment.split)
    absent = [column for column in own.values() if column not in training_set.columns]
    if absent:
        raise LearningError(f"the training set holds no {absent[0]}; make training_set again")
    sides = pl.col(own.pop("side")).alias("side")
    epochs = [pl.col(column).alias(name) for name, column in own.items()]
    return training_set.select(*_KEPT[:4], "label", sides, *_KEPT[4:], *epochs)


def unjudged_tissues(training_set: pl.DataFrame) -> dict[str, int]:
    """Return the tissues that no validation and no locked tile judges, and of how many donors each is.

    A tissue of one donor is one: it is learned, and how well cannot be measured.
    """
    grouped = training_set.group_by("tissue", maintain_order=True)
    known = grouped.agg(pl.col("side").is_in(["validation", "test"]).any().alias("judged"), pl.col("donor").n_unique())
    left = known.filter(~pl.col("judged"))
    return dict(zip(left["tissue"].to_list(), left["donor"].to_list(), strict=True))


def _refuse_strays(tiles: pl.DataFrame, tissues: Sequence[str]) -> None:
    repeated = tiles.filter(pl.col("tile").is_duplicated())
    if repeated.height:
        raise LearningError(f"tile {repeated['tile'][0]} stands in the tile indexes {repeated.height} times or more")
    strays = sorted(set(tiles["tissue"]) - set(tissues))
    if strays:
        raise LearningError(f"there are tiles of tissue {strays[0]!r}, which is none of the study's {list(tissues)}")


def _sides_by_donor(tiles: pl.DataFrame, split: pd.DataFrame) -> list[str]:
    twice = split["donor"][split["donor"].duplicated()]
    if len(twice):
        raise LearningError(f"donor {twice.iloc[0]} stands in the split twice; a donor is on one side only")
    side_of = dict(zip(split["donor"], split["side"], strict=True))
    unknown = sorted(set(tiles["donor"]) - set(side_of))
    if unknown:
        raise LearningError(f"donor {unknown[0]} has tiles but is not in the split; make the donor split again")
    return [side_of[donor] for donor in tiles["donor"]]


def _sides(tiles: pl.DataFrame, split: pd.DataFrame, settings: SplitSettings, unit: Unit) -> list[str]:
    """Return each tile's side where `unit` (None: the study's) is what is divided."""
    if unit is None and settings.unit == "tile":
        return _sides_by_tile(tiles, settings)
    by_donor = _sides_by_donor(tiles, split)
    return by_donor if unit != "tile" else tile_sides(tiles, by_donor, settings.seed)


def _sides_by_tile(tiles: pl.DataFrame, settings: SplitSettings) -> list[str]:
    sides = np.full(tiles.height, "train", dtype=object)
    labels = tiles["label"].to_numpy()
    for label in np.unique(labels):
        of_tissue = np.flatnonzero(labels == label)
        drawn = np.random.default_rng([settings.seed, int(label)]).permutation(of_tissue)
        tests = round(len(drawn) * settings.test_share)
        validations = round((len(drawn) - tests) / settings.folds)
        sides[drawn[:tests]] = "test"
        sides[drawn[tests : tests + validations]] = "validation"
    return list(sides)


def tile_sides(tiles: pl.DataFrame, by_donor: Sequence[str], seed: int) -> list[str]:
    """Return sides drawn tile by tile, so that what a leak adds can be told from everything else.

    Each tissue keeps as many tiles on each side as `by_donor` gives it, and the locked donors' tiles
    stay where they are: the two splits differ in nothing but who sits on both sides.
    """
    sides = np.asarray(by_donor, dtype=object)
    tissues = tiles["tissue"].to_numpy()
    for number, tissue in enumerate(np.unique(tissues)):
        free = np.flatnonzero((tissues == tissue) & (sides != "test"))
        sides[free] = np.random.default_rng([seed, number]).permutation(sides[free])
    return list(sides)


def _epoch_orders(
    train: npt.NDArray[np.int64], height: int, epochs: int, seed: int, order: int, unit: Unit
) -> list[pl.Series]:
    columns = []
    for epoch in range(1, epochs + 1):
        places = np.full(height, -1, np.int32)
        places[train] = np.random.default_rng([seed, epoch, order]).permutation(len(train))
        columns.append(pl.Series(epoch_column(epoch, order, unit), places).replace(-1, None))
    return columns


def side_column(unit: Unit = None) -> str:
    """Return the name of the column that holds the sides of a split (None: the study's own)."""
    return "side" if unit is None else f"side_by_{unit}"


def epoch_column(epoch: int, order: int = 0, unit: Unit = None) -> str:
    """Return the name of the column that holds an order of an epoch (from 1).

    >>> epoch_column(3), epoch_column(3, order=2), epoch_column(3, unit="tile")
    ('epoch_003', 'order_2_epoch_003', 'by_tile_epoch_003')
    """
    split = "" if unit is None else f"by_{unit}_"
    return f"{split}{f'order_{order}_' if order else ''}epoch_{epoch:03d}"


def epoch_order(training_set: pl.DataFrame, epoch: int) -> npt.NDArray[np.int64]:
    """Return the row numbers of the training tiles in the order of an epoch.

    Raises
    ------
    LearningError
        The training set was frozen for fewer epochs.
    """
    column = epoch_column(epoch)
    if column not in training_set.columns:
        raise LearningError(f"the training set holds no order for epoch {epoch}; make training_set again")
    places = training_set[column].fill_null(-1).to_numpy()
    rows = np.flatnonzero(places >= 0)
    return rows[np.argsort(places[rows])]


def standard_batch(training_set: pl.DataFrame, reader: TileBytes, n: int = 24) -> list[tuple[bytes, str]]:
    """Return the first `n` tiles of epoch 1, each as its JPEG and its tissue."""
    rows = training_set[epoch_order(training_set, 1)[:n]]
    return list(zip(reader.read(rows), rows["tissue"].to_list(), strict=True))
