"""Clusters of a study's slides and the mean expression of each, as tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from histo_assets.core.prediction.clusters import find_clusters, mean_by_cluster

if TYPE_CHECKING:
    from anndata import AnnData


def cluster_slides(projection: AnnData, k: int, seed: int) -> pd.DataFrame:
    """Return the cluster of every slide, found by k-means among training donors in PCA space.

    Returns
    -------
    pandas.DataFrame
        slide, donor, tissue, side, cluster (int, the largest is 0), name (`3: liver`, after the
        commonest tissue of its training slides).
    """
    obs = projection.obs
    training = (obs["side"].astype(str) == "train").to_numpy()
    labels = find_clusters(np.asarray(projection.obsm["X_pca"]), k, seed, training).labels
    table = pd.DataFrame(
        {
            "slide": list(projection.obs_names),
            "donor": obs["donor"].astype(str).to_numpy(),
            "tissue": obs["tissue"].astype(str).to_numpy(),
            "side": obs["side"].astype(str).to_numpy(),
            "cluster": labels,
        }
    )
    commonest = table[training].groupby("cluster")["tissue"].agg(lambda tissues: tissues.mode().iloc[0])
    table["name"] = [f"{cluster}: {commonest.get(cluster, 'none')}" for cluster in labels]
    return table


@dataclass(frozen=True)
class ClusterAgreement:
    """How well clusters agree with tissues: 1 where they are the same.

    Attributes
    ----------
    ari_with_tissue
        Adjusted Rand index, about 0 by chance.
    nmi_with_tissue
        Normalised mutual information, from 0.
    """

    ari_with_tissue: float
    nmi_with_tissue: float


def cluster_agreement(table: pd.DataFrame) -> ClusterAgreement:
    """Return how well the clusters of `cluster_slides` agree with tissues."""
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    return ClusterAgreement(
        ari_with_tissue=float(adjusted_rand_score(table["tissue"], table["cluster"])),
        nmi_with_tissue=float(normalized_mutual_info_score(table["tissue"], table["cluster"])),
    )


def cluster_means(clusters: pd.DataFrame, expression: AnnData) -> AnnData:
    """Return the mean expression of each cluster over the samples of its training slides.

    Returns
    -------
    AnnData
        X (k, g) float32; obs: name, slides, samples. A cluster without a sample gets the mean of all.
    """
    from anndata import AnnData

    of_slide = clusters[clusters["side"] == "train"].set_index("slide")["cluster"]
    rows, labels = [], []
    for row, names in enumerate(expression.obs["slides"].astype(str)):
        of_sample = sorted({int(of_slide[name]) for name in names.split(";") if name in of_slide.index})
        rows += [row] * len(of_sample)
        labels += of_sample
    count = int(clusters["cluster"].max()) + 1
    means = mean_by_cluster(np.asarray(expression.X)[rows], np.asarray(labels, dtype=np.int64), count)
    names = clusters.groupby("cluster")["name"].first()
    obs = pd.DataFrame(
        {
            "name": [str(names[cluster]) for cluster in range(count)],
            "slides": [int((clusters["cluster"] == cluster).sum()) for cluster in range(count)],
            "samples": [labels.count(cluster) for cluster in range(count)],
        },
        index=pd.Index([str(cluster) for cluster in range(count)], dtype=object),
    )
    return AnnData(X=means.astype(np.float32), obs=obs, var=expression.var[["symbol"]].copy())
