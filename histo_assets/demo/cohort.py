"""Writing a synthetic cohort to a folder, with its truth beside it.

Belongs here: the order of the work and its distribution over processes. What a cohort holds is
decided in `roster`, `plan` and `genes`; how it looks in `paint`.
"""

from __future__ import annotations

import json
import multiprocessing
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from histo_assets.core.errors import HistoError
from histo_assets.core.files import atomic_path, settings_digest, write_json
from histo_assets.core.progress import Progress, silent
from histo_assets.demo.cohort_plan import CohortPlan, SlidePlan
from histo_assets.demo.roster import cohort_plan
from histo_assets.demo.settings import SyntheticSettings

REVISION = 3  # raise it when the same settings give other files
STAMP = "cohort.json"
DirtRow = tuple[str, str, int, int, int, int]


def cohort_digest(settings: SyntheticSettings) -> str:
    """Return a digest that identifies the files that `settings` give."""
    return settings_digest(settings, REVISION)


def is_written(settings: SyntheticSettings, folder: Path) -> bool:
    """Return whether `folder` holds the whole cohort of exactly these settings."""
    stamp = Path(folder) / STAMP
    if not stamp.is_file():
        return False
    try:
        return bool(json.loads(stamp.read_text()).get("digest") == cohort_digest(settings))
    except (ValueError, AttributeError):
        return False


def write_cohort(settings: SyntheticSettings, folder: Path, progress: Progress = silent, workers: int = 2) -> Path:
    """Write the cohort of `settings` below `folder` and return the folder.

    The files depend on the settings alone, not on `workers`. Slides of another cohort in the folder
    are removed; what lies in `incoming/` stays. The stamp `cohort.json` is written last, so that a
    killed run is seen by `is_written`. A folder with files that no generated cohort wrote is refused.

    Parameters
    ----------
    settings
        Flavour, size and seed.
    folder
        Made where it is missing.
    progress
        Called with a sentence now and then.
    workers
        Processes that paint slides; 1 or less paints in this one.
    """
    from histo_assets.demo.truth import write_tables

    folder = Path(folder)
    _refuse_foreign(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / STAMP, {"digest": "unfinished"})
    for part in ("slides", "truth"):
        shutil.rmtree(folder / part, ignore_errors=True)
    for part in ("slides", "truth", "incoming"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    plan = cohort_plan(settings)
    dirt: list[DirtRow] = []
    tasks = [row for row in plan.slides if row.file]
    for done, rows in enumerate(_written_slides(tasks, folder / "slides", workers), start=1):
        dirt += rows
        if done % 10 == 0 or done == len(tasks):
            progress(f"{done} of {len(tasks)} slides written")
    write_tables(settings, plan, dirt, folder)
    write_json(
        folder / STAMP,
        {
            "digest": cohort_digest(settings),
            "settings": settings.model_dump(mode="json"),
            "slides": len(tasks),
            "samples": _sample_count(plan),
        },
    )
    progress(f"the cohort is complete in {folder}")
    return folder


class CohortFolderError(HistoError):
    """A folder that must not be written over: the message names it and the way out."""


def _refuse_foreign(folder: Path) -> None:
    """Raise where `folder` holds slides or tables and no stamp of ours."""
    if (folder / STAMP).is_file() or not folder.is_dir():
        return
    files = [
        path.name for path in sorted(folder.iterdir()) if path.name != "incoming" and not path.name.startswith(".")
    ]
    if files:
        raise CohortFolderError(
            f"{folder} holds {files[0]}, which no generated cohort wrote; set `synthetic: null` in a study of your own,"
            " or name another folder"
        )


def _sample_count(plan: CohortPlan) -> int:
    return len({row.sample for row in plan.slides if row.sample}) + len(plan.stray_samples)


def _written_slides(tasks: list[SlidePlan], folder: Path, workers: int) -> Iterator[list[DirtRow]]:
    """Yield the dirt of each slide once it is written, in the order of `tasks`."""
    if workers <= 1 or len(tasks) < 2:
        for row in tasks:
            yield write_slide(row, folder)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(tasks)), mp_context=context, initializer=_one_thread) as pool:
        yield from pool.map(write_slide, tasks, [folder] * len(tasks))


def _one_thread() -> None:
    """Keep OpenCV to one thread in a worker process."""
    import cv2

    cv2.setNumThreads(1)


def write_slide(row: SlidePlan, folder: Path) -> list[DirtRow]:
    """Write one slide file, damaged as planned, and return its dirt: slide, kind, x, y, w, h in level-0 pixels."""
    from histo_assets.demo import damage
    from histo_assets.demo.paint import paint_slide
    from histo_assets.demo.svs import Encoding, Scan, write_svs

    look = row.look
    whole = (0, 0, look.side, look.side)
    blemishes: list[tuple[str, tuple[int, int, int, int]]] = []
    assert row.file is not None
    with atomic_path(folder / row.file) as temporary:
        if row.damage == "html":
            damage.write_html(temporary)
            return [(row.slide, "html", *whole)]
        pixels = damage.blank_glass(look.side, look.seed) if row.damage == "blank" else paint_slide(look)
        for kind in look.dirt:
            pixels, regions = damage.with_dirt(pixels, kind, look.seed)
            blemishes += [(kind, region) for region in regions]
        write_svs(
            temporary,
            pixels,
            Scan(name=Path(row.file).stem),
            Encoding(photometric="rgb" if row.photometric == "rgb" else "ycbcr", quality=88, storage_px=row.storage_px),
        )
        if row.damage in ("blank", "truncated"):
            blemishes.append((row.damage, whole))
        if row.damage == "truncated":
            damage.truncate(temporary, 0.6)
        if row.damage == "zero_length_tiles":
            blemishes += [(row.damage, region) for region in damage.empty_storage_tiles(temporary, 3)]
        if row.damage == "overwritten_tiles":
            count = max(3, (look.side // row.storage_px) ** 2 // 4)
            blemishes += [(row.damage, region) for region in damage.overwrite_storage_tiles(temporary, count)]
    return [(row.slide, kind, *region) for kind, region in blemishes]
