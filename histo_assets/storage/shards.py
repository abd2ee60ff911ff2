"""Which shards an artefact needs besides its own files."""

from __future__ import annotations

from typing import Any

from histo_assets.storage.layout import SHARDS, Artefact, Pointer, StorageError, StudyStorage


def shards_of(storage: StudyStorage, value: Any) -> dict[str, int]:
    """Return the shards that a handle names, relative to the storage's shards, with their sizes in bytes."""
    return dict(value.shards(str(storage.root / SHARDS))) if hasattr(value, "shards") else {}


def stored_shards(storage: StudyStorage, artefact: Artefact, pointer: Pointer) -> dict[str, int]:
    """Return the shards that a stored artefact names; none where it is no handle of shards or cannot be read."""
    from histo_assets.storage import formats

    if pointer.format != "folders":
        return {}
    try:
        folder = storage.fetch(artefact, pointer)
        handle = formats.handle_class(folder)
        if not hasattr(handle, "shards"):
            return {}
        return shards_of(storage, formats.read(pointer.format, folder, handle).located(str(storage.root / SHARDS)))
    except (StorageError, OSError):
        return {}
