"""What no longer counts goes after its grace, and nothing else ever does."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from histo_assets.storage.layout import POINTER, Artefact, StudyStorage
from histo_assets.storage.prune import doubt_of, prune, prune_shards
from histo_assets_tests.storage.test_layout import TILES, everything_below, publish, read

DAY = timedelta(days=1)


def later(days: float) -> datetime:
    return datetime.now(UTC) + days * DAY


def test_old_versions_go_after_the_grace_and_the_current_one_stays(storage: StudyStorage) -> None:
    first = publish(storage, "one")
    publish(storage, "two")
    assert prune(storage, grace=7 * DAY) == []
    removed = prune(storage, grace=7 * DAY, now=later(8))
    assert [Path(item.path).name for item in removed] == [first.version]
    assert removed[0].reason.startswith("superseded 2")
    assert not any(first.version in path for path in everything_below(storage))
    assert read(storage) == "two"
    assert prune(storage, grace=7 * DAY, now=later(8)) == []


def test_a_dry_run_says_the_same_and_removes_nothing(storage: StudyStorage) -> None:
    publish(storage, "one")
    publish(storage, "two")
    publish(storage, "gone", Artefact("tiles", "heart"))
    before = everything_below(storage)
    keep = {"tiles": {"liver"}}
    planned = prune(storage, DAY, keep, dry_run=True, now=later(2))
    assert everything_below(storage) == before
    assert len(planned) == 2
    assert prune(storage, DAY, keep, now=later(2)) == planned


def test_the_grace_counts_from_when_a_version_was_superseded(local_storage: StudyStorage) -> None:
    """A version that counted for a month until a minute ago may still be read."""
    old = publish(local_storage, "one")
    folder = Path(local_storage.folder(TILES).path)
    aged = "20200101T000000000000Z-00000000"
    (folder / old.version).rename(folder / aged)
    pointer = folder / "current.json"
    pointer.write_text(pointer.read_text().replace(old.version, aged))
    publish(local_storage, "two")
    assert prune(local_storage, DAY) == []
    assert len(prune(local_storage, DAY, now=later(2))) == 1


def test_partitions_that_the_study_no_longer_has_go_whole(storage: StudyStorage) -> None:
    for tissue in ("liver", "heart"):
        publish(storage, tissue, Artefact("tiles", tissue))
        publish(storage, tissue, Artefact("raw_slides", tissue))
    removed = prune(storage, DAY, {"tiles": ["liver"]})
    assert [(item.path, item.reason) for item in removed] == [
        (str(storage.folder(Artefact("tiles", "heart"))), "the study has no such partition")
    ]
    assert storage.pointer(Artefact("tiles", "heart")) is None
    assert not any(path.startswith("tiles/heart") for path in everything_below(storage))
    assert read(storage, Artefact("raw_slides", "heart")) == "heart"
    assert read(storage) == "liver"


def test_an_abandoned_write_goes_after_the_grace(local_storage: StudyStorage) -> None:
    publish(local_storage, "one")
    abandoned = Path(local_storage.folder(TILES).path) / ".20200101T000000000000Z-00000000"
    abandoned.mkdir()
    (abandoned / "half").write_text("")
    removed = prune(local_storage, DAY)
    assert [(item.path, item.reason) for item in removed] == [(str(abandoned), "never finished")]
    assert not abandoned.exists()


def test_what_is_no_artefact_is_left_alone(local_storage: StudyStorage) -> None:
    publish(local_storage, "one")
    shard = Path(local_storage.root.path) / "shards" / "tiles" / "liver" / "s.tar"
    notes = Path(local_storage.root.path) / "notes" / "mine.txt"
    for path in (shard, notes):
        path.parent.mkdir(parents=True)
        path.write_text("")
    prune(local_storage, timedelta(0), {"tiles": [], "shards": [], "notes": []}, now=later(1))
    assert shard.exists()
    assert notes.exists()
    assert local_storage.pointer(TILES) is None


def test_pruning_an_empty_storage_finds_nothing(storage: StudyStorage) -> None:
    assert prune(storage, DAY) == []


def lose(storage: StudyStorage, how: str) -> None:
    """Have the pointer of the tiles missing, torn, or of some earlier backup."""
    pointer = storage.folder(TILES) / POINTER
    old = publish(storage, "one")
    backup = pointer.fs.cat_file(pointer.path)
    publish(storage, "two")
    publish(storage, "three")
    if how == "missing":
        pointer.fs.rm(pointer.path)
    else:
        pointer.fs.pipe_file(pointer.path, backup if how == "restored" else b"{torn")
    assert old.version in str(everything_below(storage))


REASONS = {
    "missing": "its pointer is missing",
    "torn": "its pointer cannot be read",
    "restored": "newer than the version that its pointer names",
}


@pytest.mark.parametrize("how", REASONS)
def test_what_a_lost_pointer_may_have_meant_is_listed_and_stays_until_it_is_asked_for(
    storage: StudyStorage, how: str
) -> None:
    lose(storage, how)
    before = everything_below(storage)
    listed = prune(storage, DAY, now=later(2))
    assert [(item.reason, item.orphan) for item in listed] == [(REASONS[how], True)] * (2 if how == "restored" else 3)
    assert everything_below(storage) == before
    assert doubt_of(storage, TILES) == REASONS[how]
    assert prune(storage, DAY, now=later(0), orphans=True) == []
    assert prune(storage, DAY, now=later(2), orphans=True, dry_run=True) == listed
    assert everything_below(storage) == before
    assert prune(storage, DAY, now=later(2), orphans=True) == listed
    assert not any(Path(item.path).name in path for item in listed for path in everything_below(storage))


def test_an_older_pointer_that_was_written_anew_since_does_not_hide_a_newer_version(storage: StudyStorage) -> None:
    """A pointer is rewritten where an artefact of 0.1.0 is adopted: its version's own time counts."""
    lose(storage, "restored")
    storage.rewrite(TILES, storage.require(TILES).model_copy(update={"written_at": later(1)}))
    assert doubt_of(storage, TILES) == REASONS["restored"]


def test_one_lost_pointer_keeps_nothing_else_from_going(storage: StudyStorage) -> None:
    lose(storage, "torn")
    heart = Artefact("tiles", "heart")
    old = publish(storage, "one", heart)
    publish(storage, "two", heart)
    removed = [item for item in prune(storage, DAY, now=later(2)) if not item.orphan]
    assert [Path(item.path).name for item in removed] == [old.version]


def test_a_version_of_before_the_current_one_goes_though_no_pointer_remembers_it(local_storage: StudyStorage) -> None:
    first = publish(local_storage, "one")
    for number in range(22):
        publish(local_storage, str(number))
    assert first.version not in local_storage.require(TILES).superseded
    removed = prune(local_storage, DAY, now=later(2))
    assert first.version in {Path(item.path).name for item in removed}
    assert not any(item.orphan for item in removed)
    assert doubt_of(local_storage, TILES) is None


def test_a_draft_goes_even_where_the_pointer_is_missing(local_storage: StudyStorage) -> None:
    draft = Path(local_storage.folder(TILES).path) / ".20200101T000000000000Z-00000000"
    draft.mkdir(parents=True)
    (draft / "half").write_text("")
    assert [(item.reason, item.orphan) for item in prune(local_storage, DAY)] == [("never finished", False)]


def test_shards_of_a_tissue_whose_indexes_are_not_all_known_are_orphans(storage: StudyStorage) -> None:
    folder = storage.root / "shards" / "tiles"
    for name in ("liver/a.tar", "liver/.shard-half.tar", "heart/b.tar"):
        storage.root.fs.makedirs((folder / name).parent.path, exist_ok=True)
        storage.root.fs.pipe_file((folder / name).path, b"x")
    unsure, grace = {"liver": "tiles [liver]: its pointer is missing"}, timedelta(minutes=-1)
    listed = prune_shards(storage, "tiles", set(), grace, unsure=unsure)
    assert [(item.path, item.reason, item.orphan) for item in listed] == [
        (str(folder / "heart/b.tar"), "no index names this shard", False),
        (str(folder / "liver/.shard-half.tar"), "no index names this shard", False),
        (str(folder / "liver/a.tar"), unsure["liver"], True),
    ]
    assert everything_below(storage) == {"shards/tiles/liver/a.tar"}
    prune_shards(storage, "tiles", set(), grace, unsure=unsure, orphans=True)
    assert everything_below(storage) == set()


@pytest.mark.parametrize("days", [0, 2])
def test_shards_that_no_index_names_go_after_the_grace(storage: StudyStorage, days: int) -> None:
    folder = storage.root / "shards" / "tiles"
    names = ["liver/a-1.tar", "liver/a-1.index.parquet", "liver/a-2.tar", "liver/a-2.index.parquet"]
    storage.root.fs.makedirs((folder / "liver").path, exist_ok=True)
    for name in names:
        storage.root.fs.pipe_file((folder / name).path, b"x")
    removed = prune_shards(storage, "tiles", {"liver/a-2"}, grace=timedelta(days=days) - timedelta(minutes=1))
    gone = [] if days else names[:2]
    assert sorted(item.path for item in removed) == sorted(str(folder / name) for name in gone)
    assert {path[len("shards/tiles/") :] for path in everything_below(storage)} == set(names) - set(gone)


def test_what_a_clock_that_went_ahead_wrote_counts_as_of_now(local_storage: StudyStorage) -> None:
    """A version superseded in three days, by the clock of then: with no grace it goes, with any it stays."""
    publish(local_storage, "one")
    publish(local_storage, "two")
    draft = Path(local_storage.folder(TILES).path) / f".{later(3):%Y%m%dT%H%M%S%f}Z-00000000"
    draft.mkdir()
    shard = Path(str(local_storage.root)) / "shards" / "tiles" / "liver" / "unnamed.tar"
    shard.parent.mkdir(parents=True)
    shard.write_bytes(b"x")
    os.utime(shard, (later(3).timestamp(),) * 2)
    assert prune(local_storage, DAY, now=later(-3)) == []
    assert prune_shards(local_storage, "tiles", [], DAY) == []
    assert len(prune(local_storage, timedelta(0), now=later(-3))) == 2
    assert len(prune_shards(local_storage, "tiles", [], timedelta(0))) == 1
    assert not draft.exists() and not shard.exists()
