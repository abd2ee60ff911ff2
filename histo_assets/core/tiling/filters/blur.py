"""The blur filter: most of what the tile shows is out of focus."""

from __future__ import annotations

from typing import ClassVar

from histo_assets.core.tiling.filters.filter import Filter, Pixels, Tile, pieces

_SHOWS_SOMETHING = 4.0


def _sharpness(grey: Pixels, spreads: list[float]) -> float:
    """Return the variance of the Laplacian that a third of the pieces that show anything do not exceed.

    The variance over the whole tile is that of its sharpest part, and hides that most of it is blurred;
    the inside of a fat cell shows nothing, sharp or not.
    """
    import cv2

    laplacian = cv2.Laplacian(grey, cv2.CV_16S)
    # A Laplacian's mean is next to nothing, so its mean square is its variance, at a tenth of the cost.
    shown = sorted(
        cv2.norm(piece, cv2.NORM_L2SQR) / piece.size
        for piece, spread in zip(pieces(laplacian), spreads, strict=True)
        if spread >= _SHOWS_SOMETHING
    )
    return float(shown[len(shown) // 3]) if shown else 0.0


class Blur(Filter):
    """The blur filter: most of what the tile shows is out of focus."""

    reason: ClassVar[str] = "blur"
    figure: ClassVar[str] = "sharpness"
    setting: ClassVar[str] = "min_sharpness"
    default: ClassVar[float] = 20.0
    description: ClassVar[str] = (
        "The blur filter, in squared grey levels: least variance of the Laplacian that a third of the "
        "pieces that show anything do not exceed."
    )
    unit: ClassVar[str] = "squared grey levels"
    revision: ClassVar[int] = 0

    def measure(self, tile: Tile) -> float:
        """Return the figure of a tile."""
        return round(_sharpness(tile.grey, tile.piece_spreads), 2)

    def rejects(self, value: float, threshold: float) -> bool:
        """Return whether the figure is below the threshold."""
        return value < threshold
