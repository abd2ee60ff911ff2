"""Where on a slide there is tissue."""

from __future__ import annotations

from typing import Any

import numpy as np

from histo_assets.core.tiling.filters.pen import channel_extremes, pen_pixels

_CHROMA = 5
_CLOSED_PX = 7
_SMALL_PX = 60
_HOLE_PX = 600
_PEN_MARGIN_PX = 7


def tissue_mask(thumbnail: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return where `thumbnail` shows tissue.

    Stained tissue has a colour, glass, dust, shadows and the edge of the slide have none; so what
    counts is the spread between the colour channels, taken relative to the glass. The threshold is
    fixed, not Otsu's: on a slide with fat beside dense tissue Otsu's gives up the fat. The thin
    walls of fat cells are closed and the cells between them filled; pen strokes are cut out.

    Parameters
    ----------
    thumbnail
        (h, w, 3) uint8 RGB, at 4 to 16 um/px.

    Returns
    -------
    numpy.ndarray
        (h, w) bool; the same for the same pixels, whatever the machine.
    """
    import cv2

    smooth = cv2.GaussianBlur(_white_balanced(thumbnail), (3, 3), 0)
    lowest, highest = channel_extremes(smooth)
    chroma = highest - lowest
    pen = cv2.dilate(pen_pixels(thumbnail).astype(np.uint8), _disc(_PEN_MARGIN_PX))
    stained = ((chroma > _CHROMA) & (pen == 0)).astype(np.uint8)
    # A margin of glass keeps closing from growing the mask at the thumbnail's border.
    padded = cv2.copyMakeBorder(stained, _CLOSED_PX, _CLOSED_PX, _CLOSED_PX, _CLOSED_PX, cv2.BORDER_REPLICATE)
    closed = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, _disc(_CLOSED_PX))[
        _CLOSED_PX:-_CLOSED_PX, _CLOSED_PX:-_CLOSED_PX
    ]
    filled = ~_background(closed == 0)
    return np.asarray(_large_components(filled) & (pen == 0))


def tissue_shares(mask: np.ndarray[Any, Any], left: Any, top: Any, side: float) -> np.ndarray[Any, Any]:
    """Return the share of `mask` within squares of `side` at (`left`, `top`), all in mask pixels.

    Parameters
    ----------
    mask
        (h, w) bool.
    left, top
        (n,) float: upper left corners; squares reach at least one mask pixel far.
    side
        Side of the squares.
    """
    import cv2

    height, width = mask.shape
    total = cv2.integral(mask.view(np.uint8)).astype(np.float64)
    x0 = np.clip(np.round(left).astype(int), 0, width - 1)
    y0 = np.clip(np.round(top).astype(int), 0, height - 1)
    x1 = np.clip(np.round(np.asarray(left) + side).astype(int), x0 + 1, width)
    y1 = np.clip(np.round(np.asarray(top) + side).astype(int), y0 + 1, height)
    covered = total[y1, x1] - total[y0, x1] - total[y1, x0] + total[y0, x0]
    return np.asarray(covered / ((x1 - x0) * (y1 - y0)))


def _white_balanced(thumbnail: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the thumbnail as float32 with its glass at neutral white, where it shows enough glass.

    Glass is the brightest of what is pale: the inside of fat cells is pale too, but a little darker.
    """
    lowest, highest = channel_extremes(thumbnail)
    pale = (lowest > 170) & (highest - lowest < 20)
    if pale.mean() < 0.02:
        return thumbnail.astype(np.float32)
    glass = pale & (lowest >= np.percentile(lowest[pale], 95) - 4)
    return np.asarray(thumbnail * (255 / np.median(thumbnail[glass], axis=0)).astype(np.float32))


def _background(empty: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return `empty` without small holes in tissue; a bay at the border of the picture is no hole."""
    labels, areas = _components(empty)
    keep = areas >= _HOLE_PX
    border = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    keep[border] = True
    keep[0] = False
    return np.asarray(keep[labels])


def _large_components(mask: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return `mask` without its connected components of fewer than `_SMALL_PX` pixels."""
    labels, areas = _components(mask)
    keep = areas >= _SMALL_PX
    keep[0] = False
    return np.asarray(keep[labels])


def _components(mask: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return the label of every pixel (0 outside `mask`) and the area of every label."""
    import cv2

    _, labels, statistics, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    return np.asarray(labels), np.asarray(statistics[:, cv2.CC_STAT_AREA])


def _disc(diameter: int) -> np.ndarray[Any, Any]:
    import cv2

    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (diameter, diameter)))
