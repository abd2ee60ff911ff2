"""Removal of what no longer counts. Nothing here runs by itself."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from upath import UPath

from histo_assets.storage.layout import POINTER, SHARDS, UNPARTITIONED, Artefact, StudyStorage, version_time


@dataclass(frozen=True)
class Removed:
    """One thing that was removed, or would be: its path or URL, and why."""

    path: str
    reason: str


def prune(
    storage: StudyStorage,
    grace: timedelta,
    keep_partitions: Mapping[str, Collection[str]] | None = None,
    dry_run: bool = False,
    now: datetime | None = None,
) -> list[Removed]:
    """Remove old versions, abandoned writes and partitions that the study no longer has.

    Parameters
    ----------
    grace
        How long a version stays after another one took its place, and how long a write that was
        never finished stays after it began. A run that still reads it must be over by then.
    keep_partitions
        The partitions that each asset has; all others of that asset go at once. Assets that are not
        named keep all.
    dry_run
        Remove nothing, and return what would go.
    """
    now = now or datetime.now(UTC)
    removed: list[Removed] = []
    for artefact, entries in _artefacts(storage):
        keep = (keep_partitions or {}).get(artefact.asset)
        if keep is not None and (artefact.partition or UNPARTITIONED) not in keep:
            removed.append(Removed(str(storage.folder(artefact)), "the study has no such partition"))
            if not dry_run:
                _remove_partition(storage, artefact, entries)
            continue
        for entry, reason in _expired(storage, artefact, entries, now - grace):
            removed.append(Removed(str(storage.folder(artefact) / entry), reason))
            if not dry_run:
                _remove_version(storage, artefact, entry)
    return removed


def prune_shards(
    storage: StudyStorage, asset: str, keep: Collection[str], grace: timedelta, dry_run: bool = False
) -> list[Removed]:
    """Remove files below `shards/<asset>` that no index names any more, once they are older than `grace`.

    Parameters
    ----------
    keep
        Paths relative to `shards/<asset>`, without their suffix: what lies beside a shard under its
        name (an index of its own) stays and goes with it.
    """
    folder = storage.root / SHARDS / asset
    limit = datetime.now(UTC) - grace
    removed = []
    for path, entry in sorted(_find(folder).items()):
        relative = path[len(folder.path.rstrip("/")) + 1 :]
        kept = any(relative == name or relative.startswith(f"{name}.") for name in keep)
        if kept or entry["type"] != "file" or _modified(entry) > limit:
            continue
        removed.append(Removed(str(folder / relative), "no index names this shard"))
        if not dry_run:
            folder.fs.rm(path)
    return removed


def stored_artefacts(storage: StudyStorage) -> list[Artefact]:
    """Return every artefact of which anything is stored."""
    return [artefact for artefact, _ in _artefacts(storage)]


def _artefacts(storage: StudyStorage) -> list[tuple[Artefact, set[str]]]:
    """Return every artefact that has left anything, with the names in its folder."""
    root = storage.root.path.rstrip("/")
    found: dict[Artefact, set[str]] = {}
    storage.root.fs.invalidate_cache()
    if not storage.root.fs.isdir(root):
        return []
    assets = [path.rstrip("/").rsplit("/", 1)[-1] for path in storage.root.fs.ls(root, detail=False)]
    for asset in sorted(set(assets) - {SHARDS}):
        folder = storage.root / asset
        for path in _find(folder):
            partition, _, rest = path[len(folder.path.rstrip("/")) + 1 :].partition("/")
            entry = rest.split("/", 1)[0]
            if entry == POINTER or version_time(entry):
                artefact = Artefact(asset, None if partition == UNPARTITIONED else partition)
                found.setdefault(artefact, set()).add(entry)
    return sorted(found.items(), key=lambda item: item[0].name)


def _find(folder: UPath) -> dict[str, dict[str, Any]]:
    """Return all files and folders below `folder`, by path."""
    folder.fs.invalidate_cache()
    entries: dict[str, dict[str, Any]] = folder.fs.find(folder.path, withdirs=True, detail=True)
    return {path.rstrip("/"): entry for path, entry in entries.items() if path.rstrip("/") != folder.path.rstrip("/")}


def _expired(storage: StudyStorage, artefact: Artefact, entries: set[str], limit: datetime) -> list[tuple[str, str]]:
    """Return the versions of `artefact` that ceased to count before `limit`, with the reason."""
    pointer = storage.pointer(artefact)
    expired = []
    for entry in sorted(entries - {POINTER}):
        begun = version_time(entry)
        if begun is None or (pointer is not None and entry == pointer.version):
            continue
        until = pointer.superseded.get(entry) if pointer is not None else None
        if (until or begun) < limit:
            expired.append((entry, f"superseded {until:%Y-%m-%d}" if until else "never finished"))
    return expired


def _remove_partition(storage: StudyStorage, artefact: Artefact, entries: set[str]) -> None:
    folder = storage.folder(artefact)
    if POINTER in entries:
        folder.fs.rm((folder / POINTER).path)  # first: what is left when this is killed counts for nothing
    for entry in entries - {POINTER}:
        _remove_version(storage, artefact, entry)
    if not storage.remote:
        shutil.rmtree(folder.path, ignore_errors=True)


def _remove_version(storage: StudyStorage, artefact: Artefact, version: str) -> None:
    pointer = storage.pointer_or_none(artefact)
    if pointer is not None and pointer.version == version:
        return  # it has come to count since
    folder = storage.folder(artefact) / version
    if folder.fs.exists(folder.path):
        folder.fs.rm(folder.path, recursive=True)
    shutil.rmtree(storage.cached(artefact, version), ignore_errors=True)


def _modified(entry: Mapping[str, Any]) -> datetime:
    stamp = entry.get("LastModified") or entry.get("mtime") or entry.get("created") or 0
    return stamp if isinstance(stamp, datetime) else datetime.fromtimestamp(stamp, UTC)
