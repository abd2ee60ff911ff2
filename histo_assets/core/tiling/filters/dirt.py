"""The post's dirt filter: a colour channel that hardly varies."""

from __future__ import annotations

from operator import lt

from histo_assets.core.tiling.filters.filter import Filter, Tile


def _measure(tile: Tile) -> float:
    """Return the standard deviation of its flattest colour channel, in grey levels."""
    import cv2

    return round(min(float(cv2.meanStdDev(channel)[1][0, 0]) for channel in cv2.split(tile.pixels)), 2)


DIRT = Filter(
    reason="dirt",
    figure="channel_sd",
    measure=_measure,
    rejects=lt,
    setting="min_channel_sd",
    default=5.0,
    description=("The post's dirt filter, in grey levels: least standard deviation of the flattest colour channel."),
    unit="grey levels",
    revision=0,
)
