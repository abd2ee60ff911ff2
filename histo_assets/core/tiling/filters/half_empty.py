"""The post's half-empty filter: a quarter of the tile shows nothing."""

from __future__ import annotations

from typing import ClassVar

from histo_assets.core.tiling.filters.filter import Filter, Tile


def _lower_quarter(spreads: list[float]) -> float:
    """Return the standard deviation that a quarter of a tile's pieces do not exceed.

    Not the smallest: a piece can lie within one fat cell, and is as flat as glass then.
    """
    return sorted(spreads)[len(spreads) // 4 - 1]


class HalfEmpty(Filter):
    """The post's half-empty filter: a quarter of the tile shows nothing."""

    reason: ClassVar[str] = "half_empty"
    figure: ClassVar[str] = "piece_sd"
    setting: ClassVar[str] = "min_piece_sd"
    default: ClassVar[float] = 2.0
    description: ClassVar[str] = (
        "The post's half-empty filter, in grey levels: least standard deviation that a quarter of the "
        "4 x 4 pieces of the tile do not exceed (a piece or two can lie within one fat cell)."
    )
    unit: ClassVar[str] = "grey levels"
    revision: ClassVar[int] = 0

    def measure(self, tile: Tile) -> float:
        """Return the figure of a tile."""
        return round(_lower_quarter(tile.piece_spreads), 2)

    def rejects(self, value: float, threshold: float) -> bool:
        """Return whether the figure is below the threshold."""
        return value < threshold
