"""PCA fitted on training rows, then UMAP and t-SNE of the components as pictures of all rows."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from histo_assets.core.errors import HistoError
from histo_assets.core.projection.settings import ProjectionSettings

if TYPE_CHECKING:
    from anndata import AnnData

PICTURE_MINIMUM = 5
"""With fewer rows than this UMAP and t-SNE mean nothing: the first two components stand in."""


class ProjectionError(HistoError):
    """A matrix that cannot be projected: the message names the row or the size that is at fault."""


@dataclass(frozen=True)
class Projection:
    """Rows on principal components and in two pictures, with what is needed to place new rows.

    Columns are centred, not scaled: a channel that hardly varies must not grow to the size of the others.

    Attributes
    ----------
    pca
        (n, k) float32, all rows on the components of the fitted rows.
    umap, tsne
        (n, 2) float32 and float64; NaN in rows that were not drawn.
    drawn
        (n,) bool, the rows that UMAP and t-SNE were made of.
    mean
        (d,) float32, of the fitted rows.
    components
        (k, d) float32, orthonormal, strongest first; the largest loading of each is positive.
    explained
        (k,) float64, share of the fitted rows' variance.
    """

    pca: NDArray[np.float32]
    umap: NDArray[np.float32]
    tsne: NDArray[np.float64]
    drawn: NDArray[np.bool_]
    mean: NDArray[np.float32]
    components: NDArray[np.float32]
    explained: NDArray[np.float64]

    def scores(self, X: NDArray[Any]) -> NDArray[np.float32]:
        """Return rows `X` (m, d) on the components: (m, k) float32."""
        if X.ndim != 2 or X.shape[1] != self.components.shape[1]:
            raise ProjectionError(
                f"rows of shape {X.shape} cannot be placed among components of {self.components.shape[1]} columns"
            )
        return component_scores(X, self.mean, self.components)

    def to_adata(self, obs: pd.DataFrame) -> AnnData:
        """Return the projection as an AnnData of `obs` (n rows) by components.

        `X` and `obsm["X_pca"]` hold the components, `obsm["X_umap"]` and `obsm["X_tsne"]` the
        pictures (scanpy's names), `obs["drawn"]` who is in them, `varm["loadings"]` the components,
        `uns["mean"]` the centre.
        """
        from anndata import AnnData

        if len(obs) != len(self.pca):
            raise ProjectionError(f"{len(obs)} rows of labels for a projection of {len(self.pca)} rows")
        names = [f"PC{number + 1}" for number in range(self.pca.shape[1])]
        return AnnData(
            X=self.pca.copy(),
            obs=obs.assign(drawn=self.drawn),
            var=pd.DataFrame({"explained": self.explained}, index=names),
            obsm={"X_pca": self.pca, "X_umap": self.umap, "X_tsne": self.tsne},
            varm={"loadings": self.components},
            uns={"mean": self.mean},
        )

    @classmethod
    def from_adata(cls, adata: AnnData) -> Projection:
        """Return the projection that `to_adata` wrote, bit for bit."""
        return cls(
            pca=np.asarray(adata.obsm["X_pca"], dtype=np.float32),
            umap=np.asarray(adata.obsm["X_umap"], dtype=np.float32),
            tsne=np.asarray(adata.obsm["X_tsne"], dtype=np.float64),
            drawn=np.asarray(adata.obs["drawn"], dtype=bool),
            mean=np.asarray(adata.uns["mean"], dtype=np.float32),
            components=np.asarray(adata.varm["loadings"], dtype=np.float32),
            explained=np.asarray(adata.var["explained"], dtype=np.float64),
        )


def project(X: NDArray[Any], fit: NDArray[np.bool_], settings: ProjectionSettings) -> Projection:
    """Return the projection of `X`, its PCA fitted on the rows `fit` alone.

    Parameters
    ----------
    X
        (n, d) finite numbers.
    fit
        (n,) bool: the rows of training donors.
    settings
        Components, neighbours, perplexity, how many points to draw, seed.

    Raises
    ------
    ProjectionError
        Fewer than two rows to fit, or a row that is not finite.
    """
    fit = np.asarray(fit, dtype=bool)
    if X.ndim != 2 or fit.shape != (len(X),):
        raise ProjectionError(f"a matrix of shape {X.shape} does not go with a fit mask of shape {fit.shape}")
    broken = np.flatnonzero(~np.isfinite(X).all(axis=1))
    if len(broken):
        raise ProjectionError(f"row {broken[0]} holds a value that is not finite; drop it or repair what made it")
    if fit.sum() < 2:
        raise ProjectionError(f"a PCA needs at least two training rows, there are {fit.sum()}; select more slides")
    mean, components, explained = fit_pca(X[fit], settings.components)
    pca = component_scores(X, mean, components)
    drawn = evenly_drawn(len(X), settings.max_points, settings.seed)
    umap = np.full((len(X), 2), np.nan, dtype=np.float32)
    tsne = np.full((len(X), 2), np.nan, dtype=np.float64)
    if drawn.sum() < PICTURE_MINIMUM:
        umap[drawn] = tsne[drawn] = first_two(pca[drawn])
    else:
        umap[drawn] = _umap_picture(pca[drawn], settings)
        tsne[drawn] = _tsne_picture(pca[drawn], settings)
    return Projection(pca, umap, tsne, drawn, mean, components, explained)


def fit_pca(X: NDArray[Any], components: int) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float64]]:
    """Return mean (d,), components (k, d) and explained shares (k,) of `X` (n, d); k <= n - 1, d.

    Exact, by the eigenvectors of the smaller of the two Gram matrices.
    """
    from scipy.linalg import eigh

    rows, columns = X.shape
    mean = X.mean(axis=0, dtype=np.float64)
    k = max(1, min(components, rows - 1, columns))
    side = min(rows, columns)
    if columns <= rows:
        gram = np.zeros((columns, columns))
        for start in range(0, rows, 8192):
            block = X[start : start + 8192] - mean
            gram += block.T @ block
        centred = None
    else:
        centred = X - mean
        gram = centred @ centred.T
    total = max(float(np.trace(gram)), np.finfo(float).tiny)
    values, vectors = eigh(gram, subset_by_index=(side - k, side - 1))
    values, vectors = np.maximum(values[::-1], 0.0), vectors[:, ::-1]
    loadings = vectors.T if centred is None else _unit_rows(vectors.T @ centred)
    signs = np.sign(loadings[np.arange(k), np.abs(loadings).argmax(axis=1)])
    loadings = loadings * np.where(signs == 0, 1, signs)[:, None]
    return mean.astype(np.float32), loadings.astype(np.float32), values / total


def component_scores(
    X: NDArray[Any], mean: NDArray[np.float32], components: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return `X` (m, d) centred and on `components` (k, d): (m, k) float32, computed in float64."""
    scores = np.empty((len(X), len(components)), dtype=np.float32)
    loadings = components.T.astype(np.float64)
    for start in range(0, len(X), 8192):
        scores[start : start + 8192] = (X[start : start + 8192] - mean.astype(np.float64)) @ loadings
    return scores


def evenly_drawn(rows: int, at_most: int, seed: int) -> NDArray[np.bool_]:
    """Return which rows are drawn: all, or one at random out of each of `at_most` equal stretches."""
    drawn = np.ones(rows, dtype=bool)
    if rows > at_most:
        edges = np.linspace(0, rows, at_most + 1).astype(np.int64)
        drawn[:] = False
        drawn[np.random.default_rng(seed).integers(edges[:-1], edges[1:])] = True
    return drawn


def first_two(pca: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the first two components, a missing one as zeros: (n, 2) float32."""
    picture = np.zeros((len(pca), 2), dtype=np.float32)
    picture[:, : min(2, pca.shape[1])] = pca[:, :2]
    return picture


def umap_estimator(rows: int, settings: ProjectionSettings, **changes: Any) -> Any:
    """Return the unfitted UMAP of `rows` rows that pictures and placements share.

    Started from the components rather than at random, as Kobak & Linderman, Nat Biotechnol 2021, advise.
    """
    from umap import UMAP

    neighbors = min(settings.neighbors, rows - 1)
    chosen = {"init": "pca", "n_neighbors": neighbors, "min_dist": settings.min_dist, "random_state": settings.seed}
    return UMAP(**{**chosen, "n_jobs": 1, **changes})


def tsne_affinities(pca: NDArray[np.float32], settings: ProjectionSettings) -> Any:
    """Return openTSNE's affinities of the drawn rows, in float64 and with one thread."""
    from openTSNE.affinity import PerplexityBasedNN

    perplexity = min(settings.perplexity, (len(pca) - 1) / 3)
    return PerplexityBasedNN(
        np.asarray(pca, dtype=np.float64), perplexity=perplexity, n_jobs=1, random_state=settings.seed
    )


def _umap_picture(pca: NDArray[np.float32], settings: ProjectionSettings) -> NDArray[np.float32]:
    changes = {} if pca.shape[1] > 1 else {"init": "random"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        picture: NDArray[np.float32] = umap_estimator(len(pca), settings, **changes).fit(pca).embedding_
    return picture


def _tsne_picture(pca: NDArray[np.float32], settings: ProjectionSettings) -> NDArray[np.float64]:
    from openTSNE import TSNE, initialization

    start = initialization.rescale(first_two(pca).astype(np.float64))
    if pca.shape[1] < 2:
        start += np.random.default_rng(settings.seed).normal(scale=1e-6, size=start.shape)
    fitted = TSNE(n_jobs=1, random_state=settings.seed).fit(
        affinities=tsne_affinities(pca, settings), initialization=start
    )
    picture: NDArray[np.float64] = np.array(fitted)
    # openTSNE centres a picture before it places a point; stored centred, old and new share one frame.
    picture -= (picture.max(axis=0) + picture.min(axis=0)) / 2
    return picture


def _unit_rows(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: NDArray[np.float64] = rows / np.where(lengths > 1e-12, lengths, 1.0)
    return unit
