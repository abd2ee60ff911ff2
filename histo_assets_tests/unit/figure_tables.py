"""Made-up tables of studies with one to forty tissues, and every figure drawn from them."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
from PIL import Image

from histo_assets.core.figures import cohort, expression, learning, prediction, projection, slides

DEMO = [
    "adipose_subcutaneous",
    "brain_cortex",
    "breast_mammary_tissue",
    "esophagus_gastroesophageal_junction",
    "esophagus_muscularis",
    "kidney_medulla",
    "liver",
    "skin_not_sun_exposed_suprapubic",
    "skin_sun_exposed_lower_leg",
    "stomach",
]


@dataclass(frozen=True)
class Tables:
    """Made-up tables of one study."""

    tissues: list[str]
    manifest: pd.DataFrame
    pairs: pd.DataFrame
    split: pd.DataFrame
    raw_slides: pd.DataFrame
    funnel: pd.DataFrame
    index: pl.DataFrame
    genes: pd.DataFrame
    gene_funnel: pd.DataFrame
    training_set: pl.DataFrame
    history: pd.DataFrame
    experiments: pd.DataFrame
    confusion: pd.DataFrame
    classification: pd.DataFrame
    umap: np.ndarray
    tsne: np.ndarray
    point_tissues: list[str]
    gene_figures: pd.DataFrame
    recoverable: pd.DataFrame
    clusters: pd.DataFrame
    cluster_expression: pd.DataFrame
    comparison: pd.DataFrame
    images: list[bytes]


def made_tables(tissues: list[str], per_tissue: int = 20, points: int = 40) -> Tables:
    """Return tables that look like those of a study with `tissues`."""
    rng = np.random.default_rng(len(tissues))
    donors = [f"GTEX-{n:04d}" for n in range(max(6, per_tissue * 2))]
    traits = {d: (rng.choice(["male", "female"], p=[0.67, 0.33]), f"{rng.integers(2, 8)}0-") for d in donors}
    rows = []
    for place, tissue in enumerate(tissues):
        for number in range(max(3, round(per_tissue * rng.uniform(0.2, 1.6)))):
            donor = donors[int(rng.integers(len(donors)))]
            sex, decade = traits[donor]
            slide = f"{donor}-{place:02d}{number:02d}"
            rows.append((slide, donor, tissue, tissue.title(), sex, f"{decade}{decade[0]}9", "Slow death", ""))
    names = ["slide", "donor", "tissue", "tissue_name", "sex", "age", "hardy", "notes"]
    manifest = pd.DataFrame(rows, columns=names)
    pairs = manifest.sample(frac=0.55, random_state=1).assign(sample=lambda t: t["slide"] + "-SM-1")
    fold = rng.integers(-1, 5, len(donors))
    side = np.where(fold < 0, "test", np.where(fold == 0, "validation", "train"))
    split = pd.DataFrame({"donor": donors, "fold": fold, "side": side, "slides": 1})
    one = manifest[manifest["tissue"] == tissues[0]]
    raw = one[["slide", "donor", "tissue"]].assign(
        bytes=rng.integers(30_000_000, 600_000_000, len(one)),
        width=rng.integers(15_000, 60_000, len(one)),
        height=rng.integers(12_000, 40_000, len(one)),
        mpp=0.4942,
        quarantined=None,
        missing=None,
    )
    raw = raw.astype({"quarantined": object, "missing": object})
    raw.loc[raw.index[0], "quarantined"] = "truncated: 312 of 1,452 storage tiles lie beyond the end"
    raw.loc[raw.index[-1], "quarantined"] = "an HTML page, not a slide; download it again"
    raw.loc[raw.index[-1], "width"] = 0
    grid = rng.integers(400, 2_000, len(one))
    funnel = pd.DataFrame({"slide": one["slide"].to_numpy(), "candidates": grid, "no_tissue": grid * 6 // 10})
    for reason in ("jpeg_size", "half_empty", "dirt", "blur", "pen", "lost"):
        funnel[reason] = rng.integers(0, 30, len(one))
    funnel["good"], funnel["kept"] = 110, 100
    tiles = pd.DataFrame({"tissue": np.repeat(tissues, 60)})
    tiles["jpeg_bytes"] = rng.normal(0.2, 0.03, len(tiles))
    tiles["side"] = rng.choice(["train", "validation", "test"], len(tiles), p=[0.68, 0.17, 0.15])
    count = 3_000
    maxima, sd = rng.gamma(1.2, 2.5, count), rng.gamma(1.3, 0.35, count)
    kind = rng.choice(["standard", "dotted", "repeated"], count, p=[0.6, 0.37, 0.03])
    kept = (maxima > 5) & (sd > 0.5) & (kind == "standard")
    genes = pd.DataFrame({"gene_id": "g", "symbol": "s", "max": maxima, "sd": sd, "name_class": kind, "kept": kept})
    steps = ["read from the file", "log2(1+TPM) > 5 in a sample", "standard deviation > 0.5", "standard names"]
    gene_funnel = pd.DataFrame({"step": steps, "genes": [56_200, 24_871, 21_035, 17_408]})
    runs = [made_history(name, 5 + 25 * (name == "b0_30"), speed) for name, speed in EXPERIMENTS.items()]
    experiments = pd.concat(runs, ignore_index=True)
    counts = rng.poisson(0.4, (len(tissues), len(tissues))) + np.diag(rng.integers(40, 90, len(tissues)))
    counts[-1] = 0 if len(tissues) > 1 else counts[-1]
    confusion = pd.DataFrame(counts, index=pd.Index(tissues, name="tissue"), columns=tissues)
    classification = made_classification(tissues, rng)
    centres = rng.normal(0, 9, (len(tissues), 2))
    umap = np.concatenate([centre + rng.normal(0, 0.8, (points, 2)) for centre in centres]).astype(np.float32)
    tsne = np.concatenate([centre * 3 + rng.normal(0, 6, (points, 2)) for centre in centres]).astype(np.float32)
    parts = []
    for kind_ in ("ridge", "lightgbm"):
        within = rng.beta(1.2, 9, 400) - 0.06
        part = pd.DataFrame({"gene": [f"GENE{n}" for n in range(400)], "regressor": kind_, "r2_within": within})
        parts.append(part.assign(r2=np.clip(within + rng.beta(3, 3, 400), -0.4, 0.98), q=rng.uniform(0, 1, 400)))
    gene_figures = pd.concat(parts, ignore_index=True)
    recoverable = gene_figures.assign(low=gene_figures["r2_within"] - 0.07, high=gene_figures["r2_within"] + 0.08)
    recoverable["recoverable"] = recoverable["low"] > 0.15
    labels = [tissue for tissue in tissues for _ in range(points)]
    cluster = np.repeat(np.arange(len(tissues)), points)
    moved = rng.random(len(cluster)) < 0.15
    cluster[moved] = rng.integers(0, len(tissues), moved.sum())
    clusters = pd.DataFrame({"slide": "s", "cluster": cluster, "tissue": labels})
    matrix = pd.DataFrame(rng.gamma(2, 2, (len(tissues), 120)), columns=[f"GENE{n}" for n in range(120)])
    return Tables(
        tissues, manifest, pairs, split, raw, funnel, pl.from_pandas(tiles), genes, gene_funnel, pl.from_pandas(tiles),
        made_history("b0_30", 30, 90.0), experiments, confusion, classification, umap, tsne, labels,
        gene_figures, recoverable, clusters, matrix, made_comparison(), made_images(24),
    )  # fmt: skip


EXPERIMENTS = {"efficientnet_b0": 62.0, "resnet50": 101.0, "densenet121": 118.0, "convnext_tiny": 164.0, "b0_30": 62.0}


def made_history(name: str, epochs: int, speed: float) -> pd.DataFrame:
    """Return the history of one experiment."""
    epoch = np.arange(1, epochs + 1)
    rise = 1 - np.exp(-epoch / 2.0)
    return pd.DataFrame({
        "experiment": name,
        "epoch": epoch,
        "train_accuracy": 0.6 + 0.36 * rise,
        "train_loss": 1.4 * np.exp(-epoch / 3.0) + 0.08,
        "train_eval_accuracy": 0.66 + 0.32 * rise,
        "train_eval_loss": 1.2 * np.exp(-epoch / 3.0) + 0.05,
        "validation_accuracy": 0.7 + 0.18 * rise + 0.004 * np.sin(epoch),
        "validation_loss": 0.9 * np.exp(-epoch / 1.5) + 0.37 + 0.007 * epoch,
        "seconds": speed + np.cos(epoch),
        "cpu_seconds": speed * 0.93,
    })  # fmt: skip


def made_classification(tissues: list[str], rng: np.random.Generator) -> pd.DataFrame:
    """Return figures of a classifier and its baselines, with a side that was not evaluated."""
    rows: list[tuple[Any, ...]] = []
    for tissue in tissues:
        value = rng.uniform(0.5, 1.0)
        rows.append(("network", "slide", "test", "recall", tissue, value, value - 0.08, min(value + 0.06, 1), 12))
    for method, value in (("network", 0.9), ("colour histogram", 0.62), ("majority", 1 / len(tissues))):
        for level in ("tile", "slide"):
            rows.append((method, level, "test", "accuracy", "", value, value - 0.03, value + 0.03, 100))
    rows.append(("network", "slide", "test", "macro_f1", "", 0.88, 0.85, 0.91, 100))
    rows.append(("network", "slide", "validation", "accuracy", "", np.nan, np.nan, np.nan, 0))
    return pd.DataFrame(rows, columns=["method", "level", "side", "metric", "tissue", "value", "low", "high", "n"])


def made_comparison() -> pd.DataFrame:
    """Return figures of the ways to predict a gene."""
    methods = ["global_mean", "tissue_mean", "tissue_mean_covariates", "colour_ridge", "cluster_average"]
    methods += ["ridge", "lightgbm"]
    rows: list[tuple[Any, ...]] = []
    for side, worse in (("folds", 0.0), ("locked", 0.02)):
        for place, method in enumerate(methods):
            within = 0.02 * place - 0.05 - worse
            rows.append((method, side, "median_r2", 0.12 * place - 0.02 - worse, np.nan, np.nan))
            rows.append((method, side, "median_r2_within", within, within - 0.03, within + 0.02))
            rows.append((method, side, "rmse", 1.4 - 0.1 * place + worse, np.nan, np.nan))
            rows.append((method, side, "share_better", min(0.14 * place, 1), np.nan, np.nan))
            rows.append((method, side, "from_tissue_mean", 0.03 * place, np.nan, np.nan))
    return pd.DataFrame(rows, columns=["method", "side", "metric", "value", "low", "high"])


@cache
def made_images(count: int) -> list[bytes]:
    """Return stained-looking noise as JPEG bytes."""
    rng = np.random.default_rng(0)
    images = []
    for _ in range(count):
        coarse = rng.normal(0, 1, (28, 28, 1)) * np.array([30, 60, 25]) + np.array([205, 140, 190])
        fine = coarse.repeat(8, 0).repeat(8, 1) + rng.normal(0, 14, (224, 224, 3))
        buffer = io.BytesIO()
        Image.fromarray(np.clip(fine, 0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=90)
        images.append(buffer.getvalue())
    return images


def figures_of(t: Tables) -> dict[str, Callable[[], Any]]:
    """Return every figure of the room over one set of tables."""
    some = t.pairs[t.pairs["tissue"] == t.tissues[0]]
    rng = np.random.default_rng(5)
    x, y = (a.ravel() * 448 + 2000 for a in np.meshgrid(np.arange(30), np.arange(20)))
    value = np.sin(x / 3000) + np.cos(y / 2000) + 5
    share = rng.dirichlet(np.ones(len(t.tissues)) * 0.2)
    names = [f"GENE{n}" for n in range(400)]
    genes = rng.gamma(2, 2, 400)
    captions = [t.tissues[n % len(t.tissues)] for n in range(24)]
    return {
        "cohort_overview": lambda: cohort.cohort_overview(t.manifest, t.pairs),
        "cohort_overview_alone": lambda: cohort.cohort_overview(t.manifest),
        "pairing_figure": lambda: cohort.pairing_figure(t.manifest, t.pairs),
        "selection_figure": lambda: cohort.selection_figure(some, available=len(some) + 12),
        "split_figure": lambda: cohort.split_figure(t.split, t.pairs),
        "slide_sizes": lambda: slides.slide_sizes(t.raw_slides),
        "funnel_figure": lambda: slides.funnel_figure(t.funnel),
        "jpeg_size_figure": lambda: slides.jpeg_size_figure(t.index, dict.fromkeys(t.tissues, 0.14)),
        "image_grid": lambda: slides.image_grid(t.images, [f"slide {n} of the tissue" for n in range(24)], 6, "Tiles"),
        "gene_filter_figure": lambda: expression.gene_filter_figure(t.genes),
        "filter_funnel": lambda: expression.filter_funnel(t.gene_funnel),
        "explained_variance": lambda: expression.explained_variance(0.3 * 0.8 ** np.arange(40)),
        "standard_batch": lambda: learning.standard_batch(t.images, captions),
        "sides_figure": lambda: learning.sides_figure(t.training_set),
        "training_history": lambda: learning.training_history(t.history),
        "experiment_times": lambda: learning.experiment_times(t.experiments),
        "experiment_curves": lambda: learning.experiment_curves(t.experiments),
        "epoch_table_figure": lambda: learning.epoch_table_figure(t.history, [5, 10, 20, 30]),
        "confusion_figure": lambda: learning.confusion_figure(t.confusion, "Confusion, slides of test donors"),
        "classification_figure": lambda: learning.classification_figure(t.classification),
        "tissue_mix_figure": lambda: learning.tissue_mix_figure(t.confusion.iloc[0], t.tissues[0]),
        "scatter": lambda: projection.scatter(
            t.umap, t.point_tissues, "Slides", axis="UMAP", marked=projection.Mark(t.umap[:1], "new")
        ),
        "two_scatters": lambda: projection.two_scatters(t.umap, t.tsne, t.point_tissues, "Slide embeddings"),
        "epochs_figure": lambda: projection.epochs_figure(
            {5: t.umap * 0.1, 10: t.tsne, 20: t.umap, 30: t.umap}, t.point_tissues, "Slides"
        ),
        "r2_figure": lambda: prediction.r2_figure(t.gene_figures),
        "recoverable_figure": lambda: prediction.recoverable_figure(t.recoverable),
        "cluster_figure": lambda: prediction.cluster_figure(t.clusters),
        "cluster_expression_figure": lambda: prediction.cluster_expression_figure(t.cluster_expression),
        "comparison_figure": lambda: prediction.comparison_figure(t.comparison),
        "tile_heatmap": lambda: prediction.tile_heatmap(
            prediction.TilePlaces(x, y, 448),
            value,
            "KRT5",
            slide=prediction.DrawnSlide(t.images[0], (20_000, 14_000), 0.5),
            pooled=x > 4_000,
        ),
        "tissue_probabilities": lambda: prediction.tissue_probabilities(t.tissues, share),
        "top_genes_figure": lambda: prediction.top_genes_figure(names, genes, genes + rng.normal(0, 1, 400)),
        "top_genes_alone": lambda: prediction.top_genes_figure(names, genes),
    }
