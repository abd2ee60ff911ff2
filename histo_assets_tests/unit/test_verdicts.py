"""What decides a verdict, each rule held against a table counted by hand or another library."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from histo_assets.core.figures.study_page import key_figures
from histo_assets.core.learning.evaluation import classification_figures
from histo_assets.core.learning.look_alikes import mistaken_figures
from histo_assets.core.prediction.comparison import recoverable_genes
from histo_assets.core.prediction.frames import Samples
from histo_assets.core.prediction.metrics import benjamini_hochberg, percentile_interval
from histo_assets.core.prediction.scoring import Judged, Null, gene_figures
from histo_assets.core.prediction.settings import PredictionSettings
from histo_assets.core.projection.joint import joint_space, matching_figures
from histo_assets.core.tiling.quality import tile_quality

SETTINGS = PredictionSettings(max_q=0.05, min_r2_within=0.05, bootstraps=20, permutations=20)
GENES = {
    # gene: (r2_within, low, q, why it is not recoverable, None where it is)
    "all three met": (0.20, 0.10, 0.01, None),
    "just so": (0.05, 0.001, 0.049, None),
    "q too large": (0.20, 0.10, 0.05, "q 0.05 is not below 0.05"),
    "q unknown": (0.20, 0.10, np.nan, "q nan is not below 0.05"),
    "interval touches zero": (0.20, 0.0, 0.01, "the interval of r2_within reaches down to 0.000"),
    "interval below zero": (0.20, -0.01, 0.01, "the interval of r2_within reaches down to -0.010"),
    "too little": (0.049, 0.01, 0.01, "r2_within 0.049 is below 0.05"),
    "not judged": (np.nan, np.nan, np.nan, "not evaluable: nothing was judged, or the gene does not vary there"),
}


@pytest.mark.parametrize("locked_donors", [0, 60])
def test_each_of_the_three_criteria_decides_alone(locked_donors: int) -> None:
    r2, low, q, _ = zip(*GENES.values(), strict=True)
    decisive = {"r2_within": r2, "r2_within_low": low, "r2_within_high": 0.9, "q": q}
    worthless = dict.fromkeys(decisive, np.nan)
    folds, locked = (worthless, decisive) if locked_donors else (decisive, worthless)
    table = pd.DataFrame({"gene": list(GENES), "regressor": "ridge", "direction": "same", "r_between": 0.0, **folds})
    table = table.assign(**{f"{name}_locked": value for name, value in locked.items()})
    decided = recoverable_genes(table, locked_donors, SETTINGS).set_index("gene")
    assert decided["recoverable"].to_dict() == {gene: row[3] is None for gene, row in GENES.items()}
    reasons = {gene: row[3] or "all three criteria are met" for gene, row in GENES.items()}
    assert decided["why"].to_dict() == reasons


def test_q_values_are_those_of_a_table_counted_by_hand() -> None:
    """Benjamini and Hochberg's own example: 15 p values, of which the rule at 0.05 rejects the first four."""
    p = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344]
    p += [0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0000]
    q = benjamini_hochberg(np.array(p[::-1]))[::-1]
    assert q[:4] == pytest.approx([0.0015, 0.003, 0.0095, 0.035625])
    assert list(np.flatnonzero(q <= 0.05)) == [0, 1, 2, 3]


def test_an_interval_holds_the_middle_95_of_100_draws() -> None:
    draws = np.random.default_rng(0).permutation(np.arange(1001.0))[:, None]
    assert [float(end[0]) for end in percentile_interval(draws)] == [25, 975]


def _slides(right: int, wrong: int) -> pd.DataFrame:
    """Return a slide of fat for each of as many donors, `wrong` of them taken for breast."""
    predicted = ["fat"] * right + ["breast"] * wrong
    table = pd.DataFrame({"slide": [f"s{i}" for i in range(len(predicted))], "tissue": "fat", "side": "test"})
    table = table.assign(donor=table["slide"], predicted=predicted, confidence=0.8)
    for tissue in ("breast", "fat"):
        table[f"p_{tissue}"] = np.log(np.where(table["predicted"] == tissue, 0.8, 0.2))
    return table


def test_intervals_over_donors_of_a_share_are_binomial() -> None:
    """Of 40 donors with a slide each, 10 wrong: drawing donors anew is drawing from a binomial distribution."""
    table = _slides(right=30, wrong=10)
    mistaken = mistaken_figures(table, [("fat", "breast")], {}, 4000).set_index("predicted").loc["breast"]
    figures = classification_figures(table, 4000)
    accuracy = figures[figures["metric"] == "accuracy"].iloc[0]
    for row, share in ((mistaken, 0.25), (accuracy, 0.75)):
        low, high = stats.binom.ppf([0.025, 0.975], 40, share) / 40
        assert row["value"] == share
        assert row["low"] == pytest.approx(low, abs=0.026) and row["high"] == pytest.approx(high, abs=0.026)
        assert row["high"] - row["low"] == pytest.approx(high - low, abs=0.03)


def test_too_sure_here_and_too_modest_there_do_not_cancel_out() -> None:
    """Half are right 5 times in 10 at a confidence of 0.9, half always at 0.5: (0.4 + 0.5) / 2."""
    table = pd.concat([_slides(5, 5).assign(confidence=0.9), _slides(10, 0).assign(confidence=0.5)])
    table = table.assign(slide=[f"s{i}" for i in range(20)], donor=[f"d{i}" for i in range(20)])
    figures = classification_figures(table, 10)
    assert figures[figures["metric"] == "ece"]["value"].item() == pytest.approx(0.45)


def _judged(folds: np.ndarray, measured: np.ndarray, predicted: np.ndarray) -> Judged:
    rows = len(folds)
    donors = np.array([f"d{i}" for i in range(rows)])
    zero = np.zeros(measured.shape, dtype=np.float32)
    samples = Samples(np.zeros((rows, 1)), donors, np.full(rows, "liver"), folds, None)
    return Judged(measured, predicted.astype(np.float32), zero, zero, np.ones(rows, dtype=bool), samples)


def test_what_differs_between_folds_only_makes_no_gene_significant() -> None:
    """Measured and predicted share an offset of their fold and nothing inside it: p must be even in [0, 1]."""
    rng = np.random.default_rng(0)
    folds = np.arange(200) % 4
    offset = np.array([-6, -2, 2, 6])[folds][:, None]
    measured, predicted = (offset + rng.normal(size=(200, 150)) for _ in range(2))
    null = Null(rng.normal(size=5000), {})
    names = tuple(str(gene) for gene in range(150))
    p = gene_figures(_judged(folds, measured, predicted), null, names, SETTINGS)["p"]
    assert stats.kstest(p, "uniform").pvalue > 0.001


def test_the_joint_space_is_centred_and_scaled_by_the_rows_that_are_fitted() -> None:
    rng = np.random.default_rng(0)
    image, expression = rng.normal(3, 5, size=(30, 4)), rng.normal(-2, 0.1, size=(30, 6))
    fit = np.arange(30) < 20
    joint = joint_space(image, expression, fit)
    for block in (joint[fit, :4], joint[fit, 4:]):
        assert np.allclose(block.mean(axis=0), 0, atol=1e-5)
        assert block.var(axis=0).sum() == pytest.approx(1, rel=1e-4)
    image[~fit] += 100
    assert np.array_equal(joint_space(image, expression, fit)[fit], joint[fit])


def test_partners_are_looked_for_in_both_directions() -> None:
    """Predicted 0 and 1, measured 0 and 10: only from predicted 1 is another sample closer than the partner."""
    table = matching_figures(np.array([[0.0], [1.0]]), np.array([[0.0], [10.0]]), np.array(["a", "b"]))
    turned = matching_figures(np.array([[0.0], [10.0]]), np.array([[0.0], [1.0]]), np.array(["a", "b"]))
    for figures in (table, turned):
        value = figures.set_index("metric")["value"]
        assert value["foscttm"] == 0.25 and value["recall@1"] == 0.75


@pytest.mark.parametrize(("flat", "is_half_empty"), [(3, False), (4, True)])
def test_a_quarter_of_flat_pieces_makes_a_tile_flat_and_three_of_sixteen_do_not(flat: int, is_half_empty: bool) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    for piece in range(flat):
        row, column = divmod(piece * 5 % 16, 4)
        pixels[row * 56 : (row + 1) * 56, column * 56 : (column + 1) * 56] = 200
    assert (tile_quality(pixels, 10_000, 1.0).piece_sd < 1) == is_half_empty


def test_the_head_of_the_page_counts_what_the_tables_hold() -> None:
    raw = pd.DataFrame({"slide": list("abcdef"), "quarantined": [None, "blur", None, None, None, None]})
    raw["missing"] = [None, None, "not fetched", "not fetched", None, None]
    genes = pd.DataFrame({"gene": ["A", "A", "B", "C", "D"], "recoverable": [True, True, False, False, False]})
    tables: Any = SimpleNamespace(
        raw_slides=raw,
        split=pd.DataFrame({"donor": list("vwxyz")}),
        funnel=pd.DataFrame({"kept": [3, 4], "good": [30, 40]}),
        expression=ad.AnnData(np.zeros((2, 7), dtype=np.float32)),
        training=None,
        recoverable=genes,
    )
    assert key_figures(tables) == {
        "slides": 6,
        "quarantined": 1,
        "missing": 2,
        "donors": 5,
        "tiles": 7,
        "genes": 7,
        "recoverable_genes": 1,
    }
