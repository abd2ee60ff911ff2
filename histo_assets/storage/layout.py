"""Where the artefacts of a study lie, and how they get there whole.

`<root>/<asset>/<partition or all>/<version>/<files>`, and beside the versions `current.json`, the
pointer. A version is written once and never touched again; what makes it count is the pointer, one
small file that is written last. So whatever is killed, and whenever, the last good version stands.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from upath import UPath

from histo_assets.core.errors import HistoError
from histo_assets.core.files import atomic_path, cache_root, file_lock, is_remote, is_safe_id, settings_digest

POINTER = "current.json"
UNPARTITIONED = "all"
SHARDS = "shards"
LOOKS = ".looks"
SHOWN = "shown.json"
_LOCK = ".lock"
_VERSION = re.compile(r"\.?(\d{8}T\d{12})Z-[0-9a-f]{8}")
_REMEMBERED = 20


class StorageError(HistoError):
    """An artefact that cannot be written or read: the message names it and the way out."""


class UnreachableStorageError(HistoError):
    """A storage that does not answer. That says nothing of what it holds, so it is no kind of `StorageError`."""


class SupersededError(StorageError):
    """An artefact made from parents that have since become something else; it replaces nothing made from those."""


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


class Verdict(BaseModel):
    """What a check found: whether it passed, whether it blocks what comes after, and the evidence in a sentence."""

    model_config = ConfigDict(frozen=True)

    passed: bool
    blocking: bool = False
    evidence: str = ""
    warning: bool = False


class Record(BaseModel):
    """What a step knows of the artefact that it made, besides its files: all that its staleness follows from.

    Attributes
    ----------
    settings
        Dotted name -> value of the settings that the asset read; None in pointers of version 0.1.0.
    revision
        That of the asset's code.
    sources
        Source -> part -> version of what was observed of files outside the storage.
    checks
        The verdicts of the asset's checks.
    incomplete
        What could not be had, such as a slide, with the reason; to be tried again at the next run.
    shards
        Files below the storage's shards that the artefact needs, and their sizes in bytes.
    table
        What declares its table, or its matrix's rows, as `core.tables.declared_table` finds it; '' where nothing does.
    """

    model_config = ConfigDict(frozen=True)

    settings: dict[str, Any] | None = None
    revision: int | None = None
    sources: dict[str, dict[str, str]] = {}
    checks: dict[str, Verdict] = {}
    incomplete: dict[str, str] = {}
    shards: dict[str, int] = {}
    table: str = ""


@dataclass(frozen=True)
class Origin:
    """Where an artefact comes from: the code and the run that made it, and name -> data version of what it read."""

    code_version: str | None = None
    made_from: Mapping[str, str] = field(default_factory=dict)
    run_id: str = ""


class Pointer(Record):
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
        names = [name for name in pointer.files if name != SHOWN]
        return str(folder / names[0] if len(names) == 1 else folder)

    def shown(self, artefact: Artefact, pointer: Pointer) -> dict[str, Any]:
        """Return what a version shows of itself, by name, as it was stored; nothing where that is not there."""
        if SHOWN not in pointer.files:
            return {}
        location = self.folder(artefact) / pointer.version / SHOWN
        try:
            content: dict[str, Any] = json.loads(location.fs.cat_file(location.path))
            return content
        except (OSError, ValueError):
            return {}

    def pointer(self, artefact: Artefact) -> Pointer | None:
        """Return the pointer that counts of `artefact` now, or None where it has not been made.

        Raises
        ------
        StorageError
            The pointer is there but cannot be read.
        UnreachableStorageError
            The storage does not answer.
        """
        location = self.folder(artefact) / POINTER
        try:
            text = location.fs.cat_file(location.path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise self._unreachable(artefact, error) from error
        return self._read_pointer(artefact, text)

    def _unreachable(self, artefact: Artefact, error: Exception) -> UnreachableStorageError:
        return UnreachableStorageError(
            f"the storage {self.root} does not answer for {self.label(artefact)} ({' '.join(str(error).split())}); "
            "nothing is decided by that: try again when it does"
        )

    def _read_pointer(self, artefact: Artefact, text: bytes) -> Pointer:
        try:
            return Pointer.model_validate_json(text)
        except ValidationError as error:
            problem, location = error.errors()[0]["msg"], self.folder(artefact) / POINTER
            raise StorageError(f"{location} is no pointer ({problem}); {way_out(artefact)}") from None

    def pointers(self, artefacts: Sequence[Artefact]) -> dict[Artefact, Pointer | StorageError | None]:
        """Return the pointer of each artefact, None where it has not been made, or why it cannot be read."""
        if not self.remote:
            return {artefact: self._pointer_or_error(artefact) for artefact in artefacts}
        paths = {artefact: (self.folder(artefact) / POINTER).path for artefact in artefacts}
        texts = self.root.fs.cat(list(paths.values()), on_error="return") if paths else {}
        texts = {path.rstrip("/"): text for path, text in texts.items()}
        return {artefact: self._parsed(artefact, texts.get(path.rstrip("/"))) for artefact, path in paths.items()}

    def _pointer_or_error(self, artefact: Artefact) -> Pointer | StorageError | None:
        try:
            return self.pointer(artefact)
        except StorageError as error:
            return error

    def _parsed(self, artefact: Artefact, text: bytes | Exception | None) -> Pointer | StorageError | None:
        if text is None or isinstance(text, FileNotFoundError | NotADirectoryError):
            return None
        if isinstance(text, Exception):
            raise self._unreachable(artefact, text) from text
        try:
            return self._read_pointer(artefact, text)
        except StorageError as error:
            return error

    def require(self, artefact: Artefact) -> Pointer:
        """Return the pointer that counts of `artefact` now, or raise `missing`."""
        pointer = self.pointer(artefact)
        if pointer is None:
            raise self.missing(artefact)
        return pointer

    def missing(self, artefact: Artefact) -> MissingArtefactError:
        """Return the error that `artefact` must be made, and how."""
        return MissingArtefactError(f"{self.label(artefact)} has not been made; {way_out(artefact)}")

    def publish(
        self,
        artefact: Artefact,
        write: Callable[[Path], None],
        *,
        format: str,
        data_version: str,
        origin: Origin = Origin(),
        record: Record | None = None,
    ) -> Pointer:
        """Store a new version of `artefact`, whole or not at all, and return its pointer.

        Parameters
        ----------
        write
            Writes the files into the empty local folder that it is given. Whatever it raises leaves
            the version before in place.

        Raises
        ------
        SupersededError
            A parent has become something else meanwhile, and what counts now was made from that.
        """
        version = new_version()
        folder = self.folder(artefact)
        with self._building(folder, version) as building:
            write(building)
            files = _sizes(building)
            if not files:
                raise StorageError(f"{self.label(artefact)}: nothing was written")
            self._publish_files(building, folder / version, files)
        with self._one_at_a_time():
            before = self.pointer_or_none(artefact)
            self._refuse_superseded(artefact, before, origin.made_from)
            now = datetime.now(UTC)
            superseded = {} if before is None else {**before.superseded, before.version: now}
            pointer = Pointer(
                version=version,
                format=format,
                files=files,
                data_version=data_version,
                code_version=origin.code_version,
                made_from=dict(origin.made_from),
                run_id=origin.run_id,
                written_at=now,
                superseded=dict(list(superseded.items())[-_REMEMBERED:]),
                **dict(record or Record()),
            )
            self._write_pointer(folder / POINTER, pointer)
        return pointer

    def rewrite(self, artefact: Artefact, pointer: Pointer) -> None:
        """Replace the pointer of `artefact`, unless another version counts now."""
        with self._one_at_a_time():
            now = self.pointer_or_none(artefact)
            if now is not None and now.version == pointer.version:
                self._write_pointer(self.folder(artefact) / POINTER, pointer)

    def _refuse_superseded(self, artefact: Artefact, before: Pointer | None, made_from: Mapping[str, str]) -> None:
        """Raise where `before` was made from the parents as they are now and what is to replace it was not."""
        if before is None or not made_from:
            return
        now = {name: self.pointer_or_none(Artefact.named(name)) for name in {*made_from, *before.made_from}}
        versions = {name: pointer.data_version for name, pointer in now.items() if pointer is not None}
        changed = [name for name, version in made_from.items() if versions.get(name) != version]
        current = all(versions.get(name) == version for name, version in before.made_from.items())
        if changed and before.made_from and current:
            parent = Artefact.named(sorted(changed)[0])
            raise SupersededError(
                f"{self.label(artefact)} was made from {parent} as it was before, and another run has made it from "
                f"{parent} as it is now; that one stays, nothing is lost"
            )

    @contextmanager
    def _one_at_a_time(self) -> Iterator[None]:
        """Let one process of this machine write a pointer of the study at a time; an object store has no lock."""
        if self.remote:
            yield
            return
        with file_lock(Path(self.root.path) / _LOCK):
            yield

    def sizes(self, artefact: Artefact, version: str) -> dict[str, int]:
        """Return the files that are stored of a version, and their sizes in bytes."""
        return sizes_below(self.folder(artefact) / version)

    def write_look(self, name: str, text: str) -> None:
        """Store a small text beside the artefacts, whole or not at all."""
        target = self.root / LOOKS / name
        if self.remote:
            target.fs.pipe_file(target.path, text.encode())
            return
        with atomic_path(target.path) as temporary:
            temporary.write_text(text)

    def read_look(self, name: str) -> str | None:
        """Return what `write_look` stored, or None where there is none."""
        target = self.root / LOOKS / name
        try:
            return str(target.fs.cat_file(target.path).decode())
        except (FileNotFoundError, NotADirectoryError):
            return None

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
    if artefact.asset.startswith("incoming_"):
        return "run `histo-assets predict SLIDE`"
    return f"run `histo-assets materialize --select {artefact.asset}`"


def _sizes(folder: Path) -> dict[str, int]:
    return {p.relative_to(folder).as_posix(): p.stat().st_size for p in sorted(folder.rglob("*")) if p.is_file()}


def sizes_below(folder: UPath) -> dict[str, int]:
    """Return the files below `folder` (relative names) and their sizes in bytes; none where there is no folder."""
    if not is_remote(folder):
        return _sizes(Path(folder.path))
    folder.fs.invalidate_cache()
    start = len(folder.path.rstrip("/")) + 1
    entries = folder.fs.find(folder.path, detail=True)
    return {path[start:]: int(entry["size"]) for path, entry in entries.items()}


def _damage(folder: Path, pointer: Pointer) -> str | None:
    """Return what is wrong with the files of a version, or None."""
    for name, size in pointer.files.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != size:
            return f"{name} has {path.stat().st_size} bytes instead of {size}"
    return None
