"""The post's file-size filter: a tile of little detail makes a small JPEG."""

from __future__ import annotations

from typing import ClassVar

from histo_assets.core.tiling.filters.filter import Filter, Tile


class JpegSize(Filter):
    """The post's file-size filter: a tile of little detail makes a small JPEG."""

    reason: ClassVar[str] = "jpeg_size"
    figure: ClassVar[str] = "jpeg_bytes"
    setting: ClassVar[str] = "min_jpeg_bytes_per_pixel"
    default: ClassVar[float] = 0.06
    description: ClassVar[str] = "The post's file-size filter: least bytes of the tile's JPEG over its pixels."
    unit: ClassVar[str] = "bytes/px"
    revision: ClassVar[int] = 0

    def measure(self, tile: Tile) -> float:
        """Return the figure of a tile."""
        return round(tile.jpeg_length / tile.grey.size, 4)

    def rejects(self, value: float, threshold: float) -> bool:
        """Return whether the figure is below the threshold."""
        return value < threshold
