"""Atomic writes, locks, digests and the local cache of remote files.

Every other room stands on this one; it imports none of them.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from filelock import FileLock
from pydantic import BaseModel, ConfigDict

SAFE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,119}")


class Settings(BaseModel):
    """Base of every room's settings: immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def slug(name: str) -> str:
    """Return `name` as a partition key: lower case, `[a-z0-9_]`, at most 63 characters.

    >>> slug("Brain - Cortex")
    'brain_cortex'
    """
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")[:63]


def is_safe_id(name: str) -> bool:
    """Return whether `name` can serve as a file name on every system as it stands.

    >>> is_safe_id("GTEX-1117F-0126"), is_safe_id("../etc/passwd"), is_safe_id("Pat 7/B")
    (True, False, False)
    """
    return SAFE_ID.fullmatch(name) is not None and ".." not in name


def settings_digest(*parts: Any) -> str:
    """Return 16 hexadecimal characters that change when any of `parts` does.

    Parts are settings models or anything that JSON can hold; the order of keys does not matter.
    """

    def plain(part: Any) -> Any:
        return part.model_dump(mode="json") if isinstance(part, BaseModel) else part

    text = json.dumps([plain(part) for part in parts], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_digest(path: str | os.PathLike[str]) -> str:
    """Return the sha256 of a local file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_digest(folder: str | os.PathLike[str]) -> str:
    """Return the sha256 over the names and contents of all files below `folder`."""
    root = Path(folder)
    total = hashlib.sha256()
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        total.update(path.relative_to(root).as_posix().encode())
        total.update(file_digest(path).encode())
    return total.hexdigest()


def without_folder(sentence: str, folder: str | os.PathLike[str]) -> str:
    """Return a sentence in which paths below `folder` are relative to it, and itself is its name.

    >>> without_folder("/lab/slides/a.svs is damaged; look into /lab/slides", "/lab/slides")
    'a.svs is damaged; look into slides'
    """
    place = os.fspath(folder).rstrip("/")
    if not place:
        return sentence
    below = re.sub(rf"(?<![\w./-]){re.escape(place)}/", "", sentence)
    return re.sub(rf"(?<![\w./-]){re.escape(place)}(?![\w.-])", lambda match: Path(place).name, below)


@contextmanager
def atomic_path(target: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `target` that replaces it when the block ends well.

    The file is flushed to disk before it is renamed. After an exception the target is as it was
    and the temporary file is gone; after a kill it stays behind, under a name that starts with a dot.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{target.stem[:40]}.", suffix=target.suffix, dir=target.parent)
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(target: str | os.PathLike[str], content: Any) -> None:
    """Write `content` to `target` as indented JSON, whole or not at all."""
    with atomic_path(target) as temporary:
        temporary.write_text(json.dumps(content, indent=1, sort_keys=True, default=str) + "\n")


def file_lock(path: str | os.PathLike[str], seconds_between_tries: float = 0.05) -> FileLock:
    """Return a context manager that one process of this machine, and one thread of it, is in at a time.

    Who waits does so without limit, and a signal ends the wait. A killed holder's lock is free. The file at `path`
    stays, for whoever waits must wait for the very one that the next opens; so where the file system has no `flock`,
    entering raises OSError instead of making do with a file that would outlive a kill.
    """
    return FileLock(path, poll_interval=seconds_between_tries, preserve_lock_file=True)


def cache_root() -> Path:
    """Return the folder of the local cache of remote files (`HISTO_CACHE`).

    Where it is not named and the user has no home, it is a folder of the user's among the temporary ones.
    """
    named = os.environ.get("HISTO_CACHE")
    return Path(named) if named else _own_cache(os.path.expanduser("~"))


@cache
def _own_cache(home: str) -> Path:
    usual = Path(home) / ".cache" / "histo_assets"
    if usual.is_absolute() and can_be_written(usual):
        return usual
    return Path(tempfile.gettempdir()) / f"histo_assets-{os.getuid()}"


def can_be_written(folder: str | os.PathLike[str]) -> bool:
    """Return whether a file can be made in `folder`, which is made too; file systems do not always say beforehand."""
    try:
        os.makedirs(folder, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def local_copy(location: Any, key: str) -> Path:
    """Return a local path that holds what `location` holds.

    Parameters
    ----------
    location
        A `UPath`. A local one is returned as it is; a remote file is fetched once into the cache.
    key
        What identifies the content (a digest, or a path that carries one): two calls with one key
        fetch once.
    """
    if not is_remote(location):
        return Path(location)
    target: Path = cache_root() / hashlib.sha256(key.encode()).hexdigest()[:32] / location.name
    if not target.exists():
        with atomic_path(target) as temporary, open(temporary, "wb") as copy, location.open("rb") as source:
            shutil.copyfileobj(source, copy, 1 << 20)
    return target


def is_remote(location: Any) -> bool:
    """Return whether `location` (a path or `UPath`) is not on the local file system."""
    return getattr(location, "protocol", "") not in ("", "file", "local")


def publish_file(local: Path, target: Any) -> None:
    """Copy the finished local file `local` to `target` (a `UPath`), whole or not at all.

    Locally the copy is flushed and renamed into place; on an object store it is one upload, which
    becomes visible only when it is complete.
    """
    if not is_remote(target):
        with atomic_path(Path(target)) as temporary:
            shutil.copyfile(local, temporary)
        return
    target.fs.put_file(str(local), target.path)


@dataclass(frozen=True)
class Bundle:
    """A few named files that belong together, as bytes: a page and the tables behind it."""

    files: dict[str, bytes]

    def write(self, folder: Path) -> None:
        """Write every file into `folder`."""
        for name, content in self.files.items():
            (folder / name).write_bytes(content)

    @classmethod
    def read(cls, folder: Path) -> Bundle:
        """Return the bundle that `write` left in `folder`."""
        return cls({path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()})

    def content_digest(self) -> str:
        """Return the digest of names and contents."""
        return settings_digest({name: hashlib.sha256(content).hexdigest() for name, content in self.files.items()})
