"""Tiles through a network, as embeddings and class probabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from histo_assets.core.embedding.settings import EmbeddingSettings
from histo_assets.core.networks.errors import LearningError, TileBytes
from histo_assets.core.progress import Progress, silent

if TYPE_CHECKING:
    from histo_assets.core.networks.foundation import FoundationNetwork
    from histo_assets.core.networks.network import Network

Matrix = npt.NDArray[np.float32]


def embed_tiles(
    network: Network | FoundationNetwork,
    index: pl.DataFrame,
    reader: TileBytes,
    settings: EmbeddingSettings,
    input_px: int,
    backbone: str,
    progress: Progress = silent,
    *,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    threads: int = 1,
    workers: int = 0,
) -> tuple[Matrix, Matrix]:
    """Return the pooled embedding and the log-probabilities of each tile.

    The stages run channels-last in `settings.precision`, pooling and classifier in float32.

    Parameters
    ----------
    index
        Columns tile, tissue, shard, offset, length; one row a tile.
    input_px
        Side of what the network sees of a tile, in pixels.
    backbone
        Name of the backbone that `network` must be.
    progress
        Called every few seconds with tiles done, speed and time left.
    threads, workers
        Threads of torch, and threads that decode ahead.

    Returns
    -------
    embeddings : (n, dim) float32
    log_probabilities : (n, n_classes) float32

    Raises
    ------
    LearningError
        The network is of another backbone, or a tile cannot be decoded.
    """
    import torch

    from histo_assets.core.networks import forward

    if network.backbone.name != backbone:
        raise LearningError(f"the network is {network.backbone.name}, but embeddings of {backbone} are asked for")
    with forward.threads(threads):
        return forward.network_outputs(
            network,
            index,
            reader,
            input_px,
            batch_size=settings.batch_size,
            precision=getattr(torch, settings.precision),
            device=forward.choose_device(device),
            workers=workers,
            progress=progress,
        )
