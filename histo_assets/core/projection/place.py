"""Placing new rows in a stored projection: the pictures are rebuilt from arrays, no object is loaded."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histo_assets.core.projection.project import (
    PICTURE_MINIMUM,
    Projection,
    first_two,
    tsne_affinities,
    umap_estimator,
)
from histo_assets.core.projection.settings import ProjectionSettings

TSNE_PLACING_PERPLEXITY = 5
"""openTSNE's default for placing: new points look at their nearest few only."""


def place(
    stored: Projection, X_new: NDArray[Any], settings: ProjectionSettings
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float64]]:
    """Return components (m, k), UMAP (m, 2) and t-SNE (m, 2) of new rows in a stored projection.

    Each row is placed alone and seeded: placed together, rows would move one another. The
    coordinates equal, bit for bit, what the objects that drew the pictures would have given.

    Parameters
    ----------
    stored
        The projection, made with the same `settings`.
    X_new
        (m, d) numbers, or (d,) for one row.
    """
    pca = stored.scores(np.atleast_2d(X_new))
    shown = stored.pca[stored.drawn]
    if len(shown) < PICTURE_MINIMUM:
        return pca, first_two(pca), first_two(pca).astype(np.float64)
    umap = umap_positions(shown, stored.umap[stored.drawn], pca, settings)
    tsne = tsne_positions(shown, stored.tsne[stored.drawn], pca, settings)
    return pca, umap, tsne


def umap_positions(
    pca: NDArray[np.float32],
    picture: NDArray[np.float32],
    new: NDArray[np.float32],
    settings: ProjectionSettings,
) -> NDArray[np.float32]:
    """Return where UMAP places rows `new` (m, k), one by one, in the stored `picture` of `pca`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator = umap_estimator(len(pca), settings, n_epochs=0, init=picture).fit(pca)
        estimator.embedding_ = picture
        estimator.n_epochs = None
        return np.concatenate([estimator.transform(row[None]) for row in new]).astype(np.float32)


def tsne_positions(
    pca: NDArray[np.float32],
    picture: NDArray[np.float64],
    new: NDArray[np.float32],
    settings: ProjectionSettings,
) -> NDArray[np.float64]:
    """Return where openTSNE places rows `new` (m, k), one by one, in the stored `picture` of `pca`."""
    from openTSNE import TSNEEmbedding

    affinities = tsne_affinities(pca, settings)
    perplexity = min(TSNE_PLACING_PERPLEXITY, (len(pca) - 1) / 3)
    placed = []
    for row in new.astype(np.float64):
        # Placing centres the embedding in place, so each row meets a fresh copy.
        embedding = TSNEEmbedding(picture, affinities, random_state=settings.seed, n_jobs=1)
        placed.append(np.array(embedding.transform(row[None], perplexity=perplexity)))
    return np.concatenate(placed)
