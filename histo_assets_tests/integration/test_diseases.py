"""A cohort that is not GTEx goes through the whole graph."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from histo_assets_tests.conftest import FinishedStudy

pytestmark = pytest.mark.study


def test_everything_is_made(diseases: FinishedStudy) -> None:
    assert diseases.outcome.success, [*diseases.outcome.failed, *diseases.outcome.blocked]


def test_no_gtex_name_occurs_in_the_cohort(diseases: FinishedStudy) -> None:
    for path in diseases.cohort.glob("*.csv"):
        assert "GTEX" not in path.read_text().upper()
    assert not [path for path in (diseases.cohort / "slides").iterdir() if "GTEX" in path.name.upper()]


def test_the_labs_identifiers_are_kept_beside_the_safe_ones(diseases: FinishedStudy) -> None:
    manifest = diseases.load("slide_manifest")
    assert manifest["original_slide"].str.contains("/").all()
    assert manifest["sample"].str.contains("/").all()
    assert not manifest[["slide", "donor"]].apply(lambda names: names.str.contains("[/ ]")).any(axis=None)
    assert {"site", "stage"} <= set(manifest.columns)


def test_slides_of_one_sample_are_pooled_and_samples_of_one_donor_stay_together(diseases: FinishedStudy) -> None:
    matrix = diseases.load("expression_matrix")
    assert matrix.obs["slides"].str.contains(";").any()
    assert matrix.obs.groupby("donor", observed=True).size().max() > 1
    assert matrix.obs.groupby("donor", observed=True)["fold"].nunique().max() == 1
    assert matrix.obs_names.is_unique


def test_counts_become_log2_of_counts_per_million(diseases: FinishedStudy) -> None:
    matrix = diseases.load("expression_matrix")
    counts = pd.read_csv(diseases.cohort / "counts.csv", index_col=0)
    per_million = counts / counts.sum() * 1e6
    expected = np.log2(1 + per_million.loc[list(matrix.var["symbol"]), list(matrix.obs_names)]).T
    np.testing.assert_allclose(matrix.X, expected, rtol=1e-5, atol=1e-5)


def test_the_page_is_written_and_names_the_diseases(diseases: FinishedStudy) -> None:
    page = diseases.load("study_report").files["report.html"].decode()
    assert "cirrhosis" in page.lower()
    assert "GTEX-" not in page
