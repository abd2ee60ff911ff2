"""Pixels of tiles as a network wants them. Imports OpenCV and simplejpeg: import this inside functions."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt
import polars as pl
import simplejpeg

from histo_assets.core.learning.backbones import Backbone
from histo_assets.core.learning.errors import LearningError, TileBytes

Pixels = npt.NDArray[np.uint8]
Tiles = npt.NDArray[np.float32]
Positions = npt.NDArray[np.int64]

CACHE_BYTES = 1 << 30
Made = TypeVar("Made")


def decode_tile(jpeg: bytes, px: int, tile: str) -> Pixels:
    """Return a tile's pixels (px, px, 3), red green blue, shrunk while it is decoded.

    Raises
    ------
    LearningError
        The bytes are no whole JPEG.
    """
    try:
        pixels = simplejpeg.decode_jpeg(jpeg, min_height=px, min_width=px)
    except ValueError as error:
        raise LearningError(f"tile {tile} is no whole JPEG ({error}); make the tiles of its slide again") from None
    if pixels.shape[:2] != (px, px):
        shrinks = min(pixels.shape[:2]) >= px
        pixels = cv2.resize(pixels, (px, px), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return np.ascontiguousarray(pixels, dtype=np.uint8)


class TilePixels:
    """The decoded tiles of a table, kept in memory where all of them fit `cache_bytes`.

    `rows` has the columns tile, tissue, shard, offset and length; positions count its rows.
    """

    def __init__(self, rows: pl.DataFrame, reader: TileBytes, px: int, cache_bytes: int = CACHE_BYTES) -> None:
        self.tiles: list[str] = rows["tile"].to_list()
        self._rows = rows.select("tile", "tissue", "shard", "offset", "length")
        self._reader = reader
        self._px = px
        self._known = np.zeros(rows.height, bool)
        fits = rows.height * px * px * 3 <= cache_bytes
        self._cache: Pixels | None = np.zeros((rows.height, px, px, 3), np.uint8) if fits else None

    def read(self, positions: Positions) -> Pixels:
        """Return the pixels (n, px, px, 3) uint8 of the rows at `positions`."""
        if self._cache is None:
            return self._decoded(positions)
        missing = positions[~self._known[positions]]
        if len(missing):
            self._cache[missing] = self._decoded(missing)
            self._known[missing] = True
        return self._cache[positions]

    def _decoded(self, positions: Positions) -> Pixels:
        jpegs = self._reader.read(self._rows[positions])
        names = [self.tiles[position] for position in positions]
        return np.stack([decode_tile(jpeg, self._px, tile) for jpeg, tile in zip(jpegs, names, strict=True)])


def scaled(pixels: Pixels, backbone: Backbone) -> Tiles:
    """Return pixels (n, h, w, 3) as the network takes them: divided by 255, minus mean, over std."""
    table = _table(backbone, np.ones(3))
    return np.stack([np.asarray(cv2.LUT(tile, table), np.float32) for tile in pixels])


def augmented(pixels: Pixels, backbone: Backbone, tiles: Sequence[str], seed: int, epoch: int) -> Tiles:
    """Return pixels (n, h, w, 3) scaled for the network, each turned, flipped and slightly restained.

    A tile's share of chance is drawn from (seed, epoch, tile) alone, so that neither the batch, the
    worker nor a restart changes it. One of the eight symmetries of the square; and the optical
    density of all channels is scaled by 0.9 to 1.1, each channel's by another 0.95 to 1.05: a cheap
    relative of the stain augmentation of Tellez et al., Medical Image Analysis 58 (2019).
    """
    out = np.empty(pixels.shape, np.float32)
    for slot, tile in enumerate(tiles):
        symmetry, densities = augmentation(tile, seed, epoch)
        turned = np.rot90(pixels[slot], symmetry % 4)
        turned = turned[:, ::-1] if symmetry >= 4 else turned
        out[slot] = cv2.LUT(np.ascontiguousarray(turned), _table(backbone, densities))
    return out


def augmentation(tile: str, seed: int, epoch: int) -> tuple[int, npt.NDArray[np.float64]]:
    """Return which of eight symmetries a tile gets, and the factors (3) of its optical densities."""
    drawn = hashlib.blake2b(f"{seed}/{epoch}/{tile}".encode(), digest_size=10).digest()
    common, *channels = np.frombuffer(drawn[2:], "<u2") / 65535.0
    return drawn[0] % 8, (0.9 + 0.2 * common) * (0.95 + 0.1 * np.asarray(channels))


def _table(backbone: Backbone, densities: npt.NDArray[np.float64]) -> Tiles:
    """Return the look-up table (1, 256, 3) from grey level to network input, densities scaled."""
    level = np.arange(256)[:, None] / 255.0
    table = (level ** densities[None] - np.asarray(backbone.mean)) / np.asarray(backbone.std)
    return np.asarray(table[None], np.float32)


def in_order(made: Callable[[Positions], Made], plan: Sequence[Positions], workers: int) -> Iterator[Made]:
    """Yield `made(positions)` for each entry of `plan`, made ahead by `workers` threads (0: none)."""
    if workers == 0:
        yield from map(made, plan)
        return
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[Made]] = deque()
        try:
            for positions in plan:
                waiting.append(pool.submit(made, positions))
                if len(waiting) > workers + 1:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def batch_plan(order: Positions, batch_size: int) -> list[Positions]:
    """Return `order` cut into batches; a last batch of one tile joins the one before it.

    (Batch normalisation cannot learn from a single tile.)
    """
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    if len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [np.concatenate(batches[-2:])]
    return batches
