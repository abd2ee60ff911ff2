"""New slides of any name: each has a key of its own, and none takes another's."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest

from histo_assets.core.errors import HistoError
from histo_assets.core.incoming.placing import placed_slide
from histo_assets.core.slides.found import new_slides
from histo_assets.core.slides.inspection import inspect_incoming
from histo_assets.core.slides.settings import SlideSettings
from histo_assets.defs.automation import settled_files
from histo_assets.demo.svs import write_svs
from histo_assets_tests.unit.generated_slides import write_dicom
from histo_assets_tests.unit.tissue_slides import stroma

NAMES = (
    "S24-1 A1.svs",
    "S24-1_A1.svs",
    "Case 12 (rescan).svs",
    "Prä 7.svs",
    "Pra 7.svs",
    "症例.svs",
    "標本.svs",
    "UPPER.SVS",
    "S24,7.svs",
    "twin.svs",
    "twin.tif",
    "twin.svs.tif",
    "nested/inner.svs",
    "patient_a/HE.svs",
    "patient_b/HE.svs",
)


@pytest.fixture(scope="module")
def svs(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("svs") / "a.svs"
    write_svs(path, stroma(300, 300))
    return path.read_bytes()


def put(folder: Path, content: bytes, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def test_every_slide_of_the_incoming_folder_has_a_key_and_the_key_leads_to_its_file(tmp_path: Path, svs: bytes) -> None:
    put(tmp_path, svs, *NAMES)
    keys = new_slides(tmp_path)
    assert sorted(keys.values()) == sorted(NAMES)
    for key, file in keys.items():
        record = inspect_incoming(str(tmp_path), key, SlideSettings()).record
        assert (record.path, record.quarantined, record.missing) == (file, None, None)


def test_a_safe_name_is_its_own_key(tmp_path: Path, svs: bytes) -> None:
    put(tmp_path, svs, "ok.svs", "twin.svs", "twin.tif", "deep/GTEX-1117F-0126.svs")
    assert set(new_slides(tmp_path)) == {"ok", "twin.svs", "twin.tif", "GTEX-1117F-0126"}


def test_a_picture_beside_a_new_slide_is_no_slide(tmp_path: Path, svs: bytes) -> None:
    put(tmp_path, svs, "ok.svs")
    put(tmp_path, b"\xff\xd8\xff\xd9", "ok.jpg", "ok.svs.png", "thumbs/ok.jpeg")
    assert new_slides(tmp_path) == {"ok": "ok.svs"}


def test_a_key_that_two_files_share_names_both(tmp_path: Path, svs: bytes) -> None:
    put(tmp_path, svs, "twin.svs", "twin.tif")
    missing = inspect_incoming(str(tmp_path), "twin", SlideSettings()).record.missing
    assert missing is not None and "it holds twin.svs and twin.tif" in missing


def test_the_sensor_takes_every_slide_once_dicom_folders_too(tmp_path: Path, svs: bytes) -> None:
    put(tmp_path, svs, *NAMES)
    write_dicom(tmp_path / "Fall 7", stroma(300, 300))
    _, cursor = settled_files(tmp_path, None, most=50)
    ready, cursor = settled_files(tmp_path, cursor, most=50)
    assert sorted(key for key, _ in ready) == sorted(new_slides(tmp_path))
    assert len(ready) == len(NAMES) + 1
    assert settled_files(tmp_path, cursor, most=50)[0] == []
    (tmp_path / "Fall 7" / "level4.dcm").write_bytes(b"still being copied")
    ready, cursor = settled_files(tmp_path, cursor, most=50)
    assert ready == []
    assert len(settled_files(tmp_path, cursor, most=50)[0]) == 1


def test_two_slides_of_one_name_have_two_keys_and_each_keeps_its_own(tmp_path: Path, svs: bytes) -> None:
    put(tmp_path, svs, "patient_a/HE.svs", "patient_b/HE.svs", "patient_c/HE.tif")
    slides = [tmp_path / "patient_a/HE.svs", tmp_path / "patient_b/HE.svs", tmp_path / "patient_c/HE.tif"]
    keys = [placed_slide(slide, tmp_path / "incoming") for slide in slides]
    assert keys[0] == "HE"
    assert len(set(keys)) == 3
    assert [placed_slide(slide, tmp_path / "incoming") for slide in slides] == keys
    places = new_slides(tmp_path / "incoming")
    assert [os.path.realpath(tmp_path / "incoming" / places[key]) for key in keys] == [str(slide) for slide in slides]


def test_the_key_of_a_slide_that_has_gone_is_not_given_to_another(tmp_path: Path, svs: bytes) -> None:
    put(tmp_path, svs, "patient_a/HE.svs", "patient_b/HE.svs")
    incoming = tmp_path / "incoming"
    assert placed_slide(tmp_path / "patient_a/HE.svs", incoming) == "HE"
    (tmp_path / "patient_a/HE.svs").unlink()
    assert placed_slide(tmp_path / "patient_b/HE.svs", incoming) != "HE"
    (incoming / "HE.svs").unlink()
    put(tmp_path, svs, "patient_c/HE.svs")
    assert placed_slide(tmp_path / "patient_c/HE.svs", incoming, taken=["HE"]) != "HE"


@pytest.mark.parametrize("name", ["new slide 1.svs", "Prä.SVS", "症例.svs", "[x] a.svs", os.fsdecode(b"Gr\xfcn.svs")])
def test_predict_takes_any_name(tmp_path: Path, svs: bytes, name: str) -> None:
    put(tmp_path, svs, name)
    key = placed_slide(tmp_path / name, tmp_path / "incoming")
    record = inspect_incoming(str(tmp_path / "incoming"), key, SlideSettings()).record
    assert (record.missing, record.quarantined) == (None, None)


def test_predict_takes_a_slide_that_lies_in_the_incoming_folder_as_it_is(tmp_path: Path, svs: bytes) -> None:
    name = unicodedata.normalize("NFD", "Prä 7.svs")
    put(tmp_path, svs, "ok.svs", name)
    assert placed_slide(tmp_path / "ok.svs", tmp_path) == "ok"
    assert new_slides(tmp_path)[placed_slide(tmp_path / name, tmp_path)] == name
    assert len(list(tmp_path.iterdir())) == 2


def test_predict_takes_a_dicom_folder_and_a_folder_that_holds_one_slide(tmp_path: Path, svs: bytes) -> None:
    write_dicom(tmp_path / "study" / "Series 1.2", stroma(300, 300))
    incoming = tmp_path / "incoming"
    key = placed_slide(tmp_path / "study" / "Series 1.2", incoming)
    assert placed_slide(tmp_path / "study", incoming) == key
    record = inspect_incoming(str(incoming), key, SlideSettings()).record
    assert (record.vendor, record.quarantined) == ("dicom", None)


def test_predict_says_what_a_folder_or_a_file_is_instead(tmp_path: Path, svs: bytes) -> None:
    put(tmp_path, svs, "two/a.svs", "two/b.svs", "notes.txt")
    (tmp_path / "none").mkdir()
    for name, words in (
        ("two", "holds 2 slides"),
        ("none", "holds no slide"),
        ("notes.txt", "no slide by its name"),
        ("gone.svs", "does not exist"),
    ):
        with pytest.raises(HistoError, match=words):
            placed_slide(tmp_path / name, tmp_path / "incoming")
