"""Pictures of the expression matrix: the gene filters (Fig. 3 of the post), its samples (Fig. 1) and components."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from histo_assets.core.figures.charts import bars, histogram, stacked_bars
from histo_assets.core.figures.palette import short_name, tissue_colours
from histo_assets.core.figures.projection import cloud, tissue_key
from histo_assets.core.figures.style import (
    ACCENT,
    ALARM,
    INK,
    PALE,
    counted,
    dress,
    empty_panel,
    headline,
    height_for,
    legend,
    message_figure,
    new_axes,
    new_figure,
    numbers,
    problem,
    texts,
    thousands,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

_CLASSES = {"standard": "standard", "dotted": "with a dot", "repeated": "repeated"}


def gene_filter_figure(
    genes: pd.DataFrame, min_max: float = 5.0, min_sd: float = 0.5, title: str = "Gene filter"
) -> Figure:
    """Return the post's Fig. 3: largest value and standard deviation of every gene, and names, with what stays.

    `genes` has a row per gene of the file: `max`, `sd` (of log2(1+TPM)), `name_class`
    ('standard' | 'dotted' | 'repeated') and `kept`.
    """
    if reason := problem(genes, "max", "sd", "name_class", "kept"):
        return message_figure(title, reason)
    kept = np.asarray(genes["kept"]).astype(bool)
    figure = new_figure(10, 3.9)
    headline(figure, f"{title}: {thousands(kept.sum())} of {thousands(len(genes))} genes stay")
    panels = figure.subplots(1, 3, width_ratios=[1, 1, 0.9])
    for axes, column, limit, name, letter in (
        (panels[0], "max", min_max, "largest log2(1+TPM) of the gene", "a"),
        (panels[1], "sd", min_sd, "standard deviation of log2(1+TPM)", "b"),
    ):
        values = numbers(genes[column])
        top = max(float(np.nanquantile(values, 0.9995)) if np.isfinite(values).any() else 1.0, limit * 1.3, 1e-6)
        edges = _edges(limit, top)
        histogram(axes, values, edges, PALE)
        histogram(axes, values[kept], edges, ACCENT)
        axes.set_yscale("symlog", linthresh=10)
        axes.axvline(limit, color=ALARM, linewidth=1.5)
        above = np.mean(values[np.isfinite(values)] > limit) if np.isfinite(values).any() else 0.0
        axes.text(
            limit + top * 0.02, 0.97, f"> {limit:g}: {above:.0%}", transform=axes.get_xaxis_transform(), va="top",
            fontsize=8, color=ALARM, bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.5},
        )  # fmt: skip
        dress(
            axes, f"{letter}  {'Expressed' if column == 'max' else 'Variable'}", name, "genes" if letter == "a" else ""
        )
    classes = np.array(texts(genes["name_class"]))
    names: list[str] = [c for c in _CLASSES if (classes == c).any()] + sorted(set(classes) - set(_CLASSES))
    parts = {
        "kept": np.array([(kept & (classes == name)).sum() for name in names], dtype=float),
        "removed": np.array([(~kept & (classes == name)).sum() for name in names], dtype=float),
    }
    colours = {"kept": ACCENT, "removed": PALE}
    stacked_bars(panels[2], [_CLASSES.get(name, name) for name in names], parts, colours, labels=False)
    for row, (stay, go) in enumerate(zip(parts["kept"], parts["removed"], strict=True)):
        text = f"{thousands(stay)} of {thousands(stay + go)}"
        panels[2].text(0, row - 0.46, text, va="bottom", fontsize=7.5, color=INK, in_layout=False)
    panels[2].set_ylim(max(len(names), 3) - 0.4, -0.75)
    dress(panels[2], "c  Names", "genes", grid="x")
    panels[2].tick_params(axis="y", length=0)
    legend(panels[2], loc="lower right")
    return figure


def _edges(limit: float, top: float) -> npt.NDArray[np.float64]:
    """Return edges of about fifty bins from 0 to `top` or a little beyond, one of them at `limit`."""
    below = max(1, round(50 * limit / top)) if limit > 0 else 0
    width = limit / below if below else top / 50
    return np.asarray(width * np.arange(int(np.ceil(top / width - 1e-9)) + 1), dtype=np.float64)


def filter_funnel(funnel: pd.DataFrame, title: str = "Genes left after each filter") -> Figure:
    """Return how many genes are left after each step; `funnel` has `step` and `genes`, in order."""
    if reason := problem(funnel, "step", "genes"):
        return message_figure(title, reason)
    genes = numbers(funnel["genes"])
    first = genes[0] if len(genes) and genes[0] > 0 else np.nan
    marks = [f"{thousands(n)}  ({n / first:.0%})" if np.isfinite(n / first) else thousands(n) for n in genes]
    figure, axes = new_axes(8, 1.5 + 0.36 * len(genes))
    bars(axes, [step[:44] for step in texts(funnel["step"])], genes, [PALE] * (len(genes) - 1) + [ACCENT], marks)
    axes.set_xlim(0, max(float(np.nanmax(genes, initial=1.0)), 1.0) * 1.2)
    dress(axes, title, "genes", grid="x")
    axes.tick_params(axis="y", length=0)
    return figure


def explained_variance(explained: npt.ArrayLike, title: str = "Variance explained by principal components") -> Figure:
    """Return the share of variance of each component (`explained`, (k,), sums to at most 1) and their sum."""
    share = numbers(np.asarray(explained, dtype=object)) if np.size(explained) else np.array([])
    figure, axes = new_axes(8, 3.6)
    dress(axes, title, "component", "share of variance, %", grid="y")
    if not np.isfinite(share).any():
        empty_panel(axes, "There is nothing to draw: no components.")
        return figure
    at = np.arange(1, len(share) + 1)
    axes.bar(at, 100 * share, color=PALE, width=0.8, label="each")
    total = 100 * np.nancumsum(share)
    axes.plot(at, total, color=ACCENT, marker="o", markersize=3, label="together")
    axes.annotate(
        f"{total[-1]:.0f} %",
        (at[-1], total[-1]),
        xytext=(0, 6),
        textcoords="offset points",
        ha="center",
        fontsize=8,
        color=ACCENT,
    )
    axes.set_ylim(0, max(105.0, float(total.max()) * 1.08))
    axes.set_xlim(0.3, len(share) + 0.9)
    axes.xaxis.set_major_locator(_whole_numbers())
    legend(axes, loc="center right")
    return figure


def _whole_numbers() -> MaxNLocator:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(integer=True)


def samples_figure(obs: pd.DataFrame, title: str = "Samples") -> Figure:
    """Return samples per tissue and per donor (Fig. 1 of the post).

    `obs` has a row per sample: `tissue`, `donor`, and `side` of the split where there is one.
    """
    if reason := problem(obs, "tissue", "donor"):
        return message_figure(title, reason)
    counts = obs["tissue"].astype(str).value_counts()
    per_donor = obs["donor"].astype(str).value_counts()
    figure = new_figure(9.5, height_for(len(counts), least=3.8))
    totals = f"{counted(len(obs), 'sample')}, {counted(len(per_donor), 'donor')}, {counted(len(counts), 'tissue')}"
    headline(figure, f"{title}: {totals}")
    left, right = figure.subplots(1, 2, width_ratios=[1.7, 1])
    names = [short_name(str(tissue)) for tissue in counts.index]
    colours = tissue_colours(map(str, counts.index))
    bars(left, names, numbers(counts), [colours[str(tissue)] for tissue in counts.index])
    dress(left, "Samples per tissue", "samples", grid="x")
    left.tick_params(axis="y", length=0)
    right.hist(per_donor, bins=np.arange(0.5, per_donor.max() + 1.5), color=ACCENT, edgecolor="white", linewidth=0.5)
    dress(right, "Samples per donor", "samples of a donor", "donors", grid="y")
    for axis in (right.xaxis, right.yaxis):
        axis.set_major_locator(_whole_numbers())
    return figure


def keyed_maps(
    umap: npt.NDArray[np.floating], tsne: npt.NDArray[np.floating], tissues: Sequence[str], title: str = "Expression"
) -> Figure:
    """Return UMAP and t-SNE, (n, 2) each, with the points free of labels and every tissue named in a legend below."""
    if len(umap) == 0:
        return message_figure(title, "There is nothing to draw: no points.")
    rows = -(-len(set(tissues)) // 8)
    figure = new_figure(11.2, 5.8 + 0.19 * rows)
    headline(figure, f"{title} ({counted(len(umap), 'point')}, {counted(len(set(tissues)), 'tissue')})")
    for axes, points, name in zip(figure.subplots(1, 2), (umap, tsne), ("UMAP", "t-SNE"), strict=True):
        cloud(axes, points, tissues, name, names=False)
    tissue_key(figure, tissues)
    return figure
