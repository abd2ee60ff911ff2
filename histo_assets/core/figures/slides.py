"""Pictures of slides and tiles: sizes, rejections, file sizes, and grids of images."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from histo_assets.core.figures.charts import name_rows, stacked_bars
from histo_assets.core.figures.palette import GTEX, short_name
from histo_assets.core.figures.style import (
    ACCENT,
    ALARM,
    INK,
    MUTED,
    PALE,
    SERIES,
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
    wrapped,
)

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.figure import Figure

REASONS = {
    "no_tissue": "no tissue",
    "jpeg_size": "small file",
    "half_empty": "half empty",
    "dirt": "dirt",
    "blur": "blur",
    "pen": "pen",
    "lost": "damaged",
    "good": "good, not needed",
    "kept": "kept",
}
_MOST_ROWS = 60


def slide_sizes(raw_slides: pd.DataFrame, title: str = "Slide files") -> Figure:
    """Return the slides' width against height (mm, or 1,000 px where no resolution is known).

    `raw_slides` has `slide`, `width`, `height` (level-0 px), `mpp` (um/px), `bytes`, `quarantined` and `missing`
    (the reason or None). Quarantined slides stand in red; the reasons of both are listed.
    """
    if reason := problem(raw_slides, "slide", "width", "height", "mpp"):
        return message_figure(title, reason)
    reasons, absent = (
        texts(raw_slides[column]) if column in raw_slides.columns else [""] * len(raw_slides)
        for column in ("quarantined", "missing")
    )
    bad, gone = (np.array([bool(reason) for reason in column], dtype=bool) for column in (reasons, absent))
    width, height, mpp = (numbers(raw_slides[column]) for column in ("width", "height", "mpp"))
    known = (mpp > 0) & (width > 0)
    unit, scale = (
        ("mm", np.where(mpp > 0, mpp, np.nan) / 1000) if known.any() else ("1,000 px", np.full(len(bad), 1e-3))
    )
    width, height = np.where(width > 0, width * scale, np.nan), np.where(height > 0, height * scale, np.nan)
    size = numbers(raw_slides["bytes"]) if "bytes" in raw_slides.columns else np.full(len(bad), np.nan)
    figure = new_figure(8.5, 4.4)
    total = "" if np.isnan(size).all() else f", {np.nansum(size) / 1e9:,.2f} GB"
    headline(figure, f"{title}: {counted(len(bad), 'slide')}{total}, {bad.sum()} quarantined, {gone.sum()} missing")
    left, right = figure.subplots(1, 2, width_ratios=[1.25, 1])
    dress(left, "Size of the scan", f"width, {unit}", f"height, {unit}", grid="both")
    area = 18 + 110 * np.nan_to_num(size / max(float(np.nanmax(size, initial=1.0)), 1.0), nan=0.2)
    for mask, colour, name in ((~bad, ACCENT, "in use"), (bad, ALARM, "quarantined")):
        drawn = mask & np.isfinite(width) & np.isfinite(height)
        if drawn.any():
            left.scatter(
                width[drawn], height[drawn], s=area[drawn], color=colour, alpha=0.6, lw=0.4, ec="white", label=name
            )
    if np.isfinite(width * height).any():
        left.set_xlim(0, float(np.nanmax(width)) * 1.12)
        left.set_ylim(0, float(np.nanmax(height)) * 1.12)
        legend(left, loc="lower right", title="area: file size" if np.isfinite(size).any() else None, title_fontsize=7)
    else:
        empty_panel(left, "No slide's size is known.")
    right.set_axis_off()
    names = texts(raw_slides["slide"])
    lines = [f"{slide}: {reason}" for slide, reason in zip(names, reasons, strict=True) if reason]
    lines += [f"{slide} (missing): {reason}" for slide, reason in zip(names, absent, strict=True) if reason]
    right.set_title("Quarantined or missing", loc="left", fontsize=10.5, fontweight="bold", color=INK, pad=8)
    text, colour = (wrapped(lines, 52, 9), ALARM) if lines else ("None: every slide opened.", MUTED)
    right.text(0, 0.98, text, transform=right.transAxes, va="top", fontsize=7.5, color=colour, linespacing=1.35)
    return figure


def funnel_figure(funnel: pd.DataFrame, title: str = "From grid to tiles", row: str = "slide") -> Figure:
    """Return, slide by slide, what became of the grid's cells and of the tiles that were judged.

    `funnel` has `slide`, `candidates` (grid cells), `no_tissue`, a count per reason, `good` (judged and
    passed) and `kept`; `row` is what a row stands for. Of more than 60 rows those that kept the smallest
    share are drawn.
    """
    if reason := problem(funnel, "slide", "candidates"):
        return message_figure(title, reason)
    counts = funnel.drop(columns="slide").apply(numbers).fillna(0.0).assign(slide=texts(funnel["slide"]))
    for column in ("no_tissue", "good", "kept"):
        counts[column] = counts.get(column, 0.0)
    kept, candidates = counts["kept"].sum(), counts["candidates"].sum()
    heading = (
        f"{title}: {thousands(kept)} tiles kept of {thousands(candidates)} grid cells, {counted(len(counts), row)}"
    )
    if len(counts) > _MOST_ROWS:
        share = counts["kept"] / counts["candidates"].clip(lower=1)
        counts = counts.loc[share.sort_values(kind="stable").index[:_MOST_ROWS]]
        heading += f" (the {_MOST_ROWS} with the smallest share)"
    figure = new_figure(9.5, height_for(len(counts), each=0.17, least=2.9))
    headline(figure, heading)
    left, right = figure.subplots(1, 2, width_ratios=[1, 1.7], sharey=True)
    names = [GTEX[name][0] if name in GTEX else name for name in counts["slide"]]
    tissue = (counts["candidates"] - counts["no_tissue"]).clip(lower=0).to_numpy(dtype=float)
    parts = {"tissue": tissue, "no tissue": counts["no_tissue"].to_numpy(dtype=float)}
    stacked_bars(left, names, parts, {"tissue": ACCENT, "no tissue": PALE}, labels=len(names) <= 30)
    dress(left, "Grid cells", "cells", grid="x")
    legend(left, loc="upper left", bbox_to_anchor=(0, -0.02 - 0.45 / figure.get_figheight()), ncols=2)
    reasons = [c for c in counts.columns if c not in {"slide", "candidates", "no_tissue", "good", "kept"}]
    tallies = {"kept": counts["kept"], "good": (counts["good"] - counts["kept"]).clip(lower=0)}
    tallies |= {reason: counts[reason] for reason in reasons if counts[reason].any()}
    named = {REASONS.get(key, key.replace("_", " ")): part.to_numpy(dtype=float) for key, part in tallies.items()}
    paints = (colour for colour in ("#c1121f", "#e69f00", "#7b3294", "#56b4e9", "#8c510a", "#4d4d4d", *SERIES))
    colours = {"kept": "#2a7f62", "good, not needed": "#a5d3c1"}
    colours |= {name: next(paints) for name in named if name not in colours}
    stacked_bars(right, names, named, colours, labels=len(names) <= 30)
    dress(right, "Tiles that were looked at", "tiles", grid="x")
    right.tick_params(axis="y", left=False, labelleft=False)
    left.tick_params(axis="y", length=0, labelsize=7 if len(names) > 12 else 8)
    legend(right, loc="upper left", bbox_to_anchor=(0, -0.02 - 0.45 / figure.get_figheight()), ncols=4)
    return figure


def jpeg_size_figure(
    tiles: Any, threshold: float | Mapping[str, float] | None, title: str = "Size of the tiles"
) -> Figure:
    """Return the distribution of the JPEG sizes of tiles, with the threshold.

    `tiles` has `jpeg_bytes` (bytes per pixel), and may have `tissue`, where several have a row each, and
    `reason`, empty for a tile that passed. `threshold` holds for all, or by tissue key.
    """
    if reason := problem(tiles, "jpeg_bytes"):
        return message_figure(title, reason)
    size = numbers(tiles["jpeg_bytes"])
    tissues = np.array(texts(tiles["tissue"]) if "tissue" in tiles.columns else [""] * len(size))
    keys = sorted(set(tissues))
    thresholds = {key: threshold.get(key) if isinstance(threshold, Mapping) else threshold for key in keys}
    limits = {row: limit for row, key in enumerate(keys) if (limit := thresholds[key]) is not None}
    several = len(keys) > 1
    figure, axes = new_axes(8.5, height_for(len(keys))) if several else new_axes(8, 3.6)
    known = size[np.isfinite(size)]
    whole = f"{thousands(len(size))} tiles" + (f" of {len(keys)} tissues" if several else "")
    headline(figure, f"{title}: {whole}" + (f", median {np.median(known):.2g} bytes per pixel" if len(known) else ""))
    if not several:
        passed = np.array([not name for name in texts(tiles["reason"])]) if "reason" in tiles.columns else size >= 0
        parts = {"passed": size[passed & np.isfinite(size)], "rejected": size[~passed & np.isfinite(size)]}
        axes.hist(
            list(parts.values()), bins=40, stacked=True, color=[ACCENT, "#e69f00"], label=list(parts), linewidth=0
        )
        dress(axes, "", "JPEG size of a tile, bytes per pixel", "tiles looked at", grid="y")
        for limit in limits.values():
            axes.axvline(limit, color=ALARM, linewidth=1.6, label=f"threshold {limit:.3g}")
        legend(axes)
        return figure
    groups = [size[(tissues == key) & np.isfinite(size)] for key in keys]
    look: dict[str, Any] = {"showfliers": False, "widths": 0.62, "patch_artist": True, "whis": (1, 99)}
    look |= {"boxprops": {"facecolor": PALE, "edgecolor": ACCENT}, "medianprops": {"color": ACCENT, "linewidth": 1.6}}
    axes.boxplot(groups, positions=range(len(keys)), orientation="horizontal", **look)
    name_rows(axes, [short_name(key) for key in keys])
    dress(axes, "", "JPEG size of a tile, bytes per pixel (box: quartiles, whiskers: 1 to 99 %)", grid="x")
    if limits:
        look = {"marker": "|", "s": 130, "linewidths": 2, "color": ALARM, "zorder": 4}
        axes.scatter(list(limits.values()), list(limits), label="threshold", **look)
        legend(axes, loc="best")
    return figure


def tile_pictures(
    decisions: pl.DataFrame,
    funnel: pd.DataFrame,
    previews: Mapping[str, bytes],
    rejected: Mapping[str, bytes],
    sheet: bytes,
    threshold: float,
) -> dict[str, Figure | bytes]:
    """Return the pictures of cut tiles, by name: the same in the UI and for a single slide.

    Parameters
    ----------
    decisions, funnel
        Those of a `TileSet`.
    previews
        By slide, a JPEG of it with its tiles outlined; the first twelve are shown.
    rejected
        By name, small JPEGs of rejected tiles.
    sheet
        A JPEG contact sheet of kept tiles.
    threshold
        The least JPEG bytes per pixel.
    """
    first = dict(list(previews.items())[:12])
    pictures: dict[str, Figure | bytes] = {
        "tiles": sheet,
        "chosen": image_grid(list(first.values()), list(first), min(4, max(1, len(first))), "Tissue and chosen tiles"),
        "rejections": funnel_figure(funnel),
        "jpeg_size": jpeg_size_figure(decisions, threshold),
    }
    if rejected:
        pictures["thrown_out"] = image_grid(list(rejected.values()), list(rejected), 8, "Thrown out")
    return pictures


def image_grid(
    images: Sequence[bytes | npt.NDArray[np.uint8]],
    captions: Sequence[str] = (),
    columns: int = 6,
    title: str = "",
    *,
    inches: float | None = None,
    colours: Sequence[str] | None = None,
) -> Figure:
    """Return images side by side with their captions.

    Parameters
    ----------
    images
        Encoded (JPEG, PNG) bytes, or (h, w, 3) uint8. What does not decode is drawn as a crossed-out cell.
    captions
        One an image, or none. Long ones are wrapped.
    columns
        Most images in a row.
    inches
        Width of a cell; None fills about eight inches.
    colours
        Frame of each image, `#rrggbb`.
    """
    if len(images) == 0:
        return message_figure(title or "Images", "There is nothing to draw: no images.")
    columns = max(1, min(columns, len(images)))
    rows = -(-len(images) // columns)
    inches = inches or float(np.clip(8.0 / columns, 0.95, 4.5))
    lines = [textwrap.wrap(str(caption), max(10, int(inches * 13))) for caption in captions]
    caption = float(np.clip(5.2 + 1.3 * inches, 6.5, 9))
    depth = min(max((len(line) for line in lines), default=0), 3)
    pixels = [decoded(image, round(inches * 110)) for image in images]
    ratios = [p.shape[0] / p.shape[1] for p in pixels if p is not None]
    tall = inches * float(np.clip(max(ratios, default=1.0), 0.3, 2.0))
    gap, under, head = 0.07, 0.03 + 0.0175 * caption * depth, 0.42 if title else 0.07
    width = max(columns * (inches + gap) + gap, 3.4)
    height = head + rows * (tall + gap + under)
    figure = new_figure(width, height)
    figure.set_layout_engine("none")
    for place, image in enumerate(pixels):
        row, column = divmod(place, columns)
        left, bottom = gap + column * (inches + gap), height - head - row * (tall + gap + under) - tall
        axes = figure.add_axes((left / width, bottom / height, inches / width, tall / height))
        axes.set_xticks([])
        axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set_color(colours[place] if colours else MUTED)
            spine.set_linewidth(2.2 if colours else 0.5)
        if image is None:
            axes.plot([0, 1, np.nan, 0, 1], [0, 1, np.nan, 1, 0], color=ALARM, linewidth=0.8)
            axes.text(
                0.5, 0.5, "not an image", ha="center", va="center", fontsize=7, color=ALARM, backgroundcolor="white"
            )
        else:
            axes.imshow(image, interpolation="antialiased")
            axes.set_anchor("N")
        if place < len(lines):
            axes.set_xlabel("\n".join(lines[place][:3]), fontsize=caption, color=INK, labelpad=2, linespacing=1.05)
    headline(figure, title)
    return figure


def decoded(image: bytes | npt.NDArray[np.uint8], px: int) -> npt.NDArray[np.uint8] | None:
    """Return an image as (h, w, 3) uint8 of about `px` at its longer side, or None if it is not one."""
    from PIL import Image

    if isinstance(image, np.ndarray):
        picture = Image.fromarray(image)
    else:
        try:
            picture = Image.open(io.BytesIO(image))
            picture.draft("RGB", (px, px))
            picture = picture.convert("RGB")
        except (OSError, ValueError, SyntaxError):
            return None
    picture.thumbnail((2 * px, 2 * px))
    return np.asarray(picture.convert("RGB"))
