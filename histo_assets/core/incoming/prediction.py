"""A new slide against a finished study: tissue, expression by both ways, heat map, novelty."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from histo_assets.core.embedding.matrices import with_tissues
from histo_assets.core.embedding.pooling import pool_log_probabilities, pool_slides
from histo_assets.core.incoming.novelty import distance_to_training
from histo_assets.core.prediction.clusters import nearest_cluster
from histo_assets.core.prediction.covariates import PredictionError
from histo_assets.core.prediction.crossval import CrossValidation
from histo_assets.core.prediction.gene_regressor import GeneRegressor, tile_contributions
from histo_assets.core.projection.place import place
from histo_assets.core.projection.project import Projection
from histo_assets.core.projection.settings import ProjectionSettings

if TYPE_CHECKING:
    from anndata import AnnData

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class SlidePrediction:
    """What a study says of a new slide.

    Attributes
    ----------
    probabilities
        By tissue, summing to one.
    genes
        gene, predicted, tissue_mean, over_tissue_mean, cluster_average (log2 units of the training
        matrix), r2_within, recoverable; the regressor that served; recoverable genes
        first, then by r2_within.
    novelty_percentile
        Share, in per cent, of training slides that lie nearer to their neighbours than this one does.
    umap, tsne
        (1, 2), the slide's place in the study's pictures of slides.
    tiles
        x, y, size (level-0 pixels) and the probability of the predicted tissue, a row a tile.
    heat_gene, heat
        The best gene, and what each tile says of it: the mean is the slide's prediction; None for a
        regressor without a derivative.
    """

    tissue: str
    probability: float
    probabilities: pd.Series
    genes: pd.DataFrame
    cluster: str
    novelty_percentile: float
    unlike_training: bool
    umap: NDArray[np.float32]
    tsne: Floats
    tiles: pd.DataFrame
    heat_gene: str | None
    heat: Floats | None


@dataclass(frozen=True)
class FinishedStudy:
    """What a study made that a new slide is held against.

    Attributes
    ----------
    slides
        Embeddings of the study's slides; the new one is compared with those that are not locked.
    slide_projection
        The study's slides on principal components and in their pictures.
    regressors
        By name; the regressor that `recoverable` names serves.
    recoverable
        One row a gene: gene, regressor, r2_within, recoverable.
    clusters
        Cluster of each of the study's slides.
    cluster_expression
        Mean expression of each cluster.
    """

    slides: AnnData
    slide_projection: AnnData
    regressors: Mapping[str, CrossValidation]
    recoverable: pd.DataFrame
    clusters: pd.DataFrame
    cluster_expression: AnnData


def predict_slide(tiles: AnnData, study: FinishedStudy, settings: ProjectionSettings) -> SlidePrediction:
    """Return what a finished study says of a new slide.

    Parameters
    ----------
    tiles
        Embeddings and log-probabilities of the slide's tiles, by the study's selected network.

    Raises
    ------
    PredictionError
        The slide has no tile.
    """
    if not tiles.n_obs:
        raise PredictionError("the slide has no tile to predict from; look at what the quality filters threw out")
    tiles = with_tissues(tiles, study.slides)
    one = np.full(tiles.n_obs, "slide")
    _, vector = pool_slides(np.asarray(tiles.X), one)
    _, scores = pool_log_probabilities(np.asarray(tiles.obsm["log_probabilities"]), one)
    labels = [str(label) for label in tiles.uns["labels"]]
    probabilities = pd.Series(np.exp(scores[0].astype(np.float64)), index=labels)
    tissue = str(probabilities.idxmax())
    stored = Projection.from_adata(study.slide_projection)
    pcs, umap, tsne = place(stored, vector, settings)
    training = (study.slide_projection.obs["side"].astype(str) == "train").to_numpy()
    known = (study.slides.obs["side"].astype(str) != "test").to_numpy()
    novelty = distance_to_training(np.asarray(study.slides.X)[known], vector[0])
    number = _cluster_of(pcs, stored.pca, study.clusters, training)
    served = [
        _gene_table(study.regressors[name].model, vector, probabilities, rows, study.cluster_expression, number)
        for name, rows in _by_regressor(study.recoverable)
    ]
    order = ["recoverable", "r2_within"]
    genes = pd.concat(served).sort_values(order, ascending=False, kind="stable").reset_index(drop=True)
    best = str(genes["gene"].iloc[0])
    model = study.regressors[str(genes["regressor"].iloc[0])].model
    heat = _heat(model, np.asarray(tiles.X), probabilities, best) if model.image.slopes() is not None else None
    return SlidePrediction(
        tissue=tissue,
        probability=float(probabilities[tissue]),
        probabilities=probabilities,
        genes=genes,
        cluster=str(study.cluster_expression.obs["name"].iloc[number]),
        novelty_percentile=novelty.percentile,
        unlike_training=novelty.unlike,
        umap=umap,
        tsne=tsne,
        tiles=_tile_table(tiles, labels.index(tissue)),
        heat_gene=best if heat is not None else None,
        heat=heat,
    )


def _by_regressor(recoverable: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    return [(str(name), rows) for name, rows in recoverable.groupby("regressor", sort=False)]


def _cluster_of(
    pcs: NDArray[np.float32], stored: NDArray[np.float32], clusters: pd.DataFrame, training: NDArray[np.bool_]
) -> int:
    """Return the cluster whose training slides' mean lies nearest."""
    numbers = clusters["cluster"].to_numpy()
    known = np.unique(numbers[training])
    centres = np.stack([stored[training & (numbers == c)].mean(axis=0, dtype=np.float64) for c in known])
    return int(known[nearest_cluster(centres, pcs)[0]])


def _gene_table(
    model: GeneRegressor,
    vector: NDArray[Any],
    probabilities: pd.Series,
    recoverable: pd.DataFrame,
    cluster_expression: AnnData,
    cluster: int,
) -> pd.DataFrame:
    weights = probabilities.reindex(list(model.tissues)).fillna(0.0).to_frame().T
    predicted, mean = model.predict(vector, weights)[0], model.tissue_mean(weights)[0]
    average = pd.Series(np.asarray(cluster_expression.X)[cluster], index=list(cluster_expression.var_names))
    table = pd.DataFrame(
        {
            "gene": list(model.genes),
            "predicted": predicted,
            "tissue_mean": mean,
            "over_tissue_mean": predicted - mean,
            "cluster_average": average.reindex(list(model.genes)).to_numpy(dtype=np.float64),
        }
    )
    return table.merge(recoverable[["gene", "r2_within", "recoverable", "regressor"]], on="gene")


def _heat(model: GeneRegressor, tiles: NDArray[Any], probabilities: pd.Series, gene: str) -> Floats:
    weights = probabilities.reindex(list(model.tissues)).fillna(0.0).to_frame().T
    return tile_contributions(model, tiles, weights, genes=[gene]).tiles[:, 0]


def _tile_table(tiles: AnnData, label: int) -> pd.DataFrame:
    table: pd.DataFrame = tiles.obs[["x", "y", "size"]].reset_index(drop=True)
    table["probability"] = np.exp(np.asarray(tiles.obsm["log_probabilities"], dtype=np.float64)[:, label])
    return table
