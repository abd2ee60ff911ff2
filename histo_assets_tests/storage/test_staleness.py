"""What is fresh, missing, stale or failed follows from the storage alone, and each reason has its words."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest

from histo_assets.core.tiling.tile_set import TileSet
from histo_assets.storage import formats
from histo_assets.storage.layout import (
    POINTER,
    SHARDS,
    Artefact,
    Origin,
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


def states(found: Staleness) -> dict[str, str]:
    return {str(status.artefact): status.state for status in found.statuses()}


def status_of(found: Staleness, artefact: Artefact) -> Status:
    return next(status for status in found.statuses() if status.artefact == artefact)


def sentences(found: Staleness, artefact: Artefact) -> list[str]:
    return status_of(found, artefact).sentences()


def reasons(found: Staleness, artefact: Artefact) -> list[tuple[str, str, str]]:
    """Return kind, subject and sentence of every reason, which are the same for one artefact as among all."""
    own = status_of(found, artefact).reasons
    assert found.reasons(artefact) == own
    return [(reason.kind, reason.subject, str(reason)) for reason in own]


def test_a_study_is_missing_before_and_fresh_after_it_was_made(
    storage: StudyStorage, staleness: Callable[..., Staleness]
) -> None:
    wanted = needs(["heart", "liver"])
    before = staleness(*wanted).statuses()
    assert [(status.state, status.pointer) for status in before] == [("missing", None)] * 4
    assert before[1].sentences() == ["missing", "slide_manifest is not fresh"]
    finish(storage, wanted)
    after = staleness(*wanted).statuses()
    assert [(status.state, status.pointer) for status in after] == [
        ("fresh", storage.require(need.artefact)) for need in wanted
    ]
    assert [status.sentences() for status in after] == [[]] * 4


def test_every_kind_of_reason_is_named_in_order(storage: StudyStorage, staleness: Callable[..., Staleness]) -> None:
    publish(storage, "one", MANIFEST)
    record = Record(
        settings={"tile_px": 224, "seed": 0},
        revision=2,
        sources={"tables": {"manifest": "m0"}},
        checks={"has_tiles": Verdict(passed=False, blocking=True, evidence="1 of 3")},
        incomplete={"A1": "the server answered 503"},
        shards={"tiles/heart/s.tar": 5, "tiles/heart/t.tar": 5},
    )
    made_from = {"slide_manifest": "one", "raw_slides/heart": "one"}
    publish(storage, "one", tiles("heart"), record, made_from=made_from)
    publish(storage, "two", MANIFEST)
    need = Need(
        tiles("heart"),
        3,
        {"tile_px": 192, "mpp": 0.5},
        (MANIFEST, Artefact("selected_slides", "heart")),
        {"slides": (), "tables": ()},
    )
    assert reasons(staleness(need), tiles("heart")) == [
        ("files", "tiles/heart/s.tar", "shards/tiles/heart/s.tar is missing"),
        ("code", "revision", "its code changed (revision 2 -> 3)"),
        ("setting", "mpp", "mpp absent -> 0.5"),
        ("setting", "seed", "seed 0 -> absent"),
        ("setting", "tile_px", "tile_px 224 -> 192"),
        ("parent", "raw_slides/heart", "raw_slides [heart] is no longer part of it"),
        ("parent", "selected_slides/heart", "selected_slides [heart] is not part of it yet"),
        ("parent", "slide_manifest", "slide_manifest changed"),
        ("source", "slides", "what it was made of in slides is not recorded"),
        ("source", "tables.manifest", "manifest changed"),
        ("incomplete", "A1", "A1 could not be had: the server answered 503"),
        ("check", "has_tiles", "its check has_tiles failed: 1 of 3"),
    ]
    assert states(staleness(need)) == {"tiles [heart]": "stale"}, "a failed check is not all there is to it"


def test_a_missing_parent_is_waited_for_and_no_reason_of_its_own(
    storage: StudyStorage, staleness: Callable[..., Staleness]
) -> None:
    wanted = needs(["heart"])
    finish(storage, wanted)
    storage.root.fs.rm((storage.folder(MANIFEST) / POINTER).path)
    found = staleness(*wanted)
    assert reasons(found, MANIFEST) == [("missing", "slide_manifest", "missing")]
    assert reasons(found, tiles("heart")) == []
    assert sentences(found, tiles("heart")) == ["slide_manifest is not fresh"]
    assert states(staleness(*wanted[1:])) == {"tiles [heart]": "fresh", "trained_model": "fresh"}


@pytest.mark.parametrize(
    ("waits_for", "sentence"),
    [
        ("a", "a is not fresh"),
        ("a/x", "a [x] is not fresh"),
        ("a/x a/y a/z", "a [x, y, z] are not fresh"),
        ("a/x a/y a/z a/w", "a [x, y, z, ...] are not fresh"),
        ("a b c d", "a, b, c, d are not fresh"),
        ("a b c d/x d/y e", "a, b, c, d [x, y] and 1 more are not fresh"),
        ("a b c d e f", "a, b, c, d and 2 more are not fresh"),
    ],
)
def test_what_is_waited_for_is_named_by_asset_up_to_four(waits_for: str, sentence: str) -> None:
    named = tuple(map(Artefact.named, waits_for.split()))
    assert Status(MODEL, "stale", (), named, None).sentences() == [sentence]


def test_a_pointer_is_given_as_it_is_stored_and_none_where_there_is_none(
    storage: StudyStorage, staleness: Callable[..., Staleness]
) -> None:
    wanted = needs(["heart"])
    finish(storage, wanted[:1])
    found = staleness(*wanted)
    assert found.pointer(MANIFEST) == storage.require(MANIFEST)
    assert found.pointer(MODEL) is None


def test_a_changed_setting_is_named_with_both_values_and_what_follows_waits(
    storage: StudyStorage, staleness: Callable[..., Staleness]
) -> None:
    finish(storage, needs(["heart", "liver"]))
    found = staleness(*needs(["heart", "liver"], **{"tiling.tile_px": 192}))
    assert states(found) == {
        "slide_manifest": "fresh",
        "tiles [heart]": "stale",
        "tiles [liver]": "stale",
        "trained_model": "stale",
    }
    assert sentences(found, tiles("liver")) == ["tiling.tile_px 224 -> 192"]
    assert sentences(found, MODEL) == ["tiles [heart, liver] are not fresh"]
    assert status_of(found, MODEL).reasons == ()


def test_among_more_than_a_hundred_partitions_one_changed_makes_what_reads_all_stale(
    local_storage: StudyStorage, files: Files
) -> None:
    tissues = [f"label_{number}" for number in range(120)]
    wanted = needs(tissues)
    finish(local_storage, wanted)
    made(local_storage, wanted[60], "other")
    found = Staleness(local_storage, wanted, {"tables": Source(files.look)})
    assert [name for name, state in states(found).items() if state != "fresh"] == ["trained_model"]
    assert sentences(found, MODEL) == [f"tiles [{tissues[59]}] changed"]


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


def test_a_parent_that_came_beside_the_former_one_counts_once_it_was_read(
    storage: StudyStorage, staleness: Callable[..., Staleness]
) -> None:
    frozen = Artefact("training_set")
    parents = [*needs(["heart"])[:2], Need(frozen, 1, {}, (tiles("heart"),))]
    before = Need(MODEL, 1, {}, (frozen,))
    now = Need(MODEL, 1, {}, (frozen, tiles("heart")), formerly={"tiles": frozen.name})
    finish(storage, [*parents, before])
    assert states(staleness(*parents, now))["trained_model"] == "fresh"
    made(storage, now)
    later = Need(MODEL, 1, {}, (frozen, tiles("heart"), tiles("liver")), formerly=now.formerly)
    made(storage, needs(["liver"])[1])
    assert sentences(staleness(*parents, needs(["liver"])[1], later), MODEL) == ["tiles [liver] is not part of it yet"]
    made(storage, parents[1], content="two")
    assert sentences(staleness(*parents, now), MODEL)[0] == "tiles [heart] changed"


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
    found = staleness(*wanted)
    assert states(found)["tiles [heart]"] == "missing"
    assert sentences(found, tiles("liver")) == ["index.txt is missing"]
    assert sentences(found, tiles("lung")) == ["index.txt has 18 bytes instead of 3"]


def test_a_storage_that_is_gone_is_missing_and_not_up_to_date(local_storage: StudyStorage, files: Files) -> None:
    wanted = needs(["heart"])
    finish(local_storage, wanted)
    shutil.rmtree(local_storage.root.path)
    found = Staleness(local_storage, wanted, {"tables": Source(files.look)})
    assert set(states(found).values()) == {"missing"}


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
    found = staleness(*wanted)
    assert states(found)["tiles [heart]"] == "missing"
    assert states(found)["tiles [liver]"] == "fresh"
    (kind, subject, sentence) = reasons(found, tiles("heart"))[0]
    assert (kind, subject) == ("missing", "tiles [heart]") and sentence.startswith("its pointer cannot be read: ")
    assert status_of(found, tiles("heart")).pointer is None


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

    found = staleness(*wanted)
    for name in ("cat", "cat_file"):
        monkeypatch.setattr(storage.root.fs, name, silent)
    with pytest.raises(UnreachableStorageError, match=r"does not answer for demo/slide_manifest \(503 Slow Down\)"):
        found.statuses()
    with pytest.raises(UnreachableStorageError):
        found.reasons(MANIFEST)


def test_a_failed_blocking_check_is_failed_and_a_failed_warning_is_not(
    storage: StudyStorage, staleness: Callable[..., Staleness]
) -> None:
    wanted = needs(["heart", "liver"])
    finish(storage, wanted)
    made(storage, wanted[1], checks={"has_tiles": Verdict(passed=False, blocking=True, evidence="1 of 3 slides")})
    made(storage, wanted[2], checks={"balanced": Verdict(passed=False, evidence="8 of 9 tiles")})
    found = staleness(*wanted)
    assert states(found)["tiles [heart]"] == "failed"
    assert states(found)["tiles [liver]"] == "fresh"
    assert sentences(found, tiles("heart")) == ["its check has_tiles failed: 1 of 3 slides"]


def test_what_could_not_be_had_is_due_again(storage: StudyStorage, staleness: Callable[..., Staleness]) -> None:
    wanted = needs(["heart"])
    finish(storage, wanted)
    made(storage, wanted[1], incomplete={"A1": "the server answered 503", "A2": "the server answered 503"})
    found = staleness(*wanted)
    assert states(found)["tiles [heart]"] == "stale"
    assert sentences(found, tiles("heart")) == ["A1 could not be had: the server answered 503, and 1 more"]


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
    files.parts = {}
    looking.sources.look("tables")
    assert reasons(staleness(*wanted), MANIFEST) == [("source", "tables.manifest", "manifest is gone")]
    made(storage, wanted[0], sources={"tables": {"manifest": "missing"}})
    files.parts = {"manifest": "m1"}
    looking.sources.look("tables")
    assert sentences(staleness(*wanted), MANIFEST) == ["manifest has come"]


def test_a_study_that_names_another_file_has_another_look(storage: StudyStorage, files: Files) -> None:
    wanted = needs(["heart"])
    finish(storage, wanted)
    assert states(Staleness(storage, wanted, {"tables": Source(files.look, "here")}))["slide_manifest"] == "fresh"
    other = Files(manifest="m9")
    found = Staleness(storage, wanted, {"tables": Source(other.look, "there")})
    assert sentences(found, MANIFEST) == ["manifest changed"]


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

    need = Need(MANIFEST, 1, {"cohort.reader": "gtex"}, sources={"tables": ("manifest",)}, adopted_code="1.abc")

    def stored(self, storage: StudyStorage, code_version: str = "1.abc") -> None:
        publish(storage, "one", MANIFEST, code_version=code_version)

    def found(self, storage: StudyStorage, table: Path) -> Staleness:
        parts = {"manifest": "m1", "samples": "s1"}

        def seen_before(asked: StudyStorage, artefact: Artefact, written_at: datetime) -> Mapping[str, str] | None:
            assert (asked, artefact) == (storage, MANIFEST)
            return parts if table.stat().st_mtime <= written_at.timestamp() else None

        return Staleness(storage, [self.need], {"tables": Source(lambda: parts, seen_before=seen_before)})

    @pytest.fixture
    def table(self, tmp_path: Path) -> Path:
        path = tmp_path / "manifest.csv"
        path.write_text("slide\n")
        old = (datetime.now(UTC) - timedelta(days=1)).timestamp()
        os.utime(path, (old, old))
        return path

    def test_are_adopted_where_the_settings_agree(self, local_storage: StudyStorage, table: Path) -> None:
        self.stored(local_storage)
        found = self.found(local_storage, table)
        assert states(found) == {"slide_manifest": "fresh"}
        completed = found.pointer(MANIFEST)
        assert local_storage.require(MANIFEST).settings is None, "nothing is stored by asking"
        assert found.adopt() == [MANIFEST]
        pointer = local_storage.require(MANIFEST)
        assert pointer == completed
        assert (pointer.settings, pointer.revision) == ({"cohort.reader": "gtex"}, 1)
        assert pointer.sources == {"tables": {"manifest": "m1"}}
        assert found.adopt() == []

    def test_are_adopted_among_what_is_missing_and_what_is_known(self, local_storage: StudyStorage) -> None:
        known, old = Need(tiles("heart"), 2, SETTINGS), Need(tiles("liver"), 2, SETTINGS, adopted_code="2.abc")
        made(local_storage, known)
        publish(local_storage, "one", tiles("liver"), code_version="2.abc")
        found = Staleness(local_storage, [Need(MANIFEST, 1, {}), known, old], {})
        assert found.adopt() == [tiles("liver")]

    def test_are_not_made_of_pointers_that_recorded_their_settings(self, local_storage: StudyStorage) -> None:
        need = Need(MANIFEST, 1, {"cohort.reader": "table"}, adopted_code="1.abc")
        publish(
            local_storage, "one", MANIFEST, Record(settings={"cohort.reader": "gtex"}, revision=1), code_version="1.abc"
        )
        found = Staleness(local_storage, [need], {})
        assert sentences(found, MANIFEST) == ["cohort.reader gtex -> table"]

    def test_get_the_shards_that_their_index_names(self, local_storage: StudyStorage) -> None:
        folder = Path(str(local_storage.root)) / SHARDS / "tiles" / "liver"
        folder.mkdir(parents=True)
        for name, content in {"s-1.tar": b"12345", "s-1.json": b"{}", "other.tar": b"1"}.items():
            (folder / name).write_bytes(content)
        tile = {
            **dict.fromkeys(("slide", "donor", "tissue"), "s"),
            **dict.fromkeys(("x", "y", "offset", "crc32"), 0),
            **dict.fromkeys(("size", "length"), 1),
            "mpp": 0.5,
            "shard": "s-1.tar",
            "tissue_share": 1.0,
        }
        named = pl.DataFrame([{"tile": "s_0_0", **tile}, {"tile": "s_0_1", **tile}])
        tally = ("candidates", "no_tissue", "good", "kept")
        funnel = pd.DataFrame({"slide": ["s"], **{name: [2] for name in tally}})
        decisions = pl.DataFrame({"slide": ["s"], "reason": [""], "jpeg_bytes": [0.5]})
        handle = TileSet(named, funnel, "liver", "p", str(folder.parent), {}, True, {}, {}, decisions, {})
        local_storage.publish(
            tiles("liver"),
            lambda built: formats.write("folders", handle, built),
            format="folders",
            data_version="one",
            origin=Origin(code_version="2.abc"),
        )
        found = Staleness(local_storage, [Need(tiles("liver"), 2, SETTINGS, adopted_code="2.abc")], {})
        assert found.adopt() == [tiles("liver")]
        assert local_storage.require(tiles("liver")).shards == {"tiles/liver/s-1.tar": 5, "tiles/liver/s-1.json": 2}

    def test_are_stale_where_they_do_not(self, local_storage: StudyStorage, table: Path) -> None:
        self.stored(local_storage, "1.other")
        found = self.found(local_storage, table)
        assert sentences(found, MANIFEST)[0] == "made by version 0.1.0 under other settings"
        assert found.adopt() == []
        assert local_storage.require(MANIFEST).settings is None

    def test_are_stale_where_a_file_is_younger(self, local_storage: StudyStorage, table: Path) -> None:
        self.stored(local_storage)
        later = (datetime.now(UTC) + timedelta(hours=1)).timestamp()
        os.utime(table, (later, later))
        assert sentences(self.found(local_storage, table), MANIFEST) == [
            "what it was made of in tables is not recorded"
        ]
