"""Which file is which slide's: by its exact name, wherever it lies, and never by a likeness of names."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from histo_assets.core.cohort.errors import CohortError
from histo_assets.core.cohort.reading import read_manifest, read_rna_samples
from histo_assets.core.cohort.settings import CohortSettings
from histo_assets.core.slides.inspection import inspect_slides
from histo_assets.core.slides.settings import SlideSettings
from histo_assets.demo.svs import write_svs
from histo_assets_tests.unit.generated_slides import write_dicom
from histo_assets_tests.unit.tissue_slides import stroma

DECOMPOSED = unicodedata.normalize("NFD", "Prä 2")
UUID = "00000000-0000-4000-8000-000000000001"


@pytest.fixture(scope="module")
def svs(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("svs") / "a.svs"
    write_svs(path, stroma(300, 300))
    return path.read_bytes()


def manifest(folder: Path, *names: str) -> pd.DataFrame:
    """Return the manifest of slides of these names, each of its own donor."""
    rows = "".join(f"{name},D{place},x\n" for place, name in enumerate(names))
    (folder / "slides.csv").write_text("slide,donor,label\n" + rows, encoding="utf-8")
    return read_manifest(CohortSettings(reader="table", manifest="slides.csv"), str(folder / "slides.csv"))


def inspected(folder: Path, *names: str, **settings: Any) -> list[dict[str, Any]]:
    """Return what is found of the slides of these names in `folder/slides`."""
    selected = manifest(folder, *names).assign(sample="s")
    found = inspect_slides(selected, str(folder / "slides"), SlideSettings(**settings))
    return [{str(name): value for name, value in row.items()} for row in found.to_dict("records")]


def put(folder: Path, content: bytes, *names: str) -> None:
    """Write one slide under several names."""
    for name in names:
        path = folder / "slides" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


@pytest.mark.parametrize(
    ("slide", "file"),
    [("Grön 1", "Grün 1"), ("Pra 2", DECOMPOSED), ("S 7/8", "S 7#8"), ("症例12", "標本12"), ("Gr_n 1", "Grön 1")],
)
def test_a_file_whose_name_only_becomes_the_same_id_is_not_taken(
    tmp_path: Path, svs: bytes, slide: str, file: str
) -> None:
    put(tmp_path, svs, f"{file}.svs")
    (record,) = inspected(tmp_path, slide)
    assert record["path"] == ""
    assert "no file of slide" in record["missing"]


@pytest.mark.parametrize("slide", ["Prä 2", DECOMPOSED])
@pytest.mark.parametrize("file", ["Prä 2", DECOMPOSED])
def test_composed_and_decomposed_accents_are_one_name(tmp_path: Path, svs: bytes, slide: str, file: str) -> None:
    put(tmp_path, svs, f"{file}.svs")
    (record,) = inspected(tmp_path, slide)
    assert record["path"] == f"{file}.svs"
    assert record["quarantined"] is None


def test_one_name_written_in_two_ways_is_repeated_and_its_donor_is_one(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match="stands in rows 2, 3"):
        manifest(tmp_path, "Prä 2", DECOMPOSED)
    (tmp_path / "donors.csv").write_text(f"slide,donor,label\na,Prä 2,Grün\nb,{DECOMPOSED},Gru\u0308n\n")
    settings = CohortSettings(reader="table", manifest="donors.csv")
    table = read_manifest(settings, str(tmp_path / "donors.csv"))
    assert table["donor"].nunique() == table["tissue"].nunique() == 1


def test_a_sample_is_one_name_too(tmp_path: Path) -> None:
    (tmp_path / "rna.csv").write_text(f"sample_id,donor_id,tissue_id\n{DECOMPOSED},D,x\n")
    assert read_rna_samples(str(tmp_path / "rna.csv"))["sample"].tolist() == ["Prä 2"]


def test_names_that_become_one_id_are_two_slides_of_two_donors(tmp_path: Path, svs: bytes) -> None:
    put(tmp_path, svs, "Grön 1.svs", "Grün 1.svs", "Gr_n_1.svs")
    names = ["Grön 1", "Grün 1", "Gr_n_1"]
    records = inspected(tmp_path, *names)
    assert [record["path"] for record in records] == [f"{name}.svs" for name in names]
    assert len({record["slide"] for record in records}) == 3
    assert records[2]["slide"] == "Gr_n_1"
    again = inspected(tmp_path, *names[::-1])
    assert [record["slide"] for record in again] == [record["slide"] for record in records[::-1]]
    (tmp_path / "donors.csv").write_text("slide,donor,label\na,Grön,x\nb,Grün,x\n")
    donors = read_manifest(CohortSettings(reader="table", manifest="donors.csv"), str(tmp_path / "donors.csv"))
    assert donors["donor"].nunique() == 2


def test_a_name_without_any_plain_letter_is_a_slide(tmp_path: Path, svs: bytes) -> None:
    put(tmp_path, svs, "症例.svs")
    (record,) = inspected(tmp_path, "症例")
    assert record["path"] == "症例.svs"


def test_a_name_that_no_file_can_have_is_looked_for_as_its_id(tmp_path: Path, svs: bytes) -> None:
    put(tmp_path, svs, "S_7_8.svs")
    assert inspected(tmp_path, "S 7/8")[0]["path"] == "S_7_8.svs"


def test_a_file_name_that_is_no_utf_8_costs_its_slide_alone(tmp_path: Path, svs: bytes) -> None:
    put(tmp_path, svs, "sound.svs")
    (tmp_path / "slides" / os.fsdecode(b"Gr\xfcn.svs")).write_bytes(svs)
    strange, sound = inspected(tmp_path, "Grün", "sound")
    assert sound["path"] == "sound.svs"
    assert r"Gr\xfcn.svs, whose name is no UTF-8; rename it" in strange["missing"]


def test_linked_and_nested_folders_are_found_and_links_that_lead_back_end(tmp_path: Path, svs: bytes) -> None:
    put(tmp_path / "disk", svs, "A1.svs", "deep/er/A2.svs")
    put(tmp_path, svs, "own/A3.svs")
    slides = tmp_path / "slides"
    (slides / "batch1").symlink_to("../disk/slides")
    (slides / "all").symlink_to(".")
    (slides / "again").symlink_to("own")
    (slides / "disk").symlink_to(tmp_path / "disk")
    (slides / "A3.svs").symlink_to("own/A3.svs")
    (slides / "gone.svs").symlink_to("nowhere.svs")
    records = inspected(tmp_path, "A1", "A2", "A3")
    assert [record["missing"] or record["quarantined"] for record in records] == [None] * 3
    assert [Path(record["path"]).name for record in records] == ["A1.svs", "A2.svs", "A3.svs"]
    assert records[2]["path"] == "own/A3.svs"


def test_a_linked_dicom_folder_is_a_slide(tmp_path: Path) -> None:
    write_dicom(tmp_path / "disk" / "A1", stroma(300, 300))
    (tmp_path / "slides").mkdir()
    (tmp_path / "slides" / "A1").symlink_to("../disk/A1")
    assert inspected(tmp_path, "A1")[0]["vendor"] == "dicom"


def test_suffixes_are_read_in_either_case(tmp_path: Path, svs: bytes) -> None:
    put(tmp_path, svs, "A1.SVS")
    write_dicom(tmp_path / "slides" / "A2", stroma(300, 300))
    for file in (tmp_path / "slides" / "A2").iterdir():
        file.rename(file.with_suffix(".DCM"))
    assert [record["vendor"] for record in inspected(tmp_path, "A1", "A2")] == ["aperio", "dicom"]


@pytest.mark.parametrize("picture", ["A1.jpg", "A1.JPEG", "thumbs/A1.png", "A1.svs.jpg"])
def test_a_picture_called_like_a_slide_is_no_twin_of_it(tmp_path: Path, svs: bytes, picture: str) -> None:
    put(tmp_path, svs, "A1.svs")
    put(tmp_path, b"\xff\xd8\xff\xd9", picture)
    (record,) = inspected(tmp_path, "A1")
    assert (record["path"], record["quarantined"]) == ("A1.svs", None)


def test_two_scans_of_one_name_are_still_twins(tmp_path: Path, svs: bytes) -> None:
    put(tmp_path, svs, "A1.svs", "b/A1.tif")
    assert "A1.svs and b/A1.tif both stand for slide A1" in inspected(tmp_path, "A1")[0]["quarantined"]


def test_a_stray_dicom_file_does_not_hide_the_slides_beside_it(tmp_path: Path, svs: bytes) -> None:
    put(tmp_path, svs, "A1.svs", "b/A2.svs")
    put(tmp_path, b"no dicom", "x.dcm", "b/y.dcm")
    assert [record["path"] for record in inspected(tmp_path, "A1", "A2")] == ["A1.svs", "b/A2.svs"]


def test_names_that_go_on_after_the_slides_match_by_the_studys_template(tmp_path: Path, svs: bytes) -> None:
    slide = "TCGA-AA-0001-01Z-00-DX1"
    put(tmp_path, svs, f"{slide}.{UUID}.SVS")
    (record,) = inspected(tmp_path, slide)
    assert '`slides.file_name: "{slide}.*.SVS"`' in record["missing"]
    (record,) = inspected(tmp_path, slide, file_name="{slide}.*.svs")
    assert record["path"] == f"{slide}.{UUID}.SVS"


def test_a_file_that_fits_two_slides_by_the_template_is_nobodys(tmp_path: Path, svs: bytes) -> None:
    put(tmp_path, svs, "A1_x_2.svs", "A2_x.svs")
    first, second, third, fourth = inspected(tmp_path, "A1", "A1_x", "A2", "A2_x", file_name="{slide}_*.svs")
    assert "A1_x_2.svs fits slides A1 and A1_x by slides.file_name" in first["quarantined"]
    assert "A1_x_2.svs fits slides A1_x and A1 by slides.file_name" in second["quarantined"]
    assert third["path"] == "" and fourth["path"] == "A2_x.svs"


@pytest.mark.parametrize("template", ["*.svs", "{slide}/{slide}.svs", "{slide}{slide}", "sub/{slide}.svs"])
def test_a_template_that_names_no_slide_is_refused(template: str) -> None:
    with pytest.raises(ValueError, match=r"must hold \{slide\} once and no folder"):
        SlideSettings(file_name=template)
