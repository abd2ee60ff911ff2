"""Pictures of the cohort: its slides, pairs, selected slides and split donors (Fig. 1 of the post)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from histo_assets.core.figures.charts import bars, columns, stacked_bars
from histo_assets.core.figures.palette import short_name
from histo_assets.core.figures.style import (
    ACCENT,
    ALARM,
    BESIDE_TITLE,
    MUTED,
    PALE,
    SIDES,
    counted,
    dress,
    empty_panel,
    headline,
    height_for,
    legend,
    message_figure,
    new_figure,
    numbers,
    problem,
    texts,
    thousands,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

_NOT_TRAITS = {"slide", "donor", "tissue", "tissue_name", "sample", "notes", "rank", "why", "categories"}


def cohort_overview(manifest: pd.DataFrame, pairs: pd.DataFrame | None = None, title: str = "The cohort") -> Figure:
    """Return slides (and pairs) per tissue beside the donors' traits: sex and age where the cohort has them.

    `manifest` and `pairs` have `slide`, `donor`, `tissue` and the cohort's own columns.
    """
    if reason := problem(manifest, "tissue", "donor"):
        return message_figure(title, reason)
    counts = manifest["tissue"].value_counts().sort_values(ascending=False, kind="stable")
    paired = _counts(pairs, list(counts.index))
    traits = donor_traits(manifest)[:2]
    figure = new_figure(9.5, height_for(len(counts), least=4.4))
    headline(
        figure,
        f"{title}: {counted(len(manifest), 'slide')}, {counted(manifest['donor'].nunique(), 'donor')}, "
        + counted(len(counts), "tissue")
        + ("" if pairs is None else f", {thousands(len(pairs))} slides with RNA"),
    )
    grid = figure.add_gridspec(max(len(traits), 1), 2 if traits else 1, width_ratios=[1.7, 1] if traits else None)
    axes = figure.add_subplot(grid[:, 0])
    names = [short_name(tissue) for tissue in counts.index]
    slides = numbers(counts)
    marks = [f"{n:,.0f}" if pairs is None else f"{n:,.0f} / {p:,.0f}" for n, p in zip(slides, paired, strict=True)]
    bars(axes, names, slides, PALE if pairs is not None else ACCENT, marks)
    if pairs is not None:
        axes.patches[0].set_label("slides")
        axes.barh(range(len(names)), paired, color=ACCENT, height=0.74, label="of them with RNA")
        legend(axes, **BESIDE_TITLE, ncols=2)
    dress(axes, "Slides per tissue", "slides", grid="x")
    axes.tick_params(axis="y", length=0)
    for row, trait in enumerate(traits):
        trait_panel(figure.add_subplot(grid[row, 1]), manifest, trait)
    return figure


def pairing_figure(manifest: pd.DataFrame, pairs: pd.DataFrame, title: str = "Slides with RNA") -> Figure:
    """Return the share of each tissue's slides that have an RNA sample, and pairs per donor."""
    if reason := problem(manifest, "tissue", "donor"):
        return message_figure(title, reason)
    counts = manifest["tissue"].value_counts()
    paired = pd.Series(_counts(pairs, list(counts.index)), index=counts.index)
    share = (paired / counts).sort_values(ascending=False, kind="stable")
    figure = new_figure(9.5, height_for(len(counts), least=3.8))
    headline(figure, f"{title}: {thousands(len(pairs))} of {thousands(len(manifest))} slides are paired")
    left, right = figure.subplots(1, 2, width_ratios=[1.7, 1])
    marks = [f"{paired[t]:.0f} of {counts[t]:.0f}" for t in share.index]
    bars(left, [short_name(tissue) for tissue in share.index], 100 * numbers(share), ACCENT, marks)
    dress(left, "Share of slides with RNA", "per cent of the tissue's slides", grid="x")
    left.set_xticks(range(0, 101, 25))
    left.tick_params(axis="y", length=0)
    dress(right, "Pairs per donor", "paired slides of a donor", "donors", grid="y")
    if reason := problem(pairs, "donor"):
        empty_panel(right, "No slide has an RNA sample.")
        return figure
    per_donor = pairs["donor"].value_counts().to_numpy()
    right.hist(
        per_donor, bins=np.arange(0.5, max(per_donor.max(), 5) + 1.5), color=ACCENT, edgecolor="white", linewidth=0.5
    )
    _whole_ticks(right.xaxis)
    _whole_ticks(right.yaxis)
    return figure


def selection_figure(selected: pd.DataFrame, available: int | None = None, title: str | None = None) -> Figure:
    """Return one tissue's selected slides: taken of those available, slides per donor, the donors' traits.

    `selected` has `slide`, `donor`, `tissue`; `available` is how many paired slides the tissue has.
    """
    title = title or "Selected slides"
    if reason := problem(selected, "slide", "donor"):
        return message_figure(title, reason)
    if "tissue" in selected.columns:
        title = f"{short_name(str(selected['tissue'].iloc[0]))}: {title[:1].lower()}{title[1:]}"
    donors = selected["donor"].nunique()
    taken = (
        counted(len(selected), "slide")
        if available is None
        else f"{len(selected)} of {thousands(available)} paired slides"
    )
    traits = donor_traits(selected)[:2]
    figure = new_figure(8.5, 3.6)
    headline(figure, f"{title}: {taken}, {counted(donors, 'donor')}")
    panels = np.atleast_1d(figure.subplots(1, 1 + (available is not None) + len(traits)))
    if available is not None:
        first, panels = panels[0], panels[1:]
        columns(first, ["available", "taken"], np.array([available, len(selected)], dtype=float), [PALE, ACCENT])
        dress(first, "Slides", grid="y")
    per_donor = selected["donor"].value_counts().value_counts().sort_index()
    columns(panels[0], [str(count) for count in per_donor.index], numbers(per_donor))
    dress(panels[0], "Slides per donor", "slides", "donors", grid="y")
    for axes, trait in zip(panels[1:], traits, strict=True):
        trait_panel(axes, selected, trait, fit=18)
    return figure


def split_figure(split: pd.DataFrame, selected: pd.DataFrame, title: str = "Split by donor") -> Figure:
    """Return donors per tissue and side, and per fold.

    `split`: `donor`, `fold` (-1 is the locked test), `side`; `selected`: `donor`, `tissue` of all tissues. A tissue
    without a donor on a side is marked: it is not evaluable there.
    """
    if reason := problem(split, "donor", "side") or problem(selected, "donor", "tissue"):
        return message_figure(title, reason)
    sides = [side for side in SIDES if (split["side"] == side).any()]
    joined = selected[["donor", "tissue"]].drop_duplicates().merge(split[["donor", "side"]], on="donor", how="inner")
    if joined.empty:
        return message_figure(title, "There is nothing to draw: no selected donor is in the split.")
    table = pd.crosstab(joined["tissue"], joined["side"]).reindex(columns=sides, fill_value=0)
    table = table.loc[table.sum(axis=1).sort_values(ascending=False, kind="stable").index]
    figure = new_figure(9.5, height_for(len(table), least=3.8))
    totals = ", ".join(f"{(split['side'] == side).sum()} {side}" for side in sides)
    headline(figure, f"{title}: {counted(len(split), 'donor')} ({totals})")
    left, right = figure.subplots(1, 2, width_ratios=[2.1, 1])
    parts = {side: table[side].to_numpy(dtype=float) for side in sides}
    stacked_bars(left, [short_name(str(tissue)) for tissue in table.index], parts, SIDES)
    dress(left, "Donors per tissue", "donors", grid="x")
    left.tick_params(axis="y", length=0)
    widest = float(table.sum(axis=1).max())
    for row, (_, counts) in enumerate(table.iterrows()):
        if lacking := [side for side in sides if counts[side] == 0]:
            left.text(
                counts.sum() + widest * 0.015, row, f"no {', '.join(lacking)}", va="center", fontsize=7, color=ALARM
            )
    left.set_xlim(0, widest * 1.2)
    _whole_ticks(left.xaxis)
    legend(left, **BESIDE_TITLE, ncols=3)
    dress(right, "Donors per fold", "fold", "donors", grid="y")
    if "fold" in split.columns:
        folds = split["fold"].value_counts().sort_index()
        names = ["locked" if fold < 0 else str(fold) for fold in folds.index]
        side_of = split.drop_duplicates("fold").set_index("fold")["side"]
        columns(right, names, numbers(folds), [SIDES.get(side_of[fold], MUTED) for fold in folds.index])
    else:
        columns(right, sides, np.array([(split["side"] == side).sum() for side in sides], dtype=float))
        dress(right, "Donors per side", y="donors", grid="y")
    return figure


def donor_traits(table: pd.DataFrame) -> list[str]:
    """Return the columns that describe donors and are worth a panel: sex and age first, then Hardy, then others."""
    known = [column for column in ("sex", "age", "hardy") if column in table.columns]
    others = [column for column in table.columns if column not in {*known, *_NOT_TRAITS} and "original" not in column]
    few = [c for c in others if 2 <= table[c].nunique() <= 12 or _is_numeric(table[c])]
    return [column for column in (*known, *few) if table[column].notna().any()]


def trait_panel(axes: Axes, table: pd.DataFrame, trait: str, fit: int = 34) -> None:
    """Draw how many donors have which value of one column; numbers as a histogram."""
    donors = table.drop_duplicates("donor")
    if _is_numeric(donors[trait]) and donors[trait].nunique() > 8:
        values = numbers(donors[trait])
        axes.hist(values[np.isfinite(values)], bins=12, color=ACCENT, edgecolor="white", linewidth=0.5)
    else:
        counts = pd.Series([value or "unknown" for value in texts(donors[trait])]).value_counts().sort_index()
        if len(counts) > 10:
            counts = counts.sort_values(ascending=False).head(10)
        columns(axes, [name[:18] for name in counts.index], numbers(counts), fit=fit)
    words = trait.replace("_", " ")
    dress(axes, f"Donors by {words}", y="donors", grid="y")


def _is_numeric(column: pd.Series) -> bool:
    return bool(pd.api.types.is_numeric_dtype(column)) and not pd.api.types.is_bool_dtype(column)


def _counts(table: pd.DataFrame | None, tissues: list[str]) -> npt.NDArray[np.float64]:
    if table is None or problem(table, "tissue"):
        return np.zeros(len(tissues))
    return numbers(table["tissue"].value_counts().reindex(tissues).fillna(0))


def _whole_ticks(axis: Axis) -> None:
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(integer=True))
