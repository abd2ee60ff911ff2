"""Shards at rest: one tar of JPEG tiles a slide, and beside it the sidecar that says it is whole.

`<root>/<tissue>/<slide>-<reading key>-<thresholds>-<decisions>.tar` and `.json`. The keys are digests of slide
and tiling parameters and of the quality thresholds, `decisions` how many candidates had been tried. The sidecar
is published last, so that a shard without one was left by a process that was killed, and is never used.
"""

from __future__ import annotations

import io
import os
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from upath import UPath

from histo_assets.core.errors import HistoError
from histo_assets.core.files import is_remote, local_copy, publish_file


class TilingError(HistoError):
    """Tiles that cannot be cut or read: the message names the slide or shard and the way out."""


def sidecar_of(shard: str) -> str:
    """Return the name of the sidecar that lies beside the shard of the name `shard`."""
    return f"{shard.removesuffix('.tar')}.json"


class ShardStore:
    """The shards and sidecars of one tissue: files below `root`, a local path or an fsspec URL."""

    def __init__(self, root: str, tissue: str) -> None:
        self.root = str(root)
        self.tissue = tissue

    @property
    def folder(self) -> UPath:
        """The folder (or prefix) that holds the tissue's shards."""
        return UPath(self.root) / self.tissue

    def names(self) -> dict[str, int]:
        """Return the published files and their sizes in bytes; nothing half-written is among them."""
        folder = self.folder
        if not is_remote(folder):
            local = Path(str(folder))
            entries = local.iterdir() if local.is_dir() else iter(())
            return {p.name: p.stat().st_size for p in entries if p.is_file() and not p.name.startswith(".")}
        folder.fs.invalidate_cache()
        try:
            listing = folder.fs.ls(folder.path, detail=True)
        except FileNotFoundError:
            return {}
        return {entry["name"].rsplit("/", 1)[-1]: entry["size"] for entry in listing if entry["type"] == "file"}

    def fetch(self, name: str) -> Path:
        """Return a local path that holds the file `name`; a remote one is fetched once into the cache.

        Raises
        ------
        TilingError
            There is no such file.
        """
        location = self.folder / name
        try:
            path = local_copy(location, str(location))
        except FileNotFoundError:
            path = None
        if path is None or not path.exists():
            raise TilingError(f"shard {location} is missing; run `histo-assets materialize --select tiles`")
        return path

    def read_text(self, name: str) -> str:
        """Return the content of the published file `name`, not cached: a sidecar is replaced by a later one."""
        return str((self.folder / name).read_text(encoding="utf-8"))

    @contextmanager
    def draft(self, suffix: str) -> Iterator[Path]:
        """Yield the path of an empty file to write and then `publish`; what is not published is removed.

        It lies beside the shards, so that publishing it is a rename; for an object store in the
        system's temporary folder. A killed process leaves it behind, under a name that begins with a dot.
        """
        folder = None if is_remote(self.folder) else Path(str(self.folder))
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(suffix, ".shard-", folder)
        os.close(descriptor)
        try:
            yield Path(name)
        finally:
            Path(name).unlink(missing_ok=True)

    def publish(self, draft: Path, name: str) -> None:
        """Publish the finished draft as `name`, whole or not at all."""
        target = self.folder / name
        if is_remote(target):
            publish_file(draft, target)
            return
        with open(draft, "rb+") as file:
            os.fsync(file.fileno())
        draft.chmod(0o644)
        os.replace(draft, Path(str(target)))


class ShardWriter:
    """Writes a tar whose bytes depend on its members alone: no times, no owners."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar

    def add(self, name: str, content: bytes) -> int:
        """Append a member and return the offset of its content, in bytes from the start of the file."""
        member = tarfile.TarInfo(name)
        member.size = len(content)
        member.mode = 0o644
        self._tar.addfile(member, io.BytesIO(content))
        padded = -(-len(content) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
        return int(self._tar.offset) - padded


@contextmanager
def shard_writer(path: Path) -> Iterator[ShardWriter]:
    """Yield a writer of the tar at `path`; it is complete when the block ends."""
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        yield ShardWriter(tar)


def read_members(path: Path, extents: Sequence[tuple[int, int]]) -> Iterator[bytes]:
    """Yield the content at every (offset, length) of the shard at `path`."""
    with open(path, "rb") as file:
        for offset, length in extents:
            file.seek(offset)
            yield file.read(length)
