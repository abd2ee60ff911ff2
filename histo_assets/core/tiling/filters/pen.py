"""The pen filter: ink of a marker, and dust."""

from __future__ import annotations

from operator import gt

import numpy as np

from histo_assets.core.tiling.filters.filter import Filter, Pixels, Tile

PEN_SHRINK = 8
"""Ink and dust are looked for in a tile shrunk by this: nuclei are too small to be taken for either there."""


def pen_pixels(pixels: Pixels) -> Pixels:
    """Return where (..., 3) uint8 RGB `pixels` look like blue, green or black ink, as bool.

    Haematoxylin and eosin both absorb green most, so stained tissue has red >= green whatever its
    strength; blue and green ink absorb red most. Black ink is dark and has no hue.
    """
    import cv2

    red, green, _ = cv2.split(pixels)
    weakest, strongest = channel_extremes(pixels)
    spread = cv2.subtract(strongest, weakest)
    coloured = (cv2.subtract(green, red) > 6) & (spread > 45)
    black = (strongest < 100) & (spread < 24)
    return np.asarray(coloured | black)


def channel_extremes(pixels: Pixels) -> tuple[Pixels, Pixels]:
    """Return the weakest and the strongest colour channel of every pixel: two (h, w) arrays."""
    import cv2

    red, green, blue = cv2.split(pixels)
    return np.asarray(cv2.min(cv2.min(red, green), blue)), np.asarray(cv2.max(cv2.max(red, green), blue))


def _measure(tile: Tile) -> float:
    """Return the share of it that looks like ink or dust."""
    import cv2

    small = cv2.resize(tile.pixels, None, fx=1 / PEN_SHRINK, fy=1 / PEN_SHRINK, interpolation=cv2.INTER_AREA)
    share: float = np.count_nonzero(pen_pixels(small)) / (small.shape[0] * small.shape[1])
    return round(share, 4)


PEN = Filter(
    reason="pen",
    figure="pen_share",
    measure=_measure,
    rejects=gt,
    setting="max_pen_share",
    default=0.01,
    description="Largest share of the tile that may be ink or dust.",
    revision=0,
)
