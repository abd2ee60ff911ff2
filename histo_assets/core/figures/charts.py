"""Bars, heat maps and labels that several figures share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from histo_assets.core.figures.style import ACCENT, INK, MUTED, thousands

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

Floats = npt.NDArray[np.float64]


def name_rows(axes: Axes, names: Sequence[str], size: float = 8.0) -> None:
    """Name the rows of a horizontal chart, the first on top; fewer than four leave room below."""
    axes.set_yticks(range(len(names)), list(names), fontsize=size)
    axes.set_ylim(max(len(names), 4) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)


def bars(
    axes: Axes,
    names: Sequence[str],
    values: Floats,
    colours: str | Sequence[str] = ACCENT,
    marks: Sequence[str] | None = None,
) -> None:
    """Draw one horizontal bar a row, its value (or `marks`) written at its end."""
    shown = np.nan_to_num(values, nan=0.0)
    axes.barh(range(len(names)), shown, color=colours, height=0.74)
    widest = max(float(shown.max(initial=0.0)), 1e-12)
    for row, value in enumerate(shown):
        text = marks[row] if marks is not None else thousands(values[row])
        axes.text(
            max(float(value), 0.0) + widest * 0.012,
            float(row),
            text,
            va="center",
            fontsize=7,
            color=INK,
            in_layout=False,
        )
    axes.set_xlim(min(0.0, float(shown.min(initial=0.0))), widest * 1.14)
    name_rows(axes, names)


def stacked_bars(
    axes: Axes, names: Sequence[str], parts: Mapping[str, Floats], colours: Mapping[str, str], labels: bool = True
) -> None:
    """Draw a horizontal bar a row, made of `parts` in their order; counts are written where they fit."""
    from histo_assets.core.figures.palette import readable_on

    left = np.zeros(len(names))
    totals = np.nansum([*parts.values(), left], axis=0)
    widest = max(float(totals.max(initial=0.0)), 1e-12)
    for part, values in parts.items():
        shown = np.nan_to_num(values, nan=0.0)
        axes.barh(range(len(names)), shown, left=left, color=colours[part], height=0.76, label=part)
        for row in np.flatnonzero(shown > widest * 0.035) if labels else []:
            ink, x = readable_on(colours[part]), left[row] + shown[row] / 2
            axes.text(
                x, float(row), thousands(shown[row]), ha="center", va="center", fontsize=6.5, color=ink, in_layout=False
            )
        left += shown
    axes.set_xlim(0, widest * 1.03)
    name_rows(axes, names)


def columns(
    axes: Axes, names: Sequence[str], values: Floats, colours: str | Sequence[str] = ACCENT, fit: int = 34
) -> None:
    """Draw one vertical bar a name, its count on top; names of more than `fit` characters in all are slanted."""
    from matplotlib.ticker import MaxNLocator

    shown = np.nan_to_num(values, nan=0.0)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.bar(range(len(names)), shown, color=colours, width=0.72)
    for column, value in enumerate(shown):
        axes.text(column, value, thousands(value), ha="center", va="bottom", fontsize=7, color=INK, in_layout=False)
    slanted = sum(len(name) for name in names) > fit or max(map(len, names), default=0) > 12
    turn: dict[str, Any] = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"} if slanted else {}
    axes.set_xticks(range(len(names)), list(names), fontsize=7.5, **turn)
    room = max(0.6, (3.4 - len(names)) / 2)
    axes.set_xlim(-room, len(names) - 1 + room)
    axes.set_ylim(0, max(float(shown.max(initial=0.0)), 1.0) * 1.12)
    axes.tick_params(axis="x", length=0)


def intervals(
    axes: Axes,
    rows: Sequence[float],
    values: Floats,
    low: Floats,
    high: Floats,
    colours: Sequence[str],
    size: float = 5,
) -> None:
    """Draw a point a row with its interval; a missing interval is left out, a missing value too."""
    for row, value, lower, upper, colour in zip(rows, values, low, high, colours, strict=True):
        if not np.isfinite(value):
            continue
        if np.isfinite(lower) and np.isfinite(upper):
            axes.plot([lower, upper], [row, row], color=colour, linewidth=1.6, alpha=0.75, solid_capstyle="butt")
        axes.plot([value], [row], "o", color=colour, markersize=size, markeredgecolor="white", markeredgewidth=0.5)


@dataclass(frozen=True)
class ColourScale:
    """The colours of matplotlib's map `name`, from `low` to `high`."""

    name: str = "Blues"
    low: float = 0.0
    high: float = 1.0


def heat_map(
    axes: Axes,
    values: Floats,
    rows: Sequence[str],
    names: Sequence[str],
    *,
    scale: ColourScale = ColourScale(),
    percent_from: float | None = None,
    size: float = 8.0,
) -> AxesImage:
    """Draw a matrix (rows x names); with `percent_from`, cells of at least that value are written in per cent."""
    from matplotlib import colormaps

    painted = colormaps[scale.name].with_extremes(bad="#efefef")
    image = axes.imshow(np.ma.masked_invalid(values), cmap=painted, vmin=scale.low, vmax=scale.high, aspect="auto")
    axes.set_xticks(range(len(names)), list(names), fontsize=size, rotation=90)
    axes.set_yticks(range(len(rows)), list(rows), fontsize=size)
    axes.tick_params(length=0)
    edges: dict[str, Any] = {"color": "white", "linewidth": 0.6, "in_layout": False}
    axes.hlines(np.arange(1, len(rows)) - 0.5, -0.5, len(names) - 0.5, **edges)
    axes.vlines(np.arange(1, len(names)) - 0.5, -0.5, len(rows) - 0.5, **edges)
    for spine in axes.spines.values():
        spine.set_visible(False)
    if percent_from is not None:
        middle = (scale.low + scale.high) / 2
        for row, column in np.argwhere(np.nan_to_num(values, nan=-1.0) >= percent_from):
            ink = "white" if values[row, column] > middle else INK
            text = f"{100 * values[row, column]:.0f}"
            axes.text(
                column, row, text, ha="center", va="center", fontsize=min(size - 1, 8), color=ink, in_layout=False
            )
    return image


def colour_bar(axes: Axes, image: Any, label: str, **options: Any) -> None:
    """Add a slim colour bar beside a panel."""
    bar = axes.figure.colorbar(image, ax=axes, **{"fraction": 0.03, "pad": 0.015, "aspect": 30, **options})
    bar.set_label(label, fontsize=8, color=INK)
    bar.ax.tick_params(labelsize=7, color=MUTED)
    bar.outline.set_visible(False)


def histogram(axes: Axes, values: Floats, edges: Floats, colour: str = ACCENT) -> None:
    """Draw counts between `edges`; values outside are counted in the first and last bin."""
    finite = values[np.isfinite(values)]
    counts, _ = np.histogram(np.clip(finite, edges[0], edges[-1]), edges)
    axes.bar(edges[:-1], counts, width=np.diff(edges), align="edge", color=colour, edgecolor="white", linewidth=0.3)
    axes.set_xlim(edges[0], edges[-1])
