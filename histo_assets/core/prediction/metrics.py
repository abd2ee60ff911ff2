"""Figures of a gene and how sure they are; the donor is the unit of every test and interval."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def share_explained(errors: Floats, spread: Floats) -> Floats:
    """Return 1 - errors / spread element by element; NaN where nothing varies."""
    with np.errstate(divide="ignore", invalid="ignore"):
        share: Floats = np.where(spread > 1e-12, 1 - errors / spread, np.nan)
    return share


def membership(groups: NDArray[Any]) -> Floats:
    """Return which row belongs to which group: (groups, n) of zeros and ones, groups sorted."""
    names, index = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    member: Floats = (np.arange(len(names))[:, None] == index[None, :]).astype(np.float64)
    return member


def centred_within(values: Floats, groups: NDArray[Any]) -> Floats:
    """Return `values` (n, g) less the mean of the row's group (its fold)."""
    member = membership(groups)
    centred: Floats = values - member.T @ ((member @ values) / member.sum(axis=1, keepdims=True))
    return centred


def correlation(first: Floats, second: Floats) -> Floats:
    """Return the correlation (g,) of columns that are centred already; NaN where one does not vary."""
    size = np.sqrt((first**2).sum(axis=0) * (second**2).sum(axis=0))
    with np.errstate(divide="ignore", invalid="ignore"):
        values: Floats = np.where(size > 1e-12, (first * second).sum(axis=0) / size, np.nan)
    return values


def studentised(contributions: Floats) -> Floats:
    """Return the sum over donors of `contributions` (donors, g) in units of its donor-robust error: (g,).

    A gene that goes with the donor has large contributions of either sign and stays small here.
    """
    size = np.sqrt((contributions**2).sum(axis=0))
    with np.errstate(divide="ignore", invalid="ignore"):
        values: Floats = np.where(size > 1e-12, contributions.sum(axis=0) / size, np.nan)
    return values


def upper_tail(statistics: Floats, null: Floats) -> Floats:
    """Return p = (1 + draws at or above) / (1 + draws) for each statistic; NaN stays NaN."""
    null = np.sort(null[np.isfinite(null)])
    above = len(null) - np.searchsorted(null, statistics, side="left")
    return np.where(np.isfinite(statistics), (1 + above) / (1 + len(null)), np.nan)


def benjamini_hochberg(p: Floats) -> Floats:
    """Return q values (Benjamini & Hochberg, J R Stat Soc B 1995); NaN stays NaN and is not counted."""
    from scipy.stats import false_discovery_control

    q, tested = np.full(len(p), np.nan), np.isfinite(p)
    if tested.any():
        q[tested] = false_discovery_control(p[tested])
    return q


def bootstrap_shares(errors: Floats, spread: Floats, bootstraps: int, seed: int) -> Floats:
    """Return 1 - errors / spread (bootstraps, g) when donors are drawn anew.

    Parameters
    ----------
    errors, spread
        (donors, g) sums of squares of each donor: of the prediction and of what it is measured against.
    """
    donors = len(errors)
    draws = np.random.default_rng(seed).multinomial(donors, np.full(donors, 1 / donors), size=bootstraps)
    return share_explained(draws @ errors, draws @ spread)


def percentile_interval(draws: Floats) -> tuple[Floats, Floats]:
    """Return the 2.5 % and 97.5 % points (g,), (g,) of `draws` (bootstraps, g); NaN where a draw is NaN."""
    known = np.isfinite(draws).all(axis=0)
    low, high = np.full(draws.shape[1], np.nan), np.full(draws.shape[1], np.nan)
    if known.any():
        low[known], high[known] = np.quantile(draws[:, known], [0.025, 0.975], axis=0)
    return low, high


def donor_signs(donors: NDArray[Any], draws: int, seed: int) -> Floats:
    """Return (draws, n) random signs, the same for all rows of a donor.

    Turning a donor's residuals around permutes its label against its image and keeps which tissues it gave
    and how they go together, which exchanging donors of different tissues would not (the wild cluster
    bootstrap with the null imposed: Cameron, Gelbach & Miller, Rev Econ Stat 2008).
    """
    names, index = np.unique(np.asarray(donors, dtype=str), return_inverse=True)
    signs: Floats = np.random.default_rng(seed).choice([-1.0, 1.0], size=(draws, len(names)))[:, index]
    return signs
