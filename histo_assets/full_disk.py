"""What a full or read-only disk means for a command: one sentence that names the place."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

FULL = {errno.ENOSPC, errno.EDQUOT}
LOCKED = {errno.EROFS, errno.EACCES, errno.EPERM}
SQLITE_FULL = "database or disk is full"
SQLITE_FAILED = "disk I/O error"  # a full disk among other things
SQLITE_LOCKED = ("readonly database", "unable to open database file")
NEARLY_NOTHING = 4_000_000  # free bytes below which a place counts as full


def places() -> dict[str, Path]:
    """Return the places on this machine that a command writes to, by the variable that names them."""
    named = {
        "DAGSTER_HOME": os.environ.get("DAGSTER_HOME", ".dagster"),
        "HISTO_STORAGE": os.environ.get("HISTO_STORAGE", "data"),
        "HISTO_CACHE": os.environ.get("HISTO_CACHE", "~/.cache/histo_assets"),
        "HISTO_COHORTS": os.environ.get("HISTO_COHORTS", "data/cohorts"),
        "TMPDIR": tempfile.gettempdir(),
    }
    return {name: Path(os.path.expanduser(value)).absolute() for name, value in named.items() if "://" not in value}


def why_it_cannot_write(error: BaseException) -> str | None:
    """Return the sentence for an error that a full or read-only disk caused, or None for any other error."""
    for cause in _causes(error):
        number, text = getattr(cause, "errno", None), str(cause)
        database = type(cause).__module__.startswith(("sqlite3", "sqlalchemy"))
        full = number in FULL or (database and (SQLITE_FULL in text or (SQLITE_FAILED in text and _home_is_full())))
        locked = number in LOCKED or (database and any(sentence in text for sentence in SQLITE_LOCKED))
        if full or locked:
            return _sentence(full, database, getattr(cause, "filename", None))
    return None


def why_the_storage_is_silent(error: BaseException) -> str | None:
    """Return the sentence for an error of an object store that does not answer, or None for any other error."""
    storage = os.environ.get("HISTO_STORAGE", "")
    if not isinstance(error, OSError) or "://" not in storage:
        return None
    return f"the storage {storage} does not answer ({error}); nothing is lost, try again when it does"


def with_its_place(problem: str) -> str:
    """Return a step's own account of its failure, with the place that is full where that was the reason."""
    if os.strerror(errno.ENOSPC) not in problem and SQLITE_FULL not in problem:
        return problem
    return f"{problem}; {_sentence(True, SQLITE_FULL in problem, None)}"


def _sentence(full: bool, database: bool, filename: object) -> str:
    what = "no space is left" if full else "nothing can be written"
    name = "DAGSTER_HOME" if database else _which(full, _place_of(filename))
    if name is None:
        free = ", ".join(f"{n} ({path}) has {_free(path):,} bytes" for n, path in places().items())
        return f"{what} in one of these: {free}; the next run goes on from here"
    path = places()[name]
    where = f" ({filename})" if filename and _place_of(filename) == name else ""
    return f"{what} in {name}, {path}: {_free(path):,} bytes are free{where}; the next run goes on from here"


def _place_of(filename: object) -> str | None:
    """Return the innermost place that a file lies in."""
    if not isinstance(filename, str | bytes | os.PathLike):
        return None
    path = Path(os.fsdecode(filename)).absolute()
    holding = [name for name, place in places().items() if path.is_relative_to(place)]
    return max(holding, key=lambda name: len(places()[name].parts), default=None)


def _which(full: bool, of_the_file: str | None) -> str | None:
    """Return the place that looks as the error says; the file's own where the look decides nothing, None without."""
    suspects = [n for n, path in places().items() if (_free(path) < NEARLY_NOTHING if full else not _writable(path))]
    if of_the_file in suspects or not suspects:
        return of_the_file
    return suspects[0] if len(suspects) == 1 else None


def _home_is_full() -> bool:
    return _free(places()["DAGSTER_HOME"]) < NEARLY_NOTHING


def _existing(path: Path) -> Path:
    return next((place for place in (path, *path.parents) if place.exists()), Path("/"))


def _free(path: Path) -> int:
    return shutil.disk_usage(_existing(path)).free


def _writable(path: Path) -> bool:
    return os.access(_existing(path), os.W_OK)


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    pending: list[BaseException | None] = [error]
    while pending:
        cause = pending.pop()
        if cause is None or id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        pending += [cause.__context__, cause.__cause__, getattr(cause, "orig", None)]
