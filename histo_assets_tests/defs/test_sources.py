"""What a study reads of files: what is recorded of a look is what the next look says of the same parts."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from histo_assets.defs.sources import LISTING, SIBLINGS, slides_of, study_sources
from histo_assets.studies.study import Study, load_study

SELECTED = pd.DataFrame(
    {"slide": ["GTEX-1117F-0126", "GTEX-111CU-0226", "GTEX-111FC-0326"], "siblings": ["", "GTEX-111CU-0225", ""]}
)


@pytest.fixture
def study(tmp_path: Path) -> Study:
    (tmp_path / "slides").mkdir()
    for name in ("GTEX-1117F-0125.svs", "GTEX-111CU-0225.svs", "GTEX-111CU-0226.svs"):
        (tmp_path / "slides" / name).write_text(name)
    (tmp_path / "slides.csv").write_text("slide,url\n")
    (tmp_path / "lab.yaml").write_text(
        "extends: gtex\nname: lab\nslides: {folder: slides, source: {kind: url, listing: slides.csv}}\n"
    )
    return load_study(tmp_path / "lab.yaml")


def test_a_tissue_is_made_of_its_own_slides_files_by_the_rules_that_match_them(study: Study) -> None:
    recorded = slides_of(SELECTED, study_sources(study)["slide_files"].look())
    files = {slide: version.split(" ")[0] for slide, version in recorded.items() if slide.startswith("GTEX")}
    assert files == {
        "GTEX-1117F-0126": "GTEX-1117F-0125.svs",
        "GTEX-111CU-0226": "GTEX-111CU-0226.svs",
        "GTEX-111FC-0326": "missing",
    }
    assert recorded[SIBLINGS] == "GTEX-111CU-0225"
    assert LISTING in recorded


def test_a_slide_whose_name_is_no_safe_id_is_known_by_its_own(study: Study) -> None:
    folder = Path(study.resolve("slides"))
    for name in ("Grön 1.svs", "Grün 1.svs", "Grön 1.xml"):
        (folder / name).write_text(name)
    selected = pd.DataFrame({"slide": ["Gr_n_1"], "original_slide": ["Grön 1"], "siblings": [""]})
    source = study_sources(study)["slide_files"]
    recorded = slides_of(selected, source.look())
    assert recorded["Gr_n_1"].startswith("Grön 1.svs ")
    assert source.concerning(source.look(), recorded) == recorded
    (folder / "Grün 1.svs").write_text("another content")
    assert source.concerning(source.look(), recorded) == recorded
    (folder / "Grön 1.svs").write_text("another content")
    now = source.concerning(source.look(), recorded)
    assert [part for part in now if now[part] != recorded[part]] == ["Gr_n_1"]


def test_a_new_file_that_fits_the_studys_template_is_a_change(tmp_path: Path) -> None:
    (tmp_path / "slides").mkdir()
    (tmp_path / "lab.yaml").write_text(
        "extends: gtex\nname: lab\nslides: {folder: slides, file_name: '{slide}.*.svs'}\n"
    )
    source = study_sources(load_study(tmp_path / "lab.yaml"))["slide_files"]
    selected = pd.DataFrame({"slide": ["S1", "S2"], "siblings": ["", ""]})
    recorded = slides_of(selected, source.look(), "{slide}.*.svs")
    (tmp_path / "slides" / "S2.5f0c.svs").write_text("content")
    now = source.concerning(source.look(), recorded)
    assert now["S1"] == "missing"
    assert now["S2"].startswith("S2.5f0c.svs ")


def test_an_unchanged_folder_says_the_same_at_the_next_look(study: Study) -> None:
    source = study_sources(study)["slide_files"]
    recorded = slides_of(SELECTED, source.look())
    assert source.concerning(source.look(), recorded) == recorded


@pytest.mark.parametrize(
    ("name", "slide"),
    [
        ("GTEX-111FC-0325.svs", "GTEX-111FC-0326"),
        ("GTEX-1117F-0125.svs", "GTEX-1117F-0126"),
        ("GTEX-111VG-0426.svs", None),
    ],
)
def test_a_file_more_or_changed_changes_the_slide_that_it_stands_for(
    study: Study, name: str, slide: str | None
) -> None:
    source = study_sources(study)["slide_files"]
    recorded = slides_of(SELECTED, source.look())
    (Path(study.resolve("slides")) / name).write_text("another content")
    now = source.concerning(source.look(), recorded)
    assert [part for part in now if now[part] != recorded.get(part)] == ([slide] if slide else [])


def test_a_second_file_of_a_slide_is_a_change(study: Study) -> None:
    source = study_sources(study)["slide_files"]
    recorded = slides_of(SELECTED, source.look())
    (Path(study.resolve("slides")) / "GTEX-111CU-0226.tif").write_text("a twin")
    now = source.concerning(source.look(), recorded)
    assert "both stand for slide GTEX-111CU-0226" in now["GTEX-111CU-0226"]


def test_a_changed_listing_is_a_change(study: Study) -> None:
    source = study_sources(study)["slide_files"]
    recorded = slides_of(SELECTED, source.look())
    Path(study.resolve("slides.csv")).write_text("slide,url\nGTEX-111FC-0326,https://example.org/x.svs\n")
    now = source.concerning(source.look(), recorded)
    assert [part for part in now if now[part] != recorded[part]] == [LISTING]


def test_a_folder_of_dicom_files_is_one_slide(study: Study, tmp_path: Path) -> None:
    folder = Path(study.resolve("slides")) / "GTEX-111FC-0326"
    folder.mkdir()
    for number in (1, 2):
        (folder / f"{number}.dcm").write_text(str(number))
    source = study_sources(study)["slide_files"]
    recorded = slides_of(SELECTED, source.look())
    assert recorded["GTEX-111FC-0326"].startswith("GTEX-111FC-0326 ")
    (folder / "2.dcm").write_text("changed")
    assert source.concerning(source.look(), recorded)["GTEX-111FC-0326"] != recorded["GTEX-111FC-0326"]


def test_a_dicom_slide_is_looked_at_again_when_such_slides_are_read_otherwise(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(study.resolve("slides")) / "GTEX-111FC-0326"
    folder.mkdir()
    (folder / "1.dcm").write_text("1")
    source = study_sources(study)["slide_files"]
    recorded = slides_of(SELECTED, source.look())
    monkeypatch.setattr("histo_assets.core.slides.dicom.READING", 99)
    now = source.concerning(source.look(), recorded)
    assert [slide for slide in now if now[slide] != recorded[slide]] == ["GTEX-111FC-0326"]


def test_an_address_is_known_by_a_digest_for_it_may_hold_a_secret(tmp_path: Path) -> None:
    (tmp_path / "lab.yaml").write_text(
        "extends: gtex\nname: lab\nexpression: {file: 'https://user:secret@example.org/tpm.gct', format: gct}\n"
    )
    parts = study_sources(load_study(tmp_path / "lab.yaml"))["expression_file"].look()
    assert parts["expression file"].startswith("remote ")
    assert "secret" not in str(parts)
