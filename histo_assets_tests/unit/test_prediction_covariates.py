"""Covariates: coded with missing values as a level, dropped or refused by name, taken off both sides."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from histo_assets.core.prediction.adjustment import TrainingRows
from histo_assets.core.prediction.covariates import (
    MISSING,
    PredictionError,
    fit_code,
    usable_covariates,
)

DONORS = [f"D{i // 2}" for i in range(12)]
TISSUES = ["liver", "brain"] * 6


def test_constants_are_left_out_with_a_note_that_names_them():
    table, notes = usable_covariates(
        pd.DataFrame({"site": ["A"] * 12, "sex": ["m", "m", "f", "f"] * 3}), TISSUES, DONORS
    )
    assert table is not None and list(table) == ["sex"]
    assert notes == ["covariate 'site' was left out: it has the same value everywhere"]


def test_a_twin_of_the_tissue_is_refused_by_name():
    table = pd.DataFrame({"organ": ["LIV", "BRA"] * 6})
    with pytest.raises(PredictionError, match="'organ' is the tissue under another name"):
        usable_covariates(table, TISSUES, DONORS)


def test_a_covariate_that_names_donors_or_never_varies_inside_a_tissue_is_left_out():
    tissues = ["liver", "brain", "skin"] * 4
    table = pd.DataFrame({"card": [f"card of {d}" for d in DONORS], "wet": [t == "brain" for t in tissues]})
    kept, notes = usable_covariates(table, tissues, DONORS)
    assert kept is None
    assert "names donors" in notes[0] and "does not vary inside any tissue" in notes[1]


def test_missing_values_are_a_level_of_their_own():
    table = pd.DataFrame({"hardy": ["slow", None, "", "fast"] * 3, "rin": [7.5, np.nan, 6.1, 8.2] * 3})
    code = fit_code(table, np.array(DONORS))
    assert code.columns[0].levels == (MISSING, "fast", "slow")
    design = code.design(table, 12)
    assert design.shape == (12, code.width) == (12, 5)
    assert design[1, 0] == design[2, 0] == 1 and design[1, 4] == 1 and design[1, 3] == 0


def test_whole_numbers_with_few_values_are_codes_and_many_values_are_amounts():
    table = pd.DataFrame({"batch": [1, 1, 2, 2, 3, 3] * 2, "minutes": np.arange(12) * 30})
    code = fit_code(table, np.array(DONORS))
    assert [column.numeric for column in code.columns] == [False, True]


def test_a_level_that_training_has_not_seen_says_nothing():
    code = fit_code(pd.DataFrame({"sex": ["m", "f"] * 6}), np.array(DONORS))
    assert not code.design(pd.DataFrame({"sex": ["other"]}), 1).any()


def test_a_column_that_is_not_there_is_named():
    code = fit_code(pd.DataFrame({"sex": ["m", "f"] * 6}), np.array(DONORS))
    with pytest.raises(PredictionError, match="'sex' is not a column"):
        code.design(pd.DataFrame({"gender": ["m"]}), 1)


def test_tissue_and_covariate_effects_are_taken_off_exactly():
    rng = np.random.default_rng(0)
    sex, tissue = rng.integers(0, 2, 60), rng.integers(0, 3, 60)
    values = np.column_stack([5 * sex + 3.0 * tissue, 7.0 * tissue])
    rows = TrainingRows(tissue, np.arange(60), pd.DataFrame({"sex": sex.astype(str)}))
    assert np.abs(rows.residuals(values, rows.effects(values))).max() < 1e-9
    assert rows.spent == 3 + 1


def test_a_channel_that_hardly_varies_does_not_explode():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 10))
    X[:, 0] = 0
    X[3, 0] = 1e-7
    rows = TrainingRows(np.array(["liver"] * 40), np.arange(40), None)
    adjustment = rows.adjustment(X)
    new = np.zeros((1, 10))
    new[0, :2] = 0.05, 100.0
    standardised, clipped = adjustment.standardised(new, np.ones((1, 1)), np.zeros((1, 0)))
    assert abs(standardised[0, 0]) < 1
    assert standardised[0, 1] == 5 and clipped[0, 1]
