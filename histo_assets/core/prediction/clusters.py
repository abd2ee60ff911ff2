"""Clusters of slides in the space of their components, and the mean expression of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histo_assets.core.prediction.covariates import PredictionError
from histo_assets.core.prediction.spectrum import spectrum

CLUSTER_COMPONENTS = 40


@dataclass(frozen=True)
class Clusters:
    """Labels (n,) int of all rows, and the centres (k, components) float64 they are nearest to."""

    labels: NDArray[np.int64]
    centres: NDArray[np.float64]


def find_clusters(pcs: NDArray[Any], k: int, seed: int, fit: NDArray[np.bool_] | None = None) -> Clusters:
    """Return k-means clusters of components `pcs` (n, components), found among the rows `fit` alone.

    Clusters are numbered by size, the largest is 0. Fewer than `k` rows to fit make as many clusters as rows.
    """
    from sklearn.cluster import KMeans

    rows = np.ones(len(pcs), dtype=bool) if fit is None else np.asarray(fit, dtype=bool)
    distinct = len(np.unique(pcs[rows], axis=0))
    if not distinct:
        raise PredictionError("clusters need at least one training row; select more slides")
    points = np.asarray(pcs, dtype=np.float64)
    kmeans = KMeans(min(k, distinct), n_init=10, random_state=seed).fit(points[rows])
    sizes = np.bincount(kmeans.labels_, minlength=len(kmeans.cluster_centers_))
    centres = kmeans.cluster_centers_[np.argsort(-sizes, kind="stable")]
    return Clusters(nearest_cluster(centres, points), centres)


def nearest_cluster(centres: NDArray[np.float64], pcs: NDArray[Any]) -> NDArray[np.int64]:
    """Return the cluster (m,) of new rows `pcs` (m, components): the one whose centre is nearest."""
    from scipy.spatial.distance import cdist

    labels: NDArray[np.int64] = cdist(np.asarray(pcs, dtype=np.float64), centres).argmin(axis=1)
    return labels


def mean_by_cluster(Y: NDArray[Any], labels: NDArray[np.int64], clusters: int | None = None) -> NDArray[np.float64]:
    """Return the mean expression (k, g) of each cluster; one without rows gets the mean of all rows.

    Parameters
    ----------
    Y, labels
        (n, g) and (n,), training rows alone.
    clusters
        k; the largest label and one when None.
    """
    k = int(labels.max()) + 1 if clusters is None else clusters
    member = (np.arange(k)[:, None] == np.asarray(labels)[None, :]).astype(np.float64)
    counts = member.sum(axis=1, keepdims=True)
    means = member @ np.asarray(Y, dtype=np.float64) / np.maximum(counts, 1)
    filled: NDArray[np.float64] = np.where(counts > 0, means, np.asarray(Y).mean(axis=0, dtype=np.float64))
    return filled


def cluster_average(
    X: NDArray[Any], Y: NDArray[Any], folds: NDArray[np.int64], k: int, seed: int
) -> NDArray[np.float32]:
    """Return the predictions by clusters of rows that they were not made of: (n, g) float32.

    Components, clusters and their mean expression come from the other folds (locked rows: from all folds).
    """
    predicted = np.full(Y.shape, np.nan, dtype=np.float32)
    for fold in np.unique(folds):
        train = (folds >= 0) & (folds != fold)
        centred = np.asarray(X, dtype=np.float64) - X[train].mean(axis=0, dtype=np.float64)
        pcs = centred @ spectrum(centred[train]).right[:, :CLUSTER_COMPONENTS]
        clusters = find_clusters(pcs, k, seed, train)
        means = mean_by_cluster(Y[train], clusters.labels[train], len(clusters.centres))
        predicted[folds == fold] = means[clusters.labels[folds == fold]]
    return predicted
