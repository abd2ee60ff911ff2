"""The donor split."""

from __future__ import annotations

import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from histo_assets.core.cohort.errors import CohortError
from histo_assets.core.cohort.settings import SplitSettings
from histo_assets.core.cohort.splits import detectable_r2, leaking_donors, split_donors, split_regime


def cohort(*tissues):
    """Return the selected slides of a cohort: for each tissue the numbers of its donors."""
    rows = [
        (f"s{t}_{i}", f"d{donor:03d}", f"t{t}") for t, donors in enumerate(tissues) for i, donor in enumerate(donors)
    ]
    return pd.DataFrame(rows, columns=["slide", "donor", "tissue"])


def sides(selected, split):
    """Return the sides that each tissue has donors on."""
    joined = selected.merge(split[["donor", "side"]], on="donor")
    return joined.groupby("tissue")["side"].agg(set).to_dict()


cohorts = st.lists(st.lists(st.integers(0, 29), min_size=1, max_size=40), min_size=1, max_size=8)


@settings(max_examples=30, deadline=None)
@given(cohorts, st.integers(0, 5), st.sampled_from([0.0, 0.15, 0.3]), st.sampled_from(["donor", "tile"]), st.randoms())
def test_no_donor_stands_on_two_sides_and_the_order_of_rows_does_not_matter(tissues, seed, share, unit, random):
    selected = cohort(range(12), *tissues)
    chosen = SplitSettings(unit=unit, test_share=share, folds=4, seed=seed)
    split = split_donors(selected, chosen)
    assert split["donor"].is_unique and set(split["donor"]) == set(selected["donor"])
    assert leaking_donors(selected.merge(split, on="donor")) == []
    assert set(split["fold"]) - {-1} == {0, 1, 2, 3}
    assert ((split["fold"] == -1) == (split["side"] == "test")).all()
    assert ((split["fold"] == 0) == (split["side"] == "validation")).all()
    assert split["slides"].sum() == len(selected)
    shuffled = selected.iloc[random.sample(range(len(selected)), len(selected))]
    pd.testing.assert_frame_equal(split, split_donors(shuffled, chosen))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sets(st.integers(0, 39), min_size=4, max_size=30), min_size=1, max_size=8), st.integers(0, 5))
def test_every_tissue_with_enough_donors_has_one_on_each_side(tissues, seed):
    selected = cohort(range(40), *tissues)
    sides_of_donors = sides(selected, split_donors(selected, SplitSettings(seed=seed)))
    assert all("test" in sides and len(sides) > 1 for sides in sides_of_donors.values())


def test_a_tissue_of_four_donors_stands_on_all_three_sides():
    selected = cohort(range(30), [3, 7, 12, 20])
    for seed in range(10):
        assert sides(selected, split_donors(selected, SplitSettings(seed=seed)))["t1"] == {
            "train",
            "validation",
            "test",
        }


def test_a_share_that_is_too_small_for_separate_donors_is_exceeded_to_reach_every_tissue():
    selected = cohort(*[range(6 * t, 6 * t + 6) for t in range(8)])
    split = split_donors(selected, SplitSettings(test_share=0.05))
    assert (split["side"] == "test").sum() == 8
    assert all(each == {"train", "validation", "test"} for each in sides(selected, split).values())


def test_the_locked_share_is_kept_where_it_can_be():
    split = split_donors(cohort(range(100), range(0, 100, 2), range(90)), SplitSettings(test_share=0.15))
    assert (split["side"] == "test").sum() == 15


def test_a_share_of_none_locks_nobody():
    assert set(split_donors(cohort(range(20)), SplitSettings(test_share=0))["side"]) == {"train", "validation"}


def test_another_seed_locks_other_donors_and_one_more_donor_few():
    def locked(donors, seed):
        split = split_donors(cohort(range(donors)), SplitSettings(seed=seed))
        return set(split["donor"][split["side"] == "test"])

    assert locked(200, 0) != locked(200, 1)
    assert len(locked(200, 0) - locked(201, 0)) <= 2


def test_too_few_donors_for_the_folds_are_an_error_that_names_the_keys():
    with pytest.raises(CohortError, match=r"5 donors leave 4 .* too few for 5 folds; lower `split\.folds`"):
        split_donors(cohort(range(5)), SplitSettings())


def test_a_validation_fold_that_is_none_is_refused():
    with pytest.raises(CohortError, match=r"`split\.validation_fold` is 5, but the folds are 0 to 4"):
        split_donors(cohort(range(20)), SplitSettings(validation_fold=5))


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_leaking_donors_are_named(frame):
    table = frame({"donor": ["b", "a", "a", "b", "c"], "side": ["test", "train", "train", "train", "train"]})
    assert leaking_donors(table) == ["b"]


def test_the_regime_says_what_the_split_can_decide():
    selected = cohort(range(30), range(10))
    regime = split_regime(split_donors(selected, SplitSettings(test_share=0.2)), selected)
    assert regime.regime == "nested cross-validation"
    assert regime.locked_donors == 6
    assert sum(regime.donors_per_tissue["t1"].values()) == 10
    out_of_fold, locked = regime.detectable_out_of_fold, regime.detectable_locked
    assert out_of_fold is not None and locked is not None and out_of_fold < locked
    many = cohort(range(500))
    assert split_regime(split_donors(many, SplitSettings()), many).regime == "locked donors"


def test_the_detectable_r2_agrees_with_the_simulated_power():
    # A perfect predictor at r2_within .18: 54 slides confirm it 45 % of the time, 45 slides 34 %, 306 slides 99 %.
    assert detectable_r2(54, power=0.45) == pytest.approx(0.18, abs=0.01)
    assert detectable_r2(45, power=0.34) == pytest.approx(0.18, abs=0.01)
    many = detectable_r2(306, power=0.99)
    assert many is not None and many < 0.18
