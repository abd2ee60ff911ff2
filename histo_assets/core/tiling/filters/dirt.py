"""The post's dirt filter: a colour channel that hardly varies."""

from __future__ import annotations

from typing import ClassVar

from histo_assets.core.tiling.filters.filter import Filter, Tile


class Dirt(Filter):
    """The post's dirt filter: a colour channel that hardly varies."""

    reason: ClassVar[str] = "dirt"
    figure: ClassVar[str] = "channel_sd"
    setting: ClassVar[str] = "min_channel_sd"
    default: ClassVar[float] = 5.0
    description: ClassVar[str] = (
        "The post's dirt filter, in grey levels: least standard deviation of the flattest colour channel."
    )
    unit: ClassVar[str] = "grey levels"
    revision: ClassVar[int] = 0

    def measure(self, tile: Tile) -> float:
        """Return the figure of a tile."""
        import cv2

        return round(min(float(cv2.meanStdDev(channel)[1][0, 0]) for channel in cv2.split(tile.pixels)), 2)

    def rejects(self, value: float, threshold: float) -> bool:
        """Return whether the figure is below the threshold."""
        return value < threshold
