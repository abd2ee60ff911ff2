"""The look shared by all figures, reading columns without surprises, and figures as PNG bytes.

Nothing here or in the other modules of the room imports matplotlib before a figure is drawn, and none
touches pyplot or its global settings.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from histo_assets.core.errors import HistoError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from PIL.Image import Image

DPI = 110
INK, MUTED, GRID, PALE = "#1b1f24", "#667080", "#e6e9ee", "#c3d3e8"
ACCENT, ALARM, WARM, GOOD = "#1f5fa8", "#c1121f", "#e08a00", "#2a7f62"
SIDES = {"train": "#1f5fa8", "validation": "#e8a33d", "test": "#a11d5b"}
# Okabe and Ito's colours without yellow, then darker ones: for experiments, methods, reasons.
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#4d4d4d", "#7b3294", "#8c510a", "#01665e")


BESIDE_TITLE: dict[str, Any] = {"loc": "lower right", "bbox_to_anchor": (1.0, 0.995), "borderaxespad": 0.2}
_KEPT = ("#ffffff", INK, "#7d838b", ALARM)


class FigureError(HistoError):
    """A figure that cannot be made into what was asked."""


def new_figure(width: float = 8.0, height: float = 5.0) -> Figure:
    """Return an empty white figure of `width` x `height` inches with an Agg canvas and constrained layout."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08, wspace=0.04, hspace=0.04)  # type: ignore[union-attr, call-arg]
    return figure


def new_axes(width: float = 8.0, height: float = 5.0) -> tuple[Figure, Axes]:
    """Return a figure with one plain panel."""
    figure = new_figure(width, height)
    return figure, figure.add_subplot()


def height_for(rows: int, each: float = 0.2, around: float = 1.5, least: float = 3.4, most: float = 24.0) -> float:
    """Return the height in inches of a figure with `rows` labelled rows."""
    return float(min(max(least, around + each * rows), most))


def message_figure(title: str, sentence: str) -> Figure:
    """Return a figure that says in one sentence why there is nothing to draw."""
    figure, axes = new_axes(8, 2.4)
    dress(axes, title)
    empty_panel(axes, sentence)
    return figure


def empty_panel(axes: Axes, sentence: str) -> None:
    """Turn a panel into one sentence."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color(GRID)
    text = "\n".join(textwrap.wrap(sentence, 70))
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", fontsize=10, color=MUTED)


def dress(axes: Axes, title: str = "", x: str = "", y: str = "", grid: str = "") -> None:
    """Give a panel its title, axis labels and plain look; `grid` is '', 'x', 'y' or 'both'."""
    axes.set_title(title, loc="left", fontsize=10.5, color=INK, fontweight="bold", pad=8)
    axes.set_xlabel(x, fontsize=9, color=INK)
    axes.set_ylabel(y, fontsize=9, color=INK)
    axes.tick_params(labelsize=8, color=MUTED, labelcolor=INK, length=3)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(MUTED)
    axes.set_axisbelow(True)
    if grid:
        axes.grid(axis=grid, color=GRID, linewidth=0.8)  # type: ignore[arg-type]


def headline(figure: Figure, title: str) -> None:
    """Give a figure of several panels its title, in lines that fit its width."""
    if title:
        lines = "\n".join(textwrap.wrap(title, max(20, int(figure.get_figwidth() * 10.5))))
        figure.suptitle(lines, x=0.012, ha="left", fontsize=12, fontweight="bold", color=INK)


def legend(target: Any, **options: Any) -> None:
    """Add a legend without a frame to a panel or a figure, where it has anything to name."""
    handles = options.get("handles")
    if handles is None and hasattr(target, "get_legend_handles_labels"):
        handles = target.get_legend_handles_labels()[0]
    if handles:
        target.legend(**{"frameon": False, "fontsize": 8, "labelcolor": INK, **options})


def problem(table: Any, *columns: str) -> str:
    """Return why `table` cannot be drawn, in one sentence: it is empty or lacks a column; '' if it can."""
    if table is None or len(table) == 0:
        return "There is nothing to draw: the table is empty."
    absent = [column for column in columns if column not in table.columns]
    return f"There is nothing to draw: the table has no column {', '.join(map(repr, absent))}." if absent else ""


def numbers(values: Any) -> npt.NDArray[np.float64]:
    """Return a column (pandas, polars, any sequence) as float64; what is no number becomes NaN."""
    series = pd.Series(values.to_numpy() if hasattr(values, "to_numpy") else np.asarray(values).ravel())
    return np.asarray(pd.to_numeric(series, errors="coerce"), dtype=np.float64)


def texts(values: Iterable[Any]) -> list[str]:
    """Return a column as strings; missing values are ''."""
    return ["" if value is None or value is pd.NA or value != value else str(value) for value in values]


def counted(number: int, thing: str) -> str:
    """Return a number of things in words, as in '1 tissue', '40 tissues'."""
    return f"{thousands(number)} {thing}" + ("" if number == 1 else "s")


def thousands(value: float) -> str:
    """Return a count with thin spaces between the thousands, or '-' for NaN."""
    return f"{value:,.0f}".replace(",", "\u2009") if np.isfinite(value) else "-"


def png(figure: Figure, max_bytes: int = 190_000) -> bytes:
    """Return a figure as PNG of at most `max_bytes`.

    Full colour at the figure's resolution if that fits, else fewer colours, then fewer pixels.

    Raises
    ------
    FigureError
        Not even a thumbnail fits.
    """
    scale = 1.0
    while scale > 0.05:
        picture = _rendered(figure, scale)
        for colours, saves in (None, 3.0), (256, 1.6), (64, 1.0):
            encoded = _encoded(picture, colours)
            if len(encoded) <= max_bytes:
                return encoded
            if len(encoded) > saves * max_bytes:  # fewer colours alone will not do
                break
        scale *= min(0.85, 0.97 * (saves * max_bytes / len(encoded)) ** 0.5)
    raise FigureError(f"the smallest PNG of the figure has {len(encoded)} bytes; allow more than max_bytes={max_bytes}")


def _rendered(figure: Figure, scale: float) -> Image:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    canvas = FigureCanvasAgg(figure)
    figure.set_dpi(DPI * scale)
    try:
        canvas.draw()  # type: ignore[no-untyped-call]
        return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())  # type: ignore[no-untyped-call]
    finally:
        figure.set_dpi(DPI)


def _encoded(picture: Image, colours: int | None) -> bytes:
    """Return PNG bytes in full colour, or in `colours` colours of which some are kept for text and paper."""
    from PIL import Image

    if colours is not None:
        kept = [int(colour[i : i + 2], 16) for colour in _KEPT for i in (1, 3, 5)]
        sparse = picture.resize((-(-picture.width // 3), -(-picture.height // 3)), Image.Resampling.NEAREST)
        rgb = sparse.quantize(colours - len(_KEPT), dither=Image.Dither.NONE).getpalette() or []
        palette = Image.new("P", (1, 1))
        padded = [*rgb, *([0] * 768)][: 3 * (colours - len(_KEPT))]
        palette.putpalette([*padded, *kept])
        painted = picture.quantize(palette=palette, dither=Image.Dither.NONE)
        paper = Image.fromarray(np.where((np.asarray(picture) == 255).all(axis=2), 255, 0).astype(np.uint8))
        painted.paste(colours - len(_KEPT), mask=paper)  # the match is approximate, and off-white paper shows
        picture = painted
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()


def wrapped(lines: Sequence[str], width: int, most: int) -> str:
    """Return `lines` wrapped at `width` characters, at most `most` of them, and how many were left out."""
    shown = [textwrap.fill(line, width, subsequent_indent="   ") for line in lines[:most]]
    if len(lines) > most:
        shown.append(f"and {len(lines) - most} more")
    return "\n".join(shown)
