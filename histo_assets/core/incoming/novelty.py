"""How far a new sample lies from everything that a study was trained on."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from histo_assets.core.prediction.covariates import PredictionError

NEIGHBORS = 3
THRESHOLD_PERCENTILE = 99.0


class Novelty(NamedTuple):
    """Distance of a new sample, the percentile of training samples that lie nearer to theirs, and the threshold.

    Distances are between embeddings of length one: 0 is the same direction, 1.41 a right angle.
    """

    distance: float
    percentile: float
    threshold: float

    @property
    def unlike(self) -> bool:
        """Return whether the sample is unlike anything trained on."""
        return self.distance > self.threshold


def distance_to_training(train: NDArray[Any], new: NDArray[Any]) -> Novelty:
    """Return how far `new` lies from its nearest training samples, measured by how far those lie from theirs.

    The distance to the nearest neighbours among embeddings of length one tells what is out of
    distribution without assuming a shape (Sun et al., ICML 2022). Whole embeddings are compared, not
    their principal components: what is new about a sample may lie where training samples do not vary.
    The threshold is the 99th percentile of the training samples' own distances, each taken without
    itself.

    Parameters
    ----------
    train
        (n, d) embeddings of the training samples.
    new
        (d,) embedding of the new sample.

    Raises
    ------
    PredictionError
        Fewer than three training samples, or another number of dimensions.
    """
    from scipy.spatial.distance import cdist

    points, row = _unit(np.asarray(train)), _unit(np.asarray(new).reshape(1, -1))
    if len(points) < 3 or row.shape[1] != points.shape[1]:
        raise PredictionError(
            f"a distance to training needs three rows or more of as many dimensions as the new one: "
            f"{points.shape} training embeddings, {row.shape[1]} dimensions of the new one"
        )
    neighbors = min(NEIGHBORS, len(points) - 1)
    among = cdist(points, points)
    np.fill_diagonal(among, np.inf)
    usual = np.sort(among, axis=1)[:, :neighbors].mean(axis=1)
    distance = float(np.sort(cdist(row, points)[0])[:neighbors].mean())
    percentile = 100 * float((usual < distance).mean())
    return Novelty(distance, percentile, float(np.percentile(usual, THRESHOLD_PERCENTILE)))


def _unit(rows: NDArray[Any]) -> NDArray[np.float64]:
    values = rows.astype(np.float64)
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    unit: NDArray[np.float64] = values / np.where(lengths > 0, lengths, 1.0)
    return unit
