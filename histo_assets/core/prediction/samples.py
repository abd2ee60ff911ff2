"""Image and expression side by side, one row per RNA sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from histo_assets.core.prediction.covariates import PredictionError

if TYPE_CHECKING:
    from anndata import AnnData

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class PairedSamples:
    """What genes are predicted from and checked against, one row an RNA sample.

    Attributes
    ----------
    X
        (n, d) embeddings.
    Y
        (n, g) expression, log2(1 + TPM) or the like.
    genes
        (g,) names.
    donors, tissues
        (n,) names.
    folds
        (n,) int, -1 for locked donors.
    covariates
        n rows, the columns to regress out of both sides; None for none.
    """

    X: NDArray[Any]
    Y: NDArray[Any]
    genes: Sequence[str]
    donors: NDArray[Any]
    tissues: NDArray[Any]
    folds: NDArray[Any]
    covariates: pd.DataFrame | None = None


def paired_samples(slides: AnnData, expression: AnnData, covariates: Sequence[str]) -> PairedSamples:
    """Return the samples that have both a slide embedding and expression, with the named covariates.

    Parameters
    ----------
    slides, expression
        As `paired_matrices` takes them; `expression.obs` holds donor, tissue, fold and the covariates.

    Raises
    ------
    PredictionError
        The cohort has no such covariate.
    """
    X, Y, obs = paired_matrices(slides, expression)
    donors, tissues, folds = (obs[name].to_numpy() for name in ("donor", "tissue", "fold"))
    table = _covariate_columns(obs, covariates)
    return PairedSamples(X, Y, list(expression.var_names), donors, tissues, folds, table)


def paired_matrices(slides: AnnData, expression: AnnData) -> tuple[Floats, Floats, pd.DataFrame]:
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


def _covariate_columns(obs: pd.DataFrame, covariates: Sequence[str]) -> pd.DataFrame | None:
    """Return the named columns, one row a sample; None where none is named."""
    absent = [name for name in covariates if name not in obs.columns]
    if absent:
        known = ", ".join(sorted(map(str, obs.columns)))
        raise PredictionError(f"covariate {absent[0]!r} is no column of the cohort; it has {known}")
    return obs[list(covariates)].reset_index(drop=True) if covariates else None
