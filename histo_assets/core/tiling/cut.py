"""Cutting one slide: mask, candidates in seeded order, quality, shard and sidecar.

Runs in worker processes, so it imports neither pandas nor polars.
"""

from __future__ import annotations

import math
import tempfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from histo_assets.core.slides.directory import MissingSlideError, SlideError
from histo_assets.core.slides.integrity import slide_digest
from histo_assets.core.slides.slide import Slide, open_slide
from histo_assets.core.tiling.filters.registry import LOST, REASONS
from histo_assets.core.tiling.job import SlideJob
from histo_assets.core.tiling.mask import tissue_mask, tissue_shares
from histo_assets.core.tiling.pictures import decoded, encoded, mask_of, png_of, shrunk
from histo_assets.core.tiling.quality import TISSUE_SHARE, judge, tile_quality
from histo_assets.core.tiling.sampling import candidate_order
from histo_assets.core.tiling.sidecar import Decision, SlideCut, first_good
from histo_assets.core.tiling.store import ShardStore, ShardWriter, TilingError, read_members, shard_writer

EXAMPLES = 2
EXAMPLE_PX = 96
_THUMBNAIL_PX = 448
_IN_MEMORY = 16 << 20


def cut_slide(job: SlideJob, wanted: int, earlier: SlideCut | None = None) -> SlideCut:
    """Return the cut of a slide, after publishing its shard and then its sidecar.

    Candidates are read in their seeded order until `wanted` of them are good, and no further.

    Parameters
    ----------
    job
        The slide.
    wanted
        How many good tiles are needed.
    earlier
        An earlier cut of the same reading key: its candidates are judged by their stored figures, its
        tiles are copied. Where that is enough the slide is not opened.

    Raises
    ------
    SlideError
        The slide cannot be read, or is another file than when it was inspected.
    TilingError
        The shard cannot be written, as where the disk is full.
    """
    store = ShardStore(job.shard_root, job.tissue)
    try:
        return _cut_and_published(job, wanted, earlier, store)
    except OSError as error:
        raise TilingError(
            f"the tiles of slide {job.slide} cannot be written to {store.folder} ({error}); "
            "make room there and run again"
        ) from error


def _cut_and_published(job: SlideJob, wanted: int, earlier: SlideCut | None, store: ShardStore) -> SlideCut:
    with store.draft(".tar") as shard, store.draft(".json") as sidecar:
        with shard_writer(shard) as writer:
            cut = _cut(job, wanted, earlier, store, writer)
        if cut.good:
            cut = replace(cut, shard_bytes=shard.stat().st_size)
            store.publish(shard, f"{cut.name}.tar")
        sidecar.write_text(cut.to_json(), encoding="utf-8")
        store.publish(sidecar, f"{cut.name}.json")
    return cut


def _cut(job: SlideJob, wanted: int, earlier: SlideCut | None, store: ShardStore, writer: ShardWriter) -> SlideCut:
    if earlier is None:
        with _opened(job) as slide:
            return _cut_on(job, slide, wanted, _begun(job, slide), writer)
    known = first_good(earlier.decisions_under(job.tiling.quality.for_tissue(job.tissue)), wanted)
    unread = [decision for decision in known if not decision.reason and not decision.length]
    good = sum(not decision.reason for decision in known)
    start = replace(earlier, key=job.key, decisions=(), shard_bytes=0, quarantined=None)
    if not unread and (good >= wanted or len(known) == earlier.candidates):
        return _with_quarantine(job, replace(start, decisions=tuple(_copied(known, earlier, store, writer, {}))))
    with _opened(job) as slide:
        read = {
            (decision.x, decision.y): jpeg
            for decision, jpeg in _decisions(job, slide, [(d.x, d.y, d.quality[TISSUE_SHARE]) for d in unread], {})
        }
        copied = tuple(_copied(known, earlier, store, writer, read))
        return _cut_on(job, slide, wanted, replace(start, decisions=copied), writer)


@contextmanager
def _opened(job: SlideJob) -> Iterator[Slide]:
    """Yield the open slide, which is still the file that was inspected."""
    if job.fetched is not None:
        job.fetched.fetch_again()
    if not Path(job.path).exists():
        raise MissingSlideError(f"{Path(job.path).name} is missing; fetch it again, then {job.inspect_again}`")
    if job.digest_kind == "directory" and slide_digest(job.path, job.image) != (job.digest, job.digest_kind):
        raise SlideError(f"{Path(job.path).name} has changed since it was inspected; {job.inspect_again}`")
    with open_slide(job.path, job.slide_settings, job.slide) as slide:
        yield slide


def _begun(job: SlideJob, slide: Slide) -> SlideCut:
    """Return the cut of a slide of which only the mask has been made."""
    mask = _mask(job, slide)
    candidates = len(_candidate_shares(job, mask))
    return SlideCut(
        slide=job.slide,
        key=job.key,
        cells=job.cells,
        no_tissue=job.cells - candidates,
        candidates=candidates,
        decisions=(),
        shard_bytes=0,
        read_storage_tiles=0,
        lost_storage_tiles=0,
        blank_storage_tiles=0,
        quarantined=None,
        thumbnail=encoded(slide.thumbnail(_THUMBNAIL_PX), 85),
        mask=png_of(mask),
    )


def _cut_on(job: SlideJob, slide: Slide, wanted: int, cut: SlideCut, writer: ShardWriter) -> SlideCut:
    """Return the cut with further candidates tried until `wanted` are good."""
    shares = _candidate_shares(job, mask_of(cut.mask))
    order = candidate_order(job.slide, list(shares), job.tiling.seed)
    decisions, examples = list(cut.decisions), dict(cut.examples)
    good = sum(not decision.reason for decision in decisions)
    while good < wanted and len(decisions) < len(order):
        batch = order[len(decisions) : len(decisions) + wanted - good]
        for decision, jpeg in _decisions(job, slide, [(x, y, shares[x, y]) for x, y in batch], examples):
            decisions.append(_stored(job.slide, decision, jpeg, writer))
            good += not decision.reason
    finished = replace(
        cut,
        decisions=tuple(decisions),
        examples=examples,
        read_storage_tiles=cut.read_storage_tiles + slide.read_storage_tiles,
        lost_storage_tiles=cut.lost_storage_tiles + slide.lost_storage_tiles,
        blank_storage_tiles=cut.blank_storage_tiles + slide.blank_storage_tiles,
    )
    return _with_quarantine(job, finished)


def _with_quarantine(job: SlideJob, cut: SlideCut) -> SlideCut:
    """Return the cut with the reason to give the slide up, if there is one."""
    return replace(cut, quarantined=_reason_to_quarantine(job, cut))


def _mask(job: SlideJob, slide: Slide) -> np.ndarray[Any, Any]:
    """Return the slide's tissue mask, true where storage tiles were lost: there the tile decides."""
    scale = _mask_scale(job)
    size = (max(1, round(job.width / scale)), max(1, round(job.height / scale)))
    mask = tissue_mask(slide.read_region(0, 0, *size, mpp=scale * job.mpp))
    for x, y, width, height in slide.lost_areas():
        left, top = int(x / scale), int(y / scale)
        right, bottom = math.ceil((x + width) / scale), math.ceil((y + height) / scale)
        mask[top:bottom, left:right] = True
    return mask


def _mask_scale(job: SlideJob) -> float:
    """Return level-0 pixels per mask pixel; the mask is never finer than the scan."""
    return max(1.0, job.tiling.mask_mpp / job.mpp)


def _candidate_shares(job: SlideJob, mask: np.ndarray[Any, Any]) -> dict[tuple[int, int], float]:
    """Return the grid cells (x, y, level-0 pixels) that hold enough tissue, with their share of it."""
    scale = _mask_scale(job)
    xs, ys = np.arange(job.width // job.size) * job.size, np.arange(job.height // job.size) * job.size
    if not len(xs) or not len(ys):
        return {}
    grid_x, grid_y = (axis.ravel() for axis in np.meshgrid(xs, ys))
    shares = tissue_shares(mask, grid_x / scale, grid_y / scale, job.size / scale)
    enough = (shares >= job.tiling.min_tissue_share) & (shares > 0)
    return {
        (int(x), int(y)): round(float(share), 4)
        for x, y, share in zip(grid_x[enough], grid_y[enough], shares[enough], strict=True)
    }


def _decisions(
    job: SlideJob, slide: Slide, batch: Sequence[tuple[int, int, float]], examples: dict[str, bytes]
) -> Iterator[tuple[Decision, bytes]]:
    """Yield the decisions on `batch`, in its order, with the JPEGs; `examples` gets those of rejected tiles.

    Candidates are read in raster order, so that a storage tile that several of them share is decoded once;
    the JPEGs wait in a file where they are many.
    """
    tiling = job.tiling
    thresholds = tiling.quality.for_tissue(job.tissue)
    spooled: dict[tuple[int, int], tuple[Decision, int, int]] = {}
    shown: Counter[str] = Counter()
    with tempfile.SpooledTemporaryFile(_IN_MEMORY) as spool:
        for x, y, share in sorted(batch, key=lambda candidate: (candidate[1], candidate[0])):
            pixels, lost = slide.read_with_losses(x, y, tiling.tile_px, tiling.tile_px, tiling.mpp)
            jpeg = encoded(pixels, tiling.jpeg_quality)
            quality = tile_quality(pixels, len(jpeg), share)
            reason = LOST if lost else judge(quality, thresholds)
            spooled[x, y] = Decision(x, y, reason or "", quality), spool.tell(), len(jpeg)
            spool.write(jpeg)
        for x, y, _ in batch:
            decision, offset, length = spooled[x, y]
            spool.seek(offset)
            jpeg = spool.read(length)
            shown[decision.reason] += 1
            if decision.reason and shown[decision.reason] <= EXAMPLES:
                examples[f"{x}_{y}"] = encoded(shrunk(decoded(jpeg), EXAMPLE_PX), 80)
            yield decision, jpeg


def _stored(slide: str, decision: Decision, jpeg: bytes, writer: ShardWriter) -> Decision:
    """Return the decision with the tile's place in the shard, once its JPEG is there; of a rejected one as it is."""
    if decision.reason:
        return decision
    offset = writer.add(f"{slide}_{decision.x}_{decision.y}.jpg", jpeg)
    return Decision(decision.x, decision.y, "", decision.quality, offset, len(jpeg), zlib.crc32(jpeg))


def _copied(
    known: Sequence[Decision],
    earlier: SlideCut,
    store: ShardStore,
    writer: ShardWriter,
    read: Mapping[tuple[int, int], bytes],
) -> Iterator[Decision]:
    """Yield the decisions of an earlier cut, its good tiles copied into the new shard, or written as `read` anew."""
    stored = [decision for decision in known if not decision.reason and decision.length]
    extents = [(decision.offset, decision.length) for decision in stored]
    jpegs = read_members(store.fetch(f"{earlier.name}.tar"), extents) if stored else iter(())
    for decision in known:
        jpeg = b"" if decision.reason else next(jpegs) if decision.length else read[decision.x, decision.y]
        yield _stored(earlier.slide, decision, jpeg, writer)


def _reason_to_quarantine(job: SlideJob, cut: SlideCut) -> str | None:
    name = Path(job.path).name
    lost, read = cut.lost_storage_tiles, cut.read_storage_tiles
    if read and lost / read > job.slide_settings.max_lost_share:
        return (
            f"{name} is damaged: {lost} of the {read} storage tiles that were read do not decode, more than "
            f"slides.max_lost_share = {job.slide_settings.max_lost_share:g} allows; copy or download it again"
        )
    if not job.cells:
        return f"{name} is smaller than one tile ({job.width} x {job.height} px, a tile takes {job.size}); leave it out"
    if not cut.candidates:
        return f"blank: {name} shows no tissue in any of {job.cells} grid cells; leave it out or replace it"
    if len(cut.decisions) == cut.candidates and all(decision.reason for decision in cut.decisions):
        tally = {reason: sum(decision.reason == reason for decision in cut.decisions) for reason in REASONS}
        reasons = ", ".join(f"{count} {reason}" for reason, count in tally.items() if count)
        return f"blank: all {cut.candidates} candidates of {name} were rejected ({reasons}); leave it out or replace it"
    return None
