"""What is fresh, missing, stale or failed follows from the storage alone, and each reason has its words."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from histo_assets.storage.layout import (
    POINTER,
    SHARDS,
    Artefact,
    Pointer,
    Record,
    StudyStorage,
    UnreachableStorageError,
    Verdict,
)
from histo_assets.storage.looks import Source
from histo_assets.storage.staleness import Need, Staleness, Status
from histo_assets_tests.storage.test_layout import publish

MANIFEST = Artefact("slide_manifest")
MODEL = Artefact("trained_model")
SETTINGS = {"tiling.tile_px": 224, "tiling.mpp": 0.5}


def tiles(tissue: str) -> Artefact:
    return Artefact("tiles", tissue)


def needs(tissues: list[str], **changed: Any) -> list[Need]:
    """Return a manifest, tiles of every tissue made from it, and a model made from all of them."""
    settings = {**SETTINGS, **changed}
    return [
        Need(MANIFEST, 1, {}, sources={"tables": ()}),
        *[Need(tiles(tissue), 2, settings, (MANIFEST,)) for tissue in tissues],
        Need(MODEL, 1, {}, tuple(map(tiles, tissues))),
    ]


def made(storage: StudyStorage, need: Need, content: str = "one", **record: Any) -> Pointer:
    """Store an artefact as a step would that was asked for `need`."""
    made_from = {parent.name: storage.require(parent).data_version for parent in need.parents}
    known = {"settings": dict(need.settings), "revision": need.revision, **record}
    return publish(storage, content, need.artefact, made_from=made_from, record=Record(**known))


class Files:
    """A source whose parts a test sets; it counts the looks."""

    def __init__(self, **parts: str) -> None:
        self.parts: Mapping[str, str] = parts
        self.looks = 0

    def look(self) -> Mapping[str, str]:
        self.looks += 1
        return self.parts


@pytest.fixture
def files() -> Files:
    return Files(manifest="m1")


@pytest.fixture
def staleness(storage: StudyStorage, files: Files) -> Callable[..., Staleness]:
    return lambda *wanted: Staleness(storage, wanted, {"tables": Source(files.look)})


def finish(storage: StudyStorage, wanted: list[Need]) -> None:
    for need in wanted:
        made(storage, need, sources={source: {"manifest": "m1"} for source in need.sources})


def states(now: Staleness) -> dict[str, str]:
    return {str(status.artefact): status.state for status in now.statuses()}


def status_of(now: Staleness, artefact: Artefact) -> Status:
    return next(status for status in now.statuses() if status.artefact == artefact)


def sentences(now: Staleness, artefact: Artefact) -> list[str]:
    return status_of(now, artefact).sentences()


def test_a_study_is_missing_before_and_fresh_after_it_was_made(
    storage: StudyStorage, staleness: Callable[..., Staleness]
) -> None:
    wanted = needs(["heart", "liver"])
    assert set(states(staleness(*wanted)).values()) == {"missing"}
    finish(storage, wanted)
    assert set(states(staleness(*wanted)).values()) == {"fresh"}


def test_a_changed_setting_is_named_with_both_values_and_what_follows_waits(
    storage: StudyStorage, staleness: Callable[..., Staleness]
) -> None:
    finish(storage, needs(["heart", "liver"]))
    now = staleness(*needs(["heart", "liver"], **{"tiling.tile_px": 192}))
    assert states(now) == {
        "slide_manifest": "fresh",
        "tiles [heart]": "stale",
        "tiles [liver]": "stale",
        "trained_model": "stale",
    }
    assert sentences(now, tiles("liver")) == ["tiling.tile_px 224 -> 192"]
    assert sentences(now, MODEL) == ["tiles [heart, liver] are not fresh"]
    assert status_of(now, MODEL).reasons == ()


def test_among_more_than_a_hundred_partitions_one_changed_makes_what_reads_all_stale(
    local_storage: StudyStorage, files: Files
) -> None:
    tissues = [f"label_{number}" for number in range(120)]
    wanted = needs(tissues)
    finish(local_storage, wanted)
    made(local_storage, wanted[60], "other")
    now = Staleness(local_storage, wanted, {"tables": Source(files.look)})
    assert [name for name, state in states(now).items() if state != "fresh"] == ["trained_model"]
    assert sentences(now, MODEL) == [f"tiles [{tissues[59]}] changed"]


def test_a_partition_more_or_less_makes_what_reads_all_stale(
    local_storage: StudyStorage, staleness: Callable[..., Staleness], storage: StudyStorage
) -> None:
    finish(storage, needs(["heart", "liver"]))
    fewer = staleness(*needs(["heart"]))
    assert sentences(fewer, MODEL) == ["tiles [liver] is no longer part of it"]
    more = staleness(*needs(["heart", "liver", "lung"]))
    assert states(more)["tiles [lung]"] == "missing"
    assert sentences(more, MODEL) == ["tiles [lung] is not part of it yet", "tiles [lung] is not fresh"]


def test_what_was_made_of_a_parent_that_another_has_replaced_follows_the_former_one(
    storage: StudyStorage, staleness: Callable[..., Staleness]
) -> None:
    pooled, former = Artefact("paired_samples"), tiles("heart")
    before = [*needs(["heart"])[:2], Need(MODEL, 1, {}, (former,))]
    now = [
        *before[:2],
        Need(pooled, 1, {}, (former,)),
        Need(MODEL, 1, {}, (pooled,), formerly={pooled.name: former.name}),
    ]
    finish(storage, before)
    assert states(staleness(*now))["paired_samples"] == "missing"
    assert sentences(staleness(*now), MODEL) == ["paired_samples is not fresh"]
    made(storage, now[2])
    assert set(states(staleness(*now)).values()) == {"fresh"}
    made(storage, before[1], content="two")
    made(storage, now[2], content="two")
    assert sentences(staleness(*now), MODEL) == ["tiles [heart] changed"]
    made(storage, now[3])
    made(storage, now[2], content="three")
    assert sentences(staleness(*now), MODEL) == ["paired_samples changed"]


def test_changed_code_makes_stale(storage: StudyStorage, staleness: Callable[..., Staleness]) -> None:
    wanted = needs(["heart"])
    finish(storage, wanted)
    wanted[1] = Need(tiles("heart"), 3, SETTINGS, (MANIFEST,))
    assert sentences(staleness(*wanted), tiles("heart")) == ["its code changed (revision 2 -> 3)"]


def test_a_deleted_pointer_version_or_file_is_noticed(
    storage: StudyStorage, staleness: Callable[..., Staleness]
) -> None:
    wanted = needs(["heart", "liver", "lung"])
    finish(storage, wanted)
    folders = {tissue: storage.folder(tiles(tissue)) for tissue in ("heart", "liver", "lung")}
    fs = storage.root.fs
    fs.rm((folders["heart"] / POINTER).path)
    fs.rm((folders["liver"] / storage.require(tiles("liver")).version).path, recursive=True)
    fs.pipe_file((folders["lung"] / storage.require(tiles("lung")).version / "index.txt").path, b"longer than before")
    now = staleness(*wanted)
    assert states(now)["tiles [heart]"] == "missing"
    assert sentences(now, tiles("liver")) == ["index.txt is missing"]
    assert sentences(now, tiles("lung")) == ["index.txt has 18 bytes instead of 3"]


def test_a_storage_that_is_gone_is_missing_and_not_up_to_date(local_storage: StudyStorage, files: Files) -> None:
    wanted = needs(["heart"])
    finish(local_storage, wanted)
    shutil.rmtree(local_storage.root.path)
    now = Staleness(local_storage, wanted, {"tables": Source(files.look)})
    assert set(states(now).values()) == {"missing"}


def test_a_lost_shard_is_noticed(storage: StudyStorage, staleness: Callable[..., Staleness]) -> None:
    wanted = needs(["heart"])
    finish(storage, wanted)
    folder = storage.root / SHARDS / "tiles" / "heart"
    storage.root.fs.makedirs(folder.path, exist_ok=True)
    storage.root.fs.pipe_file((folder / "s.tar").path, b"12345")
    made(storage, wanted[1], shards={"tiles/heart/s.tar": 5})
    assert states(staleness(*wanted))["tiles [heart]"] == "fresh"
    storage.root.fs.pipe_file((folder / "s.tar").path, b"123")
    assert sentences(staleness(*wanted), tiles("heart")) == ["shards/tiles/heart/s.tar has 3 bytes instead of 5"]
    storage.root.fs.rm((folder / "s.tar").path)
    assert sentences(staleness(*wanted), tiles("heart")) == ["shards/tiles/heart/s.tar is missing"]


def test_an_older_storage_put_back_is_as_stale_as_it_was(local_storage: StudyStorage, tmp_path: Path) -> None:
    before, now = needs(["heart"], **{"tiling.tile_px": 128}), needs(["heart"])
    sources = {"tables": Source(Files(manifest="m1").look)}
    finish(local_storage, before)
    shutil.copytree(local_storage.root.path, tmp_path / "backup")
    for need in now:
        made(local_storage, need, "new", sources={source: {"manifest": "m1"} for source in need.sources})
    assert set(states(Staleness(local_storage, now, sources)).values()) == {"fresh"}
    shutil.rmtree(local_storage.root.path)
    shutil.copytree(tmp_path / "backup", local_storage.root.path)
    assert sentences(Staleness(local_storage, now, sources), tiles("heart")) == ["tiling.tile_px 128 -> 224"]


def test_a_pointer_that_cannot_be_read_counts_as_missing_and_ends_nothing(
    storage: StudyStorage, staleness: Callable[..., Staleness]
) -> None:
    wanted = needs(["heart", "liver"])
    finish(storage, wanted)
    storage.root.fs.pipe_file((storage.folder(tiles("heart")) / POINTER).path, b'{"version": ')
    now = staleness(*wanted)
    assert states(now)["tiles [heart]"] == "missing"
    assert states(now)["tiles [liver]"] == "fresh"
    assert "cannot be read" in sentences(now, tiles("heart"))[0]


def test_a_storage_that_does_not_answer_says_nothing_of_what_it_holds(
    storage: StudyStorage, staleness: Callable[..., Staleness], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An outage must not look like a lost pointer, or everything would be made again."""
    wanted = needs(["heart"])
    finish(storage, wanted)

    def silent(*_: Any, **options: Any) -> Any:
        error = PermissionError("503 Slow Down")
        if options.get("on_error") == "return":
            return {(storage.folder(need.artefact) / POINTER).path: error for need in wanted}
        raise error

    now = staleness(*wanted)
    for name in ("cat", "cat_file"):
        monkeypatch.setattr(storage.root.fs, name, silent)
    with pytest.raises(UnreachableStorageError, match=r"does not answer for demo/slide_manifest \(503 Slow Down\)"):
        now.statuses()
    with pytest.raises(UnreachableStorageError):
        now.reasons(MANIFEST)


def test_a_failed_blocking_check_is_failed_and_a_failed_warning_is_not(
    storage: StudyStorage, staleness: Callable[..., Staleness]
) -> None:
    wanted = needs(["heart", "liver"])
    finish(storage, wanted)
    made(storage, wanted[1], checks={"has_tiles": Verdict(passed=False, blocking=True, evidence="1 of 3 slides")})
    made(storage, wanted[2], checks={"balanced": Verdict(passed=False, evidence="8 of 9 tiles")})
    now = staleness(*wanted)
    assert states(now)["tiles [heart]"] == "failed"
    assert states(now)["tiles [liver]"] == "fresh"
    assert sentences(now, tiles("heart")) == ["its check has_tiles failed: 1 of 3 slides"]


def test_what_could_not_be_had_is_due_again(storage: StudyStorage, staleness: Callable[..., Staleness]) -> None:
    wanted = needs(["heart"])
    finish(storage, wanted)
    made(storage, wanted[1], incomplete={"A1": "the server answered 503", "A2": "the server answered 503"})
    now = staleness(*wanted)
    assert states(now)["tiles [heart]"] == "stale"
    assert sentences(now, tiles("heart")) == ["A1 could not be had: the server answered 503, and 1 more"]


def test_a_file_is_seen_to_change_at_the_next_look_and_not_before(
    storage: StudyStorage, staleness: Callable[..., Staleness], files: Files
) -> None:
    wanted = needs(["heart"])
    finish(storage, wanted)
    assert states(staleness(*wanted))["slide_manifest"] == "fresh"
    files.parts = {"manifest": "m2"}
    assert states(staleness(*wanted))["slide_manifest"] == "fresh"
    assert files.looks == 1
    looking = staleness(*wanted)
    looking.sources.look("tables")
    assert sentences(staleness(*wanted), MANIFEST) == ["manifest changed"]
    files.parts = {"manifest": "missing", "samples": "s1"}
    looking.sources.look("tables")
    assert sentences(staleness(*wanted), MANIFEST) == ["manifest is gone", "samples has come"]


def test_a_study_that_names_another_file_has_another_look(storage: StudyStorage, files: Files) -> None:
    wanted = needs(["heart"])
    finish(storage, wanted)
    assert states(Staleness(storage, wanted, {"tables": Source(files.look, "here")}))["slide_manifest"] == "fresh"
    other = Files(manifest="m9")
    now = Staleness(storage, wanted, {"tables": Source(other.look, "there")})
    assert sentences(now, MANIFEST) == ["manifest changed"]


def test_a_look_that_cannot_be_read_is_taken_anew(storage: StudyStorage, files: Files) -> None:
    wanted = needs(["heart"])
    finish(storage, wanted)
    storage.write_look("tables.json", "{")
    assert states(Staleness(storage, wanted, {"tables": Source(files.look)}))["slide_manifest"] == "fresh"
    assert files.looks == 1


def test_only_the_parts_that_are_read_count(
    storage: StudyStorage, staleness: Callable[..., Staleness], files: Files
) -> None:
    files.parts = {"manifest": "m1", "samples": "s2"}
    need = Need(MANIFEST, 1, {}, sources={"tables": ("manifest",)})
    made(storage, need, sources={"tables": {"manifest": "m1"}})
    assert states(staleness(need)) == {"slide_manifest": "fresh"}


class TestVersion010:
    """Pointers of version 0.1.0 hold a code version and no settings."""

    need = Need(MANIFEST, 1, {"cohort.reader": "gtex"}, sources={"tables": ()}, adopted_code="1.abc")

    def stored(self, storage: StudyStorage, code_version: str = "1.abc") -> None:
        publish(storage, "one", MANIFEST, code_version=code_version)

    def staleness(self, storage: StudyStorage, table: Path) -> Staleness:
        def seen_before(storage: StudyStorage, artefact: Artefact, written_at: datetime) -> Mapping[str, str] | None:
            return {"manifest": "m1"} if table.stat().st_mtime <= written_at.timestamp() else None

        return Staleness(storage, [self.need], {"tables": Source(lambda: {"manifest": "m1"}, seen_before=seen_before)})

    @pytest.fixture
    def table(self, tmp_path: Path) -> Path:
        path = tmp_path / "manifest.csv"
        path.write_text("slide\n")
        old = (datetime.now(UTC) - timedelta(days=1)).timestamp()
        os.utime(path, (old, old))
        return path

    def test_are_adopted_where_the_settings_agree(self, local_storage: StudyStorage, table: Path) -> None:
        self.stored(local_storage)
        now = self.staleness(local_storage, table)
        assert states(now) == {"slide_manifest": "fresh"}
        assert now.adopt() == [MANIFEST]
        pointer = local_storage.require(MANIFEST)
        assert pointer.settings == {"cohort.reader": "gtex"}
        assert pointer.sources == {"tables": {"manifest": "m1"}}
        assert now.adopt() == []

    def test_are_stale_where_they_do_not(self, local_storage: StudyStorage, table: Path) -> None:
        self.stored(local_storage, "1.other")
        now = self.staleness(local_storage, table)
        assert sentences(now, MANIFEST)[0] == "made by version 0.1.0 under other settings"
        assert now.adopt() == []
        assert local_storage.require(MANIFEST).settings is None

    def test_are_stale_where_a_file_is_younger(self, local_storage: StudyStorage, table: Path) -> None:
        self.stored(local_storage)
        later = (datetime.now(UTC) + timedelta(hours=1)).timestamp()
        os.utime(table, (later, later))
        assert sentences(self.staleness(local_storage, table), MANIFEST) == [
            "what it was made of in tables is not recorded"
        ]
