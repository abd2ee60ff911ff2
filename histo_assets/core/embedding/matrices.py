"""Embeddings as labelled matrices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from histo_assets.core.embedding.linear_probe import TissueProbe
from histo_assets.core.embedding.pooling import pool_log_probabilities, pool_slides
from histo_assets.core.embedding.settings import EmbeddingSettings
from histo_assets.core.embedding.tile_embeddings import embed_tiles
from histo_assets.core.networks.errors import LearningError
from histo_assets.core.networks.inference import Inference
from histo_assets.core.progress import Progress
from histo_assets.core.tiling.tile_set import TileReader, TileSet
from histo_assets.core.training.frozen import FrozenModel
from histo_assets.core.training.selected import SelectedModel

if TYPE_CHECKING:
    from anndata import AnnData

_OF_TILES = ["slide", "donor", "tissue", "x", "y", "size"]
LOG_PROBABILITIES = "log_probabilities"


def tile_matrix(
    model: SelectedModel | FrozenModel,
    tiles: TileSet,
    settings: EmbeddingSettings,
    input_px: int,
    progress: Progress,
) -> AnnData:
    """Return the embeddings of a tile set.

    Returns
    -------
    AnnData
        X (n, d) float32; obs: slide, donor, tissue, x, y, size (level-0 pixels), predicted;
        `obsm["log_probabilities"]` (n, c) in the order of `uns["labels"]`; `uns["model"]` says which
        network, epoch and weights, under which licence. A frozen model knows no tissues: c is 0 and
        predicted empty.
    """
    from anndata import AnnData

    index = tiles.index
    reader = TileReader([tiles])
    inference = Inference(input_px, settings.batch_size, settings.precision)
    vectors, scores = embed_tiles(model.network(), index, reader, inference, model.backbone, progress)
    scores = scores[:, : len(model.labels)]
    labels = np.asarray(model.labels, dtype=object)
    obs = index.select(_OF_TILES).to_pandas()
    obs.index = pd.Index(index["tile"].to_list(), dtype=object)
    obs["predicted"] = labels[scores.argmax(axis=1)] if scores.size else [""] * len(scores)
    return AnnData(
        X=vectors,
        obs=obs,
        obsm={LOG_PROBABILITIES: scores},
        uns={
            "labels": list(model.labels),
            "model": {
                "experiment": model.name,
                "epoch": model.epoch,
                "backbone": model.backbone,
                "weights": model.weights_digest,
                "licence": model.licence,
                "revision": model.revision,
            },
        },
    )


def slide_matrix(tiles: Sequence[AnnData], split: pd.DataFrame) -> AnnData:
    """Return the mean embedding and log-probabilities of every slide, with its donor's side of the split.

    Where the network knows no tissues they come from a probe, fitted on the training donors' slides.

    Parameters
    ----------
    tiles
        What `tile_matrix` returned, tissue by tissue.
    split
        donor, fold, side.
    """
    from anndata import AnnData

    models = {str(matrix.uns["model"]["weights"]) for matrix in tiles}
    if len(models) != 1:
        raise LearningError(f"tile embeddings come from {len(models)} networks; embed all tissues with the same one")
    obs = pd.concat([matrix.obs for matrix in tiles])
    ids, vectors = pool_slides(np.vstack([matrix.X for matrix in tiles]), obs["slide"].to_numpy())
    of_slide = obs.groupby("slide", observed=True)[["donor", "tissue"]].first().loc[ids].astype(str)
    of_slide["tiles"] = obs["slide"].astype(str).value_counts().loc[ids].astype("int64")
    of_slide = with_sides(of_slide, split)
    uns = dict(tiles[0].uns)
    if len(uns["labels"]):
        stacked_scores = np.vstack([matrix.obsm[LOG_PROBABILITIES] for matrix in tiles])
        _, scores = pool_log_probabilities(stacked_scores, obs["slide"].to_numpy())
    else:
        probe = TissueProbe(vectors, list(of_slide["tissue"]), (of_slide["side"] == "train").to_numpy())
        scores, uns["labels"] = probe.log_probabilities(vectors), probe.labels
    of_slide["predicted"] = np.asarray(uns["labels"], dtype=object)[scores.argmax(axis=1)]
    of_slide.index = pd.Index(ids, dtype=object)
    return AnnData(X=vectors, obs=of_slide, obsm={LOG_PROBABILITIES: scores}, uns=uns)


def with_tissues(tiles: AnnData, slides: AnnData) -> AnnData:
    """Return tiles with log-probabilities, where their network knows no tissues by a probe on the study's slides.

    Parameters
    ----------
    tiles
        What `tile_matrix` returned for a new slide.
    slides
        What `slide_matrix` returned for the study.
    """
    if len(tiles.uns["labels"]):
        return tiles
    probe = TissueProbe(slides.X, list(slides.obs["tissue"].astype(str)), (slides.obs["side"] == "train").to_numpy())
    tiles = tiles.copy()
    tiles.obsm[LOG_PROBABILITIES] = probe.log_probabilities(tiles.X)
    tiles.uns["labels"] = probe.labels
    return tiles


def stacked(tiles: Sequence[AnnData], split: pd.DataFrame) -> tuple[np.ndarray[Any, Any], pd.DataFrame]:
    """Return all tiles' embeddings (n, d) one below the other, and their labels with sides."""
    obs = pd.concat([matrix.obs for matrix in tiles])
    for name in ("slide", "donor", "tissue", "predicted"):
        obs[name] = obs[name].astype(str)
    return np.vstack([matrix.X for matrix in tiles]), with_sides(obs, split)


def with_sides(obs: pd.DataFrame, split: pd.DataFrame) -> pd.DataFrame:
    """Return `obs` with the fold and side of each row's donor."""
    sides = split.set_index("donor")[["fold", "side"]]
    return obs.join(sides, on="donor")
