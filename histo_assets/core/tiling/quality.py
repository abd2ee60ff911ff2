"""Quality figures of a tile, and the verdict on them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from histo_assets.core.tiling.settings import QualitySettings

PIECES = 4
PEN_SHRINK = 8
"""Ink and dust are looked for in a tile shrunk by this: nuclei are too small to be taken for either there."""

_SHOWS_SOMETHING = 4.0

REASONS = ("jpeg_size", "half_empty", "dirt", "blur", "pen", "lost")
"""Why a tile can be rejected, in the order in which they are tried (`lost` before all others)."""


@dataclass(frozen=True)
class TileQuality:
    """What is measured on one tile.

    `jpeg_bytes` is in bytes per pixel; `piece_sd` and `channel_sd` in grey levels; `sharpness` in
    squared grey levels (variance of the Laplacian of the blurrier pieces); `pen_share` and `tissue_share` in [0, 1].
    """

    jpeg_bytes: float
    piece_sd: float
    channel_sd: float
    sharpness: float
    pen_share: float
    tissue_share: float


def tile_quality(pixels: np.ndarray[Any, Any], jpeg_length: int, tissue_share: float) -> TileQuality:
    """Return the quality figures of one tile.

    Parameters
    ----------
    pixels
        (n, n, 3) uint8, RGB.
    jpeg_length
        Bytes of the tile's JPEG.
    tissue_share
        Share of the tile that the tissue mask covers.
    """
    import cv2

    gray = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(pixels, None, fx=1 / PEN_SHRINK, fy=1 / PEN_SHRINK, interpolation=cv2.INTER_AREA)
    spreads = [float(cv2.meanStdDev(piece)[1][0, 0]) for piece in _pieces(gray)]
    return TileQuality(
        jpeg_bytes=round(jpeg_length / gray.size, 4),
        piece_sd=round(_lower_quarter(spreads), 2),
        channel_sd=round(min(float(cv2.meanStdDev(channel)[1][0, 0]) for channel in cv2.split(pixels)), 2),
        sharpness=round(_sharpness(gray, spreads), 2),
        pen_share=round(cv2.countNonZero(pen_pixels(small).view(np.uint8)) / (small.shape[0] * small.shape[1]), 4),
        tissue_share=round(tissue_share, 4),
    )


def judge(quality: TileQuality, settings: QualitySettings) -> str | None:
    """Return why a tile is rejected (one of `REASONS`), or None for a good one.

    `settings` are those of the tile's tissue (`QualitySettings.for_tissue`).
    """
    return next((reason for reason, rejects in judged_alone(quality, settings).items() if rejects), None)


def judged_alone(quality: TileQuality, settings: QualitySettings) -> dict[str, bool]:
    """Return reason -> whether this filter alone would reject the tile, in the order of `REASONS`."""
    return {
        "jpeg_size": quality.jpeg_bytes < settings.min_jpeg_bytes_per_pixel,
        "half_empty": quality.piece_sd < settings.min_piece_sd,
        "dirt": quality.channel_sd < settings.min_channel_sd,
        "blur": quality.sharpness < settings.min_sharpness,
        "pen": quality.pen_share > settings.max_pen_share,
    }


def pen_pixels(pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
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


def channel_extremes(pixels: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return the weakest and the strongest colour channel of every pixel: two (h, w) arrays."""
    import cv2

    red, green, blue = cv2.split(pixels)
    return np.asarray(cv2.min(cv2.min(red, green), blue)), np.asarray(cv2.max(cv2.max(red, green), blue))


def _pieces(plane: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
    """Return the 4 x 4 pieces of a one-channel picture."""
    edges = [round(i * plane.shape[0] / PIECES) for i in range(PIECES + 1)]
    return [plane[top:bottom, left:right] for top, bottom in pairwise(edges) for left, right in pairwise(edges)]


def _lower_quarter(spreads: list[float]) -> float:
    """Return the standard deviation that a quarter of a tile's pieces do not exceed.

    Not the smallest: a piece can lie within one fat cell, and is as flat as glass then.
    """
    return sorted(spreads)[len(spreads) // 4 - 1]


def _sharpness(gray: np.ndarray[Any, Any], spreads: list[float]) -> float:
    """Return the variance of the Laplacian that a third of the pieces that show anything do not exceed.

    The variance over the whole tile is that of its sharpest part, and hides that most of it is blurred;
    the inside of a fat cell shows nothing, sharp or not.
    """
    import cv2

    laplacian = cv2.Laplacian(gray, cv2.CV_16S)
    # A Laplacian's mean is next to nothing, so its mean square is its variance, at a tenth of the cost.
    shown = sorted(
        cv2.norm(piece, cv2.NORM_L2SQR) / piece.size
        for piece, spread in zip(_pieces(laplacian), spreads, strict=True)
        if spread >= _SHOWS_SOMETHING
    )
    return float(shown[len(shown) // 3]) if shown else 0.0
