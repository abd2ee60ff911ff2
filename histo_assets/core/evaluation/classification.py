"""The predictions of a classifier for tiles and slides, and how good they are.

A table of predictions (tile or slide level) has the columns tile (tile level only), slide, donor,
tissue, side, predicted, confidence, and `p_<tissue>`: the natural logarithm of each tissue's
probability. Baselines give the same table.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import polars as pl

from histo_assets.core.networks.errors import LearningError
from histo_assets.core.networks.predictions import prediction_table

Array = npt.NDArray[Any]

CALIBRATION_BINS = 15


def slide_predictions(tiles: pd.DataFrame) -> pd.DataFrame:
    """Return the slide-level table of a tile-level one, by the mean of the tiles' log-probabilities.

    The means are scaled so that a slide's probabilities sum to one. A slide whose tiles are on
    several sides (a split by tile) has a row for each side. `tiles` counts the tiles of a row.
    """
    scores = _score_columns(tiles)
    grouped = tiles.groupby(["slide", "donor", "tissue", "side"], sort=True)
    means = grouped[scores].mean().reset_index()
    known = pl.DataFrame({name: means[name].to_list() for name in ("slide", "donor", "tissue", "side")})
    log_mean = means[scores].to_numpy(float)
    shifted = log_mean - log_mean.max(1, keepdims=True)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    table = prediction_table(known, log_probabilities, [score.removeprefix("p_") for score in scores])
    table.insert(4, "tiles", grouped.size().to_numpy())
    return table


def classification_figures(table: pd.DataFrame, bootstraps: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Return accuracy, macro F1, calibration error and the recall of each tissue, by side.

    Intervals are the 2.5th and 97.5th percentile over `bootstraps` draws of donors with replacement.
    Macro F1 is over the tissues that a side has. The expected calibration error has 15 bins of equal
    width (Guo et al., ICML 2017). A tissue without a row on a side has recall NaN and n 0.

    Returns
    -------
    pd.DataFrame
        Columns level ('tile' or 'slide'), side, metric ('accuracy', 'macro_f1', 'ece', 'recall'),
        tissue ('' but for recall), value, low, high, n (tiles or slides).
    """
    level = "tile" if "tile" in table else "slide"
    tissues = [score.removeprefix("p_") for score in _score_columns(table)]
    rows: list[tuple[Any, ...]] = []
    for side, part in table.groupby("side", sort=True):
        counts, bins = _donor_counts(part, tissues)
        draws = np.random.default_rng(seed).multinomial(
            len(counts), np.full(len(counts), 1 / len(counts)), size=bootstraps
        )
        whole = np.ones((1, len(counts)))
        values, drawn = _metrics(whole, counts, bins), _metrics(draws, counts, bins)
        of_tissue = counts.sum((0, 2))
        for name in ("accuracy", "macro_f1", "ece"):
            rows.append((level, side, name, "", values[name][0], *_interval(drawn[name]), len(part)))
        for label, tissue in enumerate(tissues):
            recalls = drawn["recall"][:, label]
            value = values["recall"][0, label]
            rows.append((level, side, "recall", tissue, value, *_interval(recalls), int(of_tissue[label])))
    return pd.DataFrame(rows, columns=["level", "side", "metric", "tissue", "value", "low", "high", "n"])


def confusion(table: pd.DataFrame, tissues: Sequence[str]) -> pd.DataFrame:
    """Return how many rows of each tissue (index) were predicted as each tissue (columns)."""
    truth, predicted = _codes(table["tissue"], tissues), _codes(table["predicted"], tissues)
    counts = np.zeros((len(tissues), len(tissues)), int)
    known = (truth >= 0) & (predicted >= 0)
    np.add.at(counts, (truth[known], predicted[known]), 1)
    return pd.DataFrame(
        counts, index=pd.Index(tissues, name="tissue"), columns=pd.Index(tissues, name="predicted"), dtype="int64"
    )


def _score_columns(table: pd.DataFrame) -> list[str]:
    return [column for column in table.columns if column.startswith("p_")]


def _codes(names: pd.Series, tissues: Sequence[str]) -> npt.NDArray[np.int64]:
    """Return the place of each name among the tissues, -1 where it is none of them."""
    return pd.Index(tissues).get_indexer(pd.Index(names)).astype(np.int64)


def _donor_counts(part: pd.DataFrame, tissues: Sequence[str]) -> tuple[Array, Array]:
    """Return per donor the confusion counts (d, t, t) and the calibration sums (d, bins, 2).

    The two sums of a bin are of confidence and of being right.
    """
    donors, donor = np.unique(part["donor"].to_numpy(str), return_inverse=True)
    truth = _codes(part["tissue"], tissues)
    predicted = _codes(part["predicted"], tissues)
    if (truth < 0).any():
        stray = part["tissue"].to_numpy()[truth < 0][0]
        raise LearningError(f"tissue {stray!r} has rows but no column p_{stray} in the table of predictions")
    counts = np.zeros((len(donors), len(tissues), len(tissues)))
    np.add.at(counts, (donor, truth, predicted), 1)
    confidence = part["confidence"].to_numpy(float)
    slot: Array = np.clip((confidence * CALIBRATION_BINS).astype(int), 0, CALIBRATION_BINS - 1)
    bins = np.zeros((len(donors), CALIBRATION_BINS, 2))
    np.add.at(bins[..., 0], (donor, slot), confidence)
    np.add.at(bins[..., 1], (donor, slot), truth == predicted)
    return counts, bins


def _metrics(weights: Array, counts: Array, bins: Array) -> dict[str, Array]:
    """Return each metric for each row of `weights` (draws, donors); recall is (draws, tissues)."""
    table = np.tensordot(weights, counts, 1)
    right = np.diagonal(table, axis1=1, axis2=2)
    true, predicted, n = table.sum(2), table.sum(1), table.sum((1, 2))
    calibration = np.tensordot(weights, bins, 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        f1 = np.where(true > 0, 2 * right / (true + predicted), np.nan)
        return {
            "accuracy": right.sum(1) / n,
            "recall": right / true,
            "macro_f1": np.nansum(f1, 1) / np.maximum(1, np.count_nonzero(true, 1)),
            "ece": np.abs(calibration[..., 0] - calibration[..., 1]).sum(1) / n,
        }


def _interval(values: Array) -> tuple[float, float]:
    known = values[np.isfinite(values)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)
