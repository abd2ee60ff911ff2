"""What decides a verdict, each rule held against a table counted by hand or another library."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from histo_assets.core.evaluation.classification import classification_figures, confusion
from histo_assets.core.evaluation.look_alikes import mistaken_figures
from histo_assets.core.figures.study_page import key_figures
from histo_assets.core.prediction.covariates import PredictionError
from histo_assets.core.prediction.frames import Samples
from histo_assets.core.prediction.methods import recoverable_genes
from histo_assets.core.prediction.metrics import (
    benjamini_hochberg,
    bootstrap_shares,
    correlation,
    donor_signs,
    percentile_interval,
    share_explained,
    studentised,
    upper_tail,
)
from histo_assets.core.prediction.scoring import GenePredictions, Null, gene_figures
from histo_assets.core.prediction.settings import PredictionSettings
from histo_assets.core.projection.joint import joint_space, matching_figures
from histo_assets.core.projection.project import ProjectionError
from histo_assets.core.tiling.quality import judge, tile_quality
from histo_assets.core.tiling.sampling import balanced_counts, candidate_order
from histo_assets.core.tiling.settings import QualitySettings

SETTINGS = PredictionSettings(max_q=0.05, min_r2_within=0.05, bootstraps=20, permutations=20)
ORDER = [(0, 1), (0, 0), (2, 0), (1, 2), (2, 2), (0, 2), (1, 1), (2, 1), (1, 0)]
"""The order of a 3 x 3 grid in version 0.1.0."""
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
    decisive: dict[str, Any] = {"r2_within": r2, "r2_within_low": low, "r2_within_high": 0.9, "q": q}
    worthless = dict.fromkeys(decisive, np.nan)
    folds, locked = (worthless, decisive) if locked_donors else (decisive, worthless)
    table = pd.DataFrame({"gene": list(GENES), "regressor": "ridge", "direction": "same", "r_between": 0.0, **folds})
    table = table.assign(**{f"{name}_locked": value for name, value in locked.items()})
    decided = recoverable_genes(table, locked_donors, SETTINGS).set_index("gene")
    assert decided["recoverable"].to_dict() == {gene: row[3] is None for gene, row in GENES.items()}
    reasons = {gene: row[3] or "all three criteria are met" for gene, row in GENES.items()}
    assert decided["why"].to_dict() == reasons


def _figures(regressor: str, r2: list[float], q: float = 0.01) -> pd.DataFrame:
    """Return the figures of genes A, B, ... by one regressor; those of locked donors are half as large."""
    table = pd.DataFrame({"gene": list("ABCD")[: len(r2)], "regressor": regressor, "r2_within": r2, "q": q})
    table = table.assign(r2_within_low=table["r2_within"] - 0.01, r2_within_high=table["r2_within"] + 0.01)
    for name in ("r2_within", "r2_within_low", "r2_within_high"):
        table[f"{name}_locked"] = table[name] / 2
    return table.assign(q_locked=q, direction="same", r_between=0.5)


def test_the_table_of_recoverable_genes_row_by_row() -> None:
    table = recoverable_genes(_figures("ridge", [0.02, 0.2, 0.4]), 59, SETTINGS)
    assert table.to_dict("list") == {
        "gene": ["C", "B", "A"],
        "regressor": ["ridge"] * 3,
        "r2_within": [0.4, 0.2, 0.02],
        "low": [0.39, 0.19, 0.01],
        "high": pytest.approx([0.41, 0.21, 0.03]),
        "q": [0.01] * 3,
        "evidence": ["nested cross-validation"] * 3,
        "why": ["all three criteria are met"] * 2 + ["r2_within 0.020 is below 0.05"],
        "recoverable": [True, True, False],
        "r2_within_folds": [0.4, 0.2, 0.02],
        "r2_within_locked": [0.2, 0.1, 0.01],
        "direction": ["same"] * 3,
        "r_between": [0.5] * 3,
    }


def test_folds_choose_a_gene_s_regressor_and_locked_donors_judge_it() -> None:
    """A and C are told better by trees; of D ridge says nothing."""
    both = [_figures("ridge", [0.2, 0.4, 0.1, np.nan]), _figures("trees", [0.3, 0.2, 0.6, 0.15])]
    table = recoverable_genes(pd.concat(both, ignore_index=True), 60, SETTINGS).set_index("gene")
    assert table["regressor"].to_dict() == {"A": "trees", "B": "ridge", "C": "trees", "D": "trees"}
    assert table["r2_within"].to_dict() == {"A": 0.15, "B": 0.2, "C": 0.3, "D": 0.075}
    assert table["r2_within_folds"].to_dict() == {"A": 0.3, "B": 0.4, "C": 0.6, "D": 0.15}
    assert set(table["evidence"]) == {"locked"}


def test_with_few_locked_donors_the_first_regressor_is_the_one_of_the_first_row() -> None:
    one_gene = pd.concat([_figures("ridge", [0.2]), _figures("trees", [0.3])], ignore_index=True)
    assert recoverable_genes(one_gene, 59, SETTINGS)["regressor"].to_list() == ["ridge"]


@pytest.mark.parametrize("figures", [_figures("ridge", []), _figures("ridge", [0.1]).drop(columns="regressor")])
def test_without_a_regressor_there_are_no_recoverable_genes(figures: pd.DataFrame) -> None:
    with pytest.raises(PredictionError, match=r"^recoverable genes need the figures of at least one regressor"):
        recoverable_genes(figures, 0, SETTINGS)


def test_shares_and_correlations_are_those_of_numpy_and_no_number_where_nothing_varies() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(30, 3)), rng.normal(size=(30, 3)) * 0.01
    second[:, 1], first[:, 2] = first[:, 1] * -0.01, 0
    first, second = first - first.mean(axis=0), second - second.mean(axis=0)
    expected = [np.corrcoef(first[:, 0], second[:, 0])[0, 1], -1.0, np.nan]
    assert np.allclose(correlation(first, second), expected, equal_nan=True)
    shares = share_explained(np.array([1.0, 0.3, 2.0, 1.0]), np.array([4.0, 0.4, 1.0, 0.0]))
    assert np.allclose(shares, [0.75, 0.25, -1.0, np.nan], equal_nan=True)
    contributions = np.array([[0.3, 0.0], [0.4, 0.0]])
    assert np.allclose(studentised(contributions), [1.4, np.nan], equal_nan=True)


def test_p_values_count_the_draws_at_or_above() -> None:
    null = np.array([4.0, 1.0, np.nan, 3.0, 2.0])
    p = upper_tail(np.array([2.5, 3.0, 5.0, 0.0, np.nan]), null)
    assert np.allclose(p, [3 / 5, 3 / 5, 1 / 5, 1.0, np.nan], equal_nan=True)


def test_what_chance_draws_is_drawn_again_from_the_same_seed_and_not_from_another() -> None:
    spread = np.random.default_rng(0).chisquare(3, size=(12, 4))
    table, donors = _slides(8, 8), np.array(list("abcdefgh"))
    drawn = {
        "shares": lambda seed: bootstrap_shares(spread / 2, spread[::-1], 50, seed),
        "signs": lambda seed: donor_signs(donors, 50, seed),
        "mistaken": lambda seed: mistaken_figures(table, [("fat", "breast")], {}, 37, seed)[["low", "high"]].to_numpy(),
    }
    for name, draw in drawn.items():
        assert np.array_equal(draw(3), draw(3)), name
        assert any(not np.array_equal(draw(3), draw(other)) for other in range(4, 9)), name


def test_q_values_are_those_of_a_table_counted_by_hand() -> None:
    """Benjamini and Hochberg's own example: 15 p values, of which the rule at 0.05 rejects the first four."""
    p = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344]
    p += [0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0000]
    q = benjamini_hochberg(np.array(p[::-1]))[::-1]
    assert q[:4] == pytest.approx([0.0015, 0.003, 0.0095, 0.035625])
    assert list(np.flatnonzero(q <= 0.05)) == [0, 1, 2, 3]


def test_an_interval_holds_the_middle_95_percent_of_the_draws() -> None:
    draws = np.random.default_rng(0).permutation(np.arange(1001.0))[:, None]
    assert [float(end[0]) for end in percentile_interval(draws)] == [25, 975]
    beside = np.hstack([draws, draws * 2, np.where(draws == 7, np.nan, draws)])
    low, high = percentile_interval(beside)
    assert np.array_equal(low, [25, 50, np.nan], equal_nan=True)
    assert np.array_equal(high, [975, 1950, np.nan], equal_nan=True)


def _slides(right: int, wrong: int) -> pd.DataFrame:
    """Return a slide of fat for each of as many donors, `wrong` of them taken for breast."""
    predicted = ["fat"] * right + ["breast"] * wrong
    table = pd.DataFrame({"slide": [f"s{i}" for i in range(len(predicted))], "tissue": "fat", "side": "test"})
    table = table.assign(donor=table["slide"], predicted=predicted, confidence=0.8)
    for tissue in ("breast", "fat"):
        table[f"p_{tissue}"] = np.log(np.where(table["predicted"] == tissue, 0.8, 0.2))
    return table


def test_intervals_over_donors_of_a_share_are_binomial() -> None:
    """Of 400 donors with a slide each, 100 wrong: drawing donors anew is drawing from a binomial distribution."""
    table = _slides(right=300, wrong=100)
    mistaken = mistaken_figures(table, [("fat", "breast")], {}, 4000).set_index("predicted").loc["breast"]
    figures = classification_figures(table, 4000)
    accuracy = figures[figures["metric"] == "accuracy"].iloc[0]
    for row, share in ((mistaken, 0.25), (accuracy, 0.75)):
        ends = stats.binom.ppf([0.025, 0.975], 400, share) / 400
        assert row["value"] == share
        assert [row["low"], row["high"]] == pytest.approx(list(ends), abs=1.1 / 400)


def test_the_table_of_mistakes_row_by_row() -> None:
    """Two tiles of one woman's fat, one of them taken for breast; a man's fat and a breast are told."""
    table = _slides(right=2, wrong=1).assign(tile=["t1", "t2", "t3"], donor=["f", "m", "f"])
    breast = table.iloc[:1].assign(tissue="breast", predicted="breast", donor="unknown")
    figures = mistaken_figures(pd.concat([table, breast]), [("fat", "breast")], {"f": "female", "m": "male"}, 50)
    columns = ["level", "side", "metric", "tissue", "predicted", "sex", "value", "low", "high", "n"]
    assert figures.columns.to_list() == columns
    assert set(map(tuple, figures[["level", "side", "metric"]].to_numpy())) == {("tile", "test", "mistaken")}
    counted = figures[["tissue", "predicted", "sex", "value", "n"]].to_numpy().tolist()
    assert counted == [
        ["fat", "breast", "", 1 / 3, 3],
        ["fat", "breast", "female", 0.5, 2],
        ["fat", "breast", "male", 0.0, 1],
        ["breast", "fat", "", 0.0, 1],
    ]
    assert set(mistaken_figures(table.drop(columns="tile"), [("fat", "breast")], {}, 5)["level"]) == {"slide"}


def test_each_of_three_look_alikes_is_held_against_each_other() -> None:
    table = _slides(right=1, wrong=1).assign(p_skin=-9.0)
    table = pd.concat([table, table.iloc[:1].assign(tissue="breast"), table.iloc[:1].assign(tissue="skin")])
    figures = mistaken_figures(table, [("skin", "fat", "breast")], {}, 5)
    pairs = set(map(tuple, figures[["tissue", "predicted"]].to_numpy()))
    assert pairs == {(a, b) for a in ("skin", "fat", "breast") for b in ("skin", "fat", "breast") if a != b}


def test_what_is_none_of_the_tissues_is_not_counted_as_one() -> None:
    table = _slides(right=3, wrong=2)
    table.loc[0, "predicted"], table.loc[1, "tissue"] = "bone", "bone"
    counts = confusion(table, ["breast", "fat", "skin"])
    assert counts.to_numpy().tolist() == [[0, 0, 0], [2, 1, 0], [0, 0, 0]]


def test_too_sure_here_and_too_modest_there_do_not_cancel_out() -> None:
    """Half are right 5 times in 10 at a confidence of 0.9, half always at 0.5: (0.4 + 0.5) / 2."""
    table = pd.concat([_slides(5, 5).assign(confidence=0.9), _slides(10, 0).assign(confidence=0.5)])
    table = table.assign(slide=[f"s{i}" for i in range(20)], donor=[f"d{i}" for i in range(20)])
    figures = classification_figures(table, 10)
    assert figures[figures["metric"] == "ece"]["value"].item() == pytest.approx(0.45)


def _predictions(folds: np.ndarray, measured: np.ndarray, predicted: np.ndarray) -> GenePredictions:
    rows = len(folds)
    donors = np.array([f"d{i}" for i in range(rows)])
    zero = np.zeros(measured.shape, dtype=np.float32)
    samples = Samples(np.zeros((rows, 1)), donors, np.full(rows, "liver"), folds, None)
    return GenePredictions(measured, predicted.astype(np.float32), zero, zero, np.ones(rows, dtype=bool), samples)


def test_what_differs_between_folds_only_makes_no_gene_significant() -> None:
    """Measured and predicted share an offset of their fold and nothing inside it: p must be even in [0, 1]."""
    rng = np.random.default_rng(0)
    folds = np.arange(200) % 4
    offset = np.array([-6, -2, 2, 6])[folds][:, None]
    measured, predicted = (offset + rng.normal(size=(200, 150)) for _ in range(2))
    null = Null(rng.normal(size=5000), {})
    names = tuple(str(gene) for gene in range(150))
    p = gene_figures(_predictions(folds, measured, predicted), null, names, SETTINGS)["p"]
    assert stats.kstest(p, "uniform").pvalue > 0.001


def test_what_agrees_inside_folds_is_significant() -> None:
    rng = np.random.default_rng(0)
    folds, predicted = np.arange(200) % 4, rng.normal(size=(200, 150))
    measured = predicted + rng.normal(size=(200, 150))
    names = tuple(str(gene) for gene in range(150))
    predictions = _predictions(folds, measured, predicted)
    p = gene_figures(predictions, Null(rng.normal(size=5000), {}), names, SETTINGS)["p"]
    assert (p < 0.001).all()


def test_the_joint_space_is_centred_and_scaled_by_the_rows_that_are_fitted() -> None:
    rng = np.random.default_rng(0)
    image, expression = rng.normal(3, 5, size=(30, 4)), rng.normal(-2, 0.1, size=(30, 6))
    fit = np.arange(30) < 20
    joint = joint_space(image, expression, fit)
    for block in (joint[fit, :4], joint[fit, 4:]):
        assert np.allclose(block.mean(axis=0), 0, atol=1e-5)
        assert block.var(axis=0).sum() == pytest.approx(1, rel=1e-4)
    assert joint.dtype == np.float32
    constant = joint_space(np.full((30, 2), 7.0), expression, fit)
    assert np.array_equal(constant, np.hstack([np.zeros((30, 2)), joint[:, 4:]]).astype(np.float32))
    image[~fit] += 100
    assert np.array_equal(joint_space(image, expression, fit)[fit], joint[fit])


def test_partners_are_looked_for_in_both_directions() -> None:
    """Predicted 0 and 1, measured 0 and 10: only from predicted 1 is another sample closer than the partner."""
    table = matching_figures(np.array([[0.0], [1.0]]), np.array([[0.0], [10.0]]), np.array(["a", "b"]))
    turned = matching_figures(np.array([[0.0], [10.0]]), np.array([[0.0], [1.0]]), np.array(["a", "b"]))
    for figures in (table, turned):
        value = figures.set_index("metric")["value"]
        assert value["foscttm"] == 0.25 and value["recall@1"] == 0.75


def _counted_closer(first: np.ndarray, second: np.ndarray) -> list[int]:
    """Count pair by pair, in both directions, the samples that are closer than the partner."""
    counts = []
    for these, those in ((first, second), (second, first)):
        for row, partner in zip(these, those, strict=True):
            distance = np.linalg.norm(row - partner)
            counts.append(sum(np.linalg.norm(row - other) < distance for other in those))
    return counts


def test_figures_of_matching_are_those_counted_pair_by_pair() -> None:
    rng = np.random.default_rng(0)
    predicted = rng.normal(size=(15, 3))
    measured = predicted * 0.5 + rng.normal(size=(15, 3))
    tissues = np.array(["single"] + ["liver"] * 5 + ["skin"] * 9)
    table = matching_figures(predicted, measured, tissues)
    assert table.index.to_list() == list(range(8)) and table["n"].dtype == np.int64
    figures = table.set_index(["scope", "metric"])
    groups = {"overall": [slice(0, 15)], "within tissue": [slice(1, 6), slice(6, 15)]}
    for scope, parts in groups.items():
        counted = [_counted_closer(predicted[part], measured[part]) for part in parts]
        sizes = [len(one) // 2 for one in counted]
        for k in (1, 5, 10):
            row: Any = figures.loc[(scope, f"recall@{k}")]
            assert row["value"] == pytest.approx(np.mean([count < k for one in counted for count in one]))
            chance = sum(min(k / size, 1) * size for size in sizes) / sum(sizes)
            assert row["chance"] == pytest.approx(chance) and row["n"] == sum(sizes)
        row = figures.loc[(scope, "foscttm")]
        shares = [count / (size - 1) for one, size in zip(counted, sizes, strict=True) for count in one]
        assert row["value"] == pytest.approx(np.mean(shares)) and row["chance"] == 0.5 and row["n"] == sum(sizes)


def test_one_sample_has_nothing_to_be_matched_with() -> None:
    with pytest.raises(ProjectionError, match=r"^matching needs at least two samples; select more slides$"):
        matching_figures(np.zeros((1, 2)), np.zeros((1, 2)), np.array(["liver"]))


@pytest.mark.parametrize("reason", ["", "jpeg_size", "half_empty", "dirt", "blur", "pen"])
def test_a_tile_exactly_at_a_threshold_is_kept_and_one_beyond_it_is_not(reason: str) -> None:
    settings = QualitySettings()
    at = {
        "jpeg_bytes": settings.min_jpeg_bytes_per_pixel,
        "piece_sd": settings.min_piece_sd,
        "channel_sd": settings.min_channel_sd,
        "sharpness": settings.min_sharpness,
        "pen_share": settings.max_pen_share,
        "tissue_share": 1.0,
    }
    beyond = {
        "jpeg_size": {"jpeg_bytes": at["jpeg_bytes"] - 1e-4},
        "half_empty": {"piece_sd": at["piece_sd"] - 0.01},
        "dirt": {"channel_sd": at["channel_sd"] - 0.01},
        "blur": {"sharpness": at["sharpness"] - 0.01},
        "pen": {"pen_share": at["pen_share"] + 1e-4},
    }
    assert judge(at | beyond.get(reason, {}), settings) == (reason or None)


def test_no_slides_give_no_tiles() -> None:
    assert balanced_counts({}, 4, 10) == {}


def test_the_tiles_left_over_do_not_go_to_the_first_names() -> None:
    counts = balanced_counts(dict.fromkeys("abcdefghijklmnop", 10), 4, 16 * 3 + 8)
    assert "".join(slide for slide, count in counts.items() if count == 4) not in ("abcdefgh", "ijklmnop")


def test_the_order_of_candidates_is_that_of_the_first_version() -> None:
    """Another order would cut other tiles of every slide."""
    assert candidate_order("slide", [(x, y) for y in range(3) for x in range(3)], 0) == ORDER


@pytest.mark.parametrize("positions", [[(x, 0) for x in range(40)], [(0, y) for y in range(40)]], ids=["x", "y"])
def test_slide_seed_and_both_coordinates_decide_the_order(positions: list[tuple[int, int]]) -> None:
    drawn = candidate_order("slide", positions, 0)
    assert sorted(drawn) == positions and drawn != positions
    assert drawn != candidate_order("slide", positions, 1) and drawn != candidate_order("other", positions, 0)


@pytest.mark.parametrize(("flat", "is_half_empty"), [(3, False), (4, True)])
def test_a_quarter_of_flat_pieces_makes_a_tile_flat_and_three_of_sixteen_do_not(flat: int, is_half_empty: bool) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    for piece in range(flat):
        row, column = divmod(piece * 5 % 16, 4)
        pixels[row * 56 : (row + 1) * 56, column * 56 : (column + 1) * 56] = 200
    assert (tile_quality(pixels, 10_000, 1.0)["piece_sd"] < 1) == is_half_empty


def test_the_head_of_a_page_of_a_trained_study_names_the_accuracy_of_slides() -> None:
    tables: Any = SimpleNamespace(
        raw_slides=pd.DataFrame({"slide": ["a"], "quarantined": [None], "missing": [None]}),
        split=pd.DataFrame({"donor": ["d"]}),
        funnel=pd.DataFrame({"kept": [3]}),
        expression=ad.AnnData(np.zeros((1, 1), dtype=np.float32)),
        training=SimpleNamespace(headline=SimpleNamespace(slide_accuracy=0.875)),
        recoverable=pd.DataFrame({"gene": ["A"], "recoverable": [False]}),
    )
    assert key_figures(tables).by_name()["slide_accuracy"] == 0.875


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
    assert key_figures(tables).by_name() == {
        "slides": 6,
        "quarantined": 1,
        "missing": 2,
        "donors": 5,
        "tiles": 7,
        "genes": 7,
        "recoverable_genes": 1,
    }
