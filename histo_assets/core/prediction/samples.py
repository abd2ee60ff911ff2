"""Image and expression side by side, one row per RNA sample."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from histo_assets.core.prediction.covariates import PredictionError
from histo_assets.core.prediction.settings import PredictionSettings

if TYPE_CHECKING:
    from anndata import AnnData

Floats = np.ndarray[Any, np.dtype[np.float32]]


def paired_samples(slides: AnnData, expression: AnnData) -> tuple[Floats, Floats, pd.DataFrame]:
    """Return the samples that have both a slide embedding and expression.

    The tiles of all slides of a sample are pooled: the mean of its slides' vectors, weighted by
    their numbers of tiles.

    Parameters
    ----------
    slides
        Slide embeddings, (s, d); `obs_names` are slide ids, `obs["tiles"]` counts tiles.
    expression
        log2(1+TPM), (n, g); `obs["slides"]` holds slide ids joined by `;`.

    Returns
    -------
    X : (m, d) float32
        Pooled embedding of each sample.
    Y : (m, g) float32
        Its expression.
    obs : pandas.DataFrame
        Its row of `expression.obs`, with `tiles` pooled.
    """
    position = {slide: row for row, slide in enumerate(slides.obs_names)}
    tiles = slides.obs["tiles"].to_numpy(dtype=np.float64)
    vectors = np.asarray(slides.X, dtype=np.float64)
    kept, pooled, counts = [], [], []
    for row, names in enumerate(expression.obs["slides"].astype(str)):
        members = [position[name] for name in names.split(";") if name in position]
        if members:
            kept.append(row)
            pooled.append(np.average(vectors[members], axis=0, weights=tiles[members]))
            counts.append(int(tiles[members].sum()))
    obs = expression.obs.iloc[kept].copy()
    obs["tiles"] = counts
    X = np.asarray(pooled, dtype=np.float32).reshape(len(kept), vectors.shape[1])
    return X, np.asarray(expression.X, dtype=np.float32)[kept], obs


def covariate_columns(obs: pd.DataFrame, settings: PredictionSettings) -> pd.DataFrame | None:
    """Return the covariates that the study names, one row a sample; None where it names none.

    Raises
    ------
    PredictionError
        The cohort has no such column.
    """
    absent = [name for name in settings.covariates if name not in obs.columns]
    if absent:
        known = ", ".join(sorted(map(str, obs.columns)))
        raise PredictionError(f"covariate {absent[0]!r} is no column of the cohort; it has {known}")
    return obs[list(settings.covariates)].reset_index(drop=True) if settings.covariates else None
