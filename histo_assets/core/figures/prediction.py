"""Pictures of predicted genes and clusters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from histo_assets.core.figures.charts import ColourScale, colour_bar, heat_map, intervals, name_rows
from histo_assets.core.figures.heatmap import DrawnSlide as DrawnSlide
from histo_assets.core.figures.heatmap import TilePlaces as TilePlaces
from histo_assets.core.figures.heatmap import tile_heatmap as tile_heatmap
from histo_assets.core.figures.methods import comparison_figure as comparison_figure
from histo_assets.core.figures.palette import ink_of, short_name, tissue_colours
from histo_assets.core.figures.style import (
    ACCENT,
    ALARM,
    GOOD,
    MUTED,
    SERIES,
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
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def r2_figure(figures: pd.DataFrame, title: str = "How well genes are predicted") -> Figure:
    """Return the distribution over genes of r2 and r2_within, a line per regressor.

    `figures` has a row per gene (and `regressor`): `r2`, `r2_within`. Values below -0.5 stand at -0.5.
    """
    if reason := problem(figures, "r2", "r2_within"):
        return message_figure(title, reason)
    regressors = texts(figures["regressor"]) if "regressor" in figures.columns else [""] * len(figures)
    kinds = list(dict.fromkeys(regressors))
    genes = len(figures) // max(len(kinds), 1)
    figure = new_figure(9, 3.9)
    headline(figure, f"{title}: {genes:,} genes")
    edges = np.linspace(-0.5, 1.0, 61)
    for axes, column, name in zip(
        figure.subplots(1, 2),
        ("r2", "r2_within"),
        ("Over all slides (mostly tissue identity)", "Over the tissue mean (r2 within tissues)"),
        strict=True,
    ):
        values = numbers(figures[column])
        dress(axes, name, column, "genes", grid="y")
        axes.axvline(0, color=MUTED, linewidth=0.9)
        for place, kind in enumerate(kinds):
            mine = values[(np.array(regressors) == kind) & np.isfinite(values)]
            if len(mine) == 0:
                continue
            counts, _ = np.histogram(np.clip(mine, -0.5, 1.0), edges)
            label = f"{kind or 'genes'}: median {np.median(mine):.2f}"
            axes.stairs(counts, edges, color=SERIES[place % len(SERIES)], linewidth=1.7, label=label)
            axes.stairs(counts, edges, color=SERIES[place % len(SERIES)], fill=True, alpha=0.12)
        axes.set_xlim(-0.52, 1.02)
        axes.set_ylim(0, max(axes.get_ylim()[1], 1.0) * (1 + 0.09 * len(kinds)))
        if not np.isfinite(values).any():
            empty_panel(axes, f"No gene has a {column}.")
        legend(axes, loc="upper right")
    return figure


def recoverable_figure(
    recoverable: pd.DataFrame, top: int = 25, min_r2_within: float = 0.05, title: str = "Genes an image can tell"
) -> Figure:
    """Return the `top` genes by r2_within with their intervals; genes that do not pass are grey.

    `recoverable` has `gene`, `r2_within`, `low`, `high`, `recoverable`, maybe `regressor` and `q`.
    """
    if reason := problem(recoverable, "gene", "r2_within", "recoverable"):
        return message_figure(title, reason)
    passed = np.asarray(recoverable["recoverable"]).astype(bool)
    value = numbers(recoverable["r2_within"])
    order = np.lexsort((-np.nan_to_num(value, nan=-np.inf), ~passed))[:top]
    order = order[np.isfinite(value[order])]
    if len(order) == 0:
        return message_figure(title, "There is nothing to draw: no gene has a value.")
    blank = np.full(len(value), np.nan)
    low, high = (numbers(recoverable[c]) if c in recoverable.columns else blank for c in ("low", "high"))
    genes = texts(recoverable["gene"])
    if "regressor" in recoverable.columns and recoverable["regressor"].nunique() > 1:
        genes = [f"{gene} ({kind})" for gene, kind in zip(genes, texts(recoverable["regressor"]), strict=True)]
    figure, axes = new_axes(8, height_for(len(order), each=0.19))
    verdict = f"{passed.sum():,} pass" if passed.any() else "none passes; the best are shown"
    headline(figure, f"{title}: {verdict}")
    colours = [GOOD if passed[row] else "#9aa3af" for row in order]
    intervals(axes, range(len(order)), value[order], low[order], high[order], colours, size=6)
    name_rows(axes, [genes[row][:34] for row in order])
    axes.axvline(0, color=MUTED, linewidth=0.9)
    axes.axvline(min_r2_within, color=ALARM, linewidth=1, linestyle="--")
    lowest = float(np.nanmin(np.concatenate([value[order], low[order]])))
    highest = float(np.nanmax(np.concatenate([value[order], high[order]])))
    axes.set_xlim(max(min(lowest, 0.0) - 0.03, -1.0), min(max(highest, 0.3) + 0.05, 1.03))
    dress(axes, "", f"r2 within tissues, with interval (dashed: the least that counts, {min_r2_within:g})", grid="x")
    axes.tick_params(axis="y", length=0)
    return figure


def cluster_figure(clusters: pd.DataFrame, title: str = "Tissues of the clusters") -> Figure:
    """Return what each cluster is made of; `clusters` has `cluster` and `tissue`, a row per slide."""
    if reason := problem(clusters, "cluster", "tissue"):
        return message_figure(title, reason)
    table = pd.crosstab(clusters["cluster"], clusters["tissue"])
    if table.empty:
        return message_figure(title, "There is nothing to draw: no slide has a cluster.")
    share = table.div(table.sum(axis=1), axis=0)
    weight = share.to_numpy(dtype=float)
    rows = np.lexsort((-weight.max(axis=1), weight.argmax(axis=1)))
    share, table, weight = share.iloc[rows], table.iloc[rows], weight[rows]
    main = weight.argmax(axis=0)
    order = np.lexsort((-weight.max(axis=0), main))
    share = share.iloc[:, order]
    many = max(share.shape) > 15
    cell = 0.235 if many else 0.42
    width = max(2.6 + cell * share.shape[1], 5.5)
    figure, axes = new_axes(width, max(2.4 + cell * len(rows), 3.4))
    names = [f"{row}  ({n})" for row, n in zip(share.index, table.sum(axis=1), strict=True)]
    tissues = [short_name(str(tissue)) for tissue in share.columns]
    limit = 0.195 if many else 0.045
    size = 7.5 if many else 8.5
    shares, purple = share.to_numpy(dtype=float), ColourScale("Purples")
    image = heat_map(axes, shares, names, tissues, scale=purple, percent_from=limit, size=size)
    dress(axes, title, "", "cluster (slides)")
    axes.tick_params(labelsize=size, length=0)
    axes.spines[:].set_visible(False)
    colour_bar(axes, image, "share of the cluster's slides")
    return figure


def cluster_expression_figure(
    matrix: pd.DataFrame | npt.ArrayLike,
    clusters: Sequence[str] | None = None,
    genes: Sequence[str] | None = None,
    top: int = 40,
    title: str = "Mean expression of the clusters",
) -> Figure:
    """Return the mean expression of the `top` genes that vary most between clusters, over each gene's mean.

    `matrix` (clusters x genes, log2(1+TPM)) is a table, or an array with the names `clusters` and `genes`. Genes
    stand in the order of the cluster in which they are highest.
    """
    table = (
        matrix
        if isinstance(matrix, pd.DataFrame)
        else pd.DataFrame(np.asarray(matrix), _index(clusters), _index(genes))
    )
    values = table.to_numpy(dtype=float, na_value=np.nan)
    if len(values) < 2 or not np.isfinite(values).any():
        return message_figure(title, "There is nothing to draw: fewer than two clusters have values.")
    names = texts(table.columns)
    filled = np.where(np.isfinite(values), values, np.nanmean(values))
    chosen = np.argsort(-filled.std(axis=0), kind="stable")[:top]
    chosen = chosen[np.lexsort((-filled[:, chosen].max(axis=0), filled[:, chosen].argmax(axis=0)))]
    shown = filled[:, chosen] - filled[:, chosen].mean(axis=0)
    limit = max(float(np.quantile(np.abs(shown), 0.98)), 0.1)
    figure, axes = new_axes(max(2.6 + 0.2 * len(chosen), 5.0), max(2.4 + 0.24 * len(table), 3.2))
    rows = [short_name(name) for name in texts(table.index)]
    shown_genes = [names[gene][:18] for gene in chosen]
    image = heat_map(axes, shown, rows, shown_genes, scale=ColourScale("RdBu_r", -limit, limit), size=7.5)
    dress(axes, f"{title}: {len(chosen)} of {len(names):,} genes", "", "cluster")
    axes.tick_params(labelsize=7.5, length=0)
    axes.spines[:].set_visible(False)
    colour_bar(axes, image, "log2(1+TPM) over the gene's mean")
    return figure


def tissue_probabilities(
    names: Sequence[str], probabilities: npt.ArrayLike, top: int = 10, title: str = "Which tissue is it?"
) -> Figure:
    """Return the `top` most probable tissues of a slide."""
    shares = numbers(np.asarray(probabilities, dtype=float))
    finite = [row for row in np.argsort(-np.nan_to_num(shares, nan=-1), kind="stable") if np.isfinite(shares[row])][
        :top
    ]
    if not finite:
        return message_figure(title, "There is nothing to draw: no probabilities.")
    figure, axes = new_axes(7, 1.3 + 0.26 * len(finite))
    colours = tissue_colours(names)
    best = short_name(names[finite[0]])
    headline(figure, f"{title} {best}, {shares[finite[0]]:.0%}")
    axes.barh(range(len(finite)), shares[finite], color=[colours[str(names[row])] for row in finite], height=0.72)
    for place, row in enumerate(finite):
        ink = ink_of(colours[str(names[row])])
        axes.text(shares[row] + 0.01, place, f"{shares[row]:.1%}", va="center", fontsize=8, color=ink, in_layout=False)
    name_rows(axes, [short_name(names[row]) for row in finite], size=8.5)
    axes.set_xlim(0, 1.12)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
    dress(axes, "", "probability", grid="x")
    axes.tick_params(axis="y", length=0)
    return figure


def top_genes_figure(
    genes: Sequence[str],
    values: npt.ArrayLike,
    reference: npt.ArrayLike | None = None,
    top: int = 25,
    title: str = "Predicted expression",
) -> Figure:
    """Return the predicted genes that differ most from `reference` (the tissue mean), else the highest."""
    predicted = numbers(np.asarray(values, dtype=float))
    usual = numbers(np.asarray(reference, dtype=float)) if reference is not None else None
    rank = -predicted if usual is None else -np.abs(predicted - usual)
    order = [row for row in np.argsort(np.nan_to_num(rank, nan=np.inf), kind="stable") if np.isfinite(rank[row])][:top]
    if not order:
        return message_figure(title, "There is nothing to draw: no predicted genes.")
    if usual is not None:
        order = sorted(order, key=lambda row: -(predicted[row] - usual[row]))
    figure, axes = new_axes(7.5, height_for(len(order), each=0.2, least=2.4))
    what = "highest" if usual is None else "furthest from the tissue mean"
    headline(figure, f"{title}: the {len(order)} of {len(genes):,} genes {what}")
    rows = np.arange(len(order))
    if usual is None:
        axes.barh(rows, predicted[order], color=ACCENT, height=0.7)
    else:
        up = predicted[order] > usual[order]
        axes.hlines(
            rows, usual[order], predicted[order], color=np.where(up, ALARM, ACCENT).tolist(), linewidth=1.8, alpha=0.6
        )
        axes.plot(usual[order], rows, "o", color="white", markeredgecolor=MUTED, markersize=6, label="tissue mean")
        for mask, colour, name in ((up, ALARM, "predicted, above"), (~up, ACCENT, "predicted, below")):
            if mask.any():
                axes.plot(predicted[order][mask], rows[mask], "o", color=colour, markersize=6, label=name)
        legend(axes, loc="best")
    name_rows(axes, [str(genes[row])[:24] for row in order])
    dress(axes, "", "log2(1+TPM)", grid="x")
    axes.tick_params(axis="y", length=0)
    return figure


def _index(names: Sequence[str] | None) -> pd.Index[Any] | None:
    return None if names is None else pd.Index(list(names))
