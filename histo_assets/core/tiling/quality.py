"""Quality figures of a tile, and the verdict on them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from histo_assets.core.tiling.filters.filter import Tile
from histo_assets.core.tiling.filters.registry import FILTERS

if TYPE_CHECKING:
    from histo_assets.core.tiling.settings import QualitySettings

TISSUE_SHARE = "tissue_share"
"""The figure that no filter judges: the share of the tile that the tissue mask covers."""


def tile_quality(pixels: np.ndarray[Any, Any], jpeg_length: int, tissue_share: float) -> dict[str, float]:
    """Return the quality figures of one tile: what each filter measures, by name, and `tissue_share`.

    Parameters
    ----------
    pixels
        (n, n, 3) uint8, RGB.
    jpeg_length
        Bytes of the tile's JPEG.
    tissue_share
        Share of the tile that the tissue mask covers.
    """
    tile = Tile(pixels, jpeg_length)
    return {each.figure: each.measure(tile) for each in FILTERS} | {TISSUE_SHARE: round(tissue_share, 4)}


def judge(quality: Mapping[str, float], settings: QualitySettings) -> str | None:
    """Return why a tile is rejected (the reason of a filter), or None for a good one.

    `settings` are those of the tile's tissue (`QualitySettings.for_tissue`).
    """
    return next((reason for reason, rejects in judged_alone(quality, settings).items() if rejects), None)


def judged_alone(quality: Mapping[str, float], settings: QualitySettings) -> dict[str, bool]:
    """Return reason -> whether this filter alone would reject the tile, in the order in which they are tried."""
    return {each.reason: each.rejects(quality[each.figure], settings.threshold(each.setting)) for each in FILTERS}
