"""What was made from what, and the refusal of what does not fit together.

Every load is noted for the step that loads; what the step then stores carries the notes as its
`made_from`. Loading refuses an artefact whose recorded parent has since become something else.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from threading import Lock
from typing import Any
from weakref import WeakKeyDictionary

from histo_assets.storage.layout import Artefact, Pointer, StorageError, StudyStorage, way_out

__all__ = [
    "Pointers",
    "ProvenanceError",
    "loads_of",
    "note_load",
    "refuse_stale",
    "require_one_origin",
]

_log = logging.getLogger(__name__)
_loads: WeakKeyDictionary[Any, dict[str, str]] = WeakKeyDictionary()
_lock = Lock()


class ProvenanceError(StorageError):
    """Artefacts that were made from different versions of one thing."""


class Pointers:
    """Pointers of a study, each read at most once: one load sees one state and costs no read twice."""

    def __init__(self, storage: StudyStorage) -> None:
        self.storage = storage
        self._seen: dict[Artefact, Pointer | None] = {}

    def __call__(self, artefact: Artefact) -> Pointer | None:
        """Return the pointer of `artefact`, or None where it has not been made."""
        if artefact not in self._seen:
            self._seen[artefact] = self.storage.pointer(artefact)
        return self._seen[artefact]

    def require(self, artefact: Artefact) -> Pointer:
        """Return the pointer of `artefact`, or raise the sentence that it has not been made."""
        pointer = self(artefact)
        if pointer is None:
            raise self.storage.missing(artefact)
        return pointer


def note_load(step: Any, artefact: Artefact, pointer: Pointer) -> None:
    """Remember that `step` loaded `artefact` as `pointer` says it was.

    `step` is Dagster's `StepExecutionContext`: the same object for the inputs and outputs of one
    attempt at one step, whatever the executor. The notes go when it does.
    """
    with _lock:
        _loads.setdefault(step, {})[artefact.name] = pointer.data_version


def loads_of(step: Any) -> dict[str, str]:
    """Return the data version of each artefact that `step` has loaded, by the artefact's name."""
    with _lock:
        return dict(_loads.get(step, {}))


def refuse_stale(pointers: Pointers, artefact: Artefact) -> None:
    """Raise where a parent that `artefact` was made from has since got other content.

    A parent that was made again with equal content is no reason to refuse; one that is gone (a
    partition that was pruned) is named in a warning.

    Raises
    ------
    ProvenanceError
        Names the artefact, its parent, both versions of the parent, and the way out.
    """
    pointer = pointers.require(artefact)
    gone = []
    for name, version in pointer.made_from.items():
        parent = pointers(Artefact.named(name))
        if parent is None:
            gone.append(str(Artefact.named(name)))
        elif parent.data_version != version:
            raise ProvenanceError(
                f"{pointers.storage.label(artefact)} was made from {Artefact.named(name)} {short(version)}, which is "
                f"now {short(parent.data_version)}; materialise {artefact} again: {way_out(artefact)}"
            )
    if gone:
        _log.warning("%s was made from what is gone: %s", pointers.storage.label(artefact), ", ".join(sorted(gone)))


def require_one_origin(storage: StudyStorage, origin: Artefact, artefacts: Iterable[Artefact]) -> None:
    """Raise unless all `artefacts` stem from one version of `origin`, however far up.

    For a step that brings together what went different ways: a prediction needs an embedding and a
    regressor of the same model.

    Raises
    ------
    ProvenanceError
        Two artefacts stem from different versions, or the descent of one cannot be told.
    """
    pointers = Pointers(storage)
    seen: dict[str, Artefact] = {}
    for artefact in artefacts:
        broken: list[str] = []
        versions = set(_origins(pointers, artefact, origin, broken, set()))
        if broken:
            raise ProvenanceError(
                f"{storage.label(artefact)} may stem from another {origin}: {broken[0]}; {way_out(artefact)}"
            )
        for version in versions:
            seen.setdefault(version, artefact)
    if len(seen) > 1:
        (one, first), (other, second) = list(seen.items())[:2]
        ways = f"{way_out(first)}" if first.asset == second.asset else f"{way_out(first)} or {second.asset}"
        raise ProvenanceError(
            f"{storage.label(first)} stems from {origin} {short(one)}, {storage.label(second)} from {short(other)}; "
            f"bring what lies between up to date: {ways}"
        )


def short(version: str) -> str:
    """Return the beginning of a data version, for sentences.

    >>> short("1a2b3c4d5e6f")
    '1a2b3c4d…'
    """
    return version if len(version) <= 8 else f"{version[:8]}…"


def _origins(
    pointers: Pointers, artefact: Artefact, origin: Artefact, broken: list[str], seen: set[Artefact]
) -> Iterator[str]:
    """Yield the versions of `origin` that `artefact` stems from; `broken` collects where the trail ends."""
    for name, version in pointers.require(artefact).made_from.items():
        parent = Artefact.named(name)
        if parent == origin:
            yield version
            continue
        if parent in seen:
            continue
        seen.add(parent)
        current = pointers(parent)
        if current is None:
            continue
        if current.data_version != version:
            broken.append(f"it was made over {parent} {short(version)}, which is now {short(current.data_version)}")
            continue
        yield from _origins(pointers, parent, origin, broken, seen)
