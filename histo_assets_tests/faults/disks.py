"""Full disks: storage, cache, DAGSTER_HOME and TMPDIR, each on a small file system of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from histo_assets_tests.faults.artefacts import differences, stored
from histo_assets_tests.faults.campaign import Skipped, Trial
from histo_assets_tests.faults.judge import after_the_next_run, last_good_state, one_sentence, reference_of
from histo_assets_tests.faults.place import Place

# What is made on each full disk: steps that write there, whatever else they do.
WORK = {
    "data": ("tiles", "expression_matrix", "selected_model"),
    "cache": ("trained_model",),
    "home": ("slide_pairs", "donor_split"),
    "tmp": ("expression_matrix", "slide_embeddings"),
}
WORDS = ("space", "disk", "full")
# Files in TMPDIR are few and small: where a run gets by without any, it may end well.
MAY_END_WELL = ("tmp",)


def full_disks(trial: Trial) -> None:
    """Storage, cache, DAGSTER_HOME and TMPDIR run full, at different moments of a run."""
    parts = ["data"] if trial.short else [part for part in WORK for _ in range(2)]
    for number, part in enumerate(parts):
        free = trial.chance.choice((0, 8, 40, 120)) * 1024
        with small_disk(trial.place, part):
            lost = _run_on_a_full_disk(trial.place, part, free, fresh=bool(number % 2))
            kind = "fresh" if number % 2 else "lost"
            what = f"{', '.join(WORK[part])} ({kind} before) with {free // 1024} kB left for {part}"
            sound = trial.tried(what, [*lost, *after_the_next_run(trial.place)])
            trial.place.end_processes()
        if not sound:
            trial.place.restore()


@contextmanager
def small_disk(place: Place, part: str) -> Iterator[Path]:
    """Move a part of the place to a file system of its own in memory, until the block ends.

    Raises
    ------
    Skipped
        This machine does not let us mount one.
    """
    folder, aside = place.live / part, place.root / f"{part}-aside"
    folder.rename(aside)
    folder.mkdir()
    used = sum(path.stat().st_blocks * 512 for path in aside.rglob("*"))
    size = used + (64 << 20)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    mounted = subprocess.run(mount, capture_output=True, text=True) if shutil.which("mount") else None
    if mounted is None or mounted.returncode != 0:
        folder.rmdir()
        aside.rename(folder)
        raise Skipped(f"no mount here: {mounted.stderr.strip() if mounted else 'no such program'}")
    try:
        subprocess.run(["cp", "-a", f"{aside}/.", str(folder)], check=True)
        yield folder
    finally:
        place.end_processes()
        shutil.rmtree(aside, ignore_errors=True)
        subprocess.run(["cp", "-a", str(folder), str(aside)], check=False)
        if subprocess.run(["umount", str(folder)], capture_output=True).returncode != 0:
            subprocess.run(["umount", "-l", str(folder)], check=True)
        folder.rmdir()
        aside.rename(folder)


def _run_on_a_full_disk(place: Place, part: str, free: int, fresh: bool) -> list[str]:
    """Fill the disk up to `free` bytes, make what writes there, free it again; return what was lost.

    `fresh` says whether the artefacts stand and are made all the same, or are lost before.
    """
    if not fresh:
        for asset in WORK[part]:
            shutil.rmtree(place.data / asset)
    before = {artefact: pointer["version"] for artefact, pointer in stored(place.data).items()}
    filler = place.live / part / "filler"
    _fill(filler, free)
    words = [word for asset in WORK[part] for word in ("--select", asset)]
    try:
        ran = place.materialize(*words, *(["--force"] if fresh else []))
    finally:
        filler.unlink()
    now = {artefact: pointer.get("version") for artefact, pointer in stored(place.data).items()}
    if ran.ended_well and (part in MAY_END_WELL or now != before):
        return []  # what was left was enough
    lost = [*one_sentence(ran, *WORDS), *last_good_state(place)]
    return lost + (differences(place.data, reference_of(place)) if fresh else [])


def _fill(filler: Path, free: int) -> None:
    """Write `filler` until `free` bytes are left on its file system."""
    with open(filler, "wb", buffering=0) as file:
        block = b"\0" * (1 << 20)
        try:
            while True:
                if file.write(block) < len(block):
                    break
        except OSError:
            pass
        file.truncate(max(0, file.tell() - free))
        os.fsync(file.fileno())
