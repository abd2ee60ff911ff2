"""Identifiers and the files that belong to them."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from histo_assets.core.cohort.errors import CohortError
from histo_assets.core.cohort.ids import canonical_slide, safe_id, safe_ids, slide_of_sample
from histo_assets.core.cohort.slide_files import SlideFiles, match_slide_files
from histo_assets.core.files import is_safe_id


@given(st.text(max_size=200))
def test_a_slugged_id_is_safe_as_a_file_name_or_empty(name):
    slugged = safe_id(name)
    assert slugged == "" or is_safe_id(slugged)
    assert safe_id(slugged) == slugged


@pytest.mark.parametrize(
    ("name", "slugged"),
    [("S-12.a", "S-12.a"), ("Pat 7/B", "Pat_7_B"), ("../x", "x"), ("  ä lung  ", "lung"), ("a..b", "a.b"), ("***", "")],
)
def test_an_id_keeps_what_a_file_name_can_keep(name, slugged):
    assert safe_id(name) == slugged


def test_a_gtex_rna_id_names_its_slide_and_brain_regions_name_none():
    assert slide_of_sample("GTEX-1117F-0226-SM-5GZZ7") == "GTEX-1117F-0226"
    assert slide_of_sample("GTEX-1117F-0011-R10b-SM-GI4VE") == "GTEX-1117F-0011-R10b-SM-GI4VE"
    assert slide_of_sample("patient-7-b-x") == "patient-7-b-x"


def test_only_gtex_ids_share_a_key_with_their_sibling():
    assert canonical_slide("GTEX-1117F-0125") == canonical_slide("GTEX-1117F-0126") == "GTEX-1117F-0126"
    assert canonical_slide("GTEX-1117F-0124") == "GTEX-1117F-0124"
    assert canonical_slide("scan-0125") == "scan-0125"


def test_a_slide_takes_the_file_of_its_own_name_before_its_siblings():
    files = ["x/GTEX-1117F-0125.svs", "x/GTEX-1117F-0126.svs", "x/GTEX-111CU-0225.svs"]
    slides = ["GTEX-1117F-0126", "GTEX-111CU-0226", "GTEX-111FC-0126"]
    assert match_slide_files(slides, files) == {
        "GTEX-1117F-0126": "x/GTEX-1117F-0126.svs",
        "GTEX-111CU-0226": "x/GTEX-111CU-0225.svs",
    }


def test_the_sibling_rule_is_for_gtex_ids_only():
    assert match_slide_files(["scan-0126"], ["scan-0125.svs"]) == {}


def test_files_may_have_no_suffix_or_two_and_any_letters():
    files = ["GTEX-1117F-0126", "a.b.ome.tiff", "d/Pat 7.svs"]
    assert match_slide_files(["GTEX-1117F-0126", "a.b", "Pat 7", "Pat_7"], files) == {
        "GTEX-1117F-0126": "GTEX-1117F-0126",
        "a.b": "a.b.ome.tiff",
        "Pat 7": "d/Pat 7.svs",
    }


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=130), unique=True, max_size=8))
def test_names_have_one_safe_id_each_and_the_same_in_any_order(names):
    names = sorted({unicodedata.normalize("NFC", name) for name in names})
    ids = safe_ids(names)
    assert len(set(ids)) == len(names)
    assert all(map(is_safe_id, ids))
    assert safe_ids(names[::-1]) == ids[::-1]
    assert [name for name, own in zip(names, ids, strict=True) if is_safe_id(name) and name != own] == []


@given(
    st.text("aäo\u0308.*_-", min_size=1, max_size=6), st.text("aä._", max_size=4), st.sampled_from(["_*", ".*", "?"])
)
def test_a_template_finds_the_slide_that_a_file_name_was_made_of(slide, more, after):
    name = unicodedata.normalize("NFC", slide)
    rest = after.replace("*", more).replace("?", "x")
    file = f"{name}{rest}.svs"
    assert SlideFiles([file], f"{{slide}}{after}.svs").of(name) == file


def test_two_files_of_one_slide_are_an_error_that_names_both():
    with pytest.raises(CohortError, match=r"a/s1\.svs and b/s1\.tif both stand for slide s1"):
        match_slide_files(["s1"], ["a/s1.svs", "b/s1.tif"])


def test_a_file_that_could_be_either_sibling_is_an_error_that_names_both_slides():
    five, six = "GTEX-11ZTT-5005", "GTEX-11ZTT-5006"
    with pytest.raises(CohortError, match=f"{five}.svs could be slide {five} or its sibling {six}"):
        match_slide_files([six], [f"{five}.svs"], known=[five, six])
    both = [f"{five}.svs", f"{six}.svs"]
    assert match_slide_files([five, six], both) == {five: both[0], six: both[1]}


def test_a_file_that_is_another_slide_of_the_cohort_is_never_taken_for_its_sibling():
    five, six = "GTEX-11ZTT-5005", "GTEX-11ZTT-5006"
    assert match_slide_files([five], [f"{six}.svs"], known=[five, six]) == {}
