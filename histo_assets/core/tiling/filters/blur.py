"""The blur filter: most of what the tile shows is out of focus."""

from __future__ import annotations

from operator import lt

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


def _measure(tile: Tile) -> float:
    """Return how sharp its blurrier pieces are, in squared grey levels."""
    return round(_sharpness(tile.grey, tile.piece_spreads), 2)


BLUR = Filter(
    reason="blur",
    figure="sharpness",
    measure=_measure,
    rejects=lt,
    setting="min_sharpness",
    default=20.0,
    description=(
        "The blur filter, in squared grey levels: least variance of the Laplacian that a third of the "
        "pieces that show anything do not exceed."
    ),
    revision=0,
)
