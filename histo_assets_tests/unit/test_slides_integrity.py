"""Bad slides are found, and each gets one sentence."""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from histo_assets.core.slides.directory import read_directory
from histo_assets.core.slides.inspection import (
    IncomingSlide,
    inspect_incoming,
    inspect_slides,
    thumbnail_of,
    thumbnails,
)
from histo_assets.core.slides.integrity import SlideRecord, inspect_slide, slide_digest
from histo_assets.core.slides.settings import SlideSettings
from histo_assets.demo.svs import Scan, write_svs
from histo_assets.storage.digests import content_digest
from histo_assets_tests.unit.odd_tiffs import write_ome_tiff
from histo_assets_tests.unit.tissue_slides import stroma


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_svs(tmp_path_factory.mktemp("sound") / "sound.svs", stroma(600, 500))


def reason(path: Path | None, **options: object) -> str:
    record = inspect_slide(path, **options)  # type: ignore[arg-type]
    assert record.quarantined is not None
    assert record.integrity == ""
    assert "\n" not in record.quarantined
    return record.quarantined


def test_a_sound_slide_is_described(sound: Path) -> None:
    record = inspect_slide(sound)
    assert record.quarantined is None
    assert (record.width, record.height, record.mpp, record.levels) == (500, 600, 0.5, 2)
    assert (record.vendor, record.integrity, record.digest_kind) == ("aperio", "checked", "directory")
    assert record.bytes == sound.stat().st_size


def test_a_slide_that_is_not_there_is_missing_and_not_quarantined(tmp_path: Path) -> None:
    records = inspect_slide(tmp_path / "a.svs"), inspect_slide(None, slide_id="S1")
    assert [record.quarantined for record in records] == [None, None]
    assert "a.svs is missing" in str(records[0].missing)
    assert "slide S1 is missing" in str(records[1].missing)


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.EACCES])
def test_a_disk_that_does_not_answer_is_no_verdict_on_the_slide(
    sound: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def failing(path: Path) -> bool:
        raise OSError(code, os.strerror(code), str(path))

    monkeypatch.setattr("histo_assets.core.slides.integrity._is_html", failing)
    record = inspect_slide(sound)
    assert record.quarantined is None
    assert f"sound.svs cannot be read ({os.strerror(code)})" in str(record.missing)


def test_an_empty_file_is_quarantined(tmp_path: Path) -> None:
    (tmp_path / "a.svs").touch()
    assert "a.svs is empty" in reason(tmp_path / "a.svs")


def test_an_html_page_is_quarantined_as_such(tmp_path: Path) -> None:
    (tmp_path / "a.svs").write_text("\n<!DOCTYPE html><html><body>502</body></html>")
    assert "a.svs is an HTML page" in reason(tmp_path / "a.svs")


def test_text_is_quarantined(tmp_path: Path) -> None:
    (tmp_path / "a.svs").write_text("slide, donor")
    assert "a.svs is no TIFF file" in reason(tmp_path / "a.svs")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0.0001, 0.9999))
def test_a_truncated_slide_is_quarantined_wherever_it_ends(tmp_path: Path, sound: Path, share: float) -> None:
    whole = sound.read_bytes()
    path = tmp_path / "cut.svs"
    # The last bytes may be padding of the last page; everything before is needed.
    path.write_bytes(whole[: max(1, min(int(len(whole) * share), len(whole) - 64))])
    assert "cut.svs" in reason(path)


@pytest.mark.parametrize(("tag", "value"), [(256, 2**31 - 1), (257, 60_000), (256, 300), (322, 65_520), (323, 16)])
def test_a_directory_whose_storage_tiles_do_not_make_up_the_slide_is_quarantined(
    tmp_path: Path, tag: int, value: int
) -> None:
    path = write_svs(tmp_path / "a.svs", stroma(600, 500), associated=False, levels=())
    with tifffile.TiffFile(path, mode="r+") as tiff:
        tiff.pages.first.tags[tag].overwrite(value, dtype="I")
    assert "a.svs has a damaged directory" in reason(path)


def test_the_reason_of_a_truncated_slide_counts_the_storage_tiles_beyond_its_end(tmp_path: Path) -> None:
    path = write_svs(tmp_path / "a.svs", stroma(600, 500), associated=False, levels=())
    with tifffile.TiffFile(path) as tiff:
        offsets = tiff.pages.first.dataoffsets
    os.truncate(path, offsets[-2] + 10)
    assert f"2 of its {len(offsets)} storage tiles lie beyond its end" in reason(path)


def test_damage_of_one_slide_is_not_taken_for_anothers_that_is_read_at_the_same_time(
    tmp_path: Path, sound: Path
) -> None:
    content = sound.read_bytes()
    cut = tmp_path / "cut.svs"
    cut.write_bytes(content[: len(content) // 2])
    assert read_directory(cut).complaint, "tifffile complains of it"
    with ThreadPoolExecutor(8) as pool:
        complaints = list(pool.map(lambda path: read_directory(path).complaint, [cut, sound] * 100))
    assert all(complaints[0::2]) and not any(complaints[1::2])


def test_a_tiff_that_is_not_aperio_s_is_quarantined_without_being_opened(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.svs", stroma(512, 512), tile=(256, 256), photometric="rgb", compression="jpeg")
    assert "not an Aperio slide" in reason(tmp_path / "a.svs")


def test_a_tiff_in_strips_is_quarantined_even_with_an_aperio_description(tmp_path: Path) -> None:
    description = "Aperio Image Library v11 |AppMag = 20|MPP = 0.5"
    tifffile.imwrite(tmp_path / "a.svs", stroma(512, 512), photometric="rgb", description=description, metadata=None)
    assert "without storage tiles" in reason(tmp_path / "a.svs")


def test_a_tiled_tiff_of_any_maker_is_read_under_its_own_suffix(tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif",
        stroma(512, 512),
        tile=(256, 256),
        photometric="rgb",
        compression="jpeg",
        resolution=(20_000, 20_000),
        resolutionunit="CENTIMETER",
    )
    record = inspect_slide(tmp_path / "a.tif")
    assert (record.quarantined, record.vendor, record.integrity) == (None, "generic-tiff", "checked")
    assert record.mpp == pytest.approx(0.5)


def test_a_slide_without_resolution_is_quarantined_unless_one_is_assumed(tmp_path: Path) -> None:
    path = write_svs(tmp_path / "a.svs", stroma(256, 256), Scan(mpp=None), associated=False)
    assert "slides.assume_mpp" in reason(path)
    assert math.isnan(inspect_slide(path).mpp)
    assert inspect_slide(path, SlideSettings(assume_mpp={"a": 0.5}), "a").quarantined is None
    assert "or for b" in reason(path, settings=SlideSettings(assume_mpp={"a": 0.5}), slide_id="b")


def test_a_format_that_only_slideio_reads_is_tried_in_a_child_process_and_marked_unverified(tmp_path: Path) -> None:
    path = write_ome_tiff(tmp_path / "a.ome.tif", stroma(256, 256))
    record = inspect_slide(path)
    assert (record.quarantined, record.integrity, record.width, record.mpp) == (None, "unverified", 256, 0.5)


def test_a_file_that_no_driver_opens_is_quarantined(tmp_path: Path) -> None:
    (tmp_path / "a.ndpi").write_bytes(os.urandom(4096))
    assert "a.ndpi does not open as a NDPI slide" in reason(tmp_path / "a.ndpi")


def test_the_digest_follows_size_time_and_directory_but_not_the_path(tmp_path: Path, sound: Path) -> None:
    digests = set()
    for name, change in (("a", b""), ("b", b"\0")):
        copy = tmp_path / f"{name}.svs"
        copy.write_bytes(sound.read_bytes() + change)
        os.utime(copy, ns=(5, 5))
        digests.add(slide_digest(copy))
    moved = (tmp_path / "a.svs").rename(tmp_path / "c.svs")
    assert slide_digest(moved) in digests
    os.utime(moved, ns=(6, 6))
    assert slide_digest(moved) not in digests
    assert {kind for _, kind in digests} == {"directory"}


def test_what_is_known_of_slides_does_not_depend_on_where_they_lie(tmp_path: Path, sound: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "else" / "where"
    (first / "by donor").mkdir(parents=True)
    shutil.copy2(sound, first / "by donor" / "a.svs")
    shutil.copy2(sound, first / "b.svs")
    shutil.copy2(sound, first / "b.tif")
    (first / "c.svs").write_text("<html>")
    shutil.copytree(first, second)
    tables = [inspect_slides(selected("a", "b", "c", "d"), str(folder), SlideSettings()) for folder in (first, second)]
    assert list(tables[0]["path"]) == ["by donor/a.svs", "", "c.svs", ""]
    assert tables[0]["quarantined"][1] == "b.svs and b.tif both stand for slide b; keep one of them in the folder"
    assert content_digest(tables[0]) == content_digest(tables[1])
    assert list(thumbnails(tables[1], str(second), SlideSettings(), 100, 5)) == ["a"]


def test_an_absolute_path_of_an_older_table_still_opens(tmp_path: Path, sound: Path) -> None:
    old = inspect_slides(selected("a"), str(tmp_path), SlideSettings()).drop(columns="missing")
    old = old.assign(path=str(sound), integrity="checked")
    assert list(thumbnails(old, str(tmp_path), SlideSettings(), 100, 5)) == ["a"]


def selected(*slides: str) -> pd.DataFrame:
    return pd.DataFrame({"slide": slides, "donor": slides, "tissue": "uterus", "sample": slides, "rank": 0})


def test_a_tissue_s_slides_are_found_and_one_bad_slide_does_not_stop_the_rest(tmp_path: Path, sound: Path) -> None:
    (tmp_path / "GTEX-1117F-0125.svs").write_bytes(sound.read_bytes())
    (tmp_path / "GTEX-1117F-0226.svs").write_text("<html>")
    table = inspect_slides(
        selected("GTEX-1117F-0126", "GTEX-1117F-0226", "GTEX-1117F-0326"), str(tmp_path), SlideSettings()
    )
    assert list(table["slide"]) == ["GTEX-1117F-0126", "GTEX-1117F-0226", "GTEX-1117F-0326"]
    assert table["quarantined"].tolist()[0] is None
    assert "HTML" in table["quarantined"][1]
    assert table["missing"].tolist()[:2] == [None, None]
    assert "no file of slide GTEX-1117F-0326" in table["missing"][2]
    assert table["quarantined"][2] is None
    assert list(thumbnails(table, str(tmp_path), SlideSettings(), 100, 5)) == ["GTEX-1117F-0126"]


def test_two_files_for_one_slide_quarantine_that_slide_alone(tmp_path: Path, sound: Path) -> None:
    for name in ("a.svs", "a.tif", "b.svs"):
        (tmp_path / name).write_bytes(sound.read_bytes())
    table = inspect_slides(selected("a", "b"), str(tmp_path), SlideSettings())
    assert "both stand for slide a" in table["quarantined"][0]
    assert table["quarantined"][1] is None


def test_an_incoming_slide_s_record_holds_json_values_only(tmp_path: Path, sound: Path) -> None:
    write_svs(tmp_path / "new.svs", stroma(256, 256), Scan(mpp=None), associated=False)
    incoming = inspect_incoming(str(tmp_path), "new", SlideSettings())
    stored = incoming.as_json()
    assert stored["mpp"] is None
    assert stored["tissue"] == "incoming"
    assert {type(value) for value in stored.values()} <= {str, int, float, type(None)}
    assert IncomingSlide.from_json(json.loads(json.dumps(stored))).as_json() == stored
    assert thumbnail_of(incoming, str(tmp_path), SlideSettings(), 100) is None


def test_an_incoming_slide_that_was_stored_before_slides_could_be_missing_is_read() -> None:
    stored = {"slide": "new", "donor": "new", "tissue": "incoming", "sample": "new", "path": "new.svs", "mpp": 0.5}
    incoming = IncomingSlide.from_json(stored)
    assert (incoming.slide, incoming.record) == ("new", SlideRecord("new.svs", mpp=0.5))
    assert incoming.table()["missing"].isna().all()


def test_importing_the_room_loads_neither_slideio_nor_torch() -> None:
    import subprocess

    modules = "histo_assets.core.slides.inspection, histo_assets.core.tiling.tiles, histo_assets.core.tiling.pictures"
    heavy = "{'torch', 'slideio', 'tifffile', 'cv2', 'simplejpeg'}"
    code = f"import sys, {modules}; assert not {heavy} & set(sys.modules), {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
