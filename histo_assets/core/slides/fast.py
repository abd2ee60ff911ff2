"""Storage tiles decoded once, strictly, and cached: the fast path of reading a slide.

slideio and openslide decode a storage tile again for every region that touches it, and slideio
shows a damaged one as white. Here each is decoded once while it stays in the cache, by a decoder
that refuses damage; a tile that does not decode is counted as lost.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from typing import Any

import numpy as np

from histo_assets.core.slides.directory import JPEG, SlideError, StoredLevel

CACHE_BYTES = 48 << 20
WHITE = 255


class StorageTiles:
    """The storage tiles of one level of an open TIFF or DICOM slide.

    Attributes
    ----------
    descriptor, descriptors
        The open file, or files, which the slide closes.
    read_tiles, lost_tiles, blank_tiles
        Indices of the storage tiles that were asked for, of those that did not decode, and of those
        that the file stores with length zero (Aperio's way of leaving out background).
    """

    def __init__(self, descriptor: int, level: StoredLevel) -> None:
        self.level = level
        self.read_tiles: set[int] = set()
        self.lost_tiles: set[int] = set()
        self.blank_tiles: set[int] = set()
        self.descriptor, self.descriptors = descriptor, [descriptor]
        self._cache: OrderedDict[int, np.ndarray[Any, Any]] = OrderedDict()
        self._room = max(4, CACHE_BYTES // (level.tile_width * level.tile_height * 3))
        self._prefix = _jpeg_prefix(level)

    @staticmethod
    def can_read(level: StoredLevel) -> bool:
        """Return whether the level is 8-bit JPEG, RGB or YCbCr."""
        return level.compression == JPEG and level.plain_rgb

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
                if tile is None:
                    lost += index in self.lost_tiles
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
        if index >= len(self.level.lengths) or self.level.lengths[index] == 0:
            self.blank_tiles.add(index)
            return None
        tile = None if index in self.lost_tiles else self._decoded(index)
        if tile is None:
            self.lost_tiles.add(index)
            return None
        self._cache[index] = tile
        if len(self._cache) > self._room:
            self._cache.popitem(last=False)
        return tile

    def _decoded(self, index: int) -> np.ndarray[Any, Any] | None:
        import simplejpeg

        length = int(self.level.lengths[index])
        try:
            stored = os.pread(self.descriptor, length, int(self.level.offsets[index]))
        except OSError as error:
            # Not the file's fault, perhaps: the slide is given up for this run only.
            raise SlideError(f"a slide cannot be read any more ({error}); see to its disk and run again") from None
        if len(stored) != length or stored[:2] != b"\xff\xd8":
            return None
        try:
            tile = simplejpeg.decode_jpeg(self._prefix + stored[2:], colorspace="RGB", strict=True)
        except ValueError:
            return None
        if tile.shape[0] < self.level.tile_height or tile.shape[1] < self.level.tile_width:
            return None
        return np.asarray(tile)


def _jpeg_prefix(level: StoredLevel) -> bytes:
    """Return the bytes that stand before every stored JPEG: start, colour transform and the shared tables.

    The Adobe marker says whether the components are RGB or YCbCr, which a decoder has to guess otherwise.
    """
    adobe = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00" + (b"\x01" if level.ycbcr else b"\x00")
    return b"\xff\xd8" + adobe + level.tables[2:-2]
