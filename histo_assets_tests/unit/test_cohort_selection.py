"""Pairing slides with RNA, and taking a study's slides of a tissue."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from histo_assets.core.cohort.errors import CohortError
from histo_assets.core.cohort.pairing import pair_slides
from histo_assets.core.cohort.selection import select_slides
from histo_assets.core.cohort.settings import SelectionSettings


def manifest(slides, tissue="Liver", **columns):
    return pd.DataFrame(
        {
            "slide": slides,
            "donor": [slide[:10] for slide in slides],
            "tissue": tissue.lower(),
            "tissue_name": tissue,
            **columns,
        }
    )


def rna(samples, tissue="Liver", **columns):
    return pd.DataFrame({"sample": samples, "donor": "", "tissue_name": tissue, **columns})


A, B, C = "GTEX-1117F-0126", "GTEX-1117F-0226", "GTEX-111CU-0126"


def test_slides_pair_by_the_first_three_fields_in_manifest_order():
    pairs = pair_slides(manifest([C, A, B]), rna([f"{A}-SM-5GZZ7", f"{C}-SM-5EGHI", "GTEX-1117F-0011-R1a-SM-5EGHJ"]))
    assert pairs["slide"].tolist() == [C, A]
    assert pairs["sample"].tolist() == [f"{C}-SM-5EGHI", f"{A}-SM-5GZZ7"]
    assert list(pairs)[:5] == ["slide", "donor", "tissue", "tissue_name", "sample"]


def test_donor_and_tissue_alone_never_make_a_pair():
    with pytest.raises(CohortError, match="no slide of the manifest has an RNA sample"):
        pair_slides(manifest([A]), rna([f"{B}-SM-5GZZ7"]))


def test_covariates_of_the_samples_come_along_and_never_replace_those_of_the_slides():
    pairs = pair_slides(manifest([A], sex="male"), rna([f"{A}-SM-5GZZ7"], rin=6.8, sex="m"))
    assert pairs.iloc[0][["sex", "rin", "rna_sex"]].tolist() == ["male", 6.8, "m"]


def test_two_samples_of_one_slide_are_an_error_that_names_both():
    with pytest.raises(CohortError, match=f"{A} has two RNA samples, {A}-SM-AAAAA and {A}-SM-BBBBB"):
        pair_slides(manifest([A]), rna([f"{A}-SM-AAAAA", f"{A}-SM-BBBBB"]))


def test_slide_and_sample_of_different_tissues_are_an_error_that_names_both():
    with pytest.raises(CohortError, match=f"{A} is 'Liver' in the manifest, .* is 'Lung'"):
        pair_slides(manifest([A]), rna([f"{A}-SM-AAAAA"], tissue="Lung"))
    kidney = manifest([A], "Kidney - Cortex").assign(tissue="kidney_cortex")
    assert len(pair_slides(kidney, rna([A], "Kidney_Cortex"))) == 1


def test_slides_of_a_table_may_share_a_sample_and_those_without_one_are_left_out():
    pairs = pair_slides(manifest(["s1", "s2", "s3"], sample=["R 1", "R 1", ""]), None)
    assert pairs[["slide", "sample"]].to_numpy().tolist() == [["s1", "R 1"], ["s2", "R 1"]]


def test_without_any_list_a_sample_is_called_like_its_slide_was_originally():
    assert pair_slides(manifest(["s1"]), None)["sample"].tolist() == ["s1"]
    assert pair_slides(manifest(["a_b"], original_slide=["a b"]), None)["sample"].tolist() == ["a b"]
    assert pair_slides(manifest(["a_b", "c"], original_slide=["a b", "c"]), rna(["a b"]))["sample"].tolist() == ["a b"]


def chosen(slides, **settings):
    pairs = pair_slides(manifest(slides), None)
    return select_slides(pairs, SelectionSettings(tissues=("liver",), **settings), "liver")


def test_the_first_rule_takes_slides_in_manifest_order():
    taken = chosen(["s3", "s1", "s2"], rule="first", slides_per_tissue=2)
    assert taken["slide"].tolist() == ["s3", "s1"]
    assert taken["rank"].tolist() == [0, 1]
    assert "first 2" in taken["why"].iloc[0]


def test_every_slide_is_taken_where_no_number_is_set():
    assert len(chosen(["s3", "s1", "s2"], slides_per_tissue=None)) == 3


@given(st.lists(st.text("abcdefg", min_size=1), min_size=1, max_size=30, unique=True), st.integers(1, 10), st.data())
def test_a_new_slide_displaces_at_most_one_of_a_stable_selection(slides, number, data):
    *old, new = slides
    if not old:
        return
    before = chosen(old, slides_per_tissue=number)
    order = data.draw(st.permutations([*old, new]))
    after = chosen(order, slides_per_tissue=number)
    assert len(set(before["slide"]) - set(after["slide"])) <= 1
    if new not in set(after["slide"]):
        pd.testing.assert_frame_equal(before, after)


def test_another_seed_takes_other_slides():
    slides = [f"s{i}" for i in range(50)]
    first, second = (set(chosen(slides, slides_per_tissue=10, seed=seed)["slide"]) for seed in (0, 1))
    assert first != second


def test_an_unknown_tissue_is_named_with_the_closest_ones():
    pairs = pair_slides(manifest(["s1"]), None)
    with pytest.raises(CohortError, match=r"tissue 'livre' in `selection\.tissues`.*did you mean liver"):
        select_slides(pairs, SelectionSettings(tissues=("livre",)), "livre")
