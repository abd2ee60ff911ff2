"""Labels that stand beside what they name and do not cover one another.

Ours stays beside adjustText, which on forty crowded names takes up to ten times as long and, with most settings, still
leaves some covered, the new slide's by its own star.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats = npt.NDArray[np.float64]


def place_labels(
    axes: Axes,
    anchors: Floats,
    words: Sequence[str],
    colours: Sequence[str],
    size: float = 8.0,
    around: Floats | None = None,
) -> None:
    """Write `words` near `anchors` (n, 2, in data units), pushed apart, with a thin line where one moved far.

    The panel must have its final limits. Labels keep clear of the points `around` (m, 2).
    """
    from matplotlib.patheffects import withStroke

    figure = axes.get_figure(root=True)
    if figure is None or len(words) == 0:
        return
    halo: Any = [withStroke(linewidth=2.6, foreground="white")]
    written = [
        axes.text(
            anchor[0],
            anchor[1],
            word,
            fontsize=size,
            color=colour,
            ha="center",
            va="center",
            fontweight="bold",
            path_effects=halo,
        )
        for anchor, word, colour in zip(anchors, words, colours, strict=True)
    ]
    for text in written:
        text.set_in_layout(False)
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in written]
    halves = np.array([[box.width / 2 + 2.0, box.height / 2 + 0.5] for box in boxes])
    frame = axes.get_window_extent()
    bounds = np.array([[frame.x0, frame.y0], [frame.x1, frame.y1]])
    pixels = np.asarray(axes.transData.transform(anchors), dtype=np.float64)
    held = np.empty((0, 2)) if around is None else np.asarray(axes.transData.transform(around)).reshape(-1, 2)
    everything = np.concatenate([pixels, held])
    centres = apart(everything, np.concatenate([halves, np.full_like(held, 9.0)]), bounds, len(held))[: len(pixels)]
    back = axes.transAxes.inverted()
    for text, centre, pixel, half, colour in zip(written, centres, pixels, halves, colours, strict=True):
        text.set_transform(axes.transAxes)
        text.set_position(cast("tuple[float, float]", tuple(back.transform(centre))))
        if np.any(np.abs(centre - pixel) > half + 3):
            edge = np.clip(pixel, centre - half + 2, centre + half - 2)
            (x0, y0), (x1, y1) = back.transform(np.stack([pixel, edge]))
            axes.plot([x0, x1], [y0, y1], color=colour, linewidth=0.7, alpha=0.8, transform=axes.transAxes, zorder=2.9)


def apart(wanted: Floats, halves: Floats, bounds: Floats, held: int = 0, rounds: int = 400) -> Floats:
    """Return box centres near `wanted` (n, 2) whose boxes (half sizes `halves`) overlap as little as can be.

    Overlapping pairs are pushed apart along the axis of their smaller overlap; boxes stay inside
    `bounds` ((x0, y0), (x1, y1)) where they fit. The last `held` boxes do not move. Deterministic.
    """
    low, high = bounds[0] + halves, np.maximum(bounds[1] - halves, bounds[0] + halves)
    turn = np.arange(len(wanted)) * 2.399963
    centres = np.clip(wanted + 0.5 * np.stack([np.cos(turn), np.sin(turn)], axis=1), low, high)
    reach = halves[:, None] + halves[None]
    order = np.sign(np.subtract.outer(np.arange(len(wanted)), np.arange(len(wanted))))[..., None]
    for step in range(rounds):
        gap = centres[:, None] - centres[None]
        overlap = reach - np.abs(gap)
        hit = (overlap > 0).all(axis=2) & (order[..., 0] != 0)
        if not hit.any():
            break
        along_x = overlap[..., 0] < overlap[..., 1]
        weight = np.where(np.stack([along_x, ~along_x], axis=2), 1.0, 0.2)
        push = weight * overlap * np.where(gap == 0, order, np.sign(gap))
        centres = centres + 0.5 * (push * hit[..., None]).sum(axis=1)
        if step < rounds // 2:
            centres += 0.003 * (wanted - centres)
        centres = np.clip(centres, low, high)
        centres[len(wanted) - held :] = wanted[len(wanted) - held :]
    return centres
