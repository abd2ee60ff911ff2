"""What the storage holds, read from its files alone: pointers, versions, shards, and what differs.

A study is compared with its undisturbed reference by data version and file by file, times apart: how
long a training took is no result.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

POINTER = "current.json"
UNPARTITIONED = "all"
# What Dagster's page shows of an artefact, beside it: names of entries; their values count seconds and draw them.
SHOWN = "shown.json"
# Artefacts whose data version counts the seconds of a training.
TIMED = ("experiment_comparison", "study_report")
_SECONDS = re.compile(r"(^|_)seconds$")
_PICTURE = re.compile(rb"data:image/[^\"')]*")


@dataclass(frozen=True, order=True)
class Stored:
    """One artefact of a study by the names of its folders."""

    asset: str
    partition: str = UNPARTITIONED

    @property
    def words(self) -> tuple[str, ...]:
        """The arguments that select it on the command line."""
        where = () if self.partition == UNPARTITIONED else ("--partition", self.partition)
        return ("--select", self.asset, *where)

    @property
    def incoming(self) -> bool:
        """Whether `predict` makes it, not `materialize`."""
        return self.asset.startswith("incoming_")

    def folder(self, study: Path) -> Path:
        """Return its folder below the study's."""
        return study / self.asset / self.partition

    def __str__(self) -> str:
        """Return its name: `asset` or `asset [partition]`."""
        return self.asset if self.partition == UNPARTITIONED else f"{self.asset} [{self.partition}]"


def stored(study: Path) -> dict[Stored, dict[str, Any]]:
    """Return every artefact with its pointer; one that cannot be read comes as an empty pointer."""
    return {
        Stored(path.parts[-3], path.parts[-2]): _pointer(path)
        for path in sorted(study.glob(f"*/*/{POINTER}"))
        if path.parts[-3] != "shards"
    }


def shards(study: Path) -> dict[str, str]:
    """Return every file below `shards` by its path, with its digest."""
    return {
        path.relative_to(study).as_posix(): _digest(path.read_bytes())
        for path in sorted((study / "shards").rglob("*"))
        if path.is_file()
    }


def half_written(study: Path) -> list[str]:
    """Return a sentence for each pointer that cannot be read or names files that are not whole."""
    problems = []
    for artefact, pointer in stored(study).items():
        if not pointer:
            problems.append(f"the pointer of {artefact} cannot be read")
            continue
        for name, size in pointer["files"].items():
            path = artefact.folder(study) / pointer["version"] / name
            if not path.is_file() or path.stat().st_size != size:
                problems.append(f"{artefact}: {name} is not whole")
    return problems


def differences(study: Path, reference: Path, only: set[Stored] | None = None, with_shards: bool = True) -> list[str]:
    """Return a sentence for each artefact, file and shard that is not as in the reference."""
    ours, theirs = stored(study), stored(reference)
    if only is not None:
        theirs = {artefact: pointer for artefact, pointer in theirs.items() if artefact in only}
    problems = [f"{artefact} is lost" for artefact in theirs if not ours.get(artefact)]
    for artefact, pointer in theirs.items():
        if mine := ours.get(artefact):
            problems += _differing(artefact, mine, pointer, study, reference)
    if with_shards:
        mine, wanted = shards(study), shards(reference)
        problems += [f"{path} is lost" for path in wanted if path not in mine]
        problems += [f"{path} differs" for path in wanted if path in mine and mine[path] != wanted[path]]
    return problems


def orphans(study: Path, reference: Path) -> list[str]:
    """Return what lies in the study though nothing will ever read it: old versions, drafts, unknown shards."""
    paths = []
    for artefact, pointer in stored(study).items():
        known = {POINTER, pointer.get("version")}
        paths += [str(path.relative_to(study)) for path in artefact.folder(study).iterdir() if path.name not in known]
    for path in study.glob("*/*"):
        if path.is_dir() and path.parts[-2] != "shards" and not (path / POINTER).exists() and any(path.iterdir()):
            paths.append(str(path.relative_to(study)))
    paths += [path for path in shards(study) if path not in shards(reference)]
    return [f"orphaned: {path}" for path in paths]


def _differing(
    artefact: Stored, mine: dict[str, Any], theirs: dict[str, Any], study: Path, reference: Path
) -> Iterator[str]:
    if mine["data_version"] != theirs["data_version"] and artefact.asset not in TIMED:
        yield f"{artefact} has another data version"
        return
    if sorted(mine["files"]) != sorted(theirs["files"]):
        yield f"{artefact} has other files"
        return
    for name in theirs["files"]:
        ours, wanted = (
            artefact.folder(root) / pointer["version"] / name for root, pointer in ((study, mine), (reference, theirs))
        )
        if not ours.exists():
            yield f"{artefact}: {name} is lost"
        elif not _equal(name, ours.read_bytes(), wanted.read_bytes()):
            yield f"{artefact}: {name} differs"


def _equal(name: str, ours: bytes, wanted: bytes) -> bool:
    return ours == wanted or _timeless(name, ours) == _timeless(name, wanted)


def _timeless(name: str, content: bytes) -> str:
    """Return the digest of a file without the seconds that something took and pictures drawn of them."""
    if name.endswith(".parquet"):
        table = pd.read_parquet(io.BytesIO(content))
        kept = table[[column for column in table if not _SECONDS.search(str(column))]]
        return _digest(kept.to_json(orient="split").encode())
    if name == SHOWN:
        return _digest(json.dumps(sorted(json.loads(content))).encode())
    if name.endswith(".html"):
        return _digest(_PICTURE.sub(b"picture", content))
    return _digest(content)


def _pointer(path: Path) -> dict[str, Any]:
    try:
        pointer: dict[str, Any] = json.loads(path.read_text())
        return pointer if {"version", "files", "data_version"} <= set(pointer) else {}
    except ValueError:
        return {}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
