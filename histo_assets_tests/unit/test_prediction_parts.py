"""Ridge, files of regressors, heat maps, clusters, novelty and statistics, each alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from histo_assets.core.incoming.novelty import distance_to_training
from histo_assets.core.prediction.clusters import cluster_average, find_clusters, mean_by_cluster, nearest_cluster
from histo_assets.core.prediction.covariates import PredictionError
from histo_assets.core.prediction.crossval import CrossValidation, cross_validate
from histo_assets.core.prediction.frames import checked_samples, fold_frames
from histo_assets.core.prediction.gene_regressor import GeneRegressor, tile_contributions
from histo_assets.core.prediction.metrics import (
    benjamini_hochberg,
    bootstrap_shares,
    donor_signs,
    percentile_interval,
    studentised,
    upper_tail,
)
from histo_assets.core.prediction.paired_samples import PairedSamples
from histo_assets.core.prediction.regressors.lightgbm import BoostingSettings, gene_booster
from histo_assets.core.prediction.regressors.ridge import RidgeSettings, gcv_choices, ridge_coefficients
from histo_assets.core.prediction.scoring import permutation_null
from histo_assets.core.prediction.settings import PredictionSettings
from histo_assets.core.prediction.spectrum import spectrum

SETTINGS = PredictionSettings(bootstraps=20, permutations=20)
PENALTIES = tuple(float(p) for p in np.logspace(-2, 5, 8))


def _small(rows: int = 90) -> PairedSamples:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(rows, 30)).astype(np.float32)
    donors = np.arange(rows) // 3
    return PairedSamples(
        X,
        X[:, :5] * 0.8 + rng.normal(size=(rows, 5)),
        list("ABCDE"),
        donors,
        np.array(["brain", "liver", "skin"])[np.arange(rows) % 3],
        donors % 4 - 1,
        pd.DataFrame({"sex": np.array(["f", "m"])[donors % 2]}),
    )


@pytest.fixture(scope="module", params=["ridge", "lightgbm"])
def validated(request) -> CrossValidation:
    regressor = RidgeSettings() if request.param == "ridge" else BoostingSettings(components=6, trees=5)
    return cross_validate(_small(), regressor, SETTINGS)


def test_penalties_and_coefficients_are_those_of_scikit_learn():
    from sklearn.linear_model import RidgeCV

    rng = np.random.default_rng(1)
    X = rng.normal(size=(200, 20))
    Y = X @ rng.normal(size=(20, 200)) * rng.uniform(0, 1, 200) + rng.normal(size=(200, 200)) * 4
    reference = RidgeCV(alphas=PENALTIES, fit_intercept=False, alpha_per_target=True).fit(X, Y)
    basis = spectrum(X)
    coefficients, penalties = ridge_coefficients(basis, Y, PENALTIES)
    same = penalties == reference.alpha_
    assert same.mean() > 0.95
    assert np.allclose((basis.right @ coefficients)[:, same], reference.coef_.T[:, same], atol=1e-8)


def test_with_more_features_than_rows_new_rows_are_predicted_as_well_as_by_scikit_learn():
    from sklearn.linear_model import RidgeCV

    rng = np.random.default_rng(1)
    X, slopes = rng.normal(size=(500, 90)), rng.normal(size=(90, 120)) * rng.uniform(0, 1, 120)
    Y = X @ slopes + rng.normal(size=(500, 120)) * 4
    reference = RidgeCV(alphas=PENALTIES, fit_intercept=False, alpha_per_target=True).fit(X[:60], Y[:60])
    basis = spectrum(X[:60])
    coefficients, _ = ridge_coefficients(basis, Y[:60], PENALTIES)
    ours = ((Y[60:] - X[60:] @ basis.right @ coefficients) ** 2).mean()
    theirs = ((Y[60:] - reference.predict(X[60:])) ** 2).mean()
    assert ours < theirs * 1.03


def test_a_gene_that_features_do_not_tell_gets_a_strong_penalty():
    rng = np.random.default_rng(0)
    basis = spectrum(rng.normal(size=(80, 200)))
    _, penalties = ridge_coefficients(basis, rng.normal(size=(80, 50)), PENALTIES)
    assert np.median(penalties) >= 1e3


def test_where_no_freedom_is_left_the_strongest_penalty_is_chosen():
    basis = spectrum(np.random.default_rng(0).normal(size=(6, 30)))
    targets = np.random.default_rng(1).normal(size=(6, 3))
    chosen = gcv_choices(basis.left.T @ targets, (targets**2).sum(axis=0), basis.singular, (1e-6, 1e-3), 1)
    assert (chosen == 1).all()


def test_a_regressor_predicts_the_same_bits_after_its_files(tmp_path, validated):
    model, rows = validated.model, _small()
    probabilities = np.random.default_rng(2).dirichlet(np.ones(3), size=90)
    model.write(tmp_path)
    read = GeneRegressor.read(tmp_path)
    assert read.adjustment.code == model.adjustment.code
    for covariates in (None, rows.covariates):
        before = model.predict(rows.X, probabilities, covariates)
        assert np.array_equal(read.predict(rows.X, probabilities, covariates), before)
    assert read.genes == tuple("ABCDE") and read.tissues == ("brain", "liver", "skin")
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".pkl", ".pickle", ".joblib")]


def test_a_cross_validation_survives_its_files(tmp_path, validated):
    validated.write(tmp_path)
    read = CrossValidation.read(tmp_path)
    assert np.array_equal(read.predictions, validated.predictions)
    pd.testing.assert_frame_equal(read.figures, validated.figures)
    assert read.notes == validated.notes
    with pytest.raises(PredictionError, match="fit it again"):
        CrossValidation.read(tmp_path / "model")


def test_a_new_slide_without_covariates_is_an_average_sample_of_its_probable_tissues(validated):
    model = validated.model
    mean = model.adjustment.features.means
    half = np.array([[0.5, 0.5, 0.0]])
    expected = model.expression.means[:2].mean(axis=0)
    assert np.allclose(model.tissue_mean(half)[0], expected)
    named = pd.DataFrame({"skin": [0.0], "liver": [0.25], "thyroid": [0.5], "brain": [0.25]})
    assert np.allclose(model.tissue_mean(named)[0], expected)
    if hasattr(model, "weights"):
        assert np.allclose(model.predict(mean[:2].mean(axis=0)[None], half)[0], expected)


def test_tile_values_average_to_the_prediction_of_the_slide():
    cv = cross_validate(_small(), RidgeSettings(), SETTINGS)
    rng = np.random.default_rng(3)
    tiles = rng.normal(size=(50, 30)) * 2
    tiles[:, 4] += 40  # clipped for the whole slide
    pooled = np.arange(50) < 40
    map_ = tile_contributions(cv.model, tiles, np.array([[0.2, 0.5, 0.3]]), pooled=pooled)
    assert np.abs(map_.tiles[pooled].mean(axis=0) - map_.prediction).max() < 1e-12
    whole = cv.model.predict(tiles[pooled].mean(axis=0)[None], np.array([[0.2, 0.5, 0.3]]))[0]
    assert np.abs(map_.prediction - whole).max() < 1e-12
    one = tile_contributions(cv.model, tiles, np.array([[0.2, 0.5, 0.3]]), genes=["C"], pooled=pooled)
    assert np.allclose(one.tiles[:, 0], map_.tiles[:, 2], atol=1e-12)
    with pytest.raises(PredictionError, match="gene 'Z'"):
        tile_contributions(cv.model, tiles, np.array([[1, 0, 0]]), genes=["Z"])


def test_trees_have_no_heat_map(validated):
    if hasattr(validated.model, "models"):
        with pytest.raises(PredictionError, match="needs a ridge"):
            tile_contributions(validated.model, np.zeros((3, 30)), np.array([[1, 0, 0]]))


def test_processes_and_neighbouring_genes_do_not_change_what_trees_say():
    rng = np.random.default_rng(0)
    train, targets, new = rng.normal(size=(60, 5)), rng.normal(size=(60, 9)), rng.normal(size=(9, 5))
    with gene_booster(BoostingSettings(trees=3)) as boost:
        together, texts = boost(train, targets, new, True)
        alone, _ = boost(train, targets[:, 4:5], new, False)
    with gene_booster(BoostingSettings(trees=3), workers=2) as boost:
        apart, others = boost(train, targets, new, True)
    assert np.array_equal(alone[:, 0], together[:, 4])
    assert np.array_equal(apart, together) and others == texts


def test_clusters_are_found_on_training_rows_and_new_rows_join_the_nearest():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), [30, 20, 10])
    pcs = np.eye(3)[labels] * 10 + rng.normal(size=(60, 3))
    fit = np.arange(60) % 4 != 0
    clusters = find_clusters(pcs, 3, 0, fit)
    assert np.array_equal(clusters.labels, labels)
    assert np.array_equal(nearest_cluster(clusters.centres, pcs[~fit]), labels[~fit])
    means = mean_by_cluster(np.column_stack([labels, labels**2]).astype(float), clusters.labels, 4)
    assert np.allclose(means[:3], [[0, 0], [1, 1], [2, 4]]) and np.allclose(means[3], [40 / 60, 1])


def test_the_cluster_average_of_a_fold_does_not_use_its_expression():
    rows = _small()
    before = cluster_average(rows.X, rows.Y, rows.folds, 3, 0)
    changed = np.where((rows.folds == 1)[:, None], 99.0, rows.Y)
    after = cluster_average(rows.X, changed, rows.folds, 3, 0)
    assert np.array_equal(before[rows.folds == 1], after[rows.folds == 1])


def test_a_sample_in_another_direction_is_unlike_training_and_a_neighbour_is_not():
    rng = np.random.default_rng(3)
    centres = rng.normal(size=(3, 40)) * 2
    train = centres[np.arange(60) % 3] + rng.normal(size=(60, 40)) * 0.5
    near = distance_to_training(train, train[3] + rng.normal(size=40) * 0.3)
    far = distance_to_training(train, rng.normal(size=40) * 2)
    assert not near.unlike and far.unlike
    assert far.percentile == 100 and far.distance > far.threshold


def test_what_is_new_may_lie_where_training_does_not_vary():
    rng = np.random.default_rng(4)
    train = np.zeros((50, 30))
    train[:, :10] = 3 + rng.normal(size=(50, 10))
    new = train[0].copy()
    new[20:] = 3
    assert distance_to_training(train, new).unlike


def test_novelty_does_not_depend_on_the_length_of_embeddings():
    train = np.random.default_rng(5).normal(size=(20, 6)) + 1
    one, other = distance_to_training(train, train[0] * 2), distance_to_training(train * 7, train[0])
    assert np.isclose(one.distance, other.distance) and np.isclose(one.threshold, other.threshold)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
@settings(max_examples=60, deadline=None)
def test_q_values_keep_the_order_of_p_and_are_never_smaller(p):
    q = benjamini_hochberg(np.array(p))
    assert (q >= np.array(p) - 1e-12).all() and (q <= 1).all()
    order = np.argsort(p, kind="stable")
    assert (np.diff(q[order]) >= -1e-12).all()


def test_q_values_leave_out_what_was_not_tested():
    q = benjamini_hochberg(np.array([0.01, np.nan, 0.04]))
    assert np.isnan(q[1]) and np.allclose(q[[0, 2]], [0.02, 0.04])


@given(st.integers(1, 30), st.integers(1, 50), st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_p_values_lie_above_zero_and_fall_as_the_statistic_grows(statistics, draws, seed):
    rng = np.random.default_rng(seed)
    values = np.sort(rng.normal(size=statistics))
    p = upper_tail(values, rng.normal(size=draws))
    assert (p > 0).all() and (p <= 1).all() and (np.diff(p) <= 0).all()


def test_all_rows_of_a_donor_turn_together():
    donors = np.array(["b", "a", "b", "c", "a"])
    signs = donor_signs(donors, 50, 0)
    assert (signs[:, 0] == signs[:, 2]).all() and (signs[:, 1] == signs[:, 4]).all()
    assert set(np.unique(signs)) == {-1, 1}


def test_a_donor_that_weighs_much_does_not_make_a_gene_significant():
    steady = np.ones((20, 1))
    lone = np.zeros((20, 1))
    lone[0] = 20
    assert studentised(steady)[0] > 4 and studentised(lone)[0] == 1


def test_intervals_are_wide_with_few_donors_and_narrow_with_many():
    rng = np.random.default_rng(0)
    widths = []
    for donors in (8, 200):
        spread = rng.chisquare(3, size=(donors, 30))
        low, high = percentile_interval(bootstrap_shares(spread * rng.uniform(0.4, 1, (donors, 30)), spread, 200, 0))
        assert (low <= high).all()
        widths.append((high - low).mean())
    assert widths[0] > 3 * widths[1]


def test_trees_see_as_many_components_as_the_study_says() -> None:
    image = cross_validate(_small(), BoostingSettings(components=6, trees=1), SETTINGS).model.image
    assert image.arrays()["components"].shape == (30, 6)


class _Noting(RidgeSettings):
    """A ridge that refits three genes at each permutation, drawn anew."""

    redraws: ClassVar[bool] = True

    def null_genes(self, genes: int) -> int:
        return 3


class _Keeping(_Noting):
    redraws: ClassVar[bool] = False


@pytest.mark.parametrize(("regressor", "distinct"), [(_Keeping(), {3}), (_Noting(), set(range(8, 13)))])
def test_few_genes_are_drawn_anew_at_each_permutation_and_many_are_kept(
    regressor: RidgeSettings, distinct: set[int]
) -> None:
    """Genes are told apart by their scale, a power of 10."""
    rng = np.random.default_rng(0)
    paired = _small()
    paired = replace(paired, Y=rng.normal(size=(90, 12)) * 10.0 ** np.arange(12), genes=list("ABCDEFGHIJKL"))
    samples, _ = checked_samples(paired)
    seen: set[int] = set()
    with regressor.learning() as learn:

        def noting(features: Any, targets: Any, keep: bool) -> Any:
            seen.update(np.round(np.log10(np.abs(targets).mean(axis=0))).astype(int).tolist())
            return learn(features, targets, keep)

        known = np.ones(90, dtype=bool)
        permutation_null(fold_frames(samples, noting), samples, paired.Y, known, regressor, SETTINGS)
    assert len(seen) in distinct
