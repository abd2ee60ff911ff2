"""The training set: which side each tile is on, and the frozen order of every epoch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd
import polars as pl

from histo_assets.core.cohort.settings import SplitSettings
from histo_assets.core.learning.errors import LearningError
from histo_assets.core.learning.settings import LearningSettings

if TYPE_CHECKING:
    from histo_assets.core.learning.errors import TileBytes

SIDES = ("train", "validation", "test")
_KEPT = ("tile", "slide", "donor", "tissue", "shard", "offset", "length")


def build_training_set(
    index: pl.DataFrame,
    split: pd.DataFrame,
    tissues: Sequence[str],
    settings: LearningSettings,
    split_settings: SplitSettings,
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

    Returns
    -------
    pl.DataFrame
        Columns tile, slide, donor, tissue, label (Int64), side, shard, offset, length and
        `epoch_001`, ... (Int32: the tile's place in that epoch's order, null outside train) for as
        many epochs as the longest experiment has. Rows are ordered by label, then tile. Where the
        split's unit is the tile, sides are drawn tile by tile within each tissue, donors ignored.

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
    sides = _sides_by_tile(tiles, split_settings) if split_settings.unit == "tile" else _sides_by_donor(tiles, split)
    tiles = tiles.with_columns(side=pl.Series(sides, dtype=pl.String)).select(*_KEPT[:4], "label", "side", *_KEPT[4:])
    train = np.flatnonzero(np.asarray(sides) == "train")
    if len(train) < 2:
        raise LearningError("fewer than two tiles are on the training side; the split leaves nothing to learn from")
    epochs = max(experiment.epochs for experiment in settings.experiments.values())
    return tiles.with_columns(_epoch_orders(train, tiles.height, epochs, settings.seed))


def _refuse_strays(tiles: pl.DataFrame, tissues: Sequence[str]) -> None:
    repeated = tiles.filter(pl.col("tile").is_duplicated())
    if repeated.height:
        raise LearningError(f"tile {repeated['tile'][0]} stands in the tile indexes {repeated.height} times or more")
    strays = sorted(set(tiles["tissue"]) - set(tissues))
    if strays:
        raise LearningError(f"tiles of tissue {strays[0]!r} are given, which is none of the study's {list(tissues)}")


def _sides_by_donor(tiles: pl.DataFrame, split: pd.DataFrame) -> list[str]:
    twice = split["donor"][split["donor"].duplicated()]
    if len(twice):
        raise LearningError(f"donor {twice.iloc[0]} stands in the split twice; a donor is on one side only")
    side_of = dict(zip(split["donor"], split["side"], strict=True))
    unknown = sorted(set(tiles["donor"]) - set(side_of))
    if unknown:
        raise LearningError(f"donor {unknown[0]} has tiles but is not in the split; make the donor split again")
    return [side_of[donor] for donor in tiles["donor"]]


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


def _epoch_orders(train: npt.NDArray[np.int64], height: int, epochs: int, seed: int) -> list[pl.Series]:
    columns = []
    for epoch in range(1, epochs + 1):
        places = np.full(height, -1, np.int32)
        places[train] = np.random.default_rng([seed, epoch]).permutation(len(train))
        columns.append(pl.Series(epoch_column(epoch), places).replace(-1, None))
    return columns


def epoch_column(epoch: int) -> str:
    """Return the name of the column that holds the order of an epoch (from 1)."""
    return f"epoch_{epoch:03d}"


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
