"""Storage tiles that a reduced level leaves empty while the finer level has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from histo_assets.core.slides.directory import StoredLevel


def fills_holes(levels: Sequence[StoredLevel]) -> bool:
    """Return whether a level of a pyramid, finest first, has an empty storage tile where the next finer has one."""
    finer: np.ndarray[Any, Any] | None = None
    found = False
    for number, level in enumerate(levels):
        stored = _stored(level)
        if stored is None:
            return False  # the directory is damaged, which is said elsewhere
        if finer is not None and not stored.all():
            filled = ~stored & _covered(finer, levels[number - 1], level)
            found = found or bool(filled.any())
            stored = stored | filled
        finer = stored
    return found


def _stored(level: StoredLevel) -> np.ndarray[Any, Any] | None:
    """Return which storage tiles a level has, (rows, columns) bool."""
    rows, columns = -(-level.height // level.tile_height), level.columns
    if len(level.lengths) != rows * columns * level.planes:
        return None
    return np.asarray((level.lengths.reshape(level.planes, rows, columns) > 0).any(axis=0))


def _covered(finer: np.ndarray[Any, Any], above: StoredLevel, level: StoredLevel) -> np.ndarray[Any, Any]:
    """Return which storage tiles of `level` lie over at least one that the level above it has."""
    total = np.pad(finer.astype(np.int64).cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    rows, columns = -(-level.height // level.tile_height), level.columns
    tops = np.minimum(np.arange(rows + 1) * level.tile_height, level.height) * above.height / level.height
    lefts = np.minimum(np.arange(columns + 1) * level.tile_width, level.width) * above.width / level.width
    y0, y1 = _range(tops, above.tile_height, finer.shape[0])
    x0, x1 = _range(lefts, above.tile_width, finer.shape[1])
    return np.asarray(total[np.ix_(y1, x1)] - total[np.ix_(y0, x1)] - total[np.ix_(y1, x0)] + total[np.ix_(y0, x0)] > 0)


def _range(edges: np.ndarray[Any, Any], side: int, most: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return the first and one past the last storage tile between neighbouring `edges`, pixels of their level."""
    first = np.clip(np.floor(edges[:-1] / side).astype(int), 0, most)
    last = np.clip(np.ceil(edges[1:] / side).astype(int), 0, most)
    return first, last
