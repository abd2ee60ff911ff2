"""Scatter plots of projections: Figs 13 to 20 of the post."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from histo_assets.core.figures.labels import place_labels
from histo_assets.core.figures.palette import ink_of, short_name, tissue_colours, tissue_marker
from histo_assets.core.figures.style import (
    ALARM,
    INK,
    MUTED,
    counted,
    dress,
    empty_panel,
    headline,
    message_figure,
    new_axes,
    new_figure,
    texts,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Mark:
    """Points (m, 2) to point out, and the name written beside the last of them; none where it is empty."""

    points: Floats
    name: str = ""


def scatter(
    points: Floats,
    tissues: Sequence[str],
    title: str,
    *,
    axis: str = "",
    marked: Mark | None = None,
) -> Figure:
    """Return points (n, 2) in the colours of their tissues, each tissue named at its median.

    Parameters
    ----------
    points
        Coordinates; rows that are not finite are left out.
    tissues
        A tissue key per point.
    axis
        Name of the projection, written at the axes.
    marked
        Points to point out, such as a new slide.
    """
    coordinates, keys = _usable(points, tissues)
    if len(coordinates) == 0:
        return message_figure(title, "There is nothing to draw: no points.")
    figure, axes = new_axes(9, 7)
    headline(figure, f"{title} ({counted(len(coordinates), 'point')}, {counted(len(set(keys)), 'tissue')})")
    cloud(axes, coordinates, keys, axis, marked=marked, size=8.0)
    return figure


def two_scatters(
    umap: Floats, tsne: Floats, tissues: Sequence[str], title: str, marked: Mapping[str, Mark] | None = None
) -> Figure:
    """Return UMAP and t-SNE of the same points side by side (Figs 15 to 18), `marked` by their names."""
    return _panels({"UMAP": umap, "t-SNE": tsne}, tissues, title, columns=2, size=5.6, marked=marked)


def epochs_figure(points: Mapping[int, Floats], tissues: Sequence[str], title: str, axis: str = "UMAP") -> Figure:
    """Return one projection per checkpoint epoch, in order (Figs 13 and 14)."""
    named = {f"{axis} after epoch {epoch}": points[epoch] for epoch in sorted(points)}
    return _panels(named, tissues, title, columns=2 if len(named) in (2, 4) else 3, size=4.6, names=False)


def cloud(
    axes: Axes,
    points: Floats,
    tissues: Iterable[str],
    axis: str,
    *,
    marked: Mark | None = None,
    size: float = 8.0,
    names: bool = True,
) -> None:
    """Draw points into a panel. The panel's limits are set before its labels are placed."""
    coordinates, keys = _usable(points, tissues)
    dress(axes, "", f"{axis} 1" if axis else "", f"{axis} 2" if axis else "")
    axes.set_xticks([])
    axes.set_yticks([])
    if len(coordinates) == 0:
        empty_panel(axes, "There is nothing to draw: no points.")
        return
    colours = tissue_colours(keys)
    area = float(np.clip(9000 / len(coordinates), 3.0, 26.0))
    look: dict[str, Any] = {"s": area, "alpha": 0.8 if len(coordinates) < 4000 else 0.5, "rasterized": True}
    if len(coordinates) > 3000:
        order = np.random.default_rng(0).permutation(len(coordinates))
        paints = np.array([colours[key] for key in keys])
        axes.scatter(coordinates[order, 0], coordinates[order, 1], c=paints[order].tolist(), linewidths=0, **look)
    else:
        for tissue in sorted(set(keys)):
            mine = coordinates[keys == tissue]
            marker = tissue_marker(tissue)
            axes.scatter(
                mine[:, 0],
                mine[:, 1],
                color=colours[tissue],
                marker=marker,
                linewidths=0.25,
                edgecolors="white",
                **look,
            )
    everything = coordinates
    if marked is not None and np.size(marked.points):
        new = np.asarray(marked.points, dtype=float).reshape(-1, 2)
        everything = np.vstack([coordinates, new[np.isfinite(new).all(axis=1)]])
        axes.scatter(new[:, 0], new[:, 1], marker="*", s=260, color=ALARM, edgecolors="white", linewidths=1.2, zorder=5)
    _set_limits(axes, everything)
    medians = {tissue: np.median(coordinates[keys == tissue], axis=0) for tissue in sorted(set(keys)) if tissue}
    if names and len(medians) <= 60:
        words = [short_name(tissue) for tissue in medians]
        inks = [ink_of(colours[tissue]) for tissue in medians]
        anchors = list(medians.values())
        if marked is not None and np.size(marked.points) and marked.name:
            words, inks, anchors = [*words, marked.name], [*inks, ALARM], [*anchors, everything[-1]]
        if anchors:
            place_labels(
                axes,
                np.array(anchors),
                words,
                inks,
                size=size - (len(words) > 20),
                around=everything[len(coordinates) :],
            )


def tissue_key(figure: Figure, tissues: Iterable[str]) -> None:
    """Name the tissues of a figure below its panels, in their colours and markers."""
    from matplotlib.lines import Line2D

    keys = sorted({key for key in texts(tissues) if key})
    colours = tissue_colours(keys)
    if not 0 < len(keys) <= 60:
        return
    handles = [
        Line2D([], [], linestyle="", marker=tissue_marker(key), color=colours[key], markersize=5, label=short_name(key))
        for key in keys
    ]
    across = max(1, int(figure.get_figwidth() / 1.35))
    figure.legend(
        handles=handles, loc="outside lower left", ncols=across, frameon=False, fontsize=7.5, labelcolor=INK,
        columnspacing=1.0, handletextpad=0.1,
    )  # fmt: skip


def _panels(
    points: Mapping[str, Floats],
    tissues: Sequence[str],
    title: str,
    *,
    columns: int,
    size: float,
    names: bool = True,
    marked: Mapping[str, Mark] | None = None,
) -> Figure:
    """Return one panel per named projection, all of the same points, with the tissues' colours named below."""
    if not points or all(np.size(some) == 0 for some in points.values()):
        return message_figure(title, "There is nothing to draw: no points.")
    columns = max(1, min(columns, len(points)))
    rows = -(-len(points) // columns)
    legend_rows = 0 if names else -(-len(set(texts(tissues))) // max(1, int(columns * size / 1.35)))
    figure = new_figure(columns * size, rows * size * 0.92 + 0.6 + 0.19 * legend_rows)
    headline(figure, title)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    if not names:
        tissue_key(figure, tissues)
    for axes, (name, some) in zip(panels, points.items(), strict=False):
        new = None if marked is None else marked.get(name)
        cloud(axes, some, tissues, "", marked=new, size=7.5, names=names)
        axes.set_title(name, loc="left", fontsize=10.5, fontweight="bold", color=INK)
    for axes in panels[len(points) :]:
        axes.set_axis_off()
    return figure


def _usable(points: Floats, tissues: Iterable[str]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.str_]]:
    """Return the finite points and their tissue keys."""
    coordinates = np.asarray(points, dtype=np.float64).reshape(-1, 2) if np.size(points) else np.empty((0, 2))
    keys = np.array(texts(tissues), dtype=str)
    both = min(len(coordinates), len(keys))
    finite = np.isfinite(coordinates[:both]).all(axis=1)
    return coordinates[:both][finite], keys[:both][finite]


def _set_limits(axes: Axes, points: npt.NDArray[np.float64]) -> None:
    low, high = points.min(axis=0), points.max(axis=0)
    room = np.maximum((high - low) * 0.06, np.maximum(np.abs(high), 1.0) * 1e-3)
    axes.set_xlim(low[0] - room[0], high[0] + room[0])
    axes.set_ylim(low[1] - room[1], high[1] + room[1])
    for spine in axes.spines.values():
        spine.set_visible(True)
        spine.set_color(MUTED)
        spine.set_linewidth(0.6)
