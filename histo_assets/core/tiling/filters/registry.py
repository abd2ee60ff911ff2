"""The tile filters, in the order in which they are tried."""

from __future__ import annotations

from histo_assets.core.tiling.filters.blur import BLUR
from histo_assets.core.tiling.filters.dirt import DIRT
from histo_assets.core.tiling.filters.filter import Filter
from histo_assets.core.tiling.filters.half_empty import HALF_EMPTY
from histo_assets.core.tiling.filters.jpeg_size import JPEG_SIZE
from histo_assets.core.tiling.filters.pen import PEN

FILTERS: tuple[Filter, ...] = (
    JPEG_SIZE,
    HALF_EMPTY,
    DIRT,
    BLUR,
    PEN,
)
"""One line a filter."""

LOST = "lost"
"""Why a tile is rejected whose storage tiles do not decode: before all filters."""

REASONS = (*[each.reason for each in FILTERS], LOST)
"""Why a tile can be rejected."""


def measures() -> list[str]:
    """Return `<figure>.<revision>` of what version 0.1.0 did not measure, or measured otherwise.

    Part of what a cut is found again by: one without these figures cannot be judged anew.
    """
    return [f"{each.figure}.{each.revision}" for each in FILTERS if each.revision]
