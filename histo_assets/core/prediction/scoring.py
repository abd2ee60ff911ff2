"""Figures of every gene from out-of-fold predictions, tested against donors sign-flipped at random."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from histo_assets.core.prediction.frames import Frame, Samples, gene_blocks, out_of_fold
from histo_assets.core.prediction.metrics import (
    benjamini_hochberg,
    bootstrap_shares,
    centred_within,
    correlation,
    donor_signs,
    membership,
    percentile_interval,
    share_explained,
    studentised,
    upper_tail,
)
from histo_assets.core.prediction.regressors.regressor import RegressorSettings
from histo_assets.core.prediction.settings import PredictionSettings

Floats = NDArray[np.float64]
LOCKED_GENES = 100
"""Genes whose locked donors are sign-flipped; their statistics are pooled, as they are studentised."""
COLUMNS_AT_ONCE = 4096
TISSUE_MINIMUM = 20
"""Least number of rows of a tissue for q values of its own."""


@dataclass(frozen=True)
class GenePredictions:
    """Measured and predicted expression of all rows, and who they are."""

    measured: NDArray[Any]
    predicted: NDArray[np.float32]
    baseline: NDArray[np.float32]
    adjusted_baseline: NDArray[np.float32]
    known: NDArray[np.bool_]
    samples: Samples

    def side(self, locked: bool) -> NDArray[np.int64]:
        """Return the rows that are scored: of the folds, or of locked donors."""
        return np.flatnonzero(self.known & ((self.samples.folds < 0) == locked))

    def residuals(self, rows: NDArray[np.int64], block: slice) -> tuple[Floats, Floats]:
        """Return the residuals of expression, and of its prediction, over tissue and covariates: (m, g) each."""
        adjusted = self.adjusted_baseline[rows, block].astype(np.float64)
        return self.measured[rows, block] - adjusted, self.predicted[rows, block] - adjusted


@dataclass(frozen=True)
class Null:
    """Statistics of genes whose donors were sign-flipped: pooled, and in tissues with enough rows."""

    pooled: Floats
    tissues: dict[str, Floats]


def permutation_null(
    frames: Sequence[Frame],
    samples: Samples,
    Y: NDArray[Any],
    known: NDArray[np.bool_],
    regressor: RegressorSettings,
    settings: PredictionSettings,
) -> Null:
    """Return the statistics that genes show when donors are sign-flipped and everything is fitted anew.

    Refitting matters: out-of-fold predictions share training rows, so signs put on fitted predictions
    would call null genes significant too often.
    """
    generator = np.random.default_rng(settings.seed)
    rows = np.flatnonzero(samples.folds >= 0)
    varying = np.flatnonzero(Y[rows].std(axis=0) > 1e-9)
    if not len(varying):
        return Null(np.zeros(0), {})
    count = min(len(varying), regressor.null_genes(Y.shape[1]))
    signs = donor_signs(samples.donors, settings.permutations, settings.seed)
    at_once = max(1, COLUMNS_AT_ONCE // count)
    shared = generator.choice(varying, count, replace=False)
    drawn = [generator.choice(varying, count, replace=False) if regressor.redraws else shared for _ in signs]
    pooled: list[Floats] = []
    by_tissue: dict[str, list[Floats]] = {tissue: [] for tissue in _large_tissues(samples, known)}
    for start in range(0, len(signs), at_once):
        batch = range(start, min(start + at_once, len(signs)))
        flipped = np.hstack([signs[at][:, None] * _centred_in_tissue(Y[:, drawn[at]], samples) for at in batch])
        _, adjusted, residual = out_of_fold(frames, flipped)
        scored = np.flatnonzero(known & (samples.folds >= 0))
        products = _products((flipped - adjusted)[scored], residual[scored], samples.folds[scored])
        pooled.append(_statistic(products, samples.donors[scored]))
        for tissue, draws in by_tissue.items():
            inside = samples.tissues[scored] == tissue
            draws.append(_statistic(products[inside], samples.donors[scored][inside]))
    return Null(np.concatenate(pooled), {tissue: np.concatenate(draws) for tissue, draws in by_tissue.items()})


def gene_figures(
    predictions: GenePredictions, null: Null, names: tuple[str, ...], settings: PredictionSettings
) -> pd.DataFrame:
    """Return one row a gene.

    gene; r2 (over all rows, across tissues); r2_tissue (that of the tissue mean alone); r2_within, _low, _high
    (1 - SSE / SSE of tissue mean and covariates; interval over donors); r_within (correlation of residuals,
    centred within fold); rmse; p, q (donors sign-flipped, refitted; Benjamini-Hochberg over genes). The same of
    locked donors with `_locked`; there p comes from flipping the signs of the donors' contributions, as nothing is
    refitted. `direction`: whether r_within of locked donors has the sign of the folds' (`same`, `opposed`, '').
    """
    folds = _side_figures(predictions, predictions.side(locked=False), len(names), settings)
    folds["p"] = upper_tail(folds["statistic"].to_numpy(), null.pooled)
    locked_rows = predictions.side(locked=True)
    locked = _side_figures(predictions, locked_rows, len(names), settings)
    locked["p"] = upper_tail(
        locked["statistic"].to_numpy(), _sign_flipped_statistics(predictions, locked_rows, len(names), settings)
    )
    for table in (folds, locked):
        table["q"] = benjamini_hochberg(table["p"].to_numpy())
        del table["statistic"]
    figures = pd.concat([folds, locked.add_suffix("_locked")], axis=1)
    signs = np.sign(figures["r_within"]) * np.sign(figures["r_within_locked"])
    figures["direction"] = np.select([signs > 0, signs < 0], ["same", "opposed"], default="")
    figures.insert(0, "gene", list(names))
    return figures


def tissue_figures(predictions: GenePredictions, null: Null, names: tuple[str, ...]) -> pd.DataFrame:
    """Return one row a gene and tissue of the folds: gene, tissue, n, r (Pearson), rmse, p, q.

    p and q only where the tissue has at least 20 rows, Benjamini-Hochberg within the tissue.
    """
    rows = predictions.side(locked=False)
    labels, frames = predictions.samples.tissues[rows], []
    for tissue in np.unique(labels):
        inside = rows[labels == tissue]
        r, rmse, statistic = (np.full(len(names), np.nan) for _ in range(3))
        for block in gene_blocks(len(names)):
            measured, predicted = predictions.residuals(inside, block)
            rmse[block] = np.sqrt(((measured - predicted) ** 2).mean(axis=0))
            r[block] = correlation(measured - measured.mean(axis=0), predicted - predicted.mean(axis=0))
            products = _products(measured, predicted, predictions.samples.folds[inside])
            statistic[block] = _statistic(products, predictions.samples.donors[inside])
        tested = str(tissue) in null.tissues
        p = upper_tail(statistic, null.tissues[str(tissue)]) if tested else np.full(len(names), np.nan)
        frames.append(
            pd.DataFrame(
                {
                    "gene": list(names),
                    "tissue": str(tissue),
                    "n": len(inside),
                    "r": r if len(inside) > 2 else np.nan,
                    "rmse": rmse,
                    "p": p,
                    "q": benjamini_hochberg(p),
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


def _side_figures(
    predictions: GenePredictions, rows: NDArray[np.int64], genes: int, settings: PredictionSettings
) -> pd.DataFrame:
    kinds = ("r2", "r2_tissue", "r2_within", "r2_within_low", "r2_within_high", "r_within", "rmse", "statistic")
    columns = {kind: np.full(genes, np.nan) for kind in kinds}
    donors, folds = predictions.samples.donors[rows], predictions.samples.folds[rows]
    for block in gene_blocks(genes) if len(rows) else ():
        measured, predicted = predictions.residuals(rows, block)
        errors, spread = (measured - predicted) ** 2, measured**2
        values = np.asarray(predictions.measured[rows, block], dtype=np.float64)
        whole = ((values - values.mean(axis=0)) ** 2).sum(axis=0)
        tissue_errors = ((values - predictions.baseline[rows, block]) ** 2).sum(axis=0)
        member = membership(donors)
        columns["r2"][block] = share_explained(errors.sum(axis=0), whole)
        columns["r2_tissue"][block] = share_explained(tissue_errors, whole)
        columns["r2_within"][block] = share_explained(errors.sum(axis=0), spread.sum(axis=0))
        shares = bootstrap_shares(member @ errors, member @ spread, settings.bootstraps, settings.seed)
        columns["r2_within_low"][block], columns["r2_within_high"][block] = percentile_interval(shares)
        columns["r_within"][block] = correlation(centred_within(measured, folds), centred_within(predicted, folds))
        columns["rmse"][block] = np.sqrt(errors.mean(axis=0))
        columns["statistic"][block] = _statistic(_products(measured, predicted, folds), donors)
    return pd.DataFrame(columns)


def _sign_flipped_statistics(
    predictions: GenePredictions, rows: NDArray[np.int64], genes: int, settings: PredictionSettings
) -> Floats:
    """Return statistics of locked rows with the donors' contributions sign-flipped, of a sample of genes."""
    if not len(rows):
        return np.zeros(0)
    donors, member = predictions.samples.donors[rows], membership(predictions.samples.donors[rows])
    stride = max(1, genes // LOCKED_GENES)
    measured, predicted = predictions.residuals(rows, slice(0, genes, stride))
    contributions = member @ _products(measured, predicted, predictions.samples.folds[rows])
    signs = donor_signs(np.unique(donors), settings.permutations, settings.seed)
    size = np.sqrt((contributions**2).sum(axis=0))
    varying = size > 1e-12
    statistics: Floats = (signs @ contributions[:, varying] / size[varying]).ravel()
    return statistics


def _products(measured: Floats, predicted: Floats, folds: NDArray[np.int64]) -> Floats:
    """Return row by row how far prediction and measurement go together, both centred within fold."""
    return centred_within(measured, folds) * centred_within(predicted, folds)


def _statistic(products: Floats, donors: NDArray[Any]) -> Floats:
    return studentised(membership(donors) @ products)


def _centred_in_tissue(values: NDArray[Any], samples: Samples) -> Floats:
    """Return `values` (n, g) less tissue mean and covariates over the folds' rows; locked rows are zero."""
    from histo_assets.core.prediction.adjustment import TrainingRows

    rows = np.flatnonzero(samples.folds >= 0)
    training = TrainingRows(samples.tissues[rows], samples.donors[rows], samples.table(rows))
    fitted = np.asarray(values[rows], dtype=np.float64)
    centred = np.zeros(values.shape)
    centred[rows] = training.residuals(fitted, training.effects(fitted))
    return centred


def _large_tissues(samples: Samples, known: NDArray[np.bool_]) -> list[str]:
    names, counts = np.unique(samples.tissues[known & (samples.folds >= 0)], return_counts=True)
    return [str(name) for name, count in zip(names, counts, strict=True) if count >= TISSUE_MINIMUM]
