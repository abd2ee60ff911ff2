"""The whole demo study, made once and scored against its truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest

from histo_assets.core.evaluation.model_evaluation import headline
from histo_assets.core.tiling.tile_set import with_reasons
from histo_assets.demo.score import score_dirt, score_filter, score_genes, score_quarantine
from histo_assets_tests.conftest import FinishedStudy

pytestmark = pytest.mark.study


@pytest.fixture(scope="module")
def truth(demo: FinishedStudy) -> Path:
    return demo.cohort / "truth"


@pytest.fixture(scope="module")
def raw_slides(demo: FinishedStudy) -> pd.DataFrame:
    """All raw slides, those that tiling threw out with their reason."""
    parts = []
    for tissue in demo.study.selection.tissues:
        parts.append(with_reasons(demo.load("raw_slides", tissue), demo.load("tiles", tissue)))
    return pd.concat(parts, ignore_index=True)


@pytest.fixture(scope="module")
def index(demo: FinishedStudy) -> pl.DataFrame:
    return pl.concat([demo.load("tiles", tissue).index for tissue in demo.study.selection.tissues])


def test_every_asset_is_made(demo: FinishedStudy) -> None:
    assert demo.outcome.success, [*demo.outcome.failed, *demo.outcome.blocked]


def test_every_page_is_found_below_the_storage(demo: FinishedStudy) -> None:
    page = demo.load("study_report").files["report.html"].decode()
    assert page.count("data:image/") >= 18
    assert 'src="http' not in page and 'href="http' not in page


def test_damaged_slides_are_quarantined_and_no_good_one_is(truth: Path, raw_slides: pd.DataFrame) -> None:
    score = score_quarantine(truth, raw_slides)
    assert {"blank", "truncated", "html"} <= set(score["damage"][score["right"].notna()])
    assert score["right"].dropna().all(), score.to_string()


def test_no_published_tile_lies_in_lost_storage_tiles(truth: Path, index: pl.DataFrame) -> None:
    score = score_dirt(truth, index.to_pandas()).set_index("kind")
    lost = [kind for kind in score.index if "lost" in kind or "overwritten" in kind]
    assert lost
    assert score.loc[lost, "covered"].sum() == 0, score.to_string()


def test_few_published_tiles_lie_in_dirt(truth: Path, index: pl.DataFrame) -> None:
    score = score_dirt(truth, index.to_pandas())
    assert score["covered"].sum() <= 0.1 * score["tiles"].sum(), score.to_string()


def test_every_sound_slide_gives_its_tiles(demo: FinishedStudy, index: pl.DataFrame) -> None:
    counts = index.group_by("slide").len()["len"]
    assert (counts <= demo.study.tiling.tiles_per_slide).all()
    assert (counts == demo.study.tiling.tiles_per_slide).mean() > 0.9


def test_exactly_the_planted_genes_survive_the_filter(demo: FinishedStudy, truth: Path) -> None:
    matrix = demo.load("expression_matrix")
    fitted_on = matrix.obs_names[matrix.obs["side"] == "train"]
    score = score_filter(truth, list(matrix.var["gene_id"]), list(fitted_on))
    assert score["missed"].sum() == 0 and score["wrong"].sum() == 0, score.to_string()


def test_no_donor_stands_on_two_sides(demo: FinishedStudy) -> None:
    rows = demo.load("training_set")
    assert rows.group_by("donor").agg(pl.col("side").n_unique())["side"].max() == 1


def test_slides_of_locked_donors_are_told_apart_far_better_than_by_chance(demo: FinishedStudy) -> None:
    figures = headline(demo.load("model_evaluation"))
    assert figures.judged_on == "test donors"
    assert figures.slide_accuracy_low > figures.majority_accuracy
    assert 0.5 < figures.slide_accuracy < 1.0


def test_designed_confusions_exceed_the_median_pair(demo: FinishedStudy) -> None:
    """Male breast and adipose, the junction and muscularis, the two skins."""
    table = demo.load("model_evaluation")
    confused = table[(table["metric"] == "confusion") & (table["level"] == "tile") & (table["side"] != "train")]
    matrix = confused.pivot_table(index="tissue", columns="predicted", values="value", aggfunc="sum")
    shares = matrix.div(matrix.sum(axis=1), axis=0)
    both = (shares + shares.T) / 2
    pairs = both.where(np.triu(np.ones(both.shape, bool), 1)).stack()
    designed = [
        ("adipose_subcutaneous", "breast_mammary_tissue"),
        ("esophagus_gastroesophageal_junction", "esophagus_muscularis"),
        ("skin_not_sun_exposed_suprapubic", "skin_sun_exposed_lower_leg"),
    ]
    for pair in designed:
        assert pairs[pair] > pairs.median(), pairs.sort_values().to_string()


def test_genes_that_nothing_visible_drives_are_not_called_recoverable(demo: FinishedStudy, truth: Path) -> None:
    genes = demo.load("recoverable_genes")
    figures = (
        demo.load("gene_regressors", "ridge")
        .figures[["gene", "r2"]]
        .merge(genes[["gene", "r2_within", "recoverable"]], on="gene")
    )
    score = score_genes(truth, figures)
    invisible = score[score["expectation"] == "not recoverable"]
    assert len(invisible) >= 3
    assert invisible["called"].sum() <= 0.02 * invisible["scored"].sum(), score.to_string()


def test_tissue_markers_have_a_high_r2_and_none_within_the_tissue(demo: FinishedStudy, truth: Path) -> None:
    figures = demo.load("gene_regressors", "ridge").figures
    score = score_genes(truth, figures.assign(recoverable=False)).set_index("block")
    assert score["r2"]["tissue_marker"] > 0.2, score.to_string()
    assert score["r2_within"]["tissue_marker"] < 0.1, score.to_string()


def test_every_way_to_predict_is_compared_with_the_tissue_mean(demo: FinishedStudy) -> None:
    table = demo.load("prediction_comparison")
    assert {"global mean", "tissue mean", "cluster average", "ridge", "lightgbm"} <= set(table["method"])
    folds = table[table["side"] == "folds"].pivot_table(index="method", columns="metric", values="value")
    assert folds.loc["tissue mean", "rmse"] < folds.loc["global mean", "rmse"]


def test_expression_is_log2_of_one_plus_tpm_of_the_file(demo: FinishedStudy) -> None:
    matrix = demo.load("expression_matrix")
    tpm = pd.read_csv(demo.cohort / "gene_tpm.gct.gz", sep="\t", skiprows=2).set_index("Name")
    expected = np.log2(1 + tpm.loc[list(matrix.var["gene_id"]), list(matrix.obs_names)]).T
    np.testing.assert_allclose(matrix.X, expected, rtol=1e-5, atol=1e-6)


def test_epochs_of_the_studied_experiment_are_projected(demo: FinishedStudy) -> None:
    for epoch in (1, 3, 6):
        assert demo.load("epoch_projection", f"epoch_{epoch:03d}").obsm["X_umap"].shape[1] == 2
