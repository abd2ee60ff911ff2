"""The donor split."""

from __future__ import annotations

from dataclasses import asdict
from hashlib import sha256
from math import atanh, sqrt

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.model_selection import StratifiedGroupKFold

from histo_assets.core.cohort.errors import CohortError
from histo_assets.core.cohort.settings import SplitSettings
from histo_assets.core.cohort.splits import (
    LOCKED,
    _bounds,
    _missed,
    _spread,
    _with_more_locked,
    detectable_r2,
    leaking_donors,
    split_donors,
    split_regime,
)


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
    assert split["slides"].to_list() == selected.groupby("donor", sort=True).size().to_list()
    assert split["donor"].is_monotonic_increasing and split["fold"].dtype == np.int64
    shuffled = selected.iloc[random.sample(range(len(selected)), len(selected))]
    pd.testing.assert_frame_equal(split, split_donors(shuffled, chosen))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sets(st.integers(0, 39), min_size=4, max_size=30), min_size=1, max_size=8), st.integers(0, 5))
def test_every_tissue_with_enough_donors_has_one_on_each_side(tissues, seed):
    selected = cohort(range(40), *tissues)
    found = sides(selected, split_donors(selected, SplitSettings(seed=seed)))
    assert all("test" in sides and len(sides) > 1 for sides in found.values())


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
    assert all(found == {"train", "validation", "test"} for found in sides(selected, split).values())


def test_every_tissue_of_three_donors_is_reached():
    selected = cohort(*[range(3 * t, 3 * t + 3) for t in range(8)])
    split = split_donors(selected, SplitSettings(test_share=0.05, folds=3))
    assert (split["side"] == "test").sum() == 8
    assert all("test" in found for found in sides(selected, split).values())


def test_the_locked_donors_are_the_first_by_hash_where_that_serves_every_tissue():
    """Another way to hash would lock other donors of a study that was split before."""
    split = split_donors(cohort(range(40)), SplitSettings(seed=3))
    first = sorted(split["donor"], key=lambda donor: sha256(f"3:0:{donor}".encode()).hexdigest())[:6]
    assert set(split["donor"][split["side"] == "test"]) == set(first)


def test_a_tissue_keeps_two_donors_beside_the_locked_ones():
    """Of a tissue of four, two may be locked where they are among the first by hash, and a third one may not."""
    first = sorted(range(20), key=lambda number: sha256(f"0:0:d{number:03d}".encode()).hexdigest())
    for inside in (2, 3):
        small = [*first[:inside], *first[10 : 14 - inside]]
        split = split_donors(cohort(range(20), small), SplitSettings(test_share=0.3))
        locked = set(split.index[split["side"] == "test"])
        assert len(locked) == 6 and len(locked & set(small)) == 2
        assert (locked == set(first[:6])) == (inside == 2)


def test_of_starts_that_serve_equally_well_the_first_one_counts():
    """Two donors cannot serve eight tissues, whoever they are; six are added to the first two by hash."""
    split = split_donors(cohort(*[range(6 * t, 6 * t + 6) for t in range(8)]), SplitSettings(test_share=0.05))
    first = sorted(split["donor"], key=lambda donor: sha256(f"0:0:{donor}".encode()).hexdigest())[:2]
    assert set(first) < set(split["donor"][split["side"] == "test"])


@pytest.mark.parametrize(
    ("share", "spare", "low", "high"),
    [
        (0.15, 2, [0, 1, 1, 1, 1, 7], [0, 1, 1, 1, 3, 23]),
        (0.6, 2, [0, 1, 1, 1, 3, 30], [0, 1, 1, 2, 8, 90]),
        (0.6, 1, [0, 1, 1, 1, 3, 30], [0, 1, 2, 3, 9, 90]),
    ],
)
def test_the_bounds_of_a_side_counted_by_hand(share, spare, low, high):
    """Half and one and a half times the share of 1, 2, 3, 4, 10 and 100 donors, and what must stay outside."""
    found = _bounds(np.array([1, 2, 3, 4, 10, 100]), share, spare)
    assert [bound.tolist() for bound in found] == [low, high]


def test_donors_that_a_side_lacks_or_has_too_many_are_counted_over_the_tissues():
    low, high = np.array([2, 0, 1]), np.array([3, 1, 1])
    assert _missed(np.array([0, 3, 1]), low, high) == 4
    assert _missed(np.array([[2, 1, 1], [1, 0, 1], [4, 1, 0]]), low, high).tolist() == [0, 1, 2]


def test_one_exchange_mends_what_one_exchange_can():
    """Donor 0 is inside and has liver; skin lacks a donor, and donor 2 alone has both."""
    present = np.array([[1, 0], [0, 1], [1, 1], [1, 0]])
    bounds = np.array([1, 1]), np.array([1, 1])
    assert _spread(np.array([LOCKED, 0, 0, 0]), LOCKED, present, *bounds).tolist() == [0, 0, LOCKED, 0]
    # Without donor 2 an exchange moves the lack from skin to liver, and nothing is exchanged.
    assert _spread(np.array([LOCKED, 0, 0]), LOCKED, present[[0, 1, 3]], *bounds).tolist() == [LOCKED, 0, 0]


def test_nothing_is_exchanged_with_a_side_that_nobody_is_on():
    present, bounds = np.ones((3, 1), dtype=np.int64), (np.array([1]), np.array([1]))
    assert _spread(np.zeros(3, dtype=np.int64), LOCKED, present, *bounds).tolist() == [0, 0, 0]
    assert _spread(np.full(3, LOCKED), LOCKED, present, *bounds).tolist() == [LOCKED] * 3


def test_the_donor_who_reaches_most_tissues_is_added():
    """Liver has a locked donor, skin and lung have none; donor 3 has both, 1, 2, 4 and 5 have one of them."""
    present = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 1, 1], [0, 1, 0], [0, 0, 1], [1, 0, 0], [1, 0, 0]])
    labels = _with_more_locked(np.array([LOCKED, *[0] * 7]), present, SplitSettings(test_share=0.05, folds=2))
    assert labels.tolist() == [LOCKED, 0, 0, LOCKED, 0, 0, 0, 0]


def test_a_donor_is_added_as_long_as_two_of_each_tissue_stay():
    """Of lung's four, donor 5 is locked; with donor 1, who has liver, skin and lung, two others are left."""
    liver, all_three, skin, lung = [1, 0, 0], [1, 1, 1], [0, 1, 0], [0, 0, 1]
    present = np.array([liver, all_three, liver, skin, skin, lung, lung, lung])
    labels = _with_more_locked(np.array([*[0] * 5, LOCKED, 0, 0]), present, SplitSettings(test_share=0.3, folds=2))
    assert np.flatnonzero(labels == LOCKED).tolist() == [1, 5]


def test_only_a_donor_of_a_tissue_that_has_none_is_added():
    """Liver has no locked donor, and its three have lung too, which has its two; of skin's forty, one is locked."""
    liver_and_lung, lung, skin = [[1, 1, 0]] * 3, [[0, 1, 0]] * 7, [[0, 0, 1]] * 40
    labels = np.array([0, 0, 0, LOCKED, LOCKED, *[0] * 5, LOCKED, *[0] * 39])
    found = _with_more_locked(labels, np.array([*liver_and_lung, *lung, *skin]), SplitSettings(test_share=0.1))
    assert np.flatnonzero(found != labels).tolist() == [0]


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


def test_a_donor_alone_is_too_few():
    with pytest.raises(CohortError, match=r"^1 donors leave 0 beside the locked ones"):
        split_donors(cohort([0]), SplitSettings())


def test_as_many_free_donors_as_folds_are_enough():
    """No tissue has a slide for every fold, and one of the two stays without a locked donor."""
    split = split_donors(cohort(range(3), range(3, 6)), SplitSettings())
    assert sorted(split["fold"]) == [-1, 0, 1, 2, 3, 4]


def test_folds_have_their_share_of_every_tissue():
    split = split_donors(cohort(range(5), range(5, 10)), SplitSettings(test_share=0))
    assert sorted(split["fold"][:5]) == sorted(split["fold"][5:]) == [0, 1, 2, 3, 4]


def by_sklearn(selected, folds, seed=0):
    """Return the fold of every donor by scikit-learn, whatever the order of rows."""
    rows = selected.sort_values(["donor", "slide"])
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    held_out = [rows["donor"].iloc[test] for _, test in splitter.split(rows, rows["tissue"], rows["donor"])]
    return {donor: fold for fold, donors in enumerate(held_out) for donor in donors}


@pytest.mark.parametrize("validation_fold", [0, 1])
def test_folds_are_those_of_scikit_learn_where_each_tissue_has_a_donor_on_both_sides(validation_fold):
    """Of the second tissue's three donors, two are in one fold and one is in the other."""
    selected = cohort(range(10), range(10, 13))
    split = split_donors(selected, SplitSettings(test_share=0, folds=2, validation_fold=validation_fold, seed=4))
    assert dict(zip(split["donor"], split["fold"], strict=True)) == by_sklearn(selected, 2, seed=4)


def test_the_validation_fold_exchanges_no_more_donors_than_its_share_asks_for():
    """Where one donor has half of a tissue's slides, the fold that holds them has too few of its donors: half the
    share of 13 donors are two, and one exchange is enough."""
    selected = cohort([*[0] * 6, *range(1, 13)], [*[13] * 6, *range(14, 26)])
    before = by_sklearn(selected, 3)
    fold = before["d000"]
    split = split_donors(selected, SplitSettings(test_share=0, folds=3, validation_fold=fold))
    after = dict(zip(split["donor"], split["fold"], strict=True))
    assert sum(before[f"d{number:03d}"] == fold for number in range(13)) == 1
    assert sum(after[f"d{number:03d}"] == fold for number in range(13)) == 2
    assert sum(before[donor] != after[donor] for donor in before) == 2


def test_a_validation_fold_that_is_none_is_refused():
    with pytest.raises(CohortError, match=r"`split\.validation_fold` is 5, but the folds are 0 to 4"):
        split_donors(cohort(range(20)), SplitSettings(validation_fold=5))


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_leaking_donors_are_named(frame):
    sides = ["test", "train", "train", "train", "test", None, "train", "validation"]
    table = frame({"donor": ["d", "a", "a", "d", "c", "c", "b", "b"], "side": sides})
    assert leaking_donors(table) == ["b", "d"]


def power(r2, slides, level):
    """Return how often a correlation is seen at a one-sided level, by the normal distribution of Fisher's z."""
    return norm.sf(norm.isf(level), loc=atanh(sqrt(r2)) * sqrt(slides - 3))


@pytest.mark.parametrize(("locked", "regime"), [(59, "nested cross-validation"), (60, "locked donors")])
def test_the_regime_says_what_the_split_can_decide(locked, regime):
    """All donors have liver, a locked one two slides of it; skin has two donors for training."""
    selected = cohort([*range(locked + 4), 0], [locked, locked + 1])
    donors = sorted(set(selected["donor"]))
    found = asdict(split_regime(pd.DataFrame({"donor": donors, "side": ["test"] * locked + ["train"] * 4}), selected))
    within, between = found.pop("detectable_locked"), found.pop("detectable_out_of_fold")
    assert power(within, locked + 1, 0.0004) == pytest.approx(0.8)
    assert power(between, 6, 0.0004) == pytest.approx(0.8)
    assert found == {
        "regime": regime,
        "donors": locked + 4,
        "locked_donors": locked,
        "donors_per_tissue": {
            "t0": {"train": 4, "validation": 0, "test": locked},
            "t1": {"train": 2, "validation": 0, "test": 0},
        },
        "approximation": "Fisher's z, 80 % power, one slide one observation, one-sided level 0.0004",
    }


def test_a_split_without_locked_donors_detects_nothing_on_them():
    selected = cohort(range(10))
    regime = split_regime(split_donors(selected, SplitSettings(test_share=0)), selected)
    assert regime.detectable_locked is None and regime.donors_per_tissue["t0"]["test"] == 0


def test_the_detectable_r2_agrees_with_the_simulated_power():
    # A perfect predictor at r2_within .18: 54 slides confirm it 45 % of the time, 45 slides 34 %, 306 slides 99 %.
    assert detectable_r2(54, power=0.45) == pytest.approx(0.18, abs=0.01)
    assert detectable_r2(45, power=0.34) == pytest.approx(0.18, abs=0.01)
    many = detectable_r2(306, power=0.99)
    assert many is not None and many < 0.18


@pytest.mark.parametrize("slides", [5, 6, 54, 306])
def test_a_detectable_r2_is_seen_with_its_power(slides):
    assert detectable_r2(4) is None
    for wanted, level in ((0.8, 0.0004), (0.45, 0.05)):
        found = detectable_r2(slides, wanted, level)
        assert found is not None and power(found, slides, level) == pytest.approx(wanted)
