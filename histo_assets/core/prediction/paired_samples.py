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


def pooled_samples(slides: AnnData, expression: AnnData) -> AnnData:
    """Return the samples that have both a slide embedding and expression, with their embedding.

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
    AnnData
        X (m, d) float32; obs is that of `expression`, with `tiles` pooled.
    """
    from anndata import AnnData

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
    obs = expression.obs.iloc[kept].assign(tiles=np.asarray(counts, dtype=np.int64))
    return AnnData(X=np.asarray(pooled, dtype=np.float32).reshape(len(kept), vectors.shape[1]), obs=obs)


def with_expression(samples: AnnData, expression: AnnData, covariates: Sequence[str] = ()) -> PairedSamples:
    """Return samples beside their expression, with the named covariates.

    Parameters
    ----------
    samples
        What `pooled_samples` returned; `obs` holds donor, tissue, fold and the covariates.
    expression
        log2(1+TPM) of these samples, and maybe of others.

    Raises
    ------
    PredictionError
        The cohort has no such covariate.
    """
    obs = samples.obs
    measured = np.asarray(expression.X, dtype=np.float32)[expression.obs_names.get_indexer(samples.obs_names)]
    donors, tissues, folds = (obs[name].to_numpy() for name in ("donor", "tissue", "fold"))
    table = _covariate_columns(obs, covariates)
    X = np.asarray(samples.X, dtype=np.float32)
    return PairedSamples(X, measured, list(expression.var_names), donors, tissues, folds, table)


def _covariate_columns(obs: pd.DataFrame, covariates: Sequence[str]) -> pd.DataFrame | None:
    """Return the named columns, one row a sample; None where none is named."""
    absent = [name for name in covariates if name not in obs.columns]
    if absent:
        known = ", ".join(sorted(map(str, obs.columns)))
        raise PredictionError(f"covariate {absent[0]!r} is no column of the cohort; it has {known}")
    return obs[list(covariates)].reset_index(drop=True) if covariates else None
