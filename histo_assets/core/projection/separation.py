"""How well a latent space separates labels: measured on components, never on a picture of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from histo_assets.core.projection.project import evenly_drawn

AT_MOST = 5_000
"""Of more rows an evenly spread, seeded sample is judged: distances grow with the square."""


def knn_label_accuracy(
    pcs: NDArray[Any],
    labels: NDArray[Any],
    fit: NDArray[np.bool_],
    held_out: NDArray[np.bool_],
    neighbors: int = 5,
    groups: NDArray[Any] | None = None,
) -> float:
    """Return the share of rows `held_out` whose label the nearest rows of `fit` vote for.

    Parameters
    ----------
    pcs
        (n, k) components.
    labels
        (n,) labels; of equal votes the nearest neighbour's wins.
    fit, held_out
        (n,) bool; they may overlap, a row is never its own neighbour.
    neighbors
        How many vote.
    groups
        (n,) donors: rows of one's own group never vote. None: only oneself is left out.

    Returns
    -------
    The accuracy; NaN where a side is empty.
    """
    from scipy.spatial.distance import cdist

    reference, queries = np.flatnonzero(fit), np.flatnonzero(held_out)
    owners = np.arange(len(pcs)) if groups is None else np.unique(np.asarray(groups, dtype=str), return_inverse=True)[1]
    names, codes = np.unique(np.asarray(labels, dtype=str), return_inverse=True)
    if not len(reference) or not len(queries):
        return float("nan")
    right = 0
    for start in range(0, len(queries), 1024):
        rows = queries[start : start + 1024]
        distances = cdist(pcs[rows], pcs[reference])
        distances[owners[rows][:, None] == owners[reference][None, :]] = np.inf
        nearest = np.argsort(distances, axis=1, kind="stable")[:, :neighbors]
        counted = np.isfinite(np.take_along_axis(distances, nearest, axis=1))
        votes = np.zeros((len(rows), len(names)))
        for rank in range(nearest.shape[1]):
            weight = counted[:, rank] * (1 + (neighbors - rank) * 1e-6)
            np.add.at(votes, (np.arange(len(rows)), codes[reference[nearest[:, rank]]]), weight)
        right += int(((votes.argmax(axis=1) == codes[rows]) & counted[:, 0]).sum())
    return right / len(queries)


def embedding_figures(
    pcs: NDArray[Any],
    labels: NDArray[Any],
    held_out: NDArray[np.bool_],
    groups: NDArray[Any] | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Return kNN accuracy, silhouette, ARI and NMI of a latent space, for both sides of the split apart.

    Parameters
    ----------
    pcs
        (n, k) components, fitted on the rows that are not held out.
    labels
        (n,) tissues.
    held_out
        (n,) bool: rows of locked donors.
    groups
        (n,) donors, so that a donor's own rows never vote for it.

    Returns
    -------
    One row a metric and side: metric (`knn_accuracy`, `silhouette`, `ari`, `nmi`), side (`train`, `held_out`),
    value (NaN where the side cannot be judged), n. ARI and NMI compare k-means clusters, found on the
    training side with as many clusters as labels, with the labels.
    """
    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score, silhouette_score

    kept = evenly_drawn(len(pcs), AT_MOST, seed)
    pcs, held_out = np.asarray(pcs, dtype=np.float64)[kept], np.asarray(held_out, dtype=bool)[kept]
    labels = np.asarray(labels, dtype=str)[kept]
    groups = None if groups is None else np.asarray(groups, dtype=str)[kept]
    train = ~held_out
    k = min(len(np.unique(labels[train])), int(train.sum()))
    clusters = KMeans(k, n_init=5, random_state=seed).fit(pcs[train]).predict(pcs) if k else np.zeros(len(pcs))
    rows = []
    for side, mask in (("train", train), ("held_out", held_out)):
        n, classes = int(mask.sum()), len(np.unique(labels[mask]))
        separable = 1 < classes < n
        silhouette = silhouette_score(pcs[mask], labels[mask]) if separable else np.nan
        rows += [
            ("knn_accuracy", side, knn_label_accuracy(pcs, labels, train, mask, groups=groups), n),
            ("silhouette", side, silhouette, n),
            ("ari", side, adjusted_rand_score(labels[mask], clusters[mask]) if separable else np.nan, n),
            ("nmi", side, normalized_mutual_info_score(labels[mask], clusters[mask]) if separable else np.nan, n),
        ]
    return pd.DataFrame(rows, columns=["metric", "side", "value", "n"])
