"""Pictures of training: Figs 4 to 8, 11, 12 and Table 1 of the post; those of evaluation are taken in, too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from histo_assets.core.figures.charts import bars, name_rows, stacked_bars
from histo_assets.core.figures.evaluation import classification_figure as classification_figure
from histo_assets.core.figures.evaluation import confusion_figure as confusion_figure
from histo_assets.core.figures.evaluation import tissue_mix_figure as tissue_mix_figure
from histo_assets.core.figures.palette import short_name
from histo_assets.core.figures.slides import image_grid
from histo_assets.core.figures.style import (
    BESIDE_TITLE,
    GRID,
    INK,
    PALE,
    SERIES,
    SIDES,
    WARM,
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
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_METRICS = (
    ("accuracy", "Accuracy", (("train_eval_accuracy", "train"), ("validation_accuracy", "validation"))),
    ("loss", "Loss (cross-entropy)", (("train_eval_loss", "train"), ("validation_loss", "validation"))),
)


def standard_batch(
    images: Sequence[bytes | npt.NDArray[np.uint8]], captions: Sequence[str], title: str = "Standard batch"
) -> Figure:
    """Return the first batch as the network sees it, each tile with its tissue (Fig. 5)."""
    return image_grid(images, [short_name(caption) for caption in captions], 8, title, inches=1.05)


def sides_figure(training_set: Any, title: str = "Tiles for training") -> Figure:
    """Return tiles per tissue and side.

    `training_set` (pandas or polars) has `tissue`, `side` and a row per tile, or a column `tiles` with counts.
    """
    if reason := problem(training_set, "tissue", "side"):
        return message_figure(title, reason)
    table = pd.DataFrame({"tissue": texts(training_set["tissue"]), "side": texts(training_set["side"])})
    table["tiles"] = numbers(training_set["tiles"]) if "tiles" in training_set.columns else 1.0
    counts = table.pivot_table(index="tissue", columns="side", values="tiles", aggfunc="sum", fill_value=0.0)
    sides = [side for side in SIDES if side in counts.columns]
    if not sides:
        return message_figure(title, "There is nothing to draw: no side is 'train', 'validation' or 'test'.")
    counts = counts.loc[counts.sum(axis=1).sort_values(ascending=False, kind="stable").index]
    figure, axes = new_axes(8.5, height_for(len(counts)))
    headline(figure, f"{title}: " + ", ".join(f"{thousands(counts[side].sum())} {side}" for side in sides))
    parts = {side: counts[side].to_numpy(dtype=float) for side in sides}
    stacked_bars(axes, [short_name(str(tissue)) for tissue in counts.index], parts, SIDES)
    dress(axes, "Tiles per tissue", "tiles", grid="x")
    axes.tick_params(axis="y", length=0)
    legend(axes, **BESIDE_TITLE, ncols=3)
    return figure


def training_history(history: pd.DataFrame, title: str = "Training") -> Figure:
    """Return accuracy and loss per epoch of train and validation (Figs 11 and 12).

    `history` has `epoch`, `train_accuracy`, `train_loss` (running, in training mode), `train_eval_*` (the same
    tiles in evaluation mode) and `validation_*`; columns that are absent are left out.
    """
    if reason := problem(history, "epoch"):
        return message_figure(title, reason)
    epochs = numbers(history["epoch"])
    figure = new_figure(9, 4)
    for axes, (metric, name, _) in zip(figure.subplots(1, 2), _METRICS, strict=True):
        lines = (
            (f"train_{metric}", "train, while training", PALE, ":"),
            (f"train_eval_{metric}", "train", SIDES["train"], "-"),
            (f"validation_{metric}", "validation", WARM, "-"),
        )
        for column, label, colour, dash in lines:
            if column in history.columns:
                _line(axes, epochs, numbers(history[column]), metric, color=colour, linestyle=dash, label=label)
        _epoch_axis(axes, name, metric)
        legend(axes, loc="best")
    spent = f", {np.nansum(numbers(history['seconds'])):,.0f} s" if "seconds" in history.columns else ""
    headline(figure, f"{title}: {counted(len(history), 'epoch')}{spent}")
    return figure


def experiment_times(experiments: pd.DataFrame, title: str = "Training time per epoch") -> Figure:
    """Return seconds per epoch of each experiment, the fastest on top (Fig. 4).

    `experiments` has a row per experiment and epoch: `experiment`, `epoch`, `seconds`, maybe `cpu_seconds`.
    """
    experiments = _named(experiments)
    if reason := problem(experiments, "experiment", "seconds"):
        return message_figure(title, reason)
    columns = [c for c in ("seconds", "cpu_seconds") if c in experiments.columns]
    table = experiments.assign(**{c: numbers(experiments[c]) for c in columns})
    grouped = table.groupby("experiment", sort=False)
    means = grouped[columns].mean().sort_values("seconds", kind="stable")
    total = grouped["seconds"].sum()
    figure, axes = new_axes(8, 1.5 + 0.36 * len(means))
    names = [_label(name) for name in means.index]
    marks = [
        f"{mean:,.1f} s  (in all {total[str(name)]:,.0f} s)" if np.isfinite(mean) else "-"
        for name, mean in means["seconds"].items()
    ]
    bars(
        axes, names, means["seconds"].to_numpy(dtype=float), [_series(list(total.index), n) for n in means.index], marks
    )
    if "cpu_seconds" in columns:
        rows = range(len(means))
        axes.plot(means["cpu_seconds"], rows, "|", color=INK, markersize=11, markeredgewidth=1.6, label="CPU seconds")
        legend(axes, loc="upper right")
    axes.set_xlim(0, max(float(np.nanmax(means.to_numpy(dtype=float), initial=0.0)), 1e-9) * 1.42)
    dress(axes, title, "seconds an epoch, mean", grid="x")
    axes.tick_params(axis="y", length=0)
    return figure


def experiment_curves(
    experiments: pd.DataFrame, names: Sequence[str] | None = None, title: str = "Experiments"
) -> Figure:
    """Return accuracy and loss per epoch of several experiments (Figs 6 to 8, 11).

    Solid lines are validation, dashed ones training tiles in evaluation mode, left out where there are more than ten
    experiments. `names` chooses experiments.
    """
    experiments = _named(experiments)
    if reason := problem(experiments, "experiment", "epoch"):
        return message_figure(title, reason)
    everyone = list(dict.fromkeys(texts(experiments["experiment"])))
    chosen = [name for name in everyone if names is None or name in names]
    if not chosen:
        return message_figure(title, "There is nothing to draw: none of the named experiments is in the table.")
    figure = new_figure(9.5, 4.3)
    many = len(chosen) > len(SERIES)
    if many:
        figure.set_figheight(4.3 + 0.2 * len(chosen) / 3)
    headline(figure, f"{title} (validation)" if many else f"{title} (solid: validation, dashed: train)")
    for axes, (metric, label, lines) in zip(figure.subplots(1, 2), _METRICS, strict=True):
        for place, name in enumerate(chosen):
            rows = experiments[experiments["experiment"] == name].sort_values("epoch")
            colour = _series(everyone if len(everyone) <= len(SERIES) else chosen, name)
            for column, side in lines[1:] if many else lines:
                if column in rows.columns:
                    dash, shown = ("-", _label(name)) if side == "validation" else ("--", None)
                    look: dict[str, Any] = {"color": colour, "linestyle": dash, "label": shown}
                    look |= {"marker": "osD^"[place // len(SERIES) % 4]}
                    look |= {} if side == "validation" else {"alpha": 0.55, "linewidth": 1.1, "markersize": 2.5}
                    _line(axes, numbers(rows["epoch"]), numbers(rows[column]), metric, **look)
        _epoch_axis(axes, label, metric)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    legend(figure, handles=handles, labels=labels, loc="outside lower center", ncols=min(len(chosen), 3 if many else 4))
    return figure


def first_epochs_figure(
    experiments: pd.DataFrame, names: Sequence[str], title: str = "After the first epoch, by seed and order"
) -> Figure:
    """Return the accuracy on validation after one epoch of experiments that differ in seed and order only.

    The post reports 3 to 70 % for such runs; that range is shaded.
    """
    if reason := problem(experiments, "experiment", "epoch", "validation_accuracy"):
        return message_figure(title, reason)
    first = experiments[experiments["epoch"] == 1].set_index("experiment")
    shown = [name for name in names if name in first.index]
    if not shown:
        return message_figure(title, "There is nothing to draw: no experiment has a first epoch.")
    accuracy = 100 * numbers(first.loc[shown, "validation_accuracy"])
    figure, axes = new_axes(7.5, 1.6 + 0.34 * max(len(shown), 3))
    axes.axvspan(3, 70, color=GRID, alpha=0.6, linewidth=0, label="the post's range, 3 to 70 %")
    axes.plot(accuracy, range(len(shown)), "o", color=SIDES["train"], markersize=7)
    for row, value in enumerate(accuracy):
        axes.text(value + 1.5, row, f"{value:.1f} %", va="center", fontsize=8, color=INK, in_layout=False)
    name_rows(axes, [_label(name) for name in shown])
    axes.set_xlim(0, 108)
    spread = f": {np.nanmin(accuracy):.0f} to {np.nanmax(accuracy):.0f} %" if np.isfinite(accuracy).any() else ""
    dress(axes, title + spread, "accuracy on validation tiles, %", grid="x")
    legend(axes, loc="lower right")
    return figure


def epoch_table_figure(
    history: pd.DataFrame, epochs: Sequence[int] | None = None, title: str = "Models at their checkpoint epochs"
) -> Figure:
    """Return Table 1: accuracy and loss of train and validation at the named epochs (None: all, at most 12)."""
    if reason := problem(history, "epoch"):
        return message_figure(title, reason)
    table = history.set_index(numbers(history["epoch"]).astype(int))
    shown = [epoch for epoch in (table.index if epochs is None else epochs) if epoch in table.index][:12]
    if not shown:
        return message_figure(title, "There is nothing to draw: none of the named epochs was trained.")
    lines = [
        ("Accuracy, train (%)", "train_eval_accuracy", 100.0),
        ("Accuracy, validation (%)", "validation_accuracy", 100.0),
    ]
    lines += [("Loss, train", "train_eval_loss", 1.0), ("Loss, validation", "validation_loss", 1.0)]
    rows = [["", *(f"epoch {epoch}" for epoch in shown)]]
    for name, column, factor in lines:
        if column in table.columns:
            values = numbers(table.loc[~table.index.duplicated()].loc[shown, column]) * factor
            rows.append([name, *("-" if np.isnan(value) else f"{value:.2f}" for value in values)])
    figure, axes = new_axes(2.6 + 0.85 * len(shown), 0.8 + 0.32 * len(rows))
    dress(axes, title)
    _plain_table(axes, rows, first=2.4, each=0.85)
    return figure


def _line(axes: Axes, x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], metric: str, **look: Any) -> None:
    axes.plot(
        x, y * (100 if metric == "accuracy" else 1), **{"marker": "o", "markersize": 3.5, "linewidth": 1.7, **look}
    )


def _epoch_axis(axes: Axes, name: str, metric: str) -> None:
    from matplotlib.ticker import MaxNLocator

    dress(axes, name, "epoch", "%" if metric == "accuracy" else "", grid="y")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if not axes.lines:
        empty_panel(axes, f"The table has no {metric}.")


def _named(experiments: pd.DataFrame) -> pd.DataFrame:
    if experiments is not None and "experiment" not in experiments.columns and "name" in experiments.columns:
        return experiments.rename(columns={"name": "experiment"})
    return experiments


def _label(name: str) -> str:
    return str(name).replace("_", " ")[:32]


def _series(everyone: Sequence[str], name: str) -> str:
    return SERIES[list(everyone).index(name) % len(SERIES)]


def _plain_table(axes: Axes, rows: Sequence[Sequence[str]], first: float, each: float) -> None:
    axes.set_xlim(0, first + each * (len(rows[0]) - 1))
    axes.set_ylim(len(rows), 0)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    for line, row in enumerate(rows):
        weight = "bold" if line == 0 else "normal"
        axes.text(0.05, line + 0.5, row[0], va="center", fontsize=9, color=INK, in_layout=False)
        for column, cell in enumerate(row[1:]):
            x = first + each * (column + 0.92)
            axes.text(
                x, line + 0.5, cell, va="center", ha="right", fontsize=9, color=INK, fontweight=weight, in_layout=False
            )
        axes.axhline(line + 1, color=INK if line == 0 else GRID, linewidth=0.8)
