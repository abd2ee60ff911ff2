"""Cutting one slide: mask, candidates in seeded order, quality, shard and sidecar.

Runs in worker processes, so it imports neither pandas nor polars.
"""

from __future__ import annotations

import math
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from histo_assets.core.files import settings_digest
from histo_assets.core.slides.directory import SlideError
from histo_assets.core.slides.integrity import slide_digest
from histo_assets.core.slides.settings import SlideSettings
from histo_assets.core.slides.slide import Slide, open_slide
from histo_assets.core.tiling.mask import tissue_mask, tissue_shares
from histo_assets.core.tiling.pictures import decoded, encoded, shrunk
from histo_assets.core.tiling.quality import REASONS, judge, tile_quality
from histo_assets.core.tiling.sampling import candidate_order
from histo_assets.core.tiling.settings import TilingSettings
from histo_assets.core.tiling.sidecar import Looked, SlideCut
from histo_assets.core.tiling.store import ShardStore, ShardWriter, TilingError, read_members, shard_writer

REVISION = 1
"""Raised when the same settings come to mean other tiles: no earlier shard is reused then."""

EXAMPLES = 2
EXAMPLE_PX = 96
_THUMBNAIL_PX = 448
_IN_MEMORY = 16 << 20


@dataclass(frozen=True)
class SlideJob:
    """One slide to cut: which file, at what scan resolution (um/px), into which tissue's shards."""

    slide: str
    path: str
    mpp: float
    digest: str
    digest_kind: str
    width: int
    height: int
    tissue: str
    shard_root: str
    tiling: TilingSettings
    slides: SlideSettings

    @property
    def size(self) -> int:
        """Side of a tile in level-0 pixels."""
        return max(1, round(self.tiling.tile_px * self.tiling.mpp / self.mpp))

    @property
    def cells(self) -> int:
        """Cells of the grid: the tiles that fit onto the slide."""
        return (self.width // self.size) * (self.height // self.size)

    @property
    def key(self) -> str:
        """Digest of the slide and of everything that decides how it is cut, save how many tiles are wanted."""
        tiling = self.tiling.model_dump(mode="json", exclude={"tiles_per_slide", "tiles_per_tissue", "quality"})
        quality = self.tiling.quality.for_tissue(self.tissue)
        lost = self.slides.max_lost_share
        return settings_digest(REVISION, self.slide, self.digest, self.mpp, tiling, quality, lost)[:12]


def cut_slide(job: SlideJob, wanted: int, earlier: SlideCut | None = None) -> SlideCut:
    """Return what cutting a slide gave, after publishing its shard and then its sidecar.

    Candidates are read in their seeded order until `wanted` of them are good, and no further.

    Parameters
    ----------
    job
        The slide.
    wanted
        How many good tiles are needed.
    earlier
        An earlier cut of the same key that found too few: its tiles are copied, not cut again.

    Raises
    ------
    SlideError
        The slide cannot be read, or is another file than when it was inspected.
    TilingError
        The shard cannot be written: the disk is full, say.
    """
    if not Path(job.path).exists():
        raise SlideError(f"{job.path} is missing; fetch it again and materialize raw_slides of {job.tissue}")
    if job.digest_kind == "directory" and slide_digest(job.path) != (job.digest, job.digest_kind):
        raise SlideError(f"{job.path} has changed since it was inspected; materialize raw_slides of {job.tissue} again")
    store = ShardStore(job.shard_root, job.tissue)
    try:
        return _cut_and_published(job, wanted, earlier, store)
    except OSError as error:
        raise TilingError(
            f"the tiles of slide {job.slide} cannot be written to {store.folder} ({error}); "
            "make room there and run again"
        ) from error


def _cut_and_published(job: SlideJob, wanted: int, earlier: SlideCut | None, store: ShardStore) -> SlideCut:
    with (
        store.draft(".tar") as shard,
        store.draft(".json") as sidecar,
        open_slide(job.path, job.slides, job.slide) as slide,
    ):
        with shard_writer(shard) as writer:
            cut = _cut(job, slide, wanted, earlier, store, writer)
        if cut.good:
            cut = replace(cut, shard_bytes=shard.stat().st_size)
            store.publish(shard, f"{cut.name}.tar")
        sidecar.write_text(cut.to_json(), encoding="utf-8")
        store.publish(sidecar, f"{cut.name}.json")
    return cut


def _cut(
    job: SlideJob, slide: Slide, wanted: int, earlier: SlideCut | None, store: ShardStore, writer: ShardWriter
) -> SlideCut:
    mask = _mask(job, slide)
    shares = _candidate_shares(job, mask)
    order = candidate_order(job.slide, list(shares), job.tiling.seed)
    looked = _copied(earlier, store, writer)
    examples = dict(earlier.examples) if earlier else {}
    good = sum(not candidate.reason for candidate in looked)
    while good < wanted and len(looked) < len(order):
        batch = order[len(looked) : len(looked) + wanted - good]
        for candidate, jpeg in _look(job, slide, [(x, y, shares[x, y]) for x, y in batch], examples):
            looked.append(_stored(job.slide, candidate, jpeg, writer))
            good += not candidate.reason
    return SlideCut(
        slide=job.slide,
        key=job.key,
        cells=job.cells,
        no_tissue=job.cells - len(order),
        candidates=len(order),
        looked=tuple(looked),
        shard_bytes=0,
        read_storage_tiles=slide.read_storage_tiles + (earlier.read_storage_tiles if earlier else 0),
        lost_storage_tiles=slide.lost_storage_tiles + (earlier.lost_storage_tiles if earlier else 0),
        blank_storage_tiles=slide.blank_storage_tiles + (earlier.blank_storage_tiles if earlier else 0),
        quarantined=_reason_to_quarantine(job, slide, looked, len(order)),
        thumbnail=encoded(slide.thumbnail(_THUMBNAIL_PX), 85),
        mask=_png(mask),
        examples=examples,
    )


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


def _look(
    job: SlideJob, slide: Slide, batch: Sequence[tuple[int, int, float]], examples: dict[str, bytes]
) -> Iterator[tuple[Looked, bytes]]:
    """Yield the candidates of `batch`, in its order, with their verdicts and JPEGs.

    They are read in raster order, so that a storage tile that several of them share is decoded once;
    the JPEGs wait in a file where they are many.
    """
    tiling = job.tiling
    thresholds = tiling.quality.for_tissue(job.tissue)
    found: dict[tuple[int, int], tuple[Looked, int, int]] = {}
    with tempfile.SpooledTemporaryFile(_IN_MEMORY) as spool:
        for x, y, share in sorted(batch, key=lambda candidate: (candidate[1], candidate[0])):
            pixels, lost = slide.read_with_losses(x, y, tiling.tile_px, tiling.tile_px, tiling.mpp)
            jpeg = encoded(pixels, tiling.jpeg_quality)
            quality = tile_quality(pixels, len(jpeg), share)
            reason = "lost" if lost else judge(quality, thresholds)
            found[x, y] = Looked(x, y, reason or "", quality), spool.tell(), len(jpeg)
            spool.write(jpeg)
        for x, y, _ in batch:
            candidate, offset, length = found[x, y]
            spool.seek(offset)
            jpeg = spool.read(length)
            if candidate.reason:
                _keep_example(candidate.reason, job.slide, jpeg, examples)
            yield candidate, jpeg


def _keep_example(reason: str, slide: str, jpeg: bytes, examples: dict[str, bytes]) -> None:
    """Add a rejected tile to the examples, small, while there are few of its reason."""
    for number in range(1, EXAMPLES + 1):
        name = f"{reason}_{slide}_{number}"
        if name not in examples:
            examples[name] = encoded(shrunk(decoded(jpeg), EXAMPLE_PX), 80)
            return


def _stored(slide: str, candidate: Looked, jpeg: bytes, writer: ShardWriter) -> Looked:
    """Return the candidate with its place in the shard, once its JPEG is there; a rejected one as it is."""
    if candidate.reason:
        return candidate
    offset = writer.add(f"{slide}_{candidate.x}_{candidate.y}.jpg", jpeg)
    return Looked(candidate.x, candidate.y, "", candidate.quality, offset, len(jpeg), zlib.crc32(jpeg))


def _copied(earlier: SlideCut | None, store: ShardStore, writer: ShardWriter) -> list[Looked]:
    """Return what an earlier cut looked at, with its tiles copied into the new shard."""
    if earlier is None or not earlier.good:
        return list(earlier.looked) if earlier else []
    jpegs = read_members(store.fetch(f"{earlier.name}.tar"), [(good.offset, good.length) for good in earlier.good])
    return [
        candidate if candidate.reason else _stored(earlier.slide, candidate, next(jpegs), writer)
        for candidate in earlier.looked
    ]


def _reason_to_quarantine(job: SlideJob, slide: Slide, looked: Sequence[Looked], candidates: int) -> str | None:
    name = Path(job.path).name
    lost, read = slide.lost_storage_tiles, slide.read_storage_tiles
    if read and lost / read > job.slides.max_lost_share:
        return (
            f"{name} is damaged: {lost} of the {read} storage tiles that were read do not decode, more than "
            f"slides.max_lost_share = {job.slides.max_lost_share:g} allows; copy or download it again"
        )
    if not job.cells:
        return f"{name} is smaller than one tile ({job.width} x {job.height} px, a tile takes {job.size}); leave it out"
    if not candidates:
        return f"blank: {name} shows no tissue in any of {job.cells} grid cells; leave it out or replace it"
    if len(looked) == candidates and all(candidate.reason for candidate in looked):
        tally = {reason: sum(candidate.reason == reason for candidate in looked) for reason in REASONS}
        reasons = ", ".join(f"{count} {reason}" for reason, count in tally.items() if count)
        return f"blank: all {candidates} candidates of {name} were rejected ({reasons}); leave it out or replace it"
    return None


def _png(mask: np.ndarray[Any, Any]) -> bytes:
    import cv2

    return bytes(cv2.imencode(".png", mask.astype(np.uint8) * 255, [cv2.IMWRITE_PNG_BILEVEL, 1])[1])
