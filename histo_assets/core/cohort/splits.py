"""Donors on the sides of a split: locked for the test, one fold for validation, the others for training."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
import pandas as pd
import polars as pl

from histo_assets.core.cohort.errors import CohortError
from histo_assets.core.cohort.selection import stable_hash
from histo_assets.core.cohort.settings import SplitSettings

LOCKED = -1
# With fewer locked donors a locked test decides little (see `split_regime`).
ENOUGH_LOCKED_DONORS = 60
_STARTS = 20

Labels = npt.NDArray[np.int64]
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class SplitRegime:
    """What a split can decide.

    Attributes
    ----------
    regime
        What decides: `locked donors` or `nested cross-validation`.
    donors, locked_donors
        How many donors there are, and how many of them are locked for the test.
    donors_per_tissue
        Tissue -> side ('train', 'validation', 'test') -> donors.
    detectable_locked, detectable_out_of_fold
        The smallest r2_within (0 to 1) that would be seen on locked donors and on the others, None where slides are
        too few for any.
    approximation
        How these were reckoned.
    """

    regime: str
    donors: int
    locked_donors: int
    donors_per_tissue: dict[str, dict[str, int]]
    detectable_locked: float | None
    detectable_out_of_fold: float | None
    approximation: str


def split_donors(selected: pd.DataFrame, settings: SplitSettings) -> pd.DataFrame:
    """Return the side of every donor of the study.

    `test_share` of the donors are locked: the first by hash, then exchanged until every tissue has about its share of
    them, at least one, and keeps two others where it has enough donors; where the share is too small to reach every
    tissue of three donors or more, donors are added. The others go into folds by scikit-learn's `StratifiedGroupKFold`
    (groups are donors, strata tissues), and the validation fold exchanges donors in the same way. Neither depends on
    the order of rows.
    A split by tile gets the same table: it is what regressors are cross-validated by, the tiles are drawn later.

    Parameters
    ----------
    selected
        slide, donor, tissue of the selected slides of all tissues.
    settings
        Shares, folds and seed.

    Returns
    -------
    pandas.DataFrame
        donor, fold (int, -1 for locked), side ('test', 'validation', 'train'), slides (int), sorted by donor.

    Raises
    ------
    CohortError
        There are fewer donors than folds need, or no such validation fold.
    """
    if not 0 <= settings.validation_fold < settings.folds:
        raise CohortError(
            f"`split.validation_fold` is {settings.validation_fold}, but the folds are 0 to {settings.folds - 1}"
        )
    counts = pd.crosstab(selected["donor"], selected["tissue"]).sort_index()
    present = (counts.to_numpy() > 0).astype(np.int64)
    donors = [str(donor) for donor in counts.index]
    fold = _locked(donors, present, settings)
    free = fold != LOCKED
    if free.sum() < settings.folds:
        raise CohortError(
            f"{len(donors)} donors leave {free.sum()} beside the locked ones, too few for {settings.folds} folds; "
            f"lower `split.folds` or `split.test_share`, or select more donors"
        )
    folds = _folds(selected[selected["donor"].isin(counts.index[free])], settings)
    low, high = _bounds(present[free].sum(axis=0), 1 / settings.folds, spare=1)
    fold[free] = _spread(folds, settings.validation_fold, present[free], low, high)
    side = np.where(fold == LOCKED, "test", np.where(fold == settings.validation_fold, "validation", "train"))
    return pd.DataFrame(
        {"donor": donors, "fold": fold, "side": side.astype(object), "slides": counts.to_numpy().sum(axis=1)}
    )


def _locked(donors: list[str], present: Counts, settings: SplitSettings) -> Labels:
    """Return -1 for every locked donor, else 0: of several starts the one that misses the bounds least."""
    labels = np.zeros(len(donors), dtype=np.int64)
    if settings.test_share == 0:
        return labels
    wanted = max(1, math.floor(settings.test_share * len(donors) + 0.5))
    low, high = _bounds(present.sum(axis=0), settings.test_share, spare=2)
    least: int | None = None
    for start in range(_STARTS):
        order = np.argsort([stable_hash(settings.seed, start, donor) for donor in donors], kind="stable")
        trial = np.zeros(len(donors), dtype=np.int64)
        trial[order[:wanted]] = LOCKED
        trial = _spread(trial, LOCKED, present, low, high)
        missed = int(_missed(present[trial == LOCKED].sum(axis=0), low, high))
        if least is None or missed < least:
            least, labels = missed, trial
        if missed == 0:
            break
    return _with_more_locked(labels, present, settings)


def _with_more_locked(labels: Labels, present: Counts, settings: SplitSettings) -> Labels:
    """Return the labels with a donor added to the locked ones for every tissue of three or more that has none."""
    labels, total = labels.copy(), present.sum(axis=0)
    low, high = _bounds(total, settings.test_share, spare=2)
    while (labels != LOCKED).sum() > settings.folds:
        inside = present[labels == LOCKED].sum(axis=0)
        without = (inside == 0) & (total >= 3)
        if not without.any():
            break
        helpful = np.flatnonzero((labels != LOCKED) & (present[:, without] > 0).any(axis=1))
        labels[helpful[_missed(inside + present[helpful], low, high).argmin()]] = LOCKED
    return labels


def _bounds(total: Counts, share: float, spare: int) -> tuple[Counts, Counts]:
    """Return the fewest and the most donors of each tissue that a side with `share` of all donors should have.

    Half to one and a half times its share; at least one where the tissue has two donors, and never so many that
    fewer than `spare` stay outside, where it has that many to give.
    """
    most = total - np.minimum(spare, np.maximum(total - 1, 1))
    low = np.maximum(np.floor(0.5 * share * total), total >= 2).astype(np.int64)
    high = np.clip(np.ceil(1.5 * share * total), low, most).astype(np.int64)
    return np.minimum(low, high), high


def _spread(labels: Labels, label: int, present: Counts, low: Counts, high: Counts) -> Labels:
    """Return the labels after exchanging donors until every tissue has `low` to `high` of them inside `label`.

    Each exchange is the one that mends most; where none mends anything, what is left cannot be had this way.
    """
    labels = labels.copy()
    while True:
        inside, outside = np.flatnonzero(labels == label), np.flatnonzero(labels != label)
        counts = present[inside].sum(axis=0)
        missed = int(_missed(counts, low, high))
        if missed == 0 or not len(inside) or not len(outside):
            return labels
        after = np.stack([_missed(counts - present[i] + present[outside], low, high) for i in inside])
        i, o = np.unravel_index(after.argmin(), after.shape)
        if after[i, o] >= missed:
            return labels
        labels[inside[i]], labels[outside[o]] = labels[outside[o]], labels[inside[i]]


def _missed(inside: Counts, low: Counts, high: Counts) -> Counts:
    """Return by how many donors the tissues miss their bounds in all; `inside`: (..., tissues)."""
    return np.asarray((np.maximum(low - inside, 0) + np.maximum(inside - high, 0)).sum(axis=-1), dtype=np.int64)


def _folds(selected: pd.DataFrame, settings: SplitSettings) -> Labels:
    """Return the fold of every donor, in the order of their names."""
    from sklearn.model_selection import StratifiedGroupKFold

    rows = selected.sort_values(["donor", "slide"])
    donor, names = pd.factorize(rows["donor"])
    tissue = pd.factorize(rows["tissue"], sort=True)[0]
    if np.bincount(tissue).max() < settings.folds:
        tissue = np.zeros_like(tissue)
    splitter = StratifiedGroupKFold(settings.folds, shuffle=True, random_state=settings.seed)
    folds = np.full(len(names), -1, dtype=np.int64)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class", category=UserWarning)
        for number, (_, held_out) in enumerate(splitter.split(donor, tissue, groups=donor)):
            folds[donor[held_out]] = number
    while (missing := np.setdiff1d(np.arange(settings.folds), folds)).size:
        fullest = np.bincount(folds).argmax()
        folds[np.flatnonzero(folds == fullest)[-1]] = missing[0]
    return folds


def leaking_donors(table: pd.DataFrame | pl.DataFrame) -> list[str]:
    """Return the donors that stand on more than one side of a table with `donor` and `side`, sorted."""
    sides: dict[str, set[str]] = {}
    for donor, side in set(zip(table["donor"].to_list(), table["side"].to_list(), strict=True)):
        if side is not None:
            sides.setdefault(donor, set()).add(side)
    return sorted(donor for donor, found in sides.items() if len(found) > 1)


def split_regime(split: pd.DataFrame, selected: pd.DataFrame) -> SplitRegime:
    """Return what a split can decide: donors on each side, and the smallest r2_within that would be seen.

    With 60 locked donors or more the locked test decides, with fewer nested cross-validation.
    The detectable r2_within is that of a correlation seen with 80 % power (Fisher's z; Cohen, Statistical Power
    Analysis, 1988, ch. 3), one slide counted as one observation, at a one-sided level of 0.0004. That level stands for
    what a recoverable gene must pass (q < 0.05 among hundreds of genes and an interval above 0); it reproduces the
    simulated power of a perfect predictor at r2_within .18 (45 % with 54 slides of 9 donors, 34 % with 45 of 45).

    Parameters
    ----------
    split
        What `split_donors` returned.
    selected
        slide, donor, tissue of the selected slides of all tissues.
    """
    sided = selected.merge(split[["donor", "side"]], on="donor")
    donors = sided.groupby(["tissue", "side"])["donor"].nunique().unstack(fill_value=0)
    donors = donors.reindex(columns=["train", "validation", "test"], fill_value=0)
    locked = int((split["side"] == "test").sum())
    enough = locked >= ENOUGH_LOCKED_DONORS
    return SplitRegime(
        regime="locked donors" if enough else "nested cross-validation",
        donors=len(split),
        locked_donors=locked,
        donors_per_tissue={
            str(tissue): {str(side): int(count) for side, count in row.items()} for tissue, row in donors.iterrows()
        },
        detectable_locked=detectable_r2(int((sided["side"] == "test").sum())),
        detectable_out_of_fold=detectable_r2(int((sided["side"] != "test").sum())),
        approximation="Fisher's z, 80 % power, one slide one observation, one-sided level 0.0004",
    )


def detectable_r2(slides: int, power: float = 0.8, level: float = 0.0004) -> float | None:
    """Return the smallest r2 of a correlation over `slides` that is seen with `power`; None where there are too few.

    >>> round(detectable_r2(306), 3), detectable_r2(4)
    (0.056, None)
    """
    if slides < 5:
        return None
    normal = NormalDist()
    z = (normal.inv_cdf(1 - level) + normal.inv_cdf(power)) / math.sqrt(slides - 3)
    return math.tanh(z) ** 2
