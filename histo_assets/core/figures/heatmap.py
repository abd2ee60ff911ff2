"""A value per tile, drawn over the slide it came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from histo_assets.core.figures.charts import colour_bar
from histo_assets.core.figures.slides import decoded
from histo_assets.core.figures.style import INK, MUTED, dress, headline, message_figure, new_axes, numbers

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class TilePlaces:
    """Level-0 px of each tile's upper left corner, and its side (one number or one a tile)."""

    x: npt.ArrayLike
    y: npt.ArrayLike
    size: npt.ArrayLike


@dataclass(frozen=True)
class DrawnSlide:
    """The slide below the tiles.

    Attributes
    ----------
    thumbnail
        The whole slide, encoded or (h, w, 3) uint8; None draws the tiles alone.
    dimensions
        Width and height of level 0. Without them the thumbnail is taken to end with the last tile.
    mpp
        um per level-0 px, for a scale bar.
    """

    thumbnail: bytes | npt.NDArray[np.uint8] | None = None
    dimensions: tuple[int, int] | None = None
    mpp: float | None = None


def tile_heatmap(
    places: TilePlaces,
    values: npt.ArrayLike,
    title: str = "",
    *,
    slide: DrawnSlide = DrawnSlide(),
    pooled: npt.ArrayLike | None = None,
    centre: float | None = None,
    label: str = "log2(1+TPM)",
) -> Figure:
    """Return the tiles of a slide in the colours of their values.

    Parameters
    ----------
    values
        One a tile; NaN is grey.
    pooled
        bool, one a tile. Tiles outside the pool are drawn paler and are not part of the mean.
    centre
        With it the colours diverge from this value (the slide's prediction, say).
    """
    from matplotlib import colormaps
    from matplotlib.collections import PolyCollection

    left, top = (numbers(np.asarray(corner, dtype=float)) for corner in (places.x, places.y))
    shown = numbers(np.asarray(values, dtype=float))
    if len(left) == 0:
        return message_figure(title or "Tiles", "There is nothing to draw: the slide has no tiles.")
    side = np.broadcast_to(np.asarray(places.size, dtype=float), left.shape)
    inside = np.ones(len(left), dtype=bool) if pooled is None else np.asarray(pooled).astype(bool)
    width, height = slide.dimensions or (float((left + side).max()), float((top + side).max()))
    aspect = float(np.clip(height / max(width, 1.0), 0.3, 2.2))
    wide = 7.5 if aspect < 0.9 else max(4.6, 6.2 / aspect)
    figure, axes = new_axes(wide + 0.9, wide * aspect * 0.92 + 0.9)
    mean = shown[inside & np.isfinite(shown)]
    headline(figure, title + (f": mean {mean.mean():.2f}, {len(mean)} tiles" if len(mean) else ""))
    picture = None if slide.thumbnail is None else decoded(slide.thumbnail, 500)
    if picture is not None:
        axes.imshow(picture, extent=(0, width, height, 0), interpolation="antialiased")
    corners = np.stack([[left, top], [left + side, top], [left + side, top + side], [left, top + side]]).transpose(
        2, 0, 1
    )
    finite = shown[np.isfinite(shown)]
    lowest, highest = np.quantile(finite, [0.02, 0.98]) if len(finite) else (0.0, 1.0)
    if centre is not None:
        reach = max(abs(highest - centre), abs(centre - lowest), 1e-9)
        lowest, highest = centre - reach, centre + reach
    tiles = PolyCollection(
        list(corners), cmap=colormaps["RdBu_r" if centre is not None else "viridis"].with_extremes(bad="#c9c9c9"),
        alpha=np.where(inside, 0.8 if picture is not None else 1.0, 0.35).tolist(),
        edgecolors="white", linewidths=0.3,
    )  # fmt: skip
    tiles.set_array(np.ma.masked_invalid(shown))
    tiles.set_clim(float(lowest), float(max(highest, lowest + 1e-9)))
    axes.add_collection(tiles)
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.set_aspect("equal")
    dress(axes)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(True)
        spine.set_color(MUTED)
    if slide.mpp is not None and slide.mpp > 0:
        wide_mm = width * slide.mpp / 1000
        _scale_bar(figure, wide_mm, f"slide {wide_mm:.1f} mm wide")
    tiles.set_label(label)
    colour_bar(axes, tiles, label + (" (paler tiles are not pooled)" if not inside.all() else ""))
    return figure


def _scale_bar(figure: Figure, wide: float, text: str) -> None:
    """Draw a bar of 1, 2 or 5 x 10^n mm below the picture, `wide` being the picture's width in mm."""
    axes = figure.axes[0]
    rough = wide / 4
    power = 10.0 ** np.floor(np.log10(rough))
    length = power * max(step for step in (1, 2, 5) if step * power <= rough)
    axes.plot([0, length / wide], [-0.025, -0.025], transform=axes.transAxes, color=INK, linewidth=3, clip_on=False)
    words = f"{length:g} mm" if length >= 0.1 else f"{length * 1000:g} um"
    axes.text(
        length / wide + 0.015, -0.025, f"{words}; {text}", transform=axes.transAxes, va="center", fontsize=8, color=INK
    )
