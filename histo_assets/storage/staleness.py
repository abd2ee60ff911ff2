"""What of a study is fresh, missing, stale or failed, and why: from the storage and the study alone.

A pointer records what its artefact was made with; a `Need` says what the study asks of it now. Where the
two differ, the difference is the reason. Nothing here asks Dagster, so a lost history changes no answer, and
an older or incomplete storage is seen as what it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from histo_assets.storage.layout import (
    SHARDS,
    Artefact,
    Pointer,
    StorageError,
    StudyStorage,
    sizes_below,
)
from histo_assets.storage.looks import Source, Sources
from histo_assets.storage.shards import stored_shards

_MOST_NAMED = 4

State = Literal["fresh", "missing", "stale", "failed"]
Kind = Literal["missing", "files", "code", "setting", "parent", "source", "incomplete", "check"]


@dataclass(frozen=True)
class Need:
    """What a study asks of one artefact.

    Attributes
    ----------
    revision
        That of the asset's code.
    settings
        Dotted name -> value of the settings that it reads.
    parents
        Everything that it is made from.
    sources
        Source -> the parts of it that are read; an empty tuple where all are.
    adopted_code
        The code version that version 0.1.0 would have given it, where that can be told.
    formerly
        Parent -> the asset that earlier versions read in its place. Where a pointer names that one, what became of it
        decides.
    """

    artefact: Artefact
    revision: int
    settings: Mapping[str, Any]
    parents: tuple[Artefact, ...] = ()
    sources: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    adopted_code: str | None = None
    formerly: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Reason:
    """Why an artefact is not fresh: what kind of reason, what it is about, and the sentence."""

    kind: Kind
    subject: str
    sentence: str

    def __str__(self) -> str:
        """Return the sentence."""
        return self.sentence


@dataclass(frozen=True)
class Status:
    """How one artefact stands.

    Attributes
    ----------
    state
        `stale` also where only something that it is made from is not fresh.
    reasons
        Its own reasons. Without any it need not be made before what it waits for is.
    waits_for
        Those of its parents that are not fresh.
    """

    artefact: Artefact
    state: State
    reasons: tuple[Reason, ...]
    waits_for: tuple[Artefact, ...]
    pointer: Pointer | None

    def sentences(self) -> list[str]:
        """Return the reasons in words, what it waits for last."""
        waiting = f"{_listed(self.waits_for)} not fresh" if self.waits_for else ""
        return [*map(str, self.reasons), *([waiting] if waiting else [])]


class Staleness:
    """The answers for one study at one storage; `needs` come parents first."""

    def __init__(self, storage: StudyStorage, needs: Iterable[Need], sources: Mapping[str, Source]) -> None:
        self.storage = storage
        self.needs = {need.artefact: need for need in needs}
        self._sources = Sources(storage, sources)

    @property
    def sources(self) -> Sources:
        """What was observed of files outside the storage."""
        return self._sources

    def reasons(self, artefact: Artefact) -> tuple[Reason, ...]:
        """Return the own reasons why `artefact` must be made, as the storage is at this moment; none where fresh."""
        return self._reasons(self.needs[artefact], _Pointers(self.storage))

    def pointer(self, artefact: Artefact) -> Pointer | None:
        """Return the pointer of `artefact`, completed where version 0.1.0 wrote it; None where there is none."""
        pointer = self.storage.pointer_or_none(artefact)
        return pointer if pointer is None else self._adopted(self.needs[artefact], pointer)

    def statuses(self) -> list[Status]:
        """Return how every artefact of the study stands, parents first."""
        pointers = _Pointers(self.storage)
        pointers.read(self.needs)
        standing: dict[Artefact, Status] = {}
        for artefact, need in self.needs.items():
            own = self._reasons(need, pointers)
            waits_for = tuple(p for p in need.parents if p in standing and standing[p].state != "fresh")
            standing[artefact] = Status(artefact, _state(own, waits_for), own, waits_for, pointers.readable(artefact))
        return list(standing.values())

    def adopt(self) -> list[Artefact]:
        """Complete the pointers that version 0.1.0 wrote, where what they lack is known; return those artefacts."""
        completed = []
        for artefact, need in self.needs.items():
            pointer = self.storage.pointer_or_none(artefact)
            if pointer is None or pointer.settings is not None:
                continue
            adopted = self._adopted(need, pointer)
            if adopted.settings is not None:
                shards = stored_shards(self.storage, artefact, pointer)
                self.storage.rewrite(artefact, adopted.model_copy(update={"shards": shards}))
                completed.append(artefact)
        return completed

    def _reasons(self, need: Need, pointers: _Pointers) -> tuple[Reason, ...]:
        try:
            pointer = pointers(need.artefact)
        except StorageError as error:
            return (Reason("missing", str(need.artefact), f"its pointer cannot be read: {error}"),)
        if pointer is None:
            return (Reason("missing", str(need.artefact), "missing"),)
        pointer = self._adopted(need, pointer)
        return (
            *self._lost_files(need.artefact, pointer),
            *_changed_code(need, pointer),
            *_changed_settings(need, pointer),
            *_changed_parents(need, pointer, pointers),
            *self._changed_sources(need, pointer),
            *_unfinished(pointer),
        )

    def _lost_files(self, artefact: Artefact, pointer: Pointer) -> Iterator[Reason]:
        stored = self.storage.sizes(artefact, pointer.version)
        for name, size in pointer.files.items():
            if stored.get(name) != size:
                yield Reason("files", name, _lost(name, size, stored.get(name)))
                return
        folders: dict[str, dict[str, int]] = {}
        for name, size in pointer.shards.items():
            folder, _, shard = name.rpartition("/")
            if folder not in folders:
                folders[folder] = sizes_below(self.storage.root / SHARDS / folder)
            if folders[folder].get(shard) != size:
                yield Reason("files", name, _lost(f"{SHARDS}/{name}", size, folders[folder].get(shard)))
                return

    def _changed_sources(self, need: Need, pointer: Pointer) -> Iterator[Reason]:
        for source, parts in need.sources.items():
            recorded = pointer.sources.get(source)
            if recorded is None:
                yield Reason("source", source, f"what it was made of in {source} is not recorded")
                continue
            now = self._sources.current(source, recorded, parts)
            for part in sorted({*recorded, *now}):
                if recorded.get(part) != now.get(part):
                    yield Reason("source", f"{source}.{part}", _change_of(part, recorded.get(part), now.get(part)))

    def _adopted(self, need: Need, pointer: Pointer) -> Pointer:
        """Return a pointer of version 0.1.0 with what it lacks, where its settings were those of the study.

        What was observed of files was not recorded then: it is taken as it is now, unless a file is younger
        than the artefact.
        """
        if pointer.settings is not None or need.adopted_code is None or pointer.code_version != need.adopted_code:
            return pointer
        sources = {
            source: self._sources.seen_before(source, pointer.written_at, self.storage, need.artefact)
            for source in need.sources
        }
        known = {source: parts for source, parts in sources.items() if parts is not None}
        return pointer.model_copy(
            update={
                "settings": dict(need.settings),
                "revision": need.revision,
                "sources": {s: _only(parts, need.sources[s]) for s, parts in known.items()},
            }
        )


class _Pointers:
    """Pointers read at most once each, so that one answer sees one state."""

    def __init__(self, storage: StudyStorage) -> None:
        self._storage = storage
        self._read: dict[Artefact, Pointer | StorageError | None] = {}

    def __call__(self, artefact: Artefact) -> Pointer | None:
        if artefact not in self._read:
            self.read([artefact])
        pointer = self._read[artefact]
        if isinstance(pointer, StorageError):
            raise pointer
        return pointer

    def readable(self, artefact: Artefact) -> Pointer | None:
        """Return the pointer of `artefact`, None where there is none that can be read."""
        try:
            return self(artefact)
        except StorageError:
            return None

    def read(self, artefacts: Iterable[Artefact]) -> None:
        """Read the pointers of `artefacts`, those of an object store side by side."""
        self._read.update(self._storage.pointers(list(artefacts)))


def _state(own: tuple[Reason, ...], waits_for: tuple[Artefact, ...]) -> State:
    kinds = {reason.kind for reason in own}
    if "missing" in kinds:
        return "missing"
    if kinds == {"check"}:
        return "failed"
    return "stale" if own or waits_for else "fresh"


def _changed_code(need: Need, pointer: Pointer) -> Iterator[Reason]:
    if pointer.settings is None:
        yield Reason("code", "version", "made by version 0.1.0 under other settings")
    elif pointer.revision != need.revision:
        yield Reason("code", "revision", f"its code changed (revision {pointer.revision} -> {need.revision})")


def _changed_settings(need: Need, pointer: Pointer) -> Iterator[Reason]:
    if pointer.settings is None:
        return
    for name in sorted({*pointer.settings, *need.settings}):
        before, now = (_word(settings, name) for settings in (pointer.settings, need.settings))
        if before != now:
            yield Reason("setting", name, f"{name} {before} -> {now}")


def _changed_parents(need: Need, pointer: Pointer, pointers: _Pointers) -> Iterator[Reason]:
    wanted = {parent.name: parent for parent in need.parents}
    read = {Artefact.named(name).asset for name in pointer.made_from}
    for parent in need.parents:
        before = need.formerly.get(parent.asset)
        if before in pointer.made_from and parent.asset not in read:
            wanted[before] = Artefact.named(before)
            del wanted[parent.name]
    for name in sorted({*wanted, *pointer.made_from}):
        parent = wanted.get(name) or Artefact.named(name)
        made_from = pointer.made_from.get(name)
        if name not in wanted:
            yield Reason("parent", name, f"{parent} is no longer part of it")
        elif made_from is None:
            yield Reason("parent", name, f"{parent} is not part of it yet")
        elif (now := _version(pointers, parent)) is not None and now != made_from:
            yield Reason("parent", name, f"{parent} changed")


def _version(pointers: _Pointers, artefact: Artefact) -> str | None:
    """Return the data version of `artefact`; None where it is missing, which is its own reason and no other's."""
    pointer = pointers.readable(artefact)
    return None if pointer is None else pointer.data_version


def _unfinished(pointer: Pointer) -> Iterator[Reason]:
    if pointer.incomplete:
        (name, reason), *more = pointer.incomplete.items()
        others = f", and {len(more)} more" if more else ""
        yield Reason("incomplete", name, f"{name} could not be had: {reason}{others}")
    for name, verdict in pointer.checks.items():
        if verdict.blocking and not verdict.passed:
            yield Reason("check", name, f"its check {name} failed: {verdict.evidence}")


def _word(settings: Mapping[str, Any], name: str) -> str:
    return str(settings[name]) if name in settings else "absent"


def _lost(name: str, size: int, actual: int | None) -> str:
    return f"{name} is missing" if actual is None else f"{name} has {actual} bytes instead of {size}"


def _change_of(part: str, before: str | None, now: str | None) -> str:
    if before in (None, "missing"):
        return f"{part} has come"
    return f"{part} is gone" if now in (None, "missing") else f"{part} changed"


def _only(parts: Mapping[str, str], wanted: tuple[str, ...]) -> dict[str, str]:
    return {part: version for part, version in parts.items() if not wanted or part in wanted}


def _listed(artefacts: tuple[Artefact, ...]) -> str:
    by_asset: dict[str, list[str]] = {}
    for artefact in artefacts:
        by_asset.setdefault(artefact.asset, []).append(artefact.partition or "")
    words = [
        asset if keys == [""] else f"{asset} [{', '.join(keys[:3])}{', ...' if len(keys) > 3 else ''}]"
        for asset, keys in by_asset.items()
    ]
    verb = "is" if len(artefacts) == 1 else "are"
    more = f" and {len(words) - _MOST_NAMED} more" if len(words) > _MOST_NAMED else ""
    return f"{', '.join(words[:_MOST_NAMED])}{more} {verb}"
