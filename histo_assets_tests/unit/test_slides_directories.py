"""Directories of TIFFs that no slide has cost that slide alone: bounded time, bounded memory, one sentence."""

from __future__ import annotations

import multiprocessing
import random
import resource
import struct
import time
from pathlib import Path

import pandas as pd
import pytest

from histo_assets.core.slides.inspection import inspect_slides
from histo_assets.core.slides.integrity import inspect_slide
from histo_assets.core.slides.settings import SlideSettings
from histo_assets.core.slides.slide import open_slide
from histo_assets_tests.unit.odd_tiffs import with_next, with_tag, write_tiff
from histo_assets_tests.unit.tissue_slides import stroma

PIXELS = stroma(300, 400)
SECONDS = 20


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiff(tmp_path_factory.mktemp("sound") / "sound.tif", [PIXELS, PIXELS[::2, ::2]])


def reason_within_bounds(path: Path) -> str:
    """Return why a file cannot be used, found by a process with little time and memory; '' where it can be."""
    context = multiprocessing.get_context("fork")
    theirs, ours = context.Pipe()
    child = context.Process(target=_inspected, args=(path, ours))
    child.start()
    ours.close()
    try:
        assert theirs.poll(SECONDS), f"{path.name} takes more than {SECONDS} s"
        return str(theirs.recv())
    finally:
        child.kill()
        child.join()


def _inspected(path: Path, pipe: object) -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (2 << 30, 2 << 30))
    record = inspect_slide(path)
    if record.quarantined is None:
        with open_slide(path) as slide:
            slide.thumbnail(64)
    pipe.send(record.quarantined or "")  # type: ignore[attr-defined]


@pytest.mark.parametrize(("directory", "leads_to"), [(0, 0), (1, 0), (1, 1)])
def test_a_chain_of_directories_that_bites_its_tail_is_named_as_such(
    tmp_path: Path, sound: Path, directory: int, leads_to: int
) -> None:
    looped = with_next(sound, tmp_path / "looped.tif", directory, leads_to)
    assert "looped.tif has directories that lead back to one another" in reason_within_bounds(looped)


def test_a_directory_that_holds_itself_as_a_sub_directory_is_named_as_such(tmp_path: Path, sound: Path) -> None:
    first = sound.read_bytes()[4:8]
    looped = with_tag(sound, tmp_path / "looped.tif", 305, 4, 1, first)
    content = bytearray(looped.read_bytes())
    place = content.index(struct.pack("<HHL", 305, 4, 1))
    struct.pack_into("<H", content, place, 330)
    looped.write_bytes(content)
    assert "lead back to one another" in reason_within_bounds(looped)


@pytest.mark.parametrize("count", [100_000_000, 0xFFFFFFFF])
def test_a_count_that_the_file_cannot_hold_is_refused_before_it_is_read(
    tmp_path: Path, sound: Path, count: int
) -> None:
    absurd = with_tag(sound, tmp_path / "absurd.tif", 324, 4, count, b"\0\0\0\0")
    assert f"TileOffsets has {count} values in a file of" in reason_within_bounds(absurd)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ((3, 1, struct.pack("<HH", 0, 0)), "0"),
        ((3, 2, struct.pack("<HH", 128, 128)), "(128, 128)"),
        ((11, 1, struct.pack("<f", float("nan"))), "nan"),
        ((2, 4, b"128\0"), "128"),
    ],
)
@pytest.mark.parametrize(("code", "name"), [(322, "TileWidth"), (323, "TileLength"), (256, "ImageWidth")])
def test_a_size_that_is_no_whole_number_is_named_with_its_tag(
    tmp_path: Path, sound: Path, code: int, name: str, value: tuple[int, int, bytes], shown: str
) -> None:
    odd = with_tag(sound, tmp_path / "odd.tif", code, *value)
    assert f"odd.tif has a damaged directory: {name} is {shown}" in reason_within_bounds(odd)


def test_an_odd_directory_costs_its_slide_and_not_the_tissue(tmp_path: Path, sound: Path) -> None:
    (tmp_path / "good.tif").write_bytes(sound.read_bytes())
    with_next(sound, tmp_path / "looped.tif", 0, 0)
    with_tag(sound, tmp_path / "twice.tif", 323, 3, 2, struct.pack("<HH", 128, 128))
    rows = pd.DataFrame([{"slide": s, "donor": s, "tissue": "skin", "sample": s} for s in ("looped", "good", "twice")])
    table = inspect_slides(rows, str(tmp_path), SlideSettings()).set_index("slide")
    assert table["quarantined"].notna().to_dict() == {"looped": True, "good": False, "twice": True}


def test_whatever_bytes_a_directory_holds_one_sentence_is_said_within_bounds(tmp_path: Path, sound: Path) -> None:
    content, rng = sound.read_bytes(), random.Random(0)
    directories = [struct.unpack_from("<L", content, 4)[0]]
    directories.append(struct.unpack_from("<L", content, directories[0] + 2 + 12 * content[directories[0]])[0])
    began = time.monotonic()
    for number in range(150):
        changed = bytearray(content)
        for _ in range(rng.choice([1, 2, 6])):
            place = rng.choice(directories) + rng.randrange(200)
            changed[place % len(changed)] = rng.choice([0, 1, 2, 255, rng.randrange(256)])
        path = tmp_path / "fuzzed.tif"
        path.write_bytes(changed)
        record = inspect_slide(path)
        if record.quarantined is None:
            with open_slide(path) as slide:
                slide.thumbnail(32)
        else:
            assert "\n" not in record.quarantined, number
    assert time.monotonic() - began < 60
