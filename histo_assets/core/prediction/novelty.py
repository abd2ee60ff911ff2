"""How far a new sample lies from everything that a regressor was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from histo_assets.core.prediction.covariates import PredictionError

NEIGHBORS = 3
THRESHOLD_PERCENTILE = 99.0


class Novelty(NamedTuple):
    """Distance of a new sample, the percentile of training samples that lie nearer to theirs, and the threshold.

    Distances are in units of the usual spread inside a tissue.
    """

    distance: float
    percentile: float
    threshold: float

    @property
    def unlike(self) -> bool:
        """Return whether the sample is unlike anything trained on."""
        return self.distance > self.threshold


def distance_to_training(train: NDArray[Any], tissues: Sequence[str] | NDArray[Any], new: NDArray[Any]) -> Novelty:
    """Return how far `new` lies from its nearest training samples, measured by how far those lie from theirs.

    The distance to the nearest neighbours tells what is out of distribution without assuming a shape
    (Sun et al., ICML 2022). The threshold is the 99th percentile of the training samples' own distances,
    each taken without itself.

    Parameters
    ----------
    train
        (n, k) components of the training samples.
    tissues
        (n,) labels, whose inner spread is the unit.
    new
        (k,) components of the new sample.
    """
    from scipy.spatial.distance import cdist

    points, labels = np.asarray(train, dtype=np.float64), np.asarray(tissues, dtype=str)
    row = np.asarray(new, dtype=np.float64).reshape(1, -1)
    if len(points) < 3 or row.shape[1] != points.shape[1] or len(labels) != len(points):
        raise PredictionError(
            f"a distance to training needs three labelled rows or more of as many components as the new one: "
            f"{points.shape} training components, {len(labels)} labels, {row.shape[1]} new components"
        )
    unit = _spread_inside(points, labels)
    neighbors = min(NEIGHBORS, len(points) - 1)
    among = cdist(points, points)
    np.fill_diagonal(among, np.inf)
    usual = np.sort(among, axis=1)[:, :neighbors].mean(axis=1) / unit
    distance = float(np.sort(cdist(row, points)[0])[:neighbors].mean() / unit)
    percentile = 100 * float((usual < distance).mean())
    return Novelty(distance, percentile, float(np.percentile(usual, THRESHOLD_PERCENTILE)))


def _spread_inside(points: NDArray[np.float64], labels: NDArray[Any]) -> float:
    """Return the root mean square distance of samples from their tissue's mean; of all, where that is zero."""
    _, index = np.unique(labels, return_inverse=True)
    member = (np.arange(index.max() + 1)[:, None] == index[None, :]).astype(np.float64)
    means = member @ points / member.sum(axis=1, keepdims=True)
    inside = float(np.sqrt(((points - means[index]) ** 2).sum(axis=1).mean()))
    overall = float(np.sqrt(((points - points.mean(axis=0)) ** 2).sum(axis=1).mean()))
    return inside or overall or 1.0
