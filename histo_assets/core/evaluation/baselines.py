"""Predictions that a network must beat: the commonest tissue, and the slide's colours alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import polars as pl

from histo_assets.core.networks.errors import LearningError, TileBytes
from histo_assets.core.networks.predictions import prediction_table

HISTOGRAM_BINS = 16
_LEAST = 1e-12
_KNOWN = ("slide", "donor", "tissue", "side")


def colour_histograms(rows: pl.DataFrame, reader: TileBytes, px: int = 56) -> npt.NDArray[np.float32]:
    """Return the histograms (n, 48) of each tile: 16 bins of red, of green and of blue, each summing to one.

    Tiles are shrunk to about `px` while they are decoded, which costs an eighth of a full decode.
    """
    from histo_assets.core.networks.pixels import decode_tile

    histograms = np.empty((rows.height, 3 * HISTOGRAM_BINS), np.float32)
    for start in range(0, rows.height, 256):
        part = rows[start : start + 256]
        for row, (jpeg, tile) in enumerate(zip(reader.read(part), part["tile"], strict=True), start):
            levels = decode_tile(jpeg, px, tile).reshape(-1, 3) // (256 // HISTOGRAM_BINS)
            shifted = levels + np.arange(3) * HISTOGRAM_BINS
            histograms[row] = np.bincount(shifted.ravel(), minlength=3 * HISTOGRAM_BINS) / len(levels)
    return histograms


def slide_colours(rows: pl.DataFrame, reader: TileBytes) -> tuple[pl.DataFrame, npt.NDArray[np.float32]]:
    """Return the slides of `rows` (slide, donor, tissue, side; ascending) and their mean histograms (s, 48).

    A slide whose tiles are on several sides has a row for each side.
    """
    histograms = colour_histograms(rows, reader)
    frame = pd.DataFrame(histograms).assign(**{name: rows[name].to_list() for name in _KNOWN})
    means = frame.groupby(list(_KNOWN), sort=True).mean().reset_index()
    slides = pl.DataFrame({name: means[name].to_list() for name in _KNOWN})
    return slides, means.drop(columns=list(_KNOWN)).to_numpy(np.float32)


def colour_histogram_baseline(
    training_set: pl.DataFrame, reader: TileBytes, labels: Sequence[str], seed: int = 0
) -> pd.DataFrame:
    """Return slide-level predictions of a logistic regression on the slides' mean colour histograms.

    It is fitted, scaling included, on the training side and predicts every slide of `training_set`.

    Returns
    -------
    pd.DataFrame
        Columns slide, donor, tissue, side, predicted, confidence, `p_<tissue>`.
    """
    slides, colours = slide_colours(training_set, reader)
    train = _training_side(slides)
    truth = np.asarray(slides["tissue"].to_list(), dtype=object)
    known = sorted(set(truth[train]))
    if len(known) < 2:
        return _constant(slides, train, labels)

    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model: Any = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000, random_state=seed))
    model.fit(colours[train], truth[train].astype(str))
    predicted = model.predict_proba(colours)
    probabilities = np.zeros((slides.height, len(labels)))
    for column, tissue in enumerate(model.classes_):
        probabilities[:, list(labels).index(tissue)] = predicted[:, column]
    return prediction_table(slides, np.log(np.maximum(probabilities, _LEAST)), labels)


def majority_baseline(training_set: pl.DataFrame, labels: Sequence[str]) -> pd.DataFrame:
    """Return slide-level predictions that give every slide the shares of tissues among the training slides."""
    slides = training_set.select(_KNOWN).unique().sort(_KNOWN)
    return _constant(slides, _training_side(slides), labels)


def _training_side(slides: pl.DataFrame) -> npt.NDArray[np.bool_]:
    train = slides["side"].to_numpy() == "train"
    if not train.any():
        raise LearningError("no slide is on the training side, so no baseline can be fitted")
    return np.asarray(train, bool)


def _constant(slides: pl.DataFrame, train: npt.NDArray[np.bool_], labels: Sequence[str]) -> pd.DataFrame:
    truth = np.asarray(slides["tissue"].to_list(), dtype=object)
    shares = np.array([np.mean(truth[train] == tissue) for tissue in labels])
    log_shares = np.log(np.maximum(shares, _LEAST))
    return prediction_table(slides, np.tile(log_shares, (slides.height, 1)), labels)
