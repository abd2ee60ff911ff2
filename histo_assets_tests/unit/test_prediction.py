"""Gene prediction on samples whose truth is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

from histo_assets.core.prediction.covariates import PredictionError
from histo_assets.core.prediction.crossval import CrossValidation, cross_validate
from histo_assets.core.prediction.methods import compare_predictions, recoverable_genes
from histo_assets.core.prediction.paired_samples import PairedSamples
from histo_assets.core.prediction.regressors.lightgbm import BoostingSettings
from histo_assets.core.prediction.regressors.ridge import RidgeSettings
from histo_assets.core.prediction.settings import PredictionSettings

SETTINGS = PredictionSettings(bootstraps=60, permutations=40, clusters=8)
RIDGE = RidgeSettings()
TREES = BoostingSettings(components=8, trees=12, learning_rate=0.15)


@dataclass(frozen=True)
class Cohort:
    X: np.ndarray
    Y: pd.DataFrame
    donors: np.ndarray
    tissues: np.ndarray
    folds: np.ndarray
    covariates: pd.DataFrame

    def validated(self, covariates: pd.DataFrame | None = None, regressor=RIDGE, **changes) -> CrossValidation:
        return cross_validate(self.paired(covariates, **changes), regressor, SETTINGS)

    def paired(self, covariates: pd.DataFrame | None = None, **changes) -> PairedSamples:
        chosen = {**vars(self), **changes, "covariates": covariates}
        Y = chosen.pop("Y")
        return PairedSamples(Y=Y.to_numpy(), genes=list(Y.columns), **chosen)


def _cohort(seed: int = 0, donors: int = 51, tissues: int = 8, locked: int = 0) -> Cohort:
    """Return 6 samples a donor: features show a latent, the donor's stain and a batch; genes have known causes."""
    rng = np.random.default_rng(seed)
    donor = np.repeat(np.arange(donors), 6)
    tissue = np.concatenate([rng.choice(tissues, 6, replace=False) for _ in range(donors)])
    rows = len(donor)
    latent, batch = rng.normal(size=rows), rng.integers(0, 4, donors)[donor]
    stain, batch_stain = rng.normal(size=(donors, 3)), rng.normal(size=(4, 3))
    between = rng.normal(size=tissues)
    X = rng.normal(size=(tissues, 64))[tissue] * 2 + rng.normal(size=(rows, 64))
    X += latent[:, None] * rng.normal(size=64) + stain[donor] @ rng.normal(size=(3, 64)) * 0.7
    X += batch_stain[batch] @ rng.normal(size=(3, 64)) + between[tissue][:, None] * X.std(axis=0)
    X[:, 0], X[7, 0] = 0, 1e-6
    effect = np.array([-1.3, -0.4, 0.4, 1.3])
    blocks = {
        "strong": lambda: np.sqrt(0.44) * latent + np.sqrt(0.56) * rng.normal(size=rows),
        "middling": lambda: np.sqrt(0.18) * latent + np.sqrt(0.82) * rng.normal(size=rows),
        "marker": lambda: rng.normal(size=tissues)[tissue] + rng.normal(size=rows),
        "donor": lambda: np.sqrt(0.7) * rng.normal(size=donors)[donor] + np.sqrt(0.3) * rng.normal(size=rows),
        "batch": lambda: 0.7 * effect[batch] + np.sqrt(0.5) * rng.normal(size=rows),
        "null": lambda: rng.normal(size=rows),
    }
    counts = {"strong": 6, "middling": 6, "marker": 6, "donor": 12, "batch": 6, "null": 84}
    Y = pd.DataFrame({f"{name}_{i}": draw() for name, draw in blocks.items() for i in range(counts[name])})
    folds = rng.permutation(np.where(np.arange(donors) < locked, -1, np.arange(donors) % 5))
    return Cohort(
        X.astype(np.float32),
        Y,
        np.array([f"D{i}" for i in donor]),
        np.array([f"tissue{i}" for i in tissue]),
        folds[donor],
        pd.DataFrame({"batch": [f"B{i}" for i in batch]}),
    )


def _block(table: pd.DataFrame, name: str) -> pd.DataFrame:
    return table[table["gene"].str.startswith(name)]


def _recovered(cv: CrossValidation, name: str) -> float:
    table = recoverable_genes(cv.figures.assign(regressor="ridge"), 0, SETTINGS)
    return float(_block(table, name)["recoverable"].mean())


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    return _cohort()


@pytest.fixture(scope="module")
def plain(cohort) -> CrossValidation:
    return cohort.validated()


@pytest.fixture(scope="module")
def adjusted(cohort) -> CrossValidation:
    return cohort.validated(cohort.covariates)


@pytest.fixture(scope="module")
def locked() -> tuple[Cohort, CrossValidation]:
    cohort = _cohort(seed=1, locked=14)
    return cohort, cohort.validated(cohort.covariates)


@pytest.fixture(scope="module")
def boosted(cohort) -> CrossValidation:
    genes = [name for name in cohort.Y if name.split("_")[1] in "012"]
    return cohort.validated(cohort.covariates, TREES, Y=cohort.Y[genes])


def test_genes_with_a_visible_cause_have_about_the_r2_within_they_were_made_with(adjusted):
    figures = adjusted.figures
    assert abs(_block(figures, "strong")["r2_within"].median() - 0.44) < 0.13
    assert abs(_block(figures, "middling")["r2_within"].median() - 0.18) < 0.07
    assert _recovered(adjusted, "strong") == 1
    assert _recovered(adjusted, "middling") >= 0.8


def test_null_genes_pass_no_more_often_than_the_nominal_rate(adjusted):
    null = _block(adjusted.figures, "null")
    assert (null["p"] < 0.05).mean() <= 0.12
    assert 0.3 < null["p"].median() < 0.7
    assert _recovered(adjusted, "null") == 0
    assert abs(null["r_within"].mean()) < 0.1


def test_tissue_markers_have_a_high_r2_and_nothing_within_tissue(adjusted):
    markers = _block(adjusted.figures, "marker")
    assert markers["r2"].median() > 0.3 and markers["r2_tissue"].median() > 0.3
    assert markers["r2_within"].max() < 0.05
    assert _recovered(adjusted, "marker") == 0


def test_genes_that_go_with_the_donor_are_not_recovered_when_donors_are_split(plain, adjusted):
    for cv in (plain, adjusted):
        assert _recovered(cv, "donor") == 0
        assert (_block(cv.figures, "donor")["p"] < 0.05).mean() <= 0.25


def test_batch_genes_are_recovered_without_the_covariate_and_not_with_it(plain, adjusted):
    assert _recovered(plain, "batch") == 1
    assert _recovered(adjusted, "batch") == 0
    assert _recovered(adjusted, "strong") == 1


def test_every_prediction_is_made_by_a_model_that_has_not_seen_the_donor(cohort, plain):
    changed = cohort.Y.copy()
    fold = cohort.folds == 2
    changed.loc[fold] += 50
    moved = cohort.validated(Y=changed)
    assert np.allclose(moved.predictions[fold], plain.predictions[fold], atol=1e-4)
    assert not np.allclose(moved.predictions[~fold], plain.predictions[~fold], atol=1)


def test_locked_donors_choose_nothing_and_confirm_what_the_folds_say(locked):
    cohort, cv = locked
    changed = cohort.Y.copy()
    changed.loc[cohort.folds < 0] = 99.0
    moved = cohort.validated(cohort.covariates, Y=changed)
    assert np.array_equal(moved.predictions, cv.predictions)
    assert np.array_equal(moved.figures["p"], cv.figures["p"], equal_nan=True)
    strong = _block(cv.figures, "strong")
    assert strong["r2_within_locked"].median() > 0.25 and (strong["direction"] == "same").all()
    assert (strong["p_locked"] < 0.05).mean() > 0.8
    assert (_block(cv.figures, "null")["p_locked"] < 0.05).mean() <= 0.15


def test_enough_locked_donors_decide_and_too_few_only_stand_beside(locked):
    figures = locked[1].figures.assign(regressor="ridge")
    by_folds, by_locked = recoverable_genes(figures, 14, SETTINGS), recoverable_genes(figures, 60, SETTINGS)
    assert set(by_folds["evidence"]) == {"nested cross-validation"} and set(by_locked["evidence"]) == {"locked"}
    merged = by_locked.merge(figures, on="gene")
    assert np.array_equal(merged["r2_within_x"], merged["r2_within_locked_y"], equal_nan=True)
    assert not by_folds.loc[~by_folds["recoverable"], "why"].eq("").any()


def test_with_few_locked_donors_the_first_regressor_reports_for_every_gene(adjusted):
    better = adjusted.figures.assign(regressor="lightgbm", r2_within=0.9, q=0.0)
    both = pd.concat([adjusted.figures.assign(regressor="ridge"), better], ignore_index=True)
    few, many = recoverable_genes(both, 9, SETTINGS), recoverable_genes(both, 60, SETTINGS)
    assert set(few["regressor"]) == {"ridge"} and len(few) == len(adjusted.figures)
    assert set(many["regressor"]) == {"lightgbm"} and len(many) == len(adjusted.figures)


def test_trees_find_the_strong_genes_and_no_null_gene(boosted):
    figures = boosted.figures
    assert _block(figures, "strong")["r2_within"].median() > 0.15
    assert (_block(figures, "strong")["p"] < 0.05).all()
    assert _recovered(boosted, "null") == _recovered(boosted, "donor") == _recovered(boosted, "batch") == 0


def test_an_opposite_relation_between_tissues_shows_in_r_between():
    rng = np.random.default_rng(0)
    donors, tissues = np.repeat(np.arange(40), 6), np.tile(np.arange(6), 40)
    latent = rng.normal(size=240) + tissues * 1.5
    X = latent[:, None] * rng.normal(size=20) + rng.normal(size=(240, 20)) * 0.5
    inside = latent - tissues * 1.5
    Y = np.column_stack([tissues * 2 - inside, tissues * 2 + inside]) + rng.normal(size=(240, 2)) * 0.5
    cv = cross_validate(PairedSamples(X, Y, ["simpson", "usual"], donors, tissues, donors % 5), RIDGE, SETTINGS)
    figures = cv.figures.set_index("gene")
    assert figures["r2_within"].min() > 0.5
    assert figures["r_between"]["simpson"] < -0.8 and figures["r_between"]["usual"] > 0.8


def test_figures_of_a_tissue_are_tested_only_where_it_has_enough_rows(adjusted):
    table = adjusted.by_tissue
    assert len(table) == 8 * len(adjusted.figures)
    assert table["q"].notna().all() and (table["n"] >= 20).all()
    assert _block(table, "strong")["r"].median() > 0.5
    assert (_block(table, "null")["p"] < 0.05).mean() < 0.12


def test_a_tissue_that_training_has_not_seen_is_predicted_by_the_mean_and_not_judged(cohort):
    tissues = cohort.tissues.copy()
    tissues[cohort.folds == 1] = np.where(tissues[cohort.folds == 1] == "tissue0", "rare", tissues[cohort.folds == 1])
    cv = cohort.validated(tissues=tissues, Y=cohort.Y.iloc[:, :8])
    assert np.array_equal(cv.known, tissues != "rare")
    assert np.isfinite(cv.predictions).all()
    assert "rare" not in set(cv.by_tissue["tissue"])


def test_a_gene_that_never_varies_is_not_evaluable_and_breaks_nothing(cohort):
    cv = cohort.validated(Y=cohort.Y.iloc[:, :5].assign(flat=1.0))
    table = recoverable_genes(cv.figures.assign(regressor="ridge"), 0, SETTINGS).set_index("gene")
    assert not table.loc["flat", "recoverable"] and "not evaluable" in table["why"]["flat"]
    assert table.drop("flat")["recoverable"].all()


def test_methods_stand_side_by_side_and_the_cluster_average_stays_near_the_tissue_mean(cohort, adjusted):
    chosen = [name for name in cohort.Y if not name.startswith(("null", "donor"))]
    columns = [cohort.Y.columns.get_loc(name) for name in chosen]
    table = compare_predictions(
        cohort.paired(cohort.covariates, Y=cohort.Y[chosen]),
        {"ridge": adjusted.predictions[:, columns]},
        SETTINGS,
        features={"colour": cohort.X[:, :6]},
    )
    assert list(dict.fromkeys(table["method"])) == [
        "global mean",
        "tissue mean",
        "tissue mean + covariates",
        "colour + ridge",
        "cluster average",
        "ridge",
    ]
    values = table.set_index(["method", "metric"])["value"]
    assert values["tissue mean", "median_r2_within"] == 0 and values["tissue mean", "from_tissue_mean"] == 0
    assert values["ridge", "rmse"] < values["cluster average", "rmse"] < values["global mean", "rmse"] * 1.05
    assert values["ridge", "share_better"] > values["cluster average", "share_better"]


def test_the_regressor_of_the_cross_validation_predicted_the_locked_rows(locked):
    cohort, cv = locked
    rows = np.flatnonzero(cohort.folds < 0)
    onehot = pd.get_dummies(pd.Series(cohort.tissues[rows])).astype(float).reindex(columns=cv.model.tissues)
    predicted = cv.model.predict(cohort.X[rows], onehot, cohort.covariates.iloc[rows])
    assert np.allclose(predicted, cv.predictions[rows], atol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"donors": np.array(["D0"] * 306)}, "donor D0 stands in more than one fold"),
        ({"folds": np.zeros(306, dtype=int)}, "at least two folds"),
        ({"tissues": np.array(["liver"] * 305)}, "305 of tissues"),
        ({"X": np.full((306, 3), np.nan)}, "row 0 .donor D0. hold a value that is not finite"),
    ],
)
def test_rows_that_cannot_be_validated_are_refused_with_the_reason(cohort, change, message):
    with pytest.raises(PredictionError, match=message):
        cohort.validated(**change)
