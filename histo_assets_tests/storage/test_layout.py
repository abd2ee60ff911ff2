"""Artefacts get there whole or not at all, whatever happens to whoever writes them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from histo_assets.storage.layout import (
    POINTER,
    Artefact,
    MissingArtefactError,
    Origin,
    Pointer,
    Record,
    StorageError,
    StudyStorage,
    SupersededError,
    version_time,
)

TILES = Artefact("tiles", "liver")


def write_text(text: str) -> Any:
    def write(folder: Path) -> None:
        (folder / "index.txt").write_text(text)
        (folder / "previews").mkdir()
        (folder / "previews" / "slide.jpg").write_text(text * 2)

    return write


def publish(
    storage: StudyStorage, text: str, artefact: Artefact = TILES, record: Record | None = None, **origin: Any
) -> Pointer:
    write = write_text(text)
    return storage.publish(artefact, write, format="folders", data_version=text, origin=Origin(**origin), record=record)


def read(storage: StudyStorage, artefact: Artefact = TILES) -> str:
    folder = storage.fetch(artefact, storage.require(artefact))
    assert (folder / "previews" / "slide.jpg").read_text() == 2 * (folder / "index.txt").read_text()
    return (folder / "index.txt").read_text()


def everything_below(storage: StudyStorage) -> set[str]:
    storage.root.fs.invalidate_cache()
    root = storage.root.path
    return {path[len(root) + 1 :] for path in storage.root.fs.find(root)} - {".lock"}


def test_a_version_comes_back_with_its_folders(storage: StudyStorage) -> None:
    pointer = publish(storage, "one", code_version="3", made_from={"raw_slides/liver": "abc"}, run_id="r1")
    assert read(storage) == "one"
    assert storage.require(TILES) == pointer
    assert pointer.files == {"index.txt": 3, "previews/slide.jpg": 6}
    assert everything_below(storage) == {
        f"tiles/liver/{POINTER}",
        f"tiles/liver/{pointer.version}/index.txt",
        f"tiles/liver/{pointer.version}/previews/slide.jpg",
    }


def test_the_newest_version_counts_and_the_old_one_stays(storage: StudyStorage) -> None:
    first, second = publish(storage, "one"), publish(storage, "two")
    assert read(storage) == "two"
    assert set(second.superseded) == {first.version}
    assert f"tiles/liver/{first.version}/index.txt" in everything_below(storage)


def test_an_artefact_without_partitions_lies_under_all(storage: StudyStorage) -> None:
    publish(storage, "one", Artefact("slide_manifest"))
    assert f"slide_manifest/all/{POINTER}" in everything_below(storage)


def test_a_missing_artefact_is_named_with_the_command_that_makes_it(storage: StudyStorage) -> None:
    with pytest.raises(MissingArtefactError) as caught:
        storage.require(TILES)
    assert str(caught.value) == ("demo/tiles [liver] has not been made; run `histo-assets materialize --select tiles`")


def test_an_exception_while_writing_leaves_the_last_good_state(storage: StudyStorage) -> None:
    publish(storage, "one")
    before = everything_below(storage)

    def write(folder: Path) -> None:
        (folder / "index.txt").write_text("half")
        raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space left"):
        storage.publish(TILES, write, format="folders", data_version="two")
    assert everything_below(storage) == before
    assert read(storage) == "one"
    assert not [p for p in Path(os.environ["HISTO_CACHE"]).rglob("uploads/*/*")]


KILLED = """
import os, signal, sys
from pathlib import Path
from histo_assets.storage.layout import Artefact, StudyStorage

class Killed(StudyStorage):
    def _write_pointer(self, target, pointer):
        os.kill(os.getpid(), signal.SIGKILL)

def write(folder):
    (folder / "index.txt").write_text("two")
    if sys.argv[2] == "writing":
        os.kill(os.getpid(), signal.SIGKILL)

Killed(sys.argv[1]).publish(Artefact("tiles", "liver"), write, format="folders", data_version="two")
"""


@pytest.mark.parametrize("when", ["writing", "before the pointer"])
def test_kill_9_leaves_the_last_good_state(storage: StudyStorage, root: str, when: str) -> None:
    publish(storage, "one")
    ended = subprocess.run([sys.executable, "-c", KILLED, root, when], check=False, capture_output=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    assert read(storage) == "one"
    publish(storage, "three")
    assert read(storage) == "three"


def test_two_writers_at_once_leave_one_whole_version(storage: StudyStorage) -> None:
    texts = [f"text-{i}" for i in range(6)]
    together = threading.Barrier(len(texts))

    def work(text: str) -> None:
        together.wait()
        publish(storage, text)

    threads = [threading.Thread(target=work, args=(text,)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pointer = storage.require(TILES)
    assert read(storage) == pointer.data_version
    assert pointer.data_version in texts


def test_a_reader_never_sees_half_of_a_version(local_storage: StudyStorage) -> None:
    publish(local_storage, "0")
    done = threading.Event()

    def work() -> None:
        for i in range(40):
            publish(local_storage, str(i))
        done.set()

    writer = threading.Thread(target=work)
    writer.start()
    while not done.is_set():
        pointer = local_storage.require(TILES)
        assert (local_storage.fetch(TILES, pointer) / "index.txt").read_text() == pointer.data_version
    writer.join()


def test_a_remote_version_is_fetched_once(s3_root: str, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = StudyStorage(s3_root)
    pointer = publish(storage, "one")
    first = storage.fetch(TILES, pointer)
    assert own_cache in first.parents
    monkeypatch.setattr(StudyStorage, "_download", lambda *_: pytest.fail("fetched twice"))
    assert storage.fetch(TILES, pointer) == first


def test_a_damaged_copy_in_the_cache_is_fetched_again(s3_root: str) -> None:
    storage = StudyStorage(s3_root)
    folder = storage.fetch(TILES, publish(storage, "one"))
    (folder / "index.txt").write_text("")
    assert read(storage) == "one"


@pytest.mark.parametrize("harm", ["truncate", "remove"])
def test_a_damaged_version_is_named_with_the_way_out(storage: StudyStorage, harm: str) -> None:
    pointer = publish(storage, "one")
    path = (storage.folder(TILES) / pointer.version / "index.txt").path
    storage.root.fs.rm(path)
    if harm == "truncate":
        storage.root.fs.pipe_file(path, b"o")
    with pytest.raises(StorageError, match=r"demo/tiles \[liver\].*missing|1 bytes instead of 3") as caught:
        storage.fetch(TILES, pointer)
    assert "histo-assets materialize --select tiles" in str(caught.value)


def test_an_unreadable_pointer_is_named_and_can_be_written_over(storage: StudyStorage) -> None:
    publish(storage, "one")
    storage.root.fs.pipe_file((storage.folder(TILES) / POINTER).path, b"{}")
    with pytest.raises(StorageError, match=r"current.json is no pointer \(Field required\); run"):
        storage.require(TILES)
    publish(storage, "two")
    assert read(storage) == "two"


@pytest.mark.parametrize("name", ["../etc", "a/b", "", ".hidden", "a b"])
def test_a_partition_that_could_be_a_path_is_refused(local_storage: StudyStorage, name: str) -> None:
    with pytest.raises(StorageError, match="cannot be a folder's name"):
        local_storage.folder(Artefact("tiles", name))


def test_nothing_written_is_an_error(local_storage: StudyStorage) -> None:
    with pytest.raises(StorageError, match="nothing was written"):
        local_storage.publish(TILES, lambda folder: None, format="folders", data_version="x")


def test_a_relative_root_is_the_same_place_from_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    storage = StudyStorage("data/demo")
    publish(storage, "one")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert read(storage) == "one"


def test_versions_sort_by_time_and_tell_it(local_storage: StudyStorage) -> None:
    versions = [publish(local_storage, str(i)).version for i in range(5)]
    assert versions == sorted(versions)
    assert version_time(versions[0]) == version_time(f".{versions[0]}") is not None
    assert version_time("current.json") is None


def test_the_pointer_is_plain_json(local_storage: StudyStorage) -> None:
    publish(local_storage, "one", made_from={"raw_slides/liver": "abc"})
    content = json.loads((Path(local_storage.folder(TILES).path) / POINTER).read_text())
    assert content["made_from"] == {"raw_slides/liver": "abc"}
    assert content["data_version"] == "one"


def test_what_was_made_from_a_superseded_parent_replaces_nothing_made_from_the_current(storage: StudyStorage) -> None:
    """Two runs: the slower one loaded the parent before it changed, and ends after the faster one."""
    raw = Artefact("raw_slides", "liver")
    publish(storage, "old", raw)
    publish(storage, "new", raw)
    faster = publish(storage, "from new", made_from={raw.name: "new"})
    with pytest.raises(SupersededError, match=r"tiles \[liver\] was made from raw_slides \[liver\] as it was before"):
        publish(storage, "from old", made_from={raw.name: "old"})
    assert storage.require(TILES) == faster
    assert read(storage) == "from new"


def test_what_was_made_from_a_superseded_parent_replaces_what_is_as_old(storage: StudyStorage) -> None:
    raw = Artefact("raw_slides", "liver")
    publish(storage, "old", raw)
    publish(storage, "first", made_from={raw.name: "old"})
    publish(storage, "new", raw)
    publish(storage, "second", made_from={raw.name: "old"})
    assert read(storage) == "second"
