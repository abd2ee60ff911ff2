"""Pictures of how well tissues are told apart: Figs 9 and 10 of the post."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from histo_assets.core.figures.charts import bars, colour_bar, heat_map, intervals, name_rows
from histo_assets.core.figures.palette import short_name, tissue_colours
from histo_assets.core.figures.style import (
    ACCENT,
    INK,
    MUTED,
    dress,
    empty_panel,
    headline,
    height_for,
    message_figure,
    new_axes,
    new_figure,
    numbers,
    problem,
    texts,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def confusion_figure(confusion: pd.DataFrame, title: str = "Confusion matrix") -> Figure:
    """Return a confusion matrix, each row divided by its sum (Figs 9 and 10).

    `confusion`: rows are true tissues (index, or the first text column), columns predicted ones, values counts.
    Cells of at least 1 % (up to 15 tissues) or 10 % are written in per cent; rows without a case are grey.
    """
    if reason := problem(confusion):
        return message_figure(title, reason)
    text = [column for column in confusion.columns if not pd.api.types.is_numeric_dtype(confusion[column])]
    table = confusion.set_index(text[0]) if text else confusion
    table = table.drop(columns=text[1:])
    if table.empty or table.shape[1] == 0:
        return message_figure(title, "There is nothing to draw: the confusion matrix has no columns.")
    counts = table.to_numpy(dtype=float)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = counts / np.nansum(counts, axis=1, keepdims=True)
    many = max(share.shape) > 15
    cell = 0.235 if many else 0.46
    figure, axes = new_axes(max(3.0 + cell * share.shape[1], 5.0), max(2.2 + cell * share.shape[0], 3.6))
    cases = np.nansum(counts, axis=1)
    rows = [f"{short_name(str(t))}  ({n:,.0f})" for t, n in zip(table.index, cases, strict=True)]
    names = [short_name(str(tissue)) for tissue in table.columns]
    size = 7.5 if many else 8.5
    image = heat_map(axes, share, rows, names, percent_from=0.095 if many else 0.005, size=size)
    dress(axes, title, "predicted tissue", "true tissue (cases)")
    axes.tick_params(labelsize=size, length=0)
    axes.spines[:].set_visible(False)
    colour_bar(axes, image, "share of the true tissue's cases")
    return figure


def confusion_grid(confusions: Mapping[str, pd.DataFrame], title: str = "Confusion by experiment") -> Figure:
    """Return the confusion matrices of several experiments as small panels (Fig. 10).

    Each matrix as `confusion_figure` takes it, all of the same tissues; tissues are named on the left alone.
    """
    drawn = {name: table for name, table in confusions.items() if table.size and table.to_numpy(float).sum()}
    if not drawn:
        return message_figure(title, "There is nothing to draw: no experiment was judged on validation tiles.")
    across = min(len(drawn), 4)
    down = -(-len(drawn) // across)
    tissues = [short_name(str(tissue)) for tissue in next(iter(drawn.values())).index]
    side = max(1.9, 0.11 * len(tissues))
    figure = new_figure(1.9 + side * across, 0.8 + (side + 0.35) * down)
    headline(figure, f"{title}, with its accuracy")
    panels = figure.subplots(down, across, squeeze=False).ravel()
    size = 7.0 if len(tissues) <= 15 else 4.5
    for place, (axes, (name, table)) in enumerate(zip(panels, drawn.items(), strict=False)):
        counts = table.to_numpy(dtype=float)
        with np.errstate(invalid="ignore", divide="ignore"):
            share = counts / counts.sum(axis=1, keepdims=True)
        unnamed = [""] * len(tissues)
        image = heat_map(axes, share, unnamed if place % across else tissues, unnamed, size=size)
        right = np.trace(counts) / counts.sum()
        axes.set_title(f"{name.replace('_', ' ')[:26]}  {right:.2f}", loc="left", fontsize=8)
    for axes in panels[len(drawn) :]:
        axes.set_visible(False)
    colour_bar(panels[min(across, len(drawn)) - 1], image, "share of the true tissue's tiles")
    return figure


def mistaken_figure(
    figures: pd.DataFrame, level: str = "slide", title: str = "Tissues that pass for one another"
) -> Figure:
    """Return how often one tissue of a group of look-alikes is taken for another, by sex.

    `figures` as `learning.report.evaluate` returns them: the rows of the metric 'mistaken'.
    """
    if reason := problem(figures, "metric", "value", "tissue", "predicted", "sex"):
        return message_figure(title, reason)
    rows = figures[(figures["metric"] == "mistaken") & (figures["level"] == level)]
    side = "test" if (rows["side"] == "test").any() else "validation"
    rows = rows[rows["side"] == side]
    if rows.empty:
        return message_figure(title, "There is nothing to draw: the study names no look-alikes, or none was judged.")
    paints = {"": INK, "female": "#cc79a7", "male": "#0072b2"}
    figure, axes = new_axes(9.0, height_for(len(rows), each=0.24, least=2.6))
    value, low, high = (numbers(rows[column]) for column in ("value", "low", "high"))
    colours = [paints.get(sex, MUTED) for sex in rows["sex"]]
    intervals(axes, range(len(rows)), 100 * value, 100 * low, 100 * high, colours, size=6)
    who = zip(texts(rows["tissue"]), texts(rows["predicted"]), texts(rows["sex"]), numbers(rows["n"]), strict=True)
    names = [f"{short_name(of)} taken for {short_name(other)}, {sex or 'all'}  ({n:.0f})" for of, other, sex, n in who]
    name_rows(axes, names)
    axes.set_xlim(-3, 103)
    dress(axes, f"{title}: {level}s of {side} donors", "per cent of the true tissue's cases", grid="x")
    return figure


def classification_figure(
    figures: pd.DataFrame, side: str | None = None, level: str = "slide", title: str = "Classification"
) -> Figure:
    """Return recall per tissue and accuracy beside baselines, each with its interval.

    `figures` has `level`, `side`, `metric`, `tissue`, `value`, `low`, `high`, `n`, and maybe `method` for baselines.
    `side` None takes 'test' where it was evaluated, else 'validation'.
    """
    if reason := problem(figures, "metric", "value"):
        return message_figure(title, reason)
    table = pd.DataFrame({c: list(figures[c]) for c in figures.columns})
    for column, default in (("level", level), ("side", "test"), ("tissue", ""), ("method", "")):
        table[column] = texts(table[column]) if column in table.columns else default
    for column in ("value", "low", "high", "n"):
        table[column] = numbers(table[column]) if column in table.columns else np.nan
    sides = set(table.loc[table["value"].notna(), "side"])
    side = side or ("test" if "test" in sides else next(iter(sorted(sides, reverse=True)), "test"))
    table = table[table["side"] == side]
    recall = table[table["metric"].str.contains("recall") & (table["tissue"] != "") & (table["level"] == level)]
    recall = recall[recall["method"] == (recall["method"].iloc[0] if len(recall) else "")].sort_values(
        "value", ascending=False
    )
    accuracy = table[table["metric"].str.fullmatch("macro_f1|.*accuracy") & (table["tissue"] == "")].sort_values(
        ["metric", "level"], kind="stable"
    )
    rows = max(len(recall), len(accuracy))
    figure = new_figure(9.5, height_for(rows, least=3.6))
    headline(figure, f"{title}: {level}s of {side} donors")
    left, right = figure.subplots(1, 2, width_ratios=[1.25, 1])
    paints = tissue_colours(recall["tissue"])
    names = [
        f"{short_name(t)}  ({n:.0f})" if n == n else short_name(t)
        for t, n in zip(recall["tissue"], recall["n"], strict=True)
    ]
    _interval_panel(left, recall, names, [paints[t] for t in recall["tissue"]], "Recall per tissue", rows)
    kinds = [
        ", ".join(part for part in (m, lv, k.replace("_", " ")) if part)
        for m, lv, k in zip(accuracy["method"], accuracy["level"], accuracy["metric"], strict=True)
    ]
    colours = [ACCENT if method == table["method"].iloc[0] else MUTED for method in accuracy["method"]]
    _interval_panel(right, accuracy, kinds, colours, "Accuracy and macro F1", rows, write=True)
    return figure


def tissue_mix_figure(predicted: pd.Series, tissue: str | None = None, title: str = "") -> Figure:
    """Return the predicted tissues of tiles: `predicted` counts tiles by key; `tissue` is the true one, if known."""
    counts = predicted[predicted > 0].sort_values(ascending=False, kind="stable") if len(predicted) else predicted
    title = title or (
        "Tiles, by predicted tissue" if tissue is None else f"What tiles of {short_name(tissue)} are taken for"
    )
    if len(counts) == 0:
        return message_figure(title, "There is nothing to draw: no tiles.")
    share = numbers(counts) / float(counts.sum())
    keys = texts(counts.index)[:15]
    paints = tissue_colours(keys)
    figure, axes = new_axes(7.5, 1.5 + 0.25 * len(keys))
    marks = [f"{s:.1%}  ({n:,.0f})" for s, n in zip(share, numbers(counts), strict=True)][:15]
    bars(axes, [short_name(key) for key in keys], 100 * share[:15], [paints[key] for key in keys], marks)
    axes.set_xlim(0, max(100 * share) * 1.22)
    dress(axes, title, "per cent of the tiles", grid="x")
    axes.tick_params(axis="y", length=0)
    for name, key in zip(axes.get_yticklabels(), keys, strict=True):
        name.set_fontweight("bold" if key == tissue else "normal")
    return figure


def _interval_panel(
    axes: Axes,
    table: pd.DataFrame,
    names: Sequence[str],
    colours: Sequence[str],
    title: str,
    rows: int,
    write: bool = False,
) -> None:
    dress(axes, title, "share", grid="x")
    if table.empty:
        empty_panel(axes, "Nothing was evaluated here.")
        return
    value, low, high = (table[column].to_numpy(dtype=float) for column in ("value", "low", "high"))
    intervals(axes, range(len(table)), value, low, high, colours, size=6)
    axes.set_xlim(-0.02, 1.02)
    name_rows(axes, [name.replace("_", " ")[:40] for name in names])
    axes.set_ylim(max(rows, len(table)) - 0.4, -0.6)
    for row, number in enumerate(value if write else []):
        if np.isfinite(number):
            axes.text(1.03, row, f"{number:.2f}", va="center", fontsize=8, color=INK)
