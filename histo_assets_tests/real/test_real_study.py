"""The whole graph on real pixels and real counts, then six slides of a tissue never seen."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from histo_assets_tests.conftest import FinishedStudy, run_study
from histo_assets_tests.real.real_cohort import write_real_cohort

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FinishedStudy]:
    folder = os.environ.get("HISTO_REAL_DATA")
    if not folder:
        pytest.skip("HISTO_REAL_DATA names no folder of real data")
    from histo_assets.studies.study import load_study

    base = tmp_path_factory.mktemp("real")
    study = load_study(write_real_cohort(Path(folder), base / "cohort"))
    made = run_study(study, base)
    keep = os.environ.get("HISTO_KEEP_REAL")
    if keep:
        shutil.copytree(base, keep, dirs_exist_ok=True)
    yield made
    made.instance.dispose()


def test_everything_is_made(real: FinishedStudy) -> None:
    assert real.outcome.success, [*real.outcome.failed, *real.outcome.blocked]


def test_every_crop_becomes_a_slide_with_four_tiles(real: FinishedStudy) -> None:
    tiles = [real.load("tiles", tissue).index for tissue in real.study.selection.tissues]
    assert sum(index["slide"].n_unique() for index in tiles) == 30
    assert all((index.group_by("slide").len()["len"] <= 4).all() for index in tiles)


def test_expression_is_log2_of_one_plus_the_real_counts(real: FinishedStudy, real_data: Path) -> None:
    import pandas as pd

    matrix = real.load("expression_matrix")
    counts = pd.read_csv(real_data / "expression" / "acmg59_v8_reads.gct.gz", sep="\t", skiprows=2)
    expected = np.log2(1 + counts.set_index("Description").loc[list(matrix.var["symbol"]), list(matrix.obs_names)])
    np.testing.assert_allclose(matrix.X, expected.T, rtol=1e-6)


def test_the_report_is_one_page_with_pictures(real: FinishedStudy) -> None:
    page = real.load("study_report").files["report.html"].decode()
    assert page.count("data:image/") > 12
    assert 'src="http' not in page


def test_the_real_kidney_matrix_passes_through_the_asset(real_data: Path, tmp_path: Path) -> None:
    import pandas as pd

    from histo_assets.studies.study import load_study

    study = tmp_path / "kidney.yaml"
    study.write_text(
        f"""
extends: gtex
name: kidney
cohort:
  manifest: {real_data}/gtex/GTExPortal.csv
  rna_samples: {real_data}/gtex/GTEx_Analysis_v8_RNAseq_samples.txt
expression: {{file: {real_data}/expression/kidney_medulla_v8_tpm.gct}}
selection: {{tissues: [kidney_medulla]}}
split: {{test_share: 0, folds: 2}}
"""
    )
    wanted = ["slide_manifest", "slide_pairs", "selected_slides", "donor_split", "expression_matrix"]
    made = run_study(load_study(study), tmp_path, wanted)
    assert made.outcome.success, made.outcome.failed
    assert len(made.load("slide_pairs")) == 13797
    matrix = made.load("expression_matrix")
    tpm = pd.read_csv(real_data / "expression" / "kidney_medulla_v8_tpm.gct", sep="\t", skiprows=2).set_index("Name")
    expected = np.log2(1 + tpm.loc[list(matrix.var["gene_id"]), list(matrix.obs_names)]).T
    np.testing.assert_allclose(matrix.X, expected, rtol=1e-5, atol=1e-6)
    assert matrix.n_obs == 4 and matrix.n_vars > 1000
    made.instance.dispose()


def test_the_posts_cohort_is_counted_by_plan(real_data: Path, tmp_path: Path) -> None:
    (tmp_path / "gtex").mkdir()
    for source in (real_data / "gtex").iterdir():
        (tmp_path / "gtex" / source.name).symlink_to(source)
    environment = {**os.environ, "HISTO_COHORTS": str(tmp_path), "HISTO_STORAGE": str(tmp_path / "data")}
    environment["DAGSTER_HOME"] = str(tmp_path / "home")
    command = [sys.executable, "-m", "histo_assets", "plan", "--study", "gtex_post", "--json"]
    ran = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    plan = json.loads(ran.stdout)
    assert (plan["pairs"], plan["pair_donors"]) == (13797, 940)
    assert (plan["slides"], plan["donors"], plan["tissues"], plan["tiles"]) == (1803, 301, 40, 200_000)
    assert any("slides are not in" in sentence for sentence in plan["missing"])


def test_slides_of_a_tissue_never_seen_are_flagged_as_that(real: FinishedStudy, real_data: Path) -> None:
    environment = {**real.environment, "HISTO_STUDY": str(real.cohort / "real.yaml")}
    flagged = {}
    for slide in sorted((real_data / "slides").glob("GTEX-*.svs")):
        command = [sys.executable, "-m", "histo_assets", "predict", str(slide), "--study", environment["HISTO_STUDY"]]
        ran = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        summary = json.loads(real.load("incoming_prediction", slide.stem).files["summary.json"])
        flagged[slide.stem] = summary["unlike_training"]
    assert len(flagged) == 6
    assert all(flagged.values()), flagged
