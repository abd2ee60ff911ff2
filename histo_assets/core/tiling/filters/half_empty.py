"""The post's half-empty filter: a quarter of the tile shows nothing."""

from __future__ import annotations

from operator import lt

from histo_assets.core.tiling.filters.filter import Filter, Tile


def _lower_quarter(spreads: list[float]) -> float:
    """Return the standard deviation that a quarter of a tile's pieces do not exceed.

    Not the smallest: a piece can lie within one fat cell, and is as flat as glass then.
    """
    return sorted(spreads)[len(spreads) // 4 - 1]


def _measure(tile: Tile) -> float:
    """Return the lower quarter of its pieces' spreads, in grey levels."""
    return round(_lower_quarter(tile.piece_spreads), 2)


HALF_EMPTY = Filter(
    reason="half_empty",
    figure="piece_sd",
    measure=_measure,
    rejects=lt,
    setting="min_piece_sd",
    default=2.0,
    description=(
        "The post's half-empty filter, in grey levels: least standard deviation that a quarter of the "
        "4 x 4 pieces of the tile do not exceed (a piece or two can lie within one fat cell)."
    ),
    unit="grey levels",
    revision=0,
)
