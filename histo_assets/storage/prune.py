"""Removal of what no longer counts. Nothing here runs by itself.

What a lost pointer may have meant is an orphan: it is listed, and removed only where that is asked for.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from upath import UPath

from histo_assets.storage.layout import (
    POINTER,
    SHARDS,
    UNPARTITIONED,
    Artefact,
    Pointer,
    StorageError,
    StudyStorage,
    version_time,
)

_LOST = "its pointer is missing"
_UNREADABLE = "its pointer cannot be read"
_NEWER = "newer than the version that its pointer names"


@dataclass(frozen=True)
class Removed:
    """One thing that was removed, or would be: its path or URL, and why; an `orphan` only where orphans shall go."""

    path: str
    reason: str
    orphan: bool = False


def prune(
    storage: StudyStorage,
    grace: timedelta,
    keep_partitions: Mapping[str, Collection[str]] | None = None,
    dry_run: bool = False,
    now: datetime | None = None,
    orphans: bool = False,
) -> list[Removed]:
    """Remove old versions, abandoned writes and partitions that the study no longer has; return these and the orphans.

    A version is an orphan where the artefact's pointer is missing or unreadable, or was put back to an older one
    that does not know it.

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
    orphans
        Remove orphans too, once they are older than `grace`.
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
        for entry, reason, orphan in _expired(storage, artefact, entries, now, grace):
            removed.append(Removed(str(storage.folder(artefact) / entry), reason, orphan))
            if not dry_run and (orphans or not orphan):
                _remove_version(storage, artefact, entry)
    return removed


def prune_shards(
    storage: StudyStorage,
    asset: str,
    keep: Collection[str],
    grace: timedelta,
    dry_run: bool = False,
    unsure: Mapping[str, str] | None = None,
    orphans: bool = False,
) -> list[Removed]:
    """Remove files below `shards/<asset>` that no index names any more, once they are older than `grace`.

    Parameters
    ----------
    keep
        Paths relative to `shards/<asset>`, without their suffix: what lies beside a shard under its
        name (an index of its own) stays and goes with it.
    unsure
        Tissue -> reason why its indexes are not all known: its other shards are orphans.
    orphans
        Remove these too.
    """
    folder = storage.root / SHARDS / asset
    now = datetime.now(UTC)
    removed = []
    for path, entry in sorted(_find(folder).items()):
        relative = path[len(folder.path.rstrip("/")) + 1 :]
        kept = any(relative == name or relative.startswith(f"{name}.") for name in keep)
        if kept or entry["type"] != "file" or not _has_passed(_modified(entry), now, grace):
            continue
        tissue, _, name = relative.rpartition("/")
        doubt = None if _is_draft(name) else (unsure or {}).get(tissue)
        removed.append(Removed(str(folder / relative), doubt or "no index names this shard", doubt is not None))
        if not dry_run and (orphans or doubt is None):
            folder.fs.rm(path)
    return removed


def doubt_of(storage: StudyStorage, artefact: Artefact) -> str | None:
    """Return why the pointer of `artefact` may not name the version that counts (lost, or older than one), or None."""
    entries = dict(_artefacts(storage, artefact.asset)).get(artefact, set())
    versions = _expired(storage, artefact, entries, datetime.now(UTC), timedelta(0))
    lost = next((reason for _, reason, orphan in versions if orphan), None)
    return lost or (None if POINTER in entries else _LOST)


def stored_artefacts(storage: StudyStorage) -> list[Artefact]:
    """Return every artefact of which anything is stored."""
    return [artefact for artefact, _ in _artefacts(storage)]


def _artefacts(storage: StudyStorage, only: str | None = None) -> list[tuple[Artefact, set[str]]]:
    """Return every artefact (of the asset `only`) that has left anything, with the names in its folder."""
    root = storage.root.path.rstrip("/")
    entries: dict[Artefact, set[str]] = {}
    storage.root.fs.invalidate_cache()
    if not storage.root.fs.isdir(root):
        return []
    assets = [path.rstrip("/").rsplit("/", 1)[-1] for path in storage.root.fs.ls(root, detail=False)]
    for asset in sorted(set(assets) - {SHARDS}):
        if only not in (None, asset):
            continue
        folder = storage.root / asset
        for path in _find(folder):
            partition, _, rest = path[len(folder.path.rstrip("/")) + 1 :].partition("/")
            entry = rest.split("/", 1)[0]
            if entry == POINTER or version_time(entry):
                artefact = Artefact(asset, None if partition == UNPARTITIONED else partition)
                entries.setdefault(artefact, set()).add(entry)
    return sorted(entries.items(), key=lambda item: item[0].name)


def _find(folder: UPath) -> dict[str, dict[str, Any]]:
    """Return all files and folders below `folder`, by path."""
    folder.fs.invalidate_cache()
    entries: dict[str, dict[str, Any]] = folder.fs.find(folder.path, withdirs=True, detail=True)
    return {path.rstrip("/"): entry for path, entry in entries.items() if path.rstrip("/") != folder.path.rstrip("/")}


def _expired(
    storage: StudyStorage, artefact: Artefact, entries: set[str], now: datetime, grace: timedelta
) -> list[tuple[str, str, bool]]:
    """Return the versions of `artefact` that ceased to count `grace` ago: name, reason, whether it is an orphan."""
    pointer = _pointer(storage, artefact)
    expired = []
    for entry in sorted(entries - {POINTER}):
        begun = version_time(entry)
        if begun is None or (pointer is not None and entry == pointer.version):
            continue
        until = pointer.superseded.get(entry) if pointer is not None else None
        doubt = None if until or _is_draft(entry) else _doubt(pointer, begun, POINTER in entries)
        if _has_passed(until or begun, now, grace):
            ended = f"superseded {until:%Y-%m-%d}" if until else "never finished"
            expired.append((entry, doubt or ended, doubt is not None))
    return expired


def _has_passed(stamp: datetime, now: datetime, grace: timedelta) -> bool:
    """Return whether `grace` has passed since `stamp`; what a clock that went ahead wrote counts as of now."""
    return min(stamp, now) <= now - grace


def _pointer(storage: StudyStorage, artefact: Artefact) -> Pointer | None:
    """Return the pointer of `artefact`, or None where it is missing or cannot be read, for whatever reason."""
    try:
        return storage.pointer(artefact)
    except (StorageError, OSError):
        return None


def _is_draft(entry: str) -> bool:
    """Return whether a local version or shard was still being written: its name is hidden until it is whole."""
    return entry.startswith(".")


def _doubt(pointer: Pointer | None, begun: datetime, is_stored: bool) -> str | None:
    """Return why a version that no pointer names may count all the same, or None."""
    if pointer is None:
        return _UNREADABLE if is_stored else _LOST
    current = version_time(pointer.version) or pointer.written_at
    return _NEWER if begun > current else None


def _remove_partition(storage: StudyStorage, artefact: Artefact, entries: set[str]) -> None:
    folder = storage.folder(artefact)
    if POINTER in entries:
        folder.fs.rm((folder / POINTER).path)  # first: what is left when this is killed counts for nothing
    for entry in entries - {POINTER}:
        _remove_version(storage, artefact, entry)
    if not storage.remote:
        shutil.rmtree(folder.path, ignore_errors=True)


def _remove_version(storage: StudyStorage, artefact: Artefact, version: str) -> None:
    pointer = _pointer(storage, artefact)
    if pointer is not None and pointer.version == version:
        return  # it has come to count since
    folder = storage.folder(artefact) / version
    if folder.fs.exists(folder.path):
        folder.fs.rm(folder.path, recursive=True)
    shutil.rmtree(storage.cached(artefact, version), ignore_errors=True)


def _modified(entry: Mapping[str, Any]) -> datetime:
    stamp = entry.get("LastModified") or entry.get("mtime") or entry.get("created") or 0
    return stamp if isinstance(stamp, datetime) else datetime.fromtimestamp(stamp, UTC)
