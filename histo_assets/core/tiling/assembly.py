"""From the cuts of a tissue's slides to its tile set: index, funnel, pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import pandas as pd
import polars as pl

from histo_assets.core.files import settings_digest
from histo_assets.core.tiling.cut import EXAMPLES
from histo_assets.core.tiling.filters.registry import REASONS
from histo_assets.core.tiling.job import SlideJob, TissueJob
from histo_assets.core.tiling.pictures import decoded, mask_of, overlay
from histo_assets.core.tiling.settings import TilingSettings
from histo_assets.core.tiling.sidecar import LeftOut, SlideCut, first_good
from histo_assets.core.tiling.tile_set import TileSet

EXAMPLES_PER_REASON = 8

SlideOutcome: TypeAlias = SlideCut | LeftOut
"""The outcome of a slide: its cut, or why it could not be cut."""


def tile_set_of(
    sound: pd.DataFrame,
    jobs: Mapping[str, SlideJob],
    outcomes: Mapping[str, SlideOutcome],
    counts: Mapping[str, int],
    job: TissueJob,
) -> TileSet:
    """Return the tile set of a tissue from the outcomes of its slides, those without a job included."""
    from histo_assets.core.tiling.tables import index_types

    columns = index_types()
    cuts = {slide: outcomes[slide] for slide in jobs}
    donors = dict(zip(sound["slide"], sound["donor"], strict=True))
    rows, previews = [], {}
    for slide, cut in cuts.items():
        if isinstance(cut, LeftOut):
            continue
        chosen = pl.DataFrame(_rows(jobs[slide], cut, donors[slide], counts[slide]), schema=columns, orient="row")
        rows.append(chosen)
        previews[slide] = _preview(jobs[slide], cut, chosen)
    index = pl.concat(rows) if rows else pl.DataFrame(schema=columns)
    whole = [cut for cut in cuts.values() if isinstance(cut, SlideCut)]
    left_out = {slide: reason for slide, outcome in outcomes.items() if (reason := _left_out(outcome))}
    missing = {slide: out.reason for slide, out in left_out.items() if out.missing}
    settings = job.tiling
    wanted = settings.tiles_per_tissue or settings.tiles_per_slide * len(sound)
    return TileSet(
        index=index,
        funnel=_funnel(whole, counts, settings),
        tissue=job.tissue,
        parameters=settings_digest(settings.without_overrides(), job.slide_settings.max_lost_share),
        shard_root=job.shard_root,
        quarantined={slide: left_out[slide].reason for slide in jobs if slide in left_out and slide not in missing},
        complete=len(index) >= wanted,
        previews=previews,
        rejected=_examples(whole),
        decisions=_decisions(whole),
        lost_storage_tiles={cut.slide: cut.lost_storage_tiles for cut in whole if cut.lost_storage_tiles},
        missing=missing,
        left_out={slide: out.reason for slide, out in left_out.items()},
    )


def _left_out(outcome: SlideOutcome) -> LeftOut | None:
    """Return why a slide gives no tiles, or None where it does."""
    if isinstance(outcome, LeftOut):
        return outcome
    return LeftOut(outcome.quarantined) if outcome.quarantined else None


def _rows(job: SlideJob, cut: SlideCut, donor: str, count: int) -> list[dict[str, Any]]:
    return [
        {
            "tile": f"{job.slide}_{good.x}_{good.y}",
            "slide": job.slide,
            "donor": donor,
            "tissue": job.tissue,
            "size": job.size,
            "mpp": job.tiling.mpp,
            "shard": f"{cut.name}.tar",
            "x": good.x,
            "y": good.y,
            "offset": good.offset,
            "length": good.length,
            "crc32": good.crc32,
            **good.quality,
        }
        for good in cut.good[:count]
    ]


def _funnel(cuts: list[SlideCut], counts: Mapping[str, int], settings: TilingSettings) -> pd.DataFrame:
    """Return the tally of the candidates tried until each slide had its tiles; of all, where it fell short.

    A deeper cut, left by an earlier run that wanted more, gives the same tally.
    """
    most = max(counts.values(), default=0)
    short = settings.tiles_per_slide if settings.tiles_per_tissue is None else most - 1
    rows = []
    for cut in cuts:
        slide, count = cut.slide, counts[cut.slide]
        decisions = cut.decisions if count < short else first_good(cut.decisions, count)
        reasons = [decision.reason for decision in decisions]
        rejected = {reason: reasons.count(reason) for reason in REASONS}
        good = reasons.count("")
        kept = 0 if cut.quarantined else good
        rows.append(
            {
                "slide": slide,
                "candidates": cut.cells,
                "no_tissue": cut.no_tissue,
                **rejected,
                "good": good,
                "kept": kept,
            }
        )
    columns = ["slide", "candidates", "no_tissue", *REASONS, "good", "kept"]
    return pd.DataFrame(rows, columns=columns).astype({name: "int64" for name in columns[1:]})


def _decisions(cuts: list[SlideCut]) -> pl.DataFrame:
    rows = [(cut.slide, each.reason, each.quality["jpeg_bytes"]) for cut in cuts for each in cut.decisions]
    schema = {"slide": pl.String, "reason": pl.String, "jpeg_bytes": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _preview(job: SlideJob, cut: SlideCut, chosen: pl.DataFrame) -> bytes:
    thumbnail = decoded(cut.thumbnail)
    return overlay(thumbnail, mask_of(cut.mask), chosen, thumbnail.shape[1] / job.width)


def _examples(cuts: list[SlideCut]) -> dict[str, bytes]:
    """Return some rejected tiles of every reason, from as many slides as possible, by `<reason>_<slide>_<n>`."""
    by_slide = {cut.slide: cut.rejected_examples() for cut in cuts}
    chosen: dict[str, bytes] = {}
    for reason in REASONS:
        # The first example of every slide before the second of any.
        named = [
            (f"{reason}_{slide}_{place + 1}", examples[reason][place])
            for place in range(EXAMPLES)
            for slide, examples in by_slide.items()
            if len(examples.get(reason, [])) > place
        ]
        chosen.update(named[:EXAMPLES_PER_REASON])
    return chosen
