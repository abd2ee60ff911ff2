"""The one error of this room, and what it asks of whoever reads tiles for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from histo_assets.core.errors import HistoError

if TYPE_CHECKING:
    import polars as pl


class LearningError(HistoError):
    """Weights, tiles or a training run that cannot be used: the message says which, and the way out."""


class TileBytes(Protocol):
    """Whatever gives the JPEGs of tiles; `tiling.tile_set.TileReader` does."""

    def read(self, rows: pl.DataFrame) -> list[bytes]:
        """Return the JPEG of each row (columns shard, offset, length, tissue), in their order."""
        ...
