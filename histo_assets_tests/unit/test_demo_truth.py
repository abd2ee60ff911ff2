"""What is planted in genes and pictures is as strong as the table of the protocol says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from histo_assets.demo import score
from histo_assets.demo.anatomy import Look, gland_label
from histo_assets.demo.cohort import write_cohort
from histo_assets.demo.cohort_plan import slides_per_label
from histo_assets.demo.damage import with_dirt
from histo_assets.demo.genes import planted_expression, planted_genes
from histo_assets.demo.paint import paint_slide
from histo_assets.demo.roster import cohort_plan
from histo_assets.demo.settings import SyntheticSettings
from histo_assets.demo.truth import sample_table

TRUTH = SyntheticSettings(donors=60, slides=366, genes=400, seed=11)


@pytest.fixture(scope="module")
def planted() -> tuple[pd.DataFrame, pd.DataFrame, np.ndarray]:
    """Paired samples, genes and (samples, genes) expression of the truth cohort."""
    samples = sample_table(TRUTH, cohort_plan(TRUTH))
    genes = planted_genes(TRUTH.genes, gland_label(list(slides_per_label(TRUTH))))
    values = planted_expression(samples, genes, TRUTH.seed)
    paired = samples["label"].isin(slides_per_label(TRUTH)).to_numpy()
    return samples[paired], genes, values[paired]


def _r2_within(latent: np.ndarray, values: np.ndarray, tissue: pd.Series) -> float:
    """r2 of a line through the latent, both centred within tissue."""
    frame = pd.DataFrame({"x": latent, "y": values, "tissue": tissue.to_numpy()})
    centred = frame[["x", "y"]] - frame.groupby("tissue")[["x", "y"]].transform("mean")
    return float(np.corrcoef(centred["x"], centred["y"])[0, 1] ** 2)


def _block(planted: tuple[pd.DataFrame, pd.DataFrame, np.ndarray], block: str) -> tuple[pd.DataFrame, np.ndarray]:
    samples, genes, values = planted
    return samples, values[:, (genes["block"] == block).to_numpy()]


@pytest.mark.parametrize(
    ("block", "latent", "expected", "tolerance"),
    [
        ("inflammation_strong", "inflammation", 0.44, 0.05),
        ("inflammation_medium", "inflammation", 0.18, 0.04),
        ("inflammation_weak", "inflammation", 0.03, 0.02),
        ("simpson", "inflammation", 0.44, 0.05),
        ("hidden", "hidden", 0.44, 0.06),
        ("null", "inflammation", 0.0, 0.01),
        ("tissue_marker", "inflammation", 0.0, 0.01),
    ],
)
def test_r2_within_from_the_true_latent_is_the_tables(
    planted: tuple[pd.DataFrame, pd.DataFrame, np.ndarray], block: str, latent: str, expected: float, tolerance: float
) -> None:
    samples, values = _block(planted, block)
    scores = [_r2_within(samples[latent].to_numpy(), gene, samples["label"]) for gene in values.T]
    assert np.median(scores) == pytest.approx(expected, abs=tolerance)


def test_gland_genes_follow_the_gland_fraction_in_one_tissue_only(
    planted: tuple[pd.DataFrame, pd.DataFrame, np.ndarray],
) -> None:
    samples, values = _block(planted, "gland")
    there = (samples["label"] == "stomach").to_numpy()
    for part, expected, tolerance in ((there, 0.33, 0.12), (~there, 0.0, 0.02)):
        chosen = samples[part]
        scores = [_r2_within(chosen["gland"].to_numpy(), gene[part], chosen["label"]) for gene in values.T]
        assert np.median(scores) == pytest.approx(expected, abs=tolerance)


def test_tissue_markers_have_an_r2_of_about_a_half_from_the_tissue_alone(
    planted: tuple[pd.DataFrame, pd.DataFrame, np.ndarray],
) -> None:
    samples, values = _block(planted, "tissue_marker")
    means = pd.DataFrame(values).groupby(samples["label"].to_numpy()).transform("mean").to_numpy()
    r2 = 1 - ((values - means) ** 2).sum(axis=0) / ((values - values.mean(axis=0)) ** 2).sum(axis=0)
    assert np.median(r2) == pytest.approx(0.46, abs=0.08)


def test_simpson_genes_rise_between_tissues_and_fall_within(
    planted: tuple[pd.DataFrame, pd.DataFrame, np.ndarray],
) -> None:
    samples, values = _block(planted, "simpson")
    slides = {row.sample: row.look.inflammation for row in cohort_plan(TRUTH).slides}
    level = samples["sample"].map(slides)
    known = level.notna().to_numpy()
    by_tissue = pd.DataFrame({"level": level, "gene": values.mean(axis=1), "tissue": samples["label"]})[known]
    means = by_tissue.groupby("tissue").mean()
    within = by_tissue[["level", "gene"]] - by_tissue.groupby("tissue")[["level", "gene"]].transform("mean")
    assert means.corr().to_numpy()[0, 1] > 0.8
    assert within.corr().to_numpy()[0, 1] < -0.5


def _dark_share(pixels: np.ndarray) -> float:
    return float((pixels[..., 0] < 110).mean())


LOOK = Look(seed=5, texture_seed=1, side=512, mixture={"muscle": 0.8, "stroma": 0.2})


def test_inflammation_is_visible_as_more_nuclei_and_the_same_look_gives_the_same_picture() -> None:
    shares = [_dark_share(paint_slide(replace(LOOK, inflammation=z))) for z in (-1.5, 0, 1.5)]
    assert shares[0] < shares[1] < shares[2]
    assert (paint_slide(LOOK) == paint_slide(LOOK)).all()


def test_autolysis_pales_nuclei_and_batches_change_the_stain() -> None:
    fresh, autolytic = paint_slide(LOOK), paint_slide(replace(LOOK, autolysis=2.0))
    assert _dark_share(autolytic) < _dark_share(fresh)
    strong = paint_slide(replace(LOOK, stain=(1.3, 1.3)))
    assert strong.mean() < fresh.mean() - 3


def test_male_breast_looks_like_fat_and_female_breast_does_not() -> None:
    rows = [row for row in cohort_plan(TRUTH).slides if row.label == "breast_mammary_tissue"]
    fat = pd.DataFrame([(row.donor.sex, row.look.mixture["fat"]) for row in rows], columns=["sex", "fat"])
    means = fat.groupby("sex")["fat"].mean()
    assert means["male"] > 0.9
    assert means["female"] < 0.6


@pytest.mark.parametrize("kind", ["pen", "dust", "blur", "half_empty"])
def test_dirt_changes_the_picture_inside_its_regions_only(kind: str) -> None:
    clean = paint_slide(LOOK)
    dirty, regions = with_dirt(clean, kind, seed=2)
    if kind == "half_empty":
        assert regions and (dirty == (243, 242, 244)).all(axis=2).mean() > 0.3
        return
    outside = np.ones(clean.shape[:2], bool)
    for x, y, w, h in regions:
        assert w > 0 and h > 0
        margin = 40 if kind == "blur" else 6
        outside[max(0, y - margin) : y + h + margin, max(0, x - margin) : x + w + margin] = False
    changed = (dirty != clean).any(axis=2)
    assert changed.any()
    assert (changed & outside).sum() <= 0.02 * changed.sum()


@pytest.fixture(scope="module")
def truth_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = SyntheticSettings(tissues=4, donors=6, slides=10, genes=100, slide_px=256)
    return write_cohort(settings, tmp_path_factory.mktemp("scored"), workers=1) / "truth"


def test_a_perfect_platform_scores_full_marks(truth_dir: Path) -> None:
    genes = score.truth_table(truth_dir, "genes")
    figures = pd.DataFrame(
        {
            "gene": genes["gene"],
            "r2": 0.5,
            "r2_within": genes["expected_r2_within"],
            "recoverable": genes["recoverable"],
        }
    )
    blocks = score.score_genes(truth_dir, figures)
    assert (blocks["right"].dropna() == 1).all()
    scores = score.score_recoverable(truth_dir, figures)
    assert scores["recall"] == 1
    assert scores["false_discovery_proportion"] == 0


def test_calling_every_gene_recoverable_costs_precision(truth_dir: Path) -> None:
    genes = score.truth_table(truth_dir, "genes")
    scores = score.score_recoverable(
        truth_dir, pd.DataFrame({"gene": genes["gene"], "r2": 0.5, "r2_within": 0.5, "recoverable": True})
    )
    assert scores["recall"] == 1
    assert scores["false_positive_rate"] == 1


def test_the_filter_score_is_exact_for_the_samples_it_is_given(truth_dir: Path) -> None:
    truth = score.truth_table(truth_dir, "filter")
    samples = list(score.truth_table(truth_dir, "expression").columns[1:])
    right = truth.loc[truth["should_survive"], "gene_id"]
    for chosen in (None, samples):
        scored = score.score_filter(truth_dir, right, chosen)
        assert scored["missed"].sum() == scored["wrong"].sum() == 0
    edge = truth.loc[truth["kind"] == "edge_sd_out", "symbol"]
    wrong = score.score_filter(truth_dir, [*right, *edge], samples)
    assert wrong["wrong"].sum() == 3


def test_the_quarantine_score_tells_missed_damage_from_lost_good_slides(truth_dir: Path) -> None:
    slides = score.truth_table(truth_dir, "slides")
    bad = slides["damage"].isin(score.QUARANTINED)
    raw = pd.DataFrame({"slide": slides["slide"], "quarantined": [("bad file" if b else None) for b in bad]})
    assert [right for right in score.score_quarantine(truth_dir, raw)["right"] if right is False] == []
    raw["quarantined"] = None
    assert (score.score_quarantine(truth_dir, raw)["right"] == False).sum() == 4  # noqa: E712
    raw["quarantined"] = "all bad"
    assert not score.score_quarantine(truth_dir, raw).iloc[-1]["right"]


def test_the_dirt_score_counts_tiles_that_lie_in_dirt(truth_dir: Path) -> None:
    dirt = score.truth_table(truth_dir, "dirt")
    region = dirt[dirt["kind"] == "blur"].iloc[0]
    index = pd.DataFrame(
        {"slide": [region["slide"]] * 2, "x": [region["x"], 5000], "y": [region["y"], 5000], "size": [32, 32]}
    )
    funnel = pd.DataFrame({"slide": [region["slide"]], "blur": [3], "pen": [0]})
    blur = score.score_dirt(truth_dir, index, funnel).set_index("kind").loc["blur"]
    assert (blur["tiles"], blur["touched"], blur["covered"], blur["rejected"]) == (2, 1, 1, 3)
