"""The part of tissue and covariates in features and in expression, learned on training rows and taken off both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from histo_assets.core.prediction.covariates import CovariateCode, PredictionError, fit_code

CLIP = 5.0
"""Standardised features beyond this many standard deviations are cut off."""
SCALE_FLOOR = 0.1
"""Least standard deviation of a feature, as a share of the median one: near-constant channels stay small."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Effects:
    """Tissue means (t, m) and covariate slopes (c, m) of m features or genes."""

    means: Floats
    slopes: Floats

    def of(self, weights: Floats, design: Floats) -> Floats:
        """Return the part of tissue `weights` (n, t) and centred `design` (n, c): (n, m)."""
        means = weights @ self.means
        return means + design @ self.slopes if self.slopes.size else means


@dataclass(frozen=True)
class Adjustment:
    """Tissues and covariates of the training rows, and the features' part in them.

    Attributes
    ----------
    tissues
        Those with training rows, sorted; `shares` (t,) of the training rows.
    code, design_means
        Coding of covariates and the mean design (t, c) of each tissue.
    features
        Effects on the features (d); `scale` (d,) the standard deviation of what is left, floored.
    """

    tissues: tuple[str, ...]
    shares: Floats
    code: CovariateCode
    design_means: Floats
    features: Effects
    scale: Floats

    def knows(self, tissues: NDArray[Any]) -> NDArray[np.bool_]:
        """Return which of the named tissues (n,) have training rows."""
        return np.isin(np.asarray(tissues, dtype=str), np.array(self.tissues, dtype=str))

    def weights(self, tissues: NDArray[Any]) -> Floats:
        """Return (n, t) weights of named tissues; one without training rows gets the training shares."""
        known = np.asarray(tissues, dtype=str)[:, None] == np.array(self.tissues, dtype=str)[None, :]
        return np.where(known.any(axis=1, keepdims=True), known.astype(np.float64), self.shares)

    def blended(self, probabilities: NDArray[Any] | pd.DataFrame) -> Floats:
        """Return (n, t) weights that sum to one from tissue probabilities.

        A DataFrame has one column a tissue, in any order, and may name further tissues; an array has the
        columns of `tissues`. What falls on tissues that are not known is given to the others in proportion.
        """
        if isinstance(probabilities, pd.DataFrame):
            lacking = [tissue for tissue in self.tissues if tissue not in probabilities]
            if lacking:
                raise PredictionError(f"no probability of tissue {lacking[0]!r} was given, which the regressor knows")
            probabilities = probabilities[list(self.tissues)].to_numpy()
        weights = np.atleast_2d(np.asarray(probabilities, dtype=np.float64))
        if weights.shape[1] != len(self.tissues):
            raise PredictionError(
                f"{weights.shape[1]} tissue probabilities were given, the regressor knows {len(self.tissues)} tissues"
            )
        total = weights.sum(axis=1, keepdims=True)
        return np.where(total > 1e-12, weights / np.where(total > 1e-12, total, 1.0), self.shares)

    def centred_design(self, table: pd.DataFrame | None, weights: Floats) -> Floats:
        """Return the design (n, c) less the tissue's mean; without a table, samples are average: zeros."""
        if table is None:
            return np.zeros((len(weights), self.code.width))
        return self.code.design(table, len(weights)) - weights @ self.design_means

    def standardised(self, X: NDArray[Any], weights: Floats, design: Floats) -> tuple[Floats, NDArray[np.bool_]]:
        """Return features (n, d) less the part of tissue and covariates, in clipped deviations, and where clipped."""
        if X.ndim != 2 or X.shape[1] != len(self.scale):
            raise PredictionError(f"features of shape {X.shape} do not fit a regressor of {len(self.scale)} features")
        deviations = (X - self.features.of(weights, design)) / self.scale
        clipped = np.abs(deviations) >= CLIP
        return np.clip(deviations, -CLIP, CLIP), clipped


class TrainingRows:
    """The training rows' tissues and covariates, ready to take their effects off any matrix of those rows."""

    def __init__(self, tissues: NDArray[Any], donors: NDArray[Any], covariates: pd.DataFrame | None):
        names, index = np.unique(np.asarray(tissues, dtype=str), return_inverse=True)
        self.tissues = tuple(str(name) for name in names)
        self.onehot = (index[:, None] == np.arange(len(names))).astype(np.float64)
        counts = self.onehot.sum(axis=0)
        self.averaging = self.onehot.T / counts[:, None]
        self.shares = counts / counts.sum()
        self.code = fit_code(covariates, donors)
        design = self.code.design(covariates, len(index))
        self.design_means = self.averaging @ design
        self.design = design - self.onehot @ self.design_means
        self.inverse = np.linalg.pinv(self.design, rcond=1e-8) if design.size else np.zeros((0, len(index)))
        covariate_rank = int(np.linalg.matrix_rank(self.design)) if design.size else 0
        self.spent = len(names) + covariate_rank
        """Degrees of freedom that tissue means and covariates have used up."""

    def effects(self, values: Floats) -> Effects:
        """Return tissue means and covariate slopes of `values` (n, m)."""
        means = self.averaging @ values
        slopes = self.inverse @ (values - self.onehot @ means) if len(self.inverse) else np.zeros((0, values.shape[1]))
        return Effects(means, slopes)

    def residuals(self, values: Floats, effects: Effects) -> Floats:
        """Return `values` (n, m) less their `effects`."""
        return values - effects.of(self.onehot, self.design)

    def adjustment(self, X: Floats) -> Adjustment:
        """Return the adjustment of features `X` (n, d) of these rows."""
        effects = self.effects(X)
        spread = self.residuals(X, effects).std(axis=0)
        varying = spread[spread > 0]
        floor = SCALE_FLOOR * float(np.median(varying)) if len(varying) else 1.0
        return Adjustment(self.tissues, self.shares, self.code, self.design_means, effects, np.maximum(spread, floor))
