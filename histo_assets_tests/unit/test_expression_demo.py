"""The demo's matrix through the reader: exactly the planted genes survive."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from histo_assets.core.expression.reading import ExpressionTable, read_expression
from histo_assets.core.expression.settings import ExpressionSettings, GeneFilterSettings
from histo_assets.demo.roster import cohort_plan
from histo_assets.demo.settings import SyntheticSettings
from histo_assets.demo.truth import write_tables

NEVER = ("dotted", "repeated", "low", "flat", "edge_max_out", "edge_sd_out")


@pytest.fixture(scope="module", params=[7, 11, 23])
def cohort(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = SyntheticSettings(seed=request.param, genes=120)
    folder = tmp_path_factory.mktemp(f"demo{request.param}")
    for part in ("truth", "slides"):
        (folder / part).mkdir()
    write_tables(settings, cohort_plan(settings), [], folder)
    return folder


@pytest.fixture(scope="module")
def truth(cohort: Path) -> pd.DataFrame:
    return pd.read_parquet(cohort / "truth" / "filter.parquet").set_index("gene_id")


def read(cohort: Path, **rules: str) -> ExpressionTable:
    settings = ExpressionSettings(file="x", filter=GeneFilterSettings.model_validate(rules))
    return read_expression(str(cohort / "gene_tpm.gct.gz"), settings, None, None)


def test_exactly_the_planted_genes_survive(cohort: Path, truth: pd.DataFrame) -> None:
    kept = read(cohort).adata.var["gene_id"].tolist()
    assert sorted(kept) == sorted(truth.index[truth["should_survive"]])
    kinds = truth.loc[kept, "kind"]
    assert not kinds.isin(NEVER).any()
    assert (kinds == "edge_max_in").sum() == (kinds == "edge_sd_in").sum() == 3


def test_edge_genes_lie_within_one_percent_on_either_side_and_fall_as_planted(
    cohort: Path, truth: pd.DataFrame
) -> None:
    genes = read(cohort).genes.set_index("gene_id").join(truth["kind"])
    for column, threshold, edge in (("max", 5.0, "edge_max"), ("sd", 0.5, "edge_sd")):
        ratio = genes.loc[genes["kind"].str.startswith(edge), column] / threshold
        assert ratio.between(0.99, 1.01).all()
        inside = genes.loc[ratio.index, "kind"] == f"{edge}_in"
        assert (ratio > 1).tolist() == inside.tolist()
        assert genes.loc[ratio.index, "kept"].tolist() == inside.tolist()
        assert inside.sum() == 3 and len(inside) == 6


def test_maxima_and_deviations_are_the_truths(cohort: Path, truth: pd.DataFrame) -> None:
    genes = read(cohort).genes.set_index("gene_id")
    assert genes["max"].to_numpy() == pytest.approx(truth.loc[genes.index, "max"].to_numpy(), rel=1e-12)
    assert genes["sd"].to_numpy() == pytest.approx(truth.loc[genes.index, "sd"].to_numpy(), rel=1e-9)


def test_par_y_twins_go_under_the_strict_rule_and_the_first_of_each_stays_under_keep_first(
    cohort: Path, truth: pd.DataFrame
) -> None:
    strict = set(read(cohort).adata.var["gene_id"])
    first = set(read(cohort, names="keep_first").adata.var["gene_id"])
    twins = truth[truth["kind"] == "par_y"]
    assert not strict & set(twins.index)
    assert strict < first
    gained = truth.loc[sorted(first - strict)]
    assert set(gained["kind"]) <= {"par_y", "repeated"}
    assert gained["symbol"].is_unique
    undotted = set(read(cohort, names="drop_dotted").adata.var["gene_id"])
    assert first < undotted
    assert "dotted" not in set(truth.loc[sorted(undotted), "kind"])
