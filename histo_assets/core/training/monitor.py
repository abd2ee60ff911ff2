"""Loss and accuracy after every epoch, and what weighs a class. Imports torch: import this inside functions."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from torch import Tensor

from histo_assets.core.networks.pixels import Positions, TilePixels, batch_plan, plain
from histo_assets.core.training.learner import Learner

Labels = npt.NDArray[np.int64]
Matrix = npt.NDArray[np.float32]

MOST_TRAIN_TILES = 512
KEPT_MAPS_BYTES = 1 << 29


class Monitor:
    """Tiles of which a network is asked after every epoch, as they are, without augmentation.

    What the frozen stages make of them never changes and is kept where it fits into memory.
    `rows` are positions in `pixels`; `targets` (n,) int64 the labels of all of its tiles.
    """

    def __init__(self, learner: Learner, pixels: TilePixels, targets: Labels, rows: Positions, batch_size: int) -> None:
        self._learner, self._pixels = learner, pixels
        self.rows, self._targets = rows, targets[rows]
        self._plan = batch_plan(rows, batch_size)
        self._kept: dict[int, Tensor] = {}

    def log_probabilities(self) -> Matrix:
        """Return the log-probabilities of each row now, in evaluation mode: (rows, classes) float32."""
        batches = [self._learner.log_probabilities(self._maps(number)).numpy() for number in range(len(self._plan))]
        return np.concatenate(batches) if batches else np.empty((0, self._learner.network.n_classes), np.float32)

    def loss_and_accuracy(self, log_probabilities: Matrix) -> tuple[float, float]:
        """Return mean cross-entropy (nats, classes unweighted) and accuracy, both NaN where there is no tile."""
        if not len(self.rows):
            return math.nan, math.nan
        of_truth = log_probabilities[np.arange(len(self.rows)), self._targets]
        right = log_probabilities.argmax(1) == self._targets
        return float(-of_truth.mean(dtype=np.float64)), float(right.mean())

    def _maps(self, number: int) -> Tensor:
        if number in self._kept:
            return self._kept[number]
        backbone = self._learner.network.backbone
        maps = self._learner.frozen_maps(plain(self._pixels.read(self._plan[number]), backbone))
        if self._learner.has_frozen_stages and maps.nbytes * len(self._plan) <= KEPT_MAPS_BYTES:
            self._kept[number] = maps
        return maps


def class_weights(training_set: pl.DataFrame, classes: int) -> Tensor:
    """Return weights (classes,) float32, inverse to a class's training tiles and one on average over all tiles."""
    labels = training_set.filter(pl.col("side") == "train")["label"].to_numpy()
    counts = np.bincount(labels, minlength=classes)
    weights = np.where(counts > 0, len(labels) / np.maximum(counts, 1) / np.count_nonzero(counts), 0.0)
    return torch.tensor(weights, dtype=torch.float32)


def train_sample(training_set: pl.DataFrame, seed: int) -> Positions:
    """Return the rows of at most 512 training tiles, ascending; the same in every epoch and experiment."""
    rows = np.flatnonzero(training_set["side"].to_numpy() == "train")
    if len(rows) > MOST_TRAIN_TILES:
        rows = np.random.default_rng(seed).choice(rows, MOST_TRAIN_TILES, replace=False)
    return np.sort(rows)
