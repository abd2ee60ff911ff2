"""What a tile filter is: a figure that is measured on a tile, and a threshold of it.

A filter is one file beside this one and a line in `registry.FILTERS`. The index of tiles, the funnel, the
pictures, the settings and what makes earlier cuts unusable follow from the registry. OpenCV is imported when
a tile is measured.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

PIECES = 4

Pixels = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Tile:
    """A tile as filters see it.

    Attributes
    ----------
    pixels
        (n, n, 3) uint8, RGB.
    jpeg_length
        Bytes of its JPEG.
    """

    pixels: Pixels
    jpeg_length: int

    @cached_property
    def grey(self) -> Pixels:
        """The tile in grey levels, (n, n) uint8."""
        import cv2

        return np.asarray(cv2.cvtColor(self.pixels, cv2.COLOR_RGB2GRAY))

    @cached_property
    def piece_spreads(self) -> list[float]:
        """Standard deviation of the grey levels in each of the 4 x 4 pieces."""
        import cv2

        return [float(cv2.meanStdDev(piece)[1][0, 0]) for piece in pieces(self.grey)]


@dataclass(frozen=True)
class Filter:
    """A figure of a tile, and what rejects it.

    Attributes
    ----------
    reason
        What a rejected tile is called: a column of the funnel.
    figure
        What is measured: a column of the index.
    measure
        Returns the figure of a tile, rounded to what is worth keeping.
    rejects
        Whether a tile with a figure is rejected by a threshold: `operator.lt` or `operator.gt`.
    setting, default, description
        The threshold in `tiling.quality`.
    unit
        That of the figure and the threshold; '' for a share or an index.
    revision
        Raised when the measure changes: earlier cuts are no longer used then. 0: as it was in version 0.1.0.
    """

    reason: str
    figure: str
    measure: Callable[[Tile], float]
    rejects: Callable[[float, float], bool]
    setting: str
    default: float
    description: str
    unit: str = ""
    revision: int = 1


def pieces(plane: Pixels) -> list[Pixels]:
    """Return the 4 x 4 pieces of a one-channel picture."""
    edges = [round(i * plane.shape[0] / PIECES) for i in range(PIECES + 1)]
    return [plane[top:bottom, left:right] for top, bottom in pairwise(edges) for left, right in pairwise(edges)]
