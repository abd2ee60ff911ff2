"""One training side and the rows it predicts: features adjusted and decomposed once, then genes in any number."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from histo_assets.core.prediction.adjustment import Adjustment, Effects, TrainingRows
from histo_assets.core.prediction.covariates import PredictionError, usable_covariates
from histo_assets.core.prediction.paired_samples import PairedSamples
from histo_assets.core.prediction.regressors.regressor import Features, ImageModel, Learn
from histo_assets.core.prediction.spectrum import spectrum

Floats = NDArray[np.float64]
GENES_AT_ONCE = 2048


@dataclass(frozen=True)
class Samples:
    """The rows of a study: features, and who they are.

    Attributes
    ----------
    X
        (n, d) features, one row an RNA sample.
    donors, tissues
        (n,) str.
    folds
        (n,) int; -1 are locked donors.
    covariates
        The usable columns, n rows, or None.
    """

    X: NDArray[Any]
    donors: NDArray[Any]
    tissues: NDArray[Any]
    folds: NDArray[np.int64]
    covariates: pd.DataFrame | None

    def table(self, rows: NDArray[np.int64]) -> pd.DataFrame | None:
        """Return the covariates of `rows`."""
        return None if self.covariates is None else self.covariates.iloc[rows]


@dataclass(frozen=True)
class BlockFit:
    """What a frame learned about a block of genes: its prediction for the test rows (m, g), and how it comes about.

    `tissue` is the training tissues' mean, `adjusted` that with covariates, `residual` what the image adds.
    `model` gives the residual, where it was kept; `effects` the genes' tissue means and slopes.
    """

    tissue: Floats
    adjusted: Floats
    residual: Floats
    effects: Effects
    model: ImageModel | None


@dataclass(frozen=True)
class Frame:
    """A training side, adjusted, and the rows `test` that it predicts; `known` are of a tissue it has seen."""

    train: NDArray[np.int64]
    test: NDArray[np.int64]
    rows: TrainingRows
    adjustment: Adjustment
    weights: Floats
    design: Floats
    known: NDArray[np.bool_]
    features: Features
    learn_image: Learn

    def learn(self, Y: Floats, keep: bool = False) -> BlockFit:
        """Return the fit of genes `Y` (n, g, all rows) on the training rows, with its prediction for the test rows."""
        effects = self.rows.effects(Y[self.train])
        targets = self.rows.residuals(Y[self.train], effects)
        residual, model = self.learn_image(self.features, targets, keep)
        return BlockFit(self.weights @ effects.means, effects.of(self.weights, self.design), residual, effects, model)


def checked_samples(paired: PairedSamples) -> tuple[Samples, list[str]]:
    """Return the rows, checked, with the covariates that can be used, and notes on those that cannot."""
    X, Y, fold = np.asarray(paired.X), np.asarray(paired.Y), np.asarray(paired.folds, dtype=np.int64)
    donor, tissue = np.asarray(paired.donors, dtype=str), np.asarray(paired.tissues, dtype=str)
    sizes = {"features": len(X), "expression": len(Y), "donors": len(donor), "tissues": len(tissue), "folds": len(fold)}
    if paired.covariates is not None:
        sizes["covariates"] = len(paired.covariates)
    if len(set(sizes.values())) > 1:
        raise PredictionError(f"rows do not agree: {', '.join(f'{n} of {what}' for what, n in sizes.items())}")
    for what, matrix in (("features", X), ("expression", Y)):
        broken = np.flatnonzero(~np.isfinite(matrix).all(axis=1))
        if len(broken):
            raise PredictionError(
                f"{what} of row {broken[0]} (donor {donor[broken[0]]}) hold a value that is not finite"
            )
    sides = pd.DataFrame({"donor": donor, "fold": fold}).drop_duplicates()
    torn = sides.loc[sides["donor"].duplicated(), "donor"]
    if len(torn):
        raise PredictionError(f"donor {torn.iloc[0]} stands in more than one fold; split by donor")
    if len(np.unique(fold[fold >= 0])) < 2:
        raise PredictionError("cross-validation needs at least two folds of donors; lower split.test_share")
    usable, notes = usable_covariates(paired.covariates, tissue.tolist(), donor.tolist())
    return Samples(X, donor, tissue, fold, usable), notes


def make_frame(
    samples: Samples,
    train: NDArray[np.int64],
    test: NDArray[np.int64],
    learn_image: Learn,
) -> Frame:
    """Return the frame of rows `train` and `test`; everything in it is fitted on `train` alone."""
    rows = TrainingRows(samples.tissues[train], samples.donors[train], samples.table(train))
    if len(train) - rows.spent < 2:
        raise PredictionError(
            f"{len(train)} training rows are too few for {len(rows.tissues)} tissue means and "
            f"{rows.code.width} covariate columns; select more slides or name fewer covariates"
        )
    X = np.asarray(samples.X[train], dtype=np.float64)
    adjustment = rows.adjustment(X)
    basis = spectrum(adjustment.standardised(X, rows.onehot, rows.design)[0])
    weights = adjustment.weights(samples.tissues[test])
    design = adjustment.centred_design(samples.table(test), weights)
    known = adjustment.knows(samples.tissues[test])
    tested = adjustment.standardised(np.asarray(samples.X[test], dtype=np.float64), weights, design)[0]
    features = Features(basis, tested, rows.spent)
    return Frame(train, test, rows, adjustment, weights, design, known, features, learn_image)


def fold_frames(samples: Samples, learn_image: Learn) -> list[Frame]:
    """Return one frame a fold: learned on the other folds, tested on it; locked rows are in none."""
    used = samples.folds[samples.folds >= 0]
    return [
        make_frame(
            samples,
            np.flatnonzero((samples.folds >= 0) & (samples.folds != fold)),
            np.flatnonzero(samples.folds == fold),
            learn_image,
        )
        for fold in np.unique(used)
    ]


def whole_frame(samples: Samples, learn_image: Learn) -> Frame:
    """Return the frame learned on all folds and tested on the locked rows, if there are any."""
    return make_frame(samples, np.flatnonzero(samples.folds >= 0), np.flatnonzero(samples.folds < 0), learn_image)


def out_of_fold(frames: Sequence[Frame], Y: Floats) -> tuple[Floats, Floats, Floats]:
    """Return the prediction of each row by the frame that has not seen it: tissue mean, that with covariates, residual.

    All (n, g); rows in no frame are NaN.
    """
    tissue, adjusted, residual = (np.full(Y.shape, np.nan) for _ in range(3))
    for frame in frames:
        fit = frame.learn(Y)
        tissue[frame.test], adjusted[frame.test] = fit.tissue, fit.adjusted
        residual[frame.test] = fit.residual
    return tissue, adjusted, residual


def plain_baselines(
    samples: Samples, Y: NDArray[Any]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """Return the predictions by tissue alone, and by tissue and covariates, of rows that they were not learned on.

    (n, g) float32 each, and (n,) bool: rows of a tissue that was learned. Locked rows by all folds.
    """
    tissue, adjusted = (np.full(Y.shape, np.nan, dtype=np.float32) for _ in range(2))
    known = np.zeros(len(Y), dtype=bool)
    for fold in np.unique(samples.folds):
        train = np.flatnonzero((samples.folds >= 0) & (samples.folds != fold))
        test = np.flatnonzero(samples.folds == fold)
        rows = TrainingRows(samples.tissues[train], samples.donors[train], samples.table(train))
        nothing = rows.adjustment(np.zeros((len(train), 1)))
        weights = nothing.weights(samples.tissues[test])
        design = nothing.centred_design(samples.table(test), weights)
        known[test] = nothing.knows(samples.tissues[test])
        for block in gene_blocks(Y.shape[1]):
            effects = rows.effects(np.asarray(Y[train, block], dtype=np.float64))
            tissue[test, block], adjusted[test, block] = weights @ effects.means, effects.of(weights, design)
    return tissue, adjusted, known


def gene_blocks(genes: int) -> Iterator[slice]:
    """Yield slices of at most `GENES_AT_ONCE` genes."""
    for start in range(0, genes, GENES_AT_ONCE):
        yield slice(start, min(start + GENES_AT_ONCE, genes))
