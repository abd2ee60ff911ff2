"""Where the artefacts of a study lie, and how they get there whole.

`<root>/<asset>/<partition or all>/<version>/<files>`, and beside the versions `current.json`, the
pointer. A version is written once and never touched again; what makes it count is the pointer, one
small file that is written last. So whatever is killed, and whenever, the last good version stands.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError
from upath import UPath

from histo_assets.core.files import atomic_path, cache_root, is_remote, is_safe_id, settings_digest

POINTER = "current.json"
UNPARTITIONED = "all"
SHARDS = "shards"
_VERSION = re.compile(r"\.?(\d{8}T\d{12})Z-[0-9a-f]{8}")
_REMEMBERED = 20


class StorageError(ValueError):
    """An artefact that cannot be written or read: the message names it and the way out."""


class MissingArtefactError(StorageError):
    """An artefact that has not been made yet."""


@dataclass(frozen=True, order=True)
class Artefact:
    """One asset's output, or one partition of it."""

    asset: str
    partition: str | None = None

    @property
    def name(self) -> str:
        """The name that pointers record: `asset` or `asset/partition`."""
        return self.asset if self.partition is None else f"{self.asset}/{self.partition}"

    @classmethod
    def named(cls, name: str) -> Artefact:
        """Return the artefact that a pointer recorded as `name`."""
        asset, _, partition = name.partition("/")
        return cls(asset, partition or None)

    def __str__(self) -> str:
        """Return how sentences name it: `asset` or `asset [partition]`."""
        return self.asset if self.partition is None else f"{self.asset} [{self.partition}]"


class Pointer(BaseModel):
    """The content of `current.json`: which version counts, and what it was made from.

    `files` maps each file to its size in bytes; `made_from` maps the name of each artefact that the
    step loaded to its data version; `superseded` says until when earlier versions counted.
    """

    model_config = ConfigDict(frozen=True)

    version: str
    format: str
    files: dict[str, int]
    data_version: str
    code_version: str | None = None
    made_from: dict[str, str] = {}
    run_id: str = ""
    written_at: datetime
    superseded: dict[str, datetime] = {}

    @property
    def size(self) -> int:
        """All files together, in bytes."""
        return sum(self.files.values())


class StudyStorage:
    """The artefacts of one study, below `root` (a local path or an fsspec URL)."""

    def __init__(self, root: str | os.PathLike[str] | UPath) -> None:
        location = UPath(root)
        self.remote = is_remote(location)
        self.root = location if self.remote else UPath(Path(location.path).absolute())
        self.study = self.root.name

    def __repr__(self) -> str:
        """Return the call that makes an equal one."""
        return f"StudyStorage({str(self.root)!r})"

    def folder(self, artefact: Artefact) -> UPath:
        """Return the folder that holds all versions of `artefact`."""
        partition = UNPARTITIONED if artefact.partition is None else artefact.partition
        for part in (artefact.asset, partition):
            if not is_safe_id(part):
                raise StorageError(f"{self.label(artefact)}: {part!r} cannot be a folder's name; use [A-Za-z0-9._-]")
        return self.root / artefact.asset / partition

    def label(self, artefact: Artefact) -> str:
        """Return how sentences name `artefact`: `study/asset [partition]`."""
        return f"{self.study}/{artefact}"

    def location(self, artefact: Artefact, pointer: Pointer) -> str:
        """Return the path or URL of a version: of its file where it has only one, else of its folder."""
        folder = self.folder(artefact) / pointer.version
        return str(folder / next(iter(pointer.files)) if len(pointer.files) == 1 else folder)

    def pointer(self, artefact: Artefact) -> Pointer | None:
        """Return what counts as `artefact` now, or None where it has not been made.

        Raises
        ------
        StorageError
            The pointer is there but cannot be read.
        """
        location = self.folder(artefact) / POINTER
        try:
            text = location.fs.cat_file(location.path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            return Pointer.model_validate_json(text)
        except ValidationError as error:
            problem = error.errors()[0]["msg"]
            raise StorageError(f"{location} is no pointer ({problem}); {way_out(artefact)}") from None

    def require(self, artefact: Artefact) -> Pointer:
        """Return what counts as `artefact` now, or raise `missing`."""
        pointer = self.pointer(artefact)
        if pointer is None:
            raise self.missing(artefact)
        return pointer

    def missing(self, artefact: Artefact) -> MissingArtefactError:
        """Return the error that says that and how `artefact` must be made."""
        return MissingArtefactError(f"{self.label(artefact)} has not been made; {way_out(artefact)}")

    def publish(
        self,
        artefact: Artefact,
        write: Callable[[Path], None],
        *,
        format: str,
        data_version: str,
        code_version: str | None = None,
        made_from: Mapping[str, str] | None = None,
        run_id: str = "",
    ) -> Pointer:
        """Store a new version of `artefact`, whole or not at all, and return its pointer.

        Parameters
        ----------
        write
            Writes the files into the empty local folder that it is given. Whatever it raises leaves
            the version before in place.
        """
        version = new_version()
        folder = self.folder(artefact)
        with self._building(folder, version) as building:
            write(building)
            files = _sizes(building)
            if not files:
                raise StorageError(f"{self.label(artefact)}: nothing was written")
            self._publish_files(building, folder / version, files)
        before = self.pointer_or_none(artefact)
        now = datetime.now(UTC)
        superseded = {} if before is None else {**before.superseded, before.version: now}
        pointer = Pointer(
            version=version,
            format=format,
            files=files,
            data_version=data_version,
            code_version=code_version,
            made_from=dict(made_from or {}),
            run_id=run_id,
            written_at=now,
            superseded=dict(list(superseded.items())[-_REMEMBERED:]),
        )
        self._write_pointer(folder / POINTER, pointer)
        return pointer

    def pointer_or_none(self, artefact: Artefact) -> Pointer | None:
        """Return the pointer of `artefact`, or None where there is none that can be read."""
        try:
            return self.pointer(artefact)
        except StorageError:
            return None

    def fetch(self, artefact: Artefact, pointer: Pointer) -> Path:
        """Return a local folder that holds the files of a version, each checked for its size.

        A remote version is fetched once into the cache (`HISTO_CACHE`).
        """
        source = self.folder(artefact) / pointer.version
        if not self.remote:
            folder = Path(source.path)
        else:
            folder = self.cached(artefact, pointer.version)
            if _damage(folder, pointer):
                self._download(artefact, pointer, source, folder)
        damage = _damage(folder, pointer)
        if damage:
            raise StorageError(f"{self.label(artefact)}: {damage} in {source}; {way_out(artefact)}")
        return folder

    def cached(self, artefact: Artefact, version: str) -> Path:
        """Return where this machine keeps its copy of a remote version."""
        return self.local_folder("artefacts") / artefact.name / version

    def local_folder(self, purpose: str) -> Path:
        """Return this machine's folder for `purpose`, of this study at this storage alone."""
        return cache_root() / purpose / f"{self.study}-{settings_digest(str(self.root))}"

    @contextmanager
    def _building(self, folder: UPath, version: str) -> Iterator[Path]:
        """Yield an empty local folder that is gone afterwards; for a local study beside its target."""
        if self.remote:
            uploads = self.local_folder("uploads")
            uploads.mkdir(parents=True, exist_ok=True)
            building = Path(tempfile.mkdtemp(dir=uploads))
        else:
            building = Path(folder.path) / f".{version}"
            building.mkdir(parents=True)
        try:
            yield building
        finally:
            shutil.rmtree(building, ignore_errors=True)

    def _publish_files(self, building: Path, target: UPath, files: Mapping[str, int]) -> None:
        if self.remote:
            target.fs.put([str(building / name) for name in files], [(target / name).path for name in files])
            return
        for name in files:
            with open(building / name, "rb+") as file:
                os.fsync(file.fileno())
        building.rename(target.path)

    def _write_pointer(self, target: UPath, pointer: Pointer) -> None:
        text = pointer.model_dump_json(indent=1) + "\n"
        if self.remote:
            target.fs.pipe_file(target.path, text.encode())
            return
        with atomic_path(target.path) as temporary:
            temporary.write_text(text)

    def _download(self, artefact: Artefact, pointer: Pointer, source: UPath, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        arriving = Path(tempfile.mkdtemp(prefix=".", dir=folder.parent))
        try:
            source.fs.get([(source / name).path for name in pointer.files], [str(arriving / n) for n in pointer.files])
            arriving.rename(folder)
        except FileNotFoundError:
            raise StorageError(f"{self.label(artefact)}: files are missing in {source}; {way_out(artefact)}") from None
        except OSError:
            if _damage(folder, pointer):  # else another process was faster, and its copy is as good
                raise
        finally:
            shutil.rmtree(arriving, ignore_errors=True)


def new_version() -> str:
    """Return a name that no other version has and that sorts by time."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}Z-{uuid.uuid4().hex[:8]}"


def version_time(name: str) -> datetime | None:
    """Return when the version `name` was begun, or None where `name` is no version's."""
    match = _VERSION.fullmatch(name)
    return datetime.strptime(match[1], "%Y%m%dT%H%M%S%f").replace(tzinfo=UTC) if match else None


def way_out(artefact: Artefact) -> str:
    """Return the end of a sentence that says how `artefact` is made again."""
    return f"run `histo-assets materialize --select {artefact.asset}`"


def _sizes(folder: Path) -> dict[str, int]:
    return {p.relative_to(folder).as_posix(): p.stat().st_size for p in sorted(folder.rglob("*")) if p.is_file()}


def _damage(folder: Path, pointer: Pointer) -> str | None:
    """Return what is wrong with the files of a version, or None."""
    for name, size in pointer.files.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != size:
            return f"{name} has {path.stat().st_size} bytes instead of {size}"
    return None
