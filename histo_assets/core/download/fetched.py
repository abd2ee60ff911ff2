"""Fetched slides in a study's folder: the record of each, and which may be dropped.

Beside a slide that was fetched lies `.<slide>.fetched.json`. A file without such a record, or of another
size or time than the record's, is the user's own and never dropped. A dropped slide's record stays.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Collection
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from histo_assets.core.cohort.folders import files_below
from histo_assets.core.download.errors import DownloadError
from histo_assets.core.download.http import RemoteFile, fetch_file
from histo_assets.core.download.settings import SourceSettings
from histo_assets.core.download.slide_source import RemoteSlide
from histo_assets.core.files import write_json
from histo_assets.core.progress import ByteProgress, EveryFewSeconds, Progress, minutes, silent

_SUFFIX = ".fetched.json"


@dataclass(frozen=True)
class FetchedSlide:
    """A slide that was fetched: from where, its digest, whether its tiles are made, and the result of its inspection.

    `name` is the file or folder in the study's folder; `sha256` that of the file, or over the names and digests of a
    folder's files; `stamp` the times of its files (ns); `used` a Unix time; `inspected` the result of its inspection
    as the JSON that the room of slides makes of it, empty before.
    """

    slide: str
    name: str
    files: tuple[RemoteFile, ...]
    bytes: int
    sha256: str
    stamp: int
    used: float
    tiled: bool = False
    inspected: dict[str, Any] = field(default_factory=dict)

    @property
    def remote(self) -> RemoteSlide:
        """Where to fetch the very same content again."""
        return RemoteSlide(self.slide, self.name, self.files)

    def is_there(self, folder: Path) -> bool:
        """Return whether the slide lies in `folder` as it was fetched."""
        path = folder / self.name
        return path.exists() and _size_and_stamp(path) == (self.bytes, self.stamp)


def fetch_slide(remote: RemoteSlide, folder: Path, source: SourceSettings, progress: Progress = silent) -> FetchedSlide:
    """Return the record of a slide, after fetching it into `folder`; one that is there already is not fetched again.

    `progress` is called with a line every few seconds.

    Raises
    ------
    DownloadError
        It cannot be fetched, or is not what was fetched under this name before.
    """
    before = fetched_slide(folder, remote.slide)
    if before is not None and before.is_there(folder):
        return before
    target = folder / remote.name
    if target.exists():
        raise DownloadError(
            f"{target} was not fetched from {remote.files[0].url}; take it away or keep it and fetch none"
        )
    of_slide = _SlideProgress(remote, progress)
    files = _fetched_folder(remote, target, source, of_slide) if remote.is_folder else None
    if files is None:
        (file,) = remote.files
        arrived = fetch_file(
            file,
            target,
            attempts=source.attempts,
            timeout_seconds=source.timeout_seconds,
            progress=of_slide.file_after(0),
        )
        files = (replace(file, bytes=arrived.bytes, sha256=arrived.sha256),)
    size, stamp = _size_and_stamp(target)
    digest = files[0].sha256 or "" if len(files) == 1 and not remote.is_folder else _joint_digest(files)
    record = FetchedSlide(remote.slide, remote.name, files, size, digest, stamp, time.time())
    if before is not None and before.sha256 == digest:
        record = replace(record, tiled=before.tiled, inspected=before.inspected)
    write_record(folder, record)
    return record


def fetched_slide(folder: Path, slide: str) -> FetchedSlide | None:
    """Return the record of a slide that was once fetched into `folder`, or None."""
    path = folder / f".{slide}{_SUFFIX}"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return FetchedSlide(**{**content, "files": tuple(RemoteFile(**file) for file in content["files"])})
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None


def fetched_slides(folder: Path) -> list[FetchedSlide]:
    """Return the records of all slides that were ever fetched into `folder`, dropped ones included."""
    records = [fetched_slide(folder, path.name[1 : -len(_SUFFIX)]) for path in sorted(folder.glob(f".*{_SUFFIX}"))]
    return [record for record in records if record is not None]


def user_files(folder: Path) -> list[Path]:
    """Return the files below `folder` that nobody fetched, by `files_below`."""
    ours = {record.name for record in fetched_slides(folder) if record.is_there(folder)}
    return [path for path in map(Path, files_below(folder)) if path.relative_to(folder).parts[0] not in ours]


def write_record(folder: Path, record: FetchedSlide) -> None:
    """Write the record of a fetched slide beside it."""
    write_json(folder / f".{record.slide}{_SUFFIX}", asdict(record))


def drop_slide(folder: Path, record: FetchedSlide) -> bool:
    """Remove a fetched slide and keep its record; return False for one that is gone or not as it was fetched."""
    if not record.is_there(folder):
        return False
    path = folder / record.name
    # Renamed first: what is left when this is killed is no slide any more.
    doomed = path.with_name(f".{path.name}.dropped")
    os.replace(path, doomed)
    if doomed.is_dir():
        shutil.rmtree(doomed)
    else:
        doomed.unlink()
    return True


def drop_over_budget(
    folder: Path, source: SourceSettings, sparing: Collection[str] = (), only_tiled: bool = False
) -> list[str]:
    """Drop fetched slides until the rest is within the budget; return those dropped.

    Slides whose tiles are made go first, those longest unused before others; under `keep: none` they alone go.
    Those in `sparing` stay, slides in hand; with `only_tiled` no slide goes before its tiles are made.
    """
    budget = source.keep_bytes
    if budget is None:
        return []
    here = [record for record in fetched_slides(folder) if record.is_there(folder)]
    total, dropped = sum(record.bytes for record in here), []
    for record in sorted(here, key=lambda record: (not record.tiled, record.used)):
        may_go = record.tiled or (budget > 0 and not only_tiled)
        if total <= budget or not may_go or record.slide in sparing:
            continue
        if drop_slide(folder, record):
            total -= record.bytes
            dropped.append(record.slide)
    return dropped


def _fetched_folder(
    remote: RemoteSlide, target: Path, source: SourceSettings, of_slide: _SlideProgress
) -> tuple[RemoteFile, ...]:
    """Return the files of a folder that appears whole; after a kill those that had arrived are not fetched again."""
    building = target.with_name(f".{target.name}.arriving")
    files, done = [], 0
    for file in remote.files:
        path = building / file.name
        arrived = (
            fetch_file(
                file,
                path,
                attempts=source.attempts,
                timeout_seconds=source.timeout_seconds,
                progress=of_slide.file_after(done),
            )
            if not _is_whole(path, file)
            else None
        )
        done += path.stat().st_size
        files.append(replace(file, bytes=path.stat().st_size, sha256=arrived.sha256 if arrived else _sha256(path)))
    os.replace(building, target)
    return tuple(files)


def _is_whole(path: Path, file: RemoteFile) -> bool:
    """Return whether a file had been published already; `fetch_file` publishes nothing that is not whole."""
    return path.exists() and file.bytes in (None, path.stat().st_size)


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _joint_digest(files: tuple[RemoteFile, ...]) -> str:
    text = "\n".join(sorted(f"{file.name} {file.sha256}" for file in files))
    return hashlib.sha256(text.encode()).hexdigest()


def _size_and_stamp(path: Path) -> tuple[int, int]:
    parts = [path] if path.is_file() else sorted(part for part in path.rglob("*") if part.is_file())
    return sum(part.stat().st_size for part in parts), max((part.stat().st_mtime_ns for part in parts), default=0)


class _SlideProgress:
    """How far a slide has come, every few seconds."""

    def __init__(self, remote: RemoteSlide, progress: Progress) -> None:
        self._remote, self._say = remote, EveryFewSeconds(progress)
        self._first: int | None = None

    def file_after(self, before: int) -> ByteProgress:
        """Return the progress of one file that comes after `before` bytes of others."""

        def progress(here: int, length: int | None) -> None:
            total = self._remote.bytes or (length if len(self._remote.files) == 1 else None)
            self._first = before + here if self._first is None else self._first
            self._say(partial(self._line, before + here, total, self._first))

        return progress

    def _line(self, here: int, total: int | None, first: int, seconds: float) -> str:
        speed = (here - first) / seconds
        of = "" if total is None else f" of {total / 1e6:,.0f}"
        left = "" if total is None or speed <= 0 else f", {minutes((total - here) / speed)} left"
        return f"{self._remote.slide}: {here / 1e6:,.0f}{of} MB fetched, {speed / 1e6:.1f} MB/s{left}"
