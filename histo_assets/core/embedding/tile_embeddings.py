"""Tiles through a network, as embeddings and class probabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import polars as pl

from histo_assets.core.networks.errors import LearningError, TileBytes
from histo_assets.core.networks.inference import Inference
from histo_assets.core.progress import Progress, silent

if TYPE_CHECKING:
    from histo_assets.core.networks.foundation import FoundationNetwork
    from histo_assets.core.networks.network import Network

Matrix = npt.NDArray[np.float32]


def embed_tiles(
    network: Network | FoundationNetwork,
    index: pl.DataFrame,
    reader: TileBytes,
    inference: Inference,
    backbone: str,
    progress: Progress = silent,
) -> tuple[Matrix, Matrix]:
    """Return the pooled embedding and the log-probabilities of each tile.

    Parameters
    ----------
    index
        Columns tile, tissue, shard, offset, length; one row a tile.
    backbone
        Name of the backbone that `network` must be.
    progress
        Called every few seconds with tiles done, speed and time left.

    Returns
    -------
    embeddings : (n, dim) float32
    log_probabilities : (n, n_classes) float32

    Raises
    ------
    LearningError
        The network is of another backbone, or a tile cannot be decoded.
    """
    if network.backbone.name != backbone:
        raise LearningError(f"the network is {network.backbone.name}, but embeddings of {backbone} are asked for")
    from histo_assets.core.networks.forward import network_outputs

    return network_outputs(network, index, reader, inference, progress)
