"""The tables of a tile set."""

from __future__ import annotations

from functools import cache
from typing import Any

import pandera.polars as pa
import polars as pl

from histo_assets.core.tables import Number, Table, Text, Whole, column
from histo_assets.core.tiling.filters.registry import FILTERS, REASONS
from histo_assets.core.tiling.quality import TISSUE_SHARE

_HELD_AS = {"text": pl.String, "whole number": pl.Int64, "number": pl.Float64}


class TileIndex(Table):
    """The tiles of a tissue and where their JPEGs lie. What a filter measures is a column each."""

    tile: Text = column("Tile: `<slide>_<x>_<y>`.", unique=True)
    slide: Text = column("Slide.")
    donor: Text = column("Donor.")
    tissue: Text = column("Tissue.")
    x: Whole = column("Left edge at level 0.", "px", ge=0)
    y: Whole = column("Upper edge at level 0.", "px", ge=0)
    size: Whole = column("Edge length at level 0.", "px", gt=0)
    mpp: Number = column("Resolution of the JPEG.", "um per px", gt=0)
    shard: Text = column("The tar file that holds the JPEG.")
    offset: Whole = column("Where the JPEG begins in it.", "bytes", ge=0)
    length: Whole = column("Length of the JPEG.", "bytes", gt=0)
    tissue_share: Number = column("Share of the tile that the slide's mask takes for tissue.", ge=0, le=1)
    crc32: Whole = column("CRC-32 of the JPEG.", ge=0)

    @classmethod
    def to_schema(cls) -> pa.DataFrameSchema:
        """Return the schema with the figures of the filters; older indexes lack those of newer filters."""
        declared = super().to_schema()
        figures = {
            each.figure: pa.Column(
                Number,
                description=f"Measured by the filter `{each.reason}`. Its threshold: {_lower(each.description)}",
                metadata={"unit": each.unit},
                required=False,
            )
            for each in FILTERS
        }
        columns: dict[str, Any] = {}
        for name, each in declared.columns.items():
            columns |= {**(figures if name == TISSUE_SHARE else {}), name: each}
        return pa.DataFrameSchema(columns, name=declared.name, description=declared.description)


class Funnel(Table):
    """How many tiles of each slide passed, and what rejected the others."""

    slide: Text = column("Slide.", unique=True)
    candidates: Whole = column("Cells of the slide's grid.", ge=0)
    no_tissue: Whole = column("Cells without enough tissue.", ge=0)
    rejected: Whole | None = column(
        "Tiles that the filter of this name rejected (`lost`: a storage tile did not decode).",
        like="|".join(REASONS),
        ge=0,
    )
    good: Whole = column("Tiles that passed.", ge=0)
    kept: Whole = column("Tiles that are stored.", ge=0)


class Candidates(Table):
    """Every tile that was judged, kept or not."""

    slide: Text = column("Slide.")
    reason: Text = column("What rejected it; empty for a good one.")
    jpeg_bytes: Number = column("Size of its JPEG.", "bytes per px", gt=0)


def _lower(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]


@cache
def index_types() -> dict[str, Any]:
    """Return column -> polars type of a new index."""
    return {each.name: _HELD_AS[each.kind] for each in TileIndex.columns()}
