"""Pixels of tiles as a network wants them. Imports OpenCV and simplejpeg: import this inside functions."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt
import polars as pl
import simplejpeg

from histo_assets.core.networks.errors import LearningError, TileBytes
from histo_assets.core.networks.registry import Backbone

Pixels = npt.NDArray[np.uint8]
Tiles = npt.NDArray[np.float32]
Positions = npt.NDArray[np.int64]

CACHE_BYTES = 1 << 30
Result = TypeVar("Result")
_TURNS = (None, cv2.ROTATE_90_COUNTERCLOCKWISE, cv2.ROTATE_180, cv2.ROTATE_90_CLOCKWISE)


@dataclass(frozen=True)
class Batch:
    """Tiles on their way to a network, and what it is to see of each grey level.

    They stay bytes until the step that uses them: a quarter of the memory to move, and the
    look-up costs a GPU nothing.

    Attributes
    ----------
    pixels
        (n, h, w, 3) uint8, red green blue.
    tables
        (n, 256, 3) float32: the network's input for each level of each channel of each tile.
    """

    pixels: Pixels
    tables: Tiles

    def floats(self) -> Tiles:
        """Return the tiles (n, h, w, 3) as the network takes them."""
        out = np.empty(self.pixels.shape, np.float32)
        for slot, table in enumerate(self.tables):
            cv2.LUT(self.pixels[slot], table[None], dst=out[slot])
        return out


def decode_tile(jpeg: bytes, px: int, tile: str, out: Pixels | None = None) -> Pixels:
    """Return a tile's pixels (px, px, 3), red green blue, shrunk while it is decoded.

    They are written into `out` where it is given.

    Raises
    ------
    LearningError
        The bytes are no whole JPEG.
    """
    try:
        height, width, _, _ = simplejpeg.decode_jpeg_header(jpeg)
        fits = out is not None and (height, width) == (px, px)
        buffer = out if fits else None
        pixels = simplejpeg.decode_jpeg(jpeg, min_height=px, min_width=px, buffer=buffer)
    except ValueError as error:
        raise LearningError(f"tile {tile} is no whole JPEG ({error}); make the tiles of its slide again") from None
    if fits:
        return np.asarray(out)
    if pixels.shape[:2] != (px, px):
        shrinks = min(pixels.shape[:2]) >= px
        pixels = cv2.resize(pixels, (px, px), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    if out is None:
        return np.ascontiguousarray(pixels, dtype=np.uint8)
    out[:] = pixels
    return out


class TilePixels:
    """The decoded tiles of a table, kept in memory where all of them fit `cache_bytes` and the machine.

    `rows` has the columns tile, tissue, shard, offset and length; positions count its rows.
    """

    def __init__(self, rows: pl.DataFrame, reader: TileBytes, px: int, cache_bytes: int = CACHE_BYTES) -> None:
        self.tiles: list[str] = rows["tile"].to_list()
        self._rows = rows.select("tile", "tissue", "shard", "offset", "length")
        self._reader = reader
        self._px = px
        self._known = np.zeros(rows.height, bool)
        self._cache = _room(rows.height, px) if rows.height * px * px * 3 <= cache_bytes else None

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
        pixels = np.empty((len(positions), self._px, self._px, 3), np.uint8)
        for slot, (position, jpeg) in enumerate(zip(positions, jpegs, strict=True)):
            decode_tile(jpeg, self._px, self.tiles[position], pixels[slot])
        return pixels


def _room(tiles: int, px: int) -> Pixels | None:
    """Return room for so many tiles, None where the machine has none: then each is decoded every time."""
    try:
        return np.zeros((tiles, px, px, 3), np.uint8)
    except MemoryError:
        return None


def plain(pixels: Pixels, backbone: Backbone) -> Batch:
    """Return pixels (n, h, w, 3) as a batch without augmentation: divided by 255, minus mean, over std."""
    return Batch(pixels, np.repeat(_tables(backbone, np.ones((1, 3))), len(pixels), axis=0))


def scaled(pixels: Pixels, backbone: Backbone) -> Tiles:
    """Return pixels (n, h, w, 3) as the network takes them: divided by 255, minus mean, over std."""
    return plain(pixels, backbone).floats()


def augmented(pixels: Pixels, backbone: Backbone, tiles: Sequence[str], seed: int, epoch: int) -> Batch:
    """Return pixels (n, h, w, 3) as a batch, each tile turned, flipped and slightly restained.

    A tile's share of chance is drawn from (seed, epoch, tile) alone, so that neither the batch, the
    worker nor a restart changes it. One of the eight symmetries of the square; and the optical
    density of all channels is scaled by 0.9 to 1.1, each channel's by another 0.95 to 1.05: a cheap
    relative of the stain augmentation of Tellez et al., Medical Image Analysis 58 (2019).
    `pixels` are turned in place: a second buffer of a batch's size would cost as much as the turning.
    """
    densities = np.empty((len(pixels), 3))
    spare = np.empty_like(pixels[0])
    for slot, tile in enumerate(tiles):
        symmetry, densities[slot] = augmentation(tile, seed, epoch)
        _turn(pixels[slot], symmetry, spare)
    return Batch(pixels, _tables(backbone, densities))


def _turn(square: Pixels, symmetry: int, spare: Pixels) -> None:
    """Give a square one of its eight symmetries, in place: a turn to the left, from 4 on mirrored after it."""
    turn = _TURNS[symmetry % 4]
    if turn is not None:
        np.copyto(spare, square)
        cv2.rotate(spare, turn, dst=square)
    if symmetry >= 4:
        np.copyto(spare, square)
        cv2.flip(spare, 1, dst=square)


def augmentation(tile: str, seed: int, epoch: int) -> tuple[int, npt.NDArray[np.float64]]:
    """Return which of eight symmetries a tile gets, and the factors (3) of its optical densities."""
    drawn = hashlib.blake2b(f"{seed}/{epoch}/{tile}".encode(), digest_size=10).digest()
    common, *channels = np.frombuffer(drawn[2:], "<u2") / 65535.0
    return drawn[0] % 8, (0.9 + 0.2 * common) * (0.95 + 0.1 * np.asarray(channels))


def _tables(backbone: Backbone, densities: npt.NDArray[np.float64]) -> Tiles:
    """Return the look-up tables (n, 256, 3) from grey level to network input, densities (n, 3) scaled."""
    level = np.arange(256)[None, :, None] / 255.0
    tables = (level ** densities[:, None] - np.asarray(backbone.mean)) / np.asarray(backbone.std)
    return np.asarray(tables, np.float32)


def in_order(make: Callable[[Positions], Result], plan: Sequence[Positions], workers: int) -> Iterator[Result]:
    """Yield `make(positions)` for each entry of `plan`, made ahead by `workers` threads (0: none)."""
    if workers == 0:
        yield from map(make, plan)
        return
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[Result]] = deque()
        try:
            for positions in plan:
                waiting.append(pool.submit(make, positions))
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
