"""The post's file-size filter: a tile of little detail makes a small JPEG."""

from __future__ import annotations

from operator import lt

from histo_assets.core.tiling.filters.filter import Filter, Tile


def _measure(tile: Tile) -> float:
    """Return bytes of its JPEG a pixel."""
    return round(tile.jpeg_length / tile.grey.size, 4)


JPEG_SIZE = Filter(
    reason="jpeg_size",
    figure="jpeg_bytes",
    measure=_measure,
    rejects=lt,
    setting="min_jpeg_bytes_per_pixel",
    default=0.06,
    description="The post's file-size filter: least bytes of the tile's JPEG over its pixels.",
    unit="bytes per px",
    revision=0,
)
