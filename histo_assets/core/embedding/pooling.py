"""From tiles to slides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from histo_assets.core.networks.errors import LearningError

Matrix = npt.NDArray[np.float32]
Names = Sequence[str] | npt.NDArray[Any]


def pool_slides(embeddings: npt.NDArray[Any], slides: Names) -> tuple[list[str], Matrix]:
    """Return the slides, ascending, and the mean (s, d) of the embeddings (n, d) of each one's tiles.

    Means are taken in float64.

    Raises
    ------
    LearningError
        There are not as many slides as embeddings.
    """
    ids, means = _means(embeddings, slides)
    return ids, means.astype(np.float32)


def pool_log_probabilities(log_probabilities: npt.NDArray[Any], slides: Names) -> tuple[list[str], Matrix]:
    """Return the slides, ascending, and the log-probabilities (s, c) of each from those of its tiles (n, c).

    They are the mean over the tiles, scaled so that a slide's probabilities sum to one.

    Raises
    ------
    LearningError
        There are not as many slides as log-probabilities.
    """
    ids, means = _means(log_probabilities, slides)
    shifted = means - means.max(1, keepdims=True)
    return ids, (shifted - np.log(np.exp(shifted).sum(1, keepdims=True))).astype(np.float32)


def _means(values: npt.NDArray[Any], slides: Names) -> tuple[list[str], npt.NDArray[np.float64]]:
    if len(values) != len(slides):
        raise LearningError(f"{len(values)} tiles are to be pooled, but {len(slides)} slide ids are given")
    ids, group = np.unique(np.asarray(slides, dtype=str), return_inverse=True)
    order, starts = np.argsort(group, kind="stable"), np.cumsum(np.bincount(group, minlength=len(ids)))[:-1]
    means = [values[rows].mean(0, dtype=np.float64) for rows in np.split(order, starts)] if len(ids) else []
    return [str(slide) for slide in ids], np.reshape(means, (len(ids), values.shape[1]))
