"""The ways of predicting a gene, side by side."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from histo_assets.core.figures.charts import name_rows
from histo_assets.core.figures.style import (
    GOOD,
    INK,
    MUTED,
    dress,
    headline,
    legend,
    message_figure,
    new_figure,
    numbers,
    problem,
    texts,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

METRICS = {
    "r2": "median r2",
    "r2_within": "median r2 within tissues",
    "median_r2": "median r2",
    "median_r2_within": "median r2 within tissues",
    "rmse": "RMSE, log2(1+TPM)",
    "median_rmse": "median RMSE, log2(1+TPM)",
    "share_better": "share of genes better than the tissue mean",
    "from_tissue_mean": "distance from the tissue mean's prediction",
}


def comparison_figure(comparison: pd.DataFrame, title: str = "Ways of predicting genes") -> Figure:
    """Return each metric of each method, the best in green, with its interval.

    `comparison` has `method`, `metric`, `value`, in the order of the methods, maybe `low`, `high` and `side`: the
    first side is drawn as bars, a second one as diamonds.
    """
    if reason := problem(comparison, "method", "metric", "value"):
        return message_figure(title, reason)
    table = pd.DataFrame({column: texts(comparison[column]) for column in ("method", "metric")})
    table["side"] = texts(comparison["side"]) if "side" in comparison.columns else ""
    for column in ("value", "low", "high"):
        table[column] = numbers(comparison[column]) if column in comparison.columns else np.nan
    table = table.drop_duplicates(["method", "metric", "side"]).set_index(["side", "metric", "method"])
    sides, metrics, names = (list(dict.fromkeys(table.index.get_level_values(level))) for level in range(3))
    figure = new_figure(max(6.0, 2.4 + 2.2 * len(metrics[:6])), 1.9 + 0.3 * len(names))
    headline(figure, title)
    panels = figure.subplots(1, len(metrics[:6]), sharey=True, squeeze=False)[0]
    for axes, metric in zip(panels, metrics, strict=False):
        main = table.reindex([(sides[0], metric, name) for name in names]).to_numpy(dtype=float)
        other = np.full(len(names), np.nan)
        if len(sides) > 1:
            other = numbers(table["value"].reindex([(sides[1], metric, name) for name in names]))
            axes.plot(other, range(len(names)), "D", color=INK, markersize=4, label=sides[1])
        _method_bars(axes, metric, np.column_stack([main, other]), sides[0])
        name_rows(axes, [name.replace("_", " ")[:34] for name in names])
        axes.margins(x=0.16)
        axes.set_title(textwrap.fill(METRICS.get(metric, metric.replace("_", " ")), 24), loc="left", fontsize=8.5)
    if len(sides) > 1:
        handles, labels = panels[0].get_legend_handles_labels()
        legend(figure, handles=handles, labels=labels, loc="outside lower right", ncols=2)
    return figure


def _method_bars(axes: Axes, metric: str, figures: npt.NDArray[np.float64], side: str) -> None:
    """Draw a bar a method with its interval; `figures` (methods, 4): value, low, high and the other side's value."""
    from matplotlib.ticker import MaxNLocator

    values = figures[:, 0]
    best = np.nan
    if np.isfinite(values).any() and metric != "from_tissue_mean":
        best = np.nanmin(values) if "rmse" in metric else np.nanmax(values)
    colours = [GOOD if value == best else "#b4c2d6" for value in values]
    dress(axes, grid="x")
    axes.barh(range(len(values)), np.nan_to_num(values), height=0.66, color=colours, label=side)
    span = max(float(np.nanmax(figures, initial=0.0) - np.nanmin(figures, initial=0.0)), 1e-9)
    for row, (value, lower, upper, other) in enumerate(figures):
        if np.isfinite(lower) and np.isfinite(upper):
            axes.plot([lower, upper], [row, row], color=INK, linewidth=1.1)
        if np.isfinite(value):
            end = np.nanmax([value, upper, other, 0.0]) + 0.04 * span
            axes.text(end, row, f"{value:.3f}", va="center", fontsize=7.5, color=INK, in_layout=False)
    axes.plot([float(np.nanmax(figures, initial=0.0)) + 0.24 * span], [0], alpha=0)
    axes.axvline(0, color=MUTED, linewidth=0.8)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=7)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=4))
