"""Fast passes through a network that does not learn. Imports torch: import this inside functions."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from histo_assets.core.networks.errors import LearningError, TileBytes
from histo_assets.core.networks.foundation import FoundationNetwork
from histo_assets.core.networks.inference import Inference
from histo_assets.core.networks.network import Network
from histo_assets.core.networks.pixels import Batch, TilePixels, batch_plan, in_order, plain
from histo_assets.core.progress import EveryFewSeconds, Progress, minutes, silent

Matrix = npt.NDArray[np.float32]

# Pixels that pass together on a CPU: few enough that maps stay in the cache (16 tiles of 128 px).
_CPU_PIXELS = 1 << 18
# That so few tiles are alike to a pixel may be.
_FEW_TILES = 16


def choose_device(name: str) -> torch.device:
    """Return the device `auto` (CUDA where there is one), `cpu` or `cuda`.

    Raises
    ------
    LearningError
        CUDA is asked for and absent.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise LearningError("device: cuda is asked for but no CUDA device is visible; use `device: auto` or `cpu`")
    return torch.device("cuda" if name == "cuda" or (name == "auto" and torch.cuda.is_available()) else "cpu")


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let torch compute with `count` threads inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def fast_precision(device: torch.device) -> torch.dtype:
    """Return bfloat16 where the device computes in it natively, float32 elsewhere."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    native = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    return torch.bfloat16 if native else torch.float32


class FastStages(nn.Module):
    """A copy of some stages of a network for evaluation only: the same function, sooner.

    Convolutions take up the batch normalisation that follows them, memory is channels-last and
    arithmetic is in `precision`; batch normalisation that stands alone stays in float32.
    """

    def __init__(self, stages: list[nn.Module], precision: torch.dtype) -> None:
        super().__init__()
        self.precision = precision
        body = copy.deepcopy(nn.Sequential(*stages)).eval().requires_grad_(False)
        _fold(body)
        for module in body.modules():
            if not isinstance(module, nn.BatchNorm2d):
                for parameter in module.parameters(recurse=False):
                    parameter.data = parameter.data.to(precision)
        self.body: nn.Module = body.to(memory_format=torch.channels_last)

    def forward(self, tiles: Tensor) -> Tensor:
        """Return the maps that the stages make of `tiles`, in `precision`."""
        tiles = tiles.to(self.precision)
        together = max(1, _CPU_PIXELS // tiles[0, 0].numel()) if tiles.device.type == "cpu" else len(tiles)
        with torch.no_grad():
            return torch.cat([self.body(tiles[start : start + together]) for start in range(0, len(tiles), together)])


def _fold(module: nn.Module) -> None:
    """Fold, below `module`, each batch normalisation into the convolution right before it."""
    for child in module.children():
        if isinstance(child, nn.Sequential) and len(child) > 1:
            for index in range(len(child) - 1):
                first, second = child[index], child[index + 1]
                if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
                    child[index] = fuse_conv_bn_eval(first, second)
                    child[index + 1] = nn.Identity()
        _fold(child)


def as_tensor(batch: Batch, device: torch.device) -> Tensor:
    """Return a batch as a channels-last tensor (n, 3, h, w) float32 on `device`.

    A processor looks levels up fastest with OpenCV; a GPU is sent bytes and looks them up itself.
    """
    if device.type == "cpu":
        return torch.from_numpy(batch.floats()).permute(0, 3, 1, 2)
    return lookup(torch.from_numpy(batch.pixels).to(device), torch.from_numpy(batch.tables).to(device))


def lookup(pixels: Tensor, tables: Tensor) -> Tensor:
    """Return (n, 3, h, w) float32, channels last, of pixels (n, h, w, 3) uint8 and tables (n, 256, 3)."""
    levels = pixels.flatten(1, 2).long()
    return torch.gather(tables, 1, levels).view(pixels.shape).permute(0, 3, 1, 2)


def network_outputs(
    network: Network | FoundationNetwork,
    rows: pl.DataFrame,
    reader: TileBytes,
    inference: Inference,
    progress: Progress = silent,
) -> tuple[Matrix, Matrix]:
    """Return the embeddings and predictions of tiles by a network in evaluation mode.

    Parameters
    ----------
    rows
        Columns tile, tissue, shard, offset, length.
    progress
        Called every few seconds with tiles done, speed and time left.

    Returns
    -------
    embeddings : (n, dim) float32
    log_probabilities : (n, n_classes) float32
        Natural logarithms; the exponentials of a row sum to one.

    Raises
    ------
    LearningError
        A tile cannot be decoded, or all embeddings are zero, as those of the Lite networks are at
        32 px, or all the same.
    """
    device = choose_device(inference.device)
    stages = FastStages(network.stages, getattr(torch, inference.precision)).to(device)
    head = network.head().to(device)
    pixels = TilePixels(rows, reader, inference.input_px, cache_bytes=0)
    plan = batch_plan(np.arange(rows.height), inference.batch_size)
    embeddings = np.empty((rows.height, network.backbone.dim), np.float32)
    log_probabilities = np.empty((rows.height, network.n_classes), np.float32)
    say = EveryFewSeconds(progress)
    batches = in_order(lambda positions: plain(pixels.read(positions), network.backbone), plan, inference.workers)
    with threads(inference.threads):
        for positions, batch in zip(plan, batches, strict=True):
            with torch.inference_mode():
                embedding = head.embed(stages(as_tensor(batch, device)).float())
                logits = head.classify(embedding)
            embeddings[positions] = embedding.cpu().numpy()
            log_probabilities[positions] = torch.log_softmax(logits, 1).cpu().numpy()
            say(partial(_line, int(positions[-1]) + 1, rows.height))
    if rows.height and not embeddings.any():
        raise LearningError(
            f"{network.backbone.name} gives nothing but zeros at input_px {inference.input_px}, which is too small "
            "for it; take 64 or more"
        )
    if rows.height > _FEW_TILES and (embeddings == embeddings[0]).all():
        raise LearningError(
            f"{network.backbone.name} gives the same embedding for each of {rows.height} tiles; its weights tell "
            f"nothing apart, name others, or `embedding.precision: float32`"
        )
    return embeddings, log_probabilities


def _line(done: int, tiles: int, seconds: float) -> str:
    speed = done / seconds
    return f"{done} of {tiles} tiles, {speed:.0f} tiles/s, {minutes((tiles - done) / speed)} left"
