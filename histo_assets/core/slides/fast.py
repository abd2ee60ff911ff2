"""Storage tiles decoded once, strictly, and cached: the fast path of reading a slide.

slideio and openslide decode a storage tile again for every region that touches it, and slideio
shows a damaged one as white. Here each is decoded once while it stays in the cache, by a decoder
that refuses damage; a tile that does not decode is counted as lost. One that a reduced level leaves
empty is made from the next finer level.
"""

from __future__ import annotations

import math
import os
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import numpy as np

from histo_assets.core.slides.colour import without_colour_markers
from histo_assets.core.slides.directory import ADOBE, JPEG, StoredLevel
from histo_assets.core.slides.errors import SlideError
from histo_assets.core.slides.readers import resized

CACHE_BYTES = 48 << 20
WHITE = 255

# Pixels of the finer level that are shrunk at a time, a side.
_BLOCK = 2048


class StorageTiles:
    """The storage tiles of one level of an open TIFF or DICOM slide.

    Attributes
    ----------
    descriptor, descriptors
        The open file, or files, which the slide closes.
    read_tiles, lost_tiles, blank_tiles
        Indices of the storage tiles that were asked for, of those that did not decode, and of those
        that the file stores with length zero (Aperio's way of leaving out background).
    finer
        The next finer level of the same pyramid, from which blank storage tiles are made; None at level 0.
    """

    def __init__(self, descriptor: int, level: StoredLevel, finer: StorageTiles | None = None) -> None:
        self.level = level
        self.finer = finer
        self.read_tiles: set[int] = set()
        self.lost_tiles: set[int] = set()
        self.blank_tiles: set[int] = set()
        self.descriptor, self.descriptors = descriptor, [descriptor]
        self._cache: OrderedDict[int, np.ndarray[Any, Any]] = OrderedDict()
        self._room = max(4, CACHE_BYTES // (level.tile_width * level.tile_height * 3))
        self._prefix = _jpeg_prefix(level)

    @staticmethod
    def can_read(level: StoredLevel) -> bool:
        """Return whether the level is 8-bit JPEG, RGB or YCbCr, or has a decoder of its own."""
        return (level.compression == JPEG and level.plain_rgb) or level.decode is not None

    def read(self, x: int, y: int, width: int, height: int) -> tuple[np.ndarray[Any, Any], int]:
        """Return the region at (x, y) of this level, and how many lost storage tiles it touches.

        Parameters
        ----------
        x, y, width, height
            Pixels of this level; what lies outside the level is white, and so is what was lost.

        Returns
        -------
        pixels
            (height, width, 3) uint8, RGB.
        lost
            Number of storage tiles in the region that did not decode.
        """
        level = self.level
        pixels = np.full((height, width, 3), WHITE, dtype=np.uint8)
        left, top = max(x, 0), max(y, 0)
        right, bottom = min(x + width, level.width), min(y + height, level.height)
        lost = 0
        if right <= left or bottom <= top:
            return pixels, lost
        for row in range(top // level.tile_height, (bottom - 1) // level.tile_height + 1):
            for column in range(left // level.tile_width, (right - 1) // level.tile_width + 1):
                index = row * level.columns + column
                tile = self._tile(index)
                lost += index in self.lost_tiles
                if tile is None:
                    continue
                tile_x, tile_y = column * level.tile_width, row * level.tile_height
                x0, x1 = max(left, tile_x), min(right, tile_x + level.tile_width)
                y0, y1 = max(top, tile_y), min(bottom, tile_y + level.tile_height)
                pixels[y0 - y : y1 - y, x0 - x : x1 - x] = tile[y0 - tile_y : y1 - tile_y, x0 - tile_x : x1 - tile_x]
        return pixels, lost

    def lost_areas(self) -> list[tuple[int, int, int, int]]:
        """Return x, y, width, height (pixels of this level) of the storage tiles lost so far."""
        width, height, columns = self.level.tile_width, self.level.tile_height, self.level.columns
        return [(i % columns * width, i // columns * height, width, height) for i in sorted(self.lost_tiles)]

    def _tile(self, index: int) -> np.ndarray[Any, Any] | None:
        """Return one storage tile, or None for a blank or a lost one."""
        if index in self._cache:
            self._cache.move_to_end(index)
            return self._cache[index]
        self.read_tiles.add(index)
        if not self._is_stored(index):
            self.blank_tiles.add(index)
            return self._kept(index, self._from_finer(index)) if self.finer is not None else None
        tile = None if index in self.lost_tiles else self._decoded(index)
        if tile is None:
            self.lost_tiles.add(index)
            return None
        return self._kept(index, tile)

    def _kept(self, index: int, tile: np.ndarray[Any, Any] | None) -> np.ndarray[Any, Any] | None:
        if tile is not None:
            self._cache[index] = tile
            if len(self._cache) > self._room:
                self._cache.popitem(last=False)
        return tile

    def _is_stored(self, index: int) -> bool:
        return any(index < len(self.level.lengths) and self.level.lengths[index] for index in self._segments(index))

    def _segments(self, index: int) -> range:
        """Return which segments of the file make up a storage tile: one, or one a plane."""
        apart = self.level.needed // self.level.planes
        return range(index, self.level.needed, apart) if self.level.planes > 1 else range(index, index + 1)

    def _from_finer(self, index: int) -> np.ndarray[Any, Any] | None:
        """Return a blank storage tile as the finer level shows it; None where that has nothing either."""
        level, finer = self.level, self.finer
        assert finer is not None
        x, y = index % level.columns * level.tile_width, index // level.columns * level.tile_height
        scale_x, scale_y = finer.level.width / level.width, finer.level.height / level.height
        right, bottom = min(x + level.tile_width, level.width), min(y + level.tile_height, level.height)
        if not finer.has_content(int(x * scale_x), int(y * scale_y), right * scale_x, bottom * scale_y):
            return None
        tile = np.full((level.tile_height, level.tile_width, 3), WHITE, dtype=np.uint8)
        side = max(1, int(_BLOCK / max(scale_x, scale_y)))
        for top in range(y, bottom, side):
            for left in range(x, right, side):
                size = (min(side, right - left), min(side, bottom - top))
                x0, y0 = round(left * scale_x), round(top * scale_y)
                x1, y1 = round((left + size[0]) * scale_x), round((top + size[1]) * scale_y)
                block, lost = finer.read(x0, y0, max(1, x1 - x0), max(1, y1 - y0))
                tile[top - y : top - y + size[1], left - x : left - x + size[0]] = resized(block, size)
                if lost:
                    self.lost_tiles.add(index)
        return tile

    def has_content(self, left: int, top: int, right: float, bottom: float) -> bool:
        """Return whether a storage tile of this level, or of a finer one, lies in a rectangle of pixels of this one."""
        for index in self._within(left, top, right, bottom):
            if self._is_stored(index):
                return True
        if self.finer is None:
            return False
        x, y = self.finer.level.width / self.level.width, self.finer.level.height / self.level.height
        return self.finer.has_content(int(left * x), int(top * y), right * x, bottom * y)

    def _within(self, left: int, top: int, right: float, bottom: float) -> Iterator[int]:
        level = self.level
        for row in range(top // level.tile_height, math.ceil(min(bottom, level.height) / level.tile_height)):
            for column in range(left // level.tile_width, math.ceil(min(right, level.width) / level.tile_width)):
                yield row * level.columns + column

    def _decoded(self, index: int) -> np.ndarray[Any, Any] | None:
        stored = [self._read(segment) for segment in self._segments(index)]
        if any(part is None for part in stored):
            return None
        parts = [part for part in stored if part is not None]
        tile = self._from_jpeg(parts[0]) if self.level.decode is None else self._unpacked(parts, index)
        if tile is None or tile.shape[0] < self.level.tile_height or tile.shape[1] < self.level.tile_width:
            return None
        return tile

    def _read(self, segment: int) -> bytes | None:
        """Return the bytes of a segment; None where the file does not hold them all."""
        length = int(self.level.lengths[segment])
        try:
            stored = os.pread(self.descriptor, length, int(self.level.offsets[segment]))
        except OSError as error:
            # Not the file's fault, perhaps: the slide is given up for this run only.
            raise SlideError(f"a slide cannot be read any more ({error}); see to its disk and run again") from None
        return stored if len(stored) == length else None

    def _from_jpeg(self, stored: bytes) -> np.ndarray[Any, Any] | None:
        import simplejpeg

        if stored[:2] != b"\xff\xd8":
            return None
        try:
            jpeg = self._prefix + without_colour_markers(stored)[2:]
            return np.asarray(simplejpeg.decode_jpeg(jpeg, colorspace="RGB", strict=True))
        except ValueError:
            return None

    def _unpacked(self, planes: list[bytes], index: int) -> np.ndarray[Any, Any] | None:
        """Return a storage tile of another layout; every decoder has errors of its own, and all mean damage."""
        assert self.level.decode is not None
        try:
            return self.level.decode(planes, index)
        except Exception as error:
            if isinstance(error, MemoryError):
                raise
            return None


def _jpeg_prefix(level: StoredLevel) -> bytes:
    """Return the bytes that stand before every stored JPEG: start, colour transform and the shared tables.

    The Adobe marker says whether the components are RGB or YCbCr, which a decoder has to guess otherwise.
    """
    return b"\xff\xd8" + ADOBE + (b"\x01" if level.ycbcr else b"\x00") + without_colour_markers(level.tables)[2:-2]
