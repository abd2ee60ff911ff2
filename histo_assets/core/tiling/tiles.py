"""Cutting the tiles of a tissue: every slide in its own process, balanced over the slides."""

from __future__ import annotations

import multiprocessing
import os
import resource
import threading
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pandas as pd

from histo_assets.core.files import without_folder
from histo_assets.core.progress import Progress
from histo_assets.core.slides.directory import MissingSlideError, SlideError
from histo_assets.core.slides.inspection import LEFT_OUT, reasons, usable
from histo_assets.core.tiling.assembly import SlideOutcome, tile_set_of
from histo_assets.core.tiling.cut import cut_slide
from histo_assets.core.tiling.job import SlideJob, TissueJob
from histo_assets.core.tiling.sampling import balanced_counts
from histo_assets.core.tiling.sidecar import LeftOut, SlideCut
from histo_assets.core.tiling.tile_set import ShardStore, TileSet

# Tiles cut beyond a slide's share, so that one poor slide does not have all others cut twice.
_SPARE = 0.1

# Level-0 pixels of tiles that take about as long as starting the processes.
_WORTH_A_POOL = 3e8


def tile_tissue(
    raw_slides: pd.DataFrame,
    tissue_job: TissueJob,
    workers: int,
    progress: Progress,
    worker_megabytes: int = 2000,
) -> TileSet:
    """Return the tiles of one tissue, cutting only what no earlier run has cut.

    A slide's shard is reused where it is whole and holds enough tiles: nothing is decoded then, the
    slide need not even be there. A slide that cannot be read is quarantined, one that cannot be fetched again is
    missing; the others go on.
    Which tiles are chosen depends neither on the order of the slides nor on `workers` or earlier runs.

    Parameters
    ----------
    raw_slides
        One row a slide: slide, donor, path, mpp (um/px), width, height (level-0 pixels), digest,
        digest_kind, integrity, quarantined, missing. Rows with a reason in one of the last two are passed over.
    workers
        Processes. With one, or where there is little to do, slides are cut in this process, except
        those that only slideio reads (`integrity` not `checked`), which may end the process.
    progress
        Told a sentence after each slide.
    worker_megabytes
        What a worker process may allocate; a slide that takes more is quarantined.
    """
    sound = usable(raw_slides)
    jobs = {row["slide"]: tissue_job.of_slide(row) for row in sound.to_dict("records")}
    settings = tissue_job.tiling
    store = ShardStore(tissue_job.shard_root, tissue_job.tissue)
    outcomes = _reusable(jobs, store)
    read_before = _read_before(jobs, set(jobs) - set(outcomes), store)
    reused = len(outcomes)
    outcomes |= {slide: LeftOut(reason) for slide, job in jobs.items() if (reason := _too_coarse(job))}
    unverified = set(sound.loc[sound["integrity"] != "checked", "slide"])
    while True:
        counts = balanced_counts(
            {slide: _most(job, outcomes.get(slide)) for slide, job in jobs.items()},
            settings.tiles_per_slide,
            settings.tiles_per_tissue,
        )
        spare = 0 if settings.tiles_per_tissue is None else _SPARE
        wanted = {
            slide: counts[slide] + int(counts[slide] * spare)
            for slide in jobs
            if _falls_short(outcomes.get(slide), counts[slide])
        }
        if not wanted:
            break
        for slide, outcome in _cut_all(jobs, wanted, read_before | outcomes, unverified, workers, worker_megabytes):
            outcomes[slide] = outcome
            progress(_sentence(slide, outcome, wanted[slide]))
            _let_go(jobs[slide], outcome, progress)
    for slide, outcome in outcomes.items():
        _let_go(jobs[slide], outcome, progress)
    if reused:
        progress(f"{reused} of {len(jobs)} slides of {tissue_job.tissue} had been cut before")
    return tile_set_of(sound, jobs, _passed_over(raw_slides) | outcomes, counts, tissue_job)


def _passed_over(raw_slides: pd.DataFrame) -> dict[str, SlideOutcome]:
    """Return why inspection left slides out."""
    return {
        slide: LeftOut(reason, column == "missing")
        for column in LEFT_OUT
        for slide, reason in zip(raw_slides["slide"], reasons(raw_slides, column), strict=True)
        if reason
    }


def _let_go(job: SlideJob, outcome: SlideOutcome, progress: Progress) -> None:
    """Drop what the budget does not hold, once a slide has its tiles."""
    if isinstance(outcome, SlideCut) and job.fetched is not None and (dropped := job.fetched.let_go()):
        progress(f"dropped, to keep within {job.slide_settings.source.keep}: {', '.join(dropped)}")


def _reusable(jobs: Mapping[str, SlideJob], store: ShardStore) -> dict[str, SlideOutcome]:
    """Return the furthest whole cut that each slide already has under these settings."""
    published = store.names()
    whole = {slide: _furthest(f"{slide}-{job.key}-", published, store) for slide, job in jobs.items()}
    return {slide: cut for slide, cut in whole.items() if cut is not None}


def _read_before(jobs: Mapping[str, SlideJob], slides: Iterable[str], store: ShardStore) -> dict[str, SlideCut]:
    """Return the furthest whole cut of each slide that was read the same way and judged by other thresholds."""
    published = store.names()
    read = {slide: _furthest(f"{slide}-{jobs[slide].reading_key}-", published, store) for slide in slides}
    return {slide: cut for slide, cut in read.items() if cut is not None}


def _furthest(start: str, published: Mapping[str, int], store: ShardStore) -> SlideCut | None:
    """Return the whole cut that tried most candidates, of the sidecars whose names begin with `start`."""
    named = [name for name in published if name.startswith(start) and name.endswith(".json")]
    for name in sorted(named, key=lambda name: (int(name[:-5].rsplit("-", 1)[-1]), name), reverse=True):
        cut = SlideCut.from_json(store.read_text(name))
        if not cut.good or published.get(f"{cut.name}.tar") == cut.shard_bytes:
            return cut
    return None


def _too_coarse(job: SlideJob) -> str | None:
    if job.mpp <= job.slide_settings.max_upsampling * job.tiling.mpp:
        return None
    return (
        f"scanned at {job.mpp:.3g} um/px, coarser than the study's {job.tiling.mpp:g}; "
        "raise tiling.mpp or leave the slide out"
    )


def _most(job: SlideJob, outcome: SlideOutcome | None) -> int:
    """Return how many good tiles a slide can have at most, by what is known of it."""
    if outcome is None:
        return job.cells
    if isinstance(outcome, LeftOut):
        return 0
    good = len(outcome.good)
    return good if outcome.exhausted else good + outcome.candidates - len(outcome.decisions)


def _falls_short(outcome: SlideOutcome | None, wanted: int) -> bool:
    if outcome is None:
        return True
    return isinstance(outcome, SlideCut) and not outcome.exhausted and len(outcome.good) < wanted


def _cut_all(
    jobs: Mapping[str, SlideJob],
    wanted: Mapping[str, int],
    outcomes: Mapping[str, SlideOutcome],
    apart: set[str],
    workers: int,
    megabytes: int,
) -> Iterator[tuple[str, SlideOutcome]]:
    """Yield the outcome of each slide; those in `apart`, whose reader may crash, are never cut in this process."""
    tasks = {slide: (jobs[slide], count, _cut_before(outcomes.get(slide))) for slide, count in wanted.items()}
    pixels = sum(count * jobs[slide].size ** 2 for slide, count in wanted.items())
    here = [slide for slide in tasks if slide not in apart] if workers <= 1 or pixels < _WORTH_A_POOL else []
    for slide in here:
        yield slide, _cut_or_reason(*tasks[slide])
    there = {slide: task for slide, task in tasks.items() if slide not in here}
    unfinished = dict(there)
    for slide, result in _in_processes(there, max(1, workers), megabytes):
        del unfinished[slide]
        yield slide, result
    # A slide ended its process and took the pool along: each of the rest gets a process of its own.
    for slide, task in unfinished.items():
        alone = dict(_in_processes({slide: task}, 1, megabytes))
        name = Path(task[0].path).name
        yield slide, alone.get(slide, LeftOut(f"{name} ends the process that reads it; replace it or leave it out"))


def _cut_before(outcome: SlideOutcome | None) -> SlideCut | None:
    return outcome if isinstance(outcome, SlideCut) else None


def _in_processes(
    tasks: Mapping[str, tuple[Any, ...]], workers: int, megabytes: int
) -> Iterator[tuple[str, SlideOutcome]]:
    """Yield the outcomes of `tasks`; where the pool breaks, the rest is missing."""
    if not tasks:
        return
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["histo_assets.core.tiling.cut", "cv2", "simplejpeg", "tifffile"])
    pool = ProcessPoolExecutor(min(workers, len(tasks)), context, initializer=_prepare_worker, initargs=(megabytes,))
    try:
        futures: dict[Future[SlideOutcome], str] = {pool.submit(_cut_or_reason, *task): s for s, task in tasks.items()}
        for future in as_completed(futures):
            try:
                yield futures[future], future.result()
            except BrokenProcessPool:
                continue
    finally:
        pool.shutdown(cancel_futures=True)


def _prepare_worker(megabytes: int) -> None:
    """Bound the memory that this worker may allocate, and end it with its parent."""
    resource.setrlimit(resource.RLIMIT_DATA, (megabytes << 20, megabytes << 20))
    _end_with_parent()


def _end_with_parent() -> None:
    """End this worker when the process that started it is killed; it would wait for work forever."""
    parent = multiprocessing.parent_process()

    def follow() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _cut_or_reason(job: SlideJob, wanted: int, earlier: SlideCut | None) -> SlideOutcome:
    """Return the cut of a slide, or in one sentence why it could not be read; other errors are raised."""
    folder, name = os.path.split(job.path)
    try:
        return cut_slide(job, wanted, earlier)
    except SlideError as error:
        return LeftOut(without_folder(str(error), folder), isinstance(error, MissingSlideError))
    except Exception as error:
        if not _is_out_of_memory(error):
            raise
        return LeftOut(
            f"{name} takes more memory than a worker may have; raise resources.worker_megabytes of the study"
        )


def _is_out_of_memory(error: Exception) -> bool:
    """Return whether an allocation failed; OpenCV and slideio say so in words."""
    return isinstance(error, MemoryError) or "memory" in str(error).lower() or "bad_alloc" in str(error).lower()


def _sentence(slide: str, outcome: SlideOutcome, wanted: int) -> str:
    if isinstance(outcome, LeftOut):
        return f"{slide}: {'missing' if outcome.missing else 'quarantined'}, {outcome.reason}"
    if outcome.quarantined:
        return f"{slide}: quarantined, {outcome.quarantined}"
    lost = f", {outcome.lost_storage_tiles} storage tiles lost" if outcome.lost_storage_tiles else ""
    blank = f", {outcome.blank_storage_tiles} storage tiles of length zero" if outcome.blank_storage_tiles else ""
    return f"{slide}: {len(outcome.good)} of {wanted} tiles from {len(outcome.decisions)} looked at{lost}{blank}"
