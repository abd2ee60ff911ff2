"""Cross-validation of a regressor for every gene, with intervals and a donor-permutation null."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from histo_assets.core.files import write_json
from histo_assets.core.prediction.adjustment import Effects
from histo_assets.core.prediction.covariates import PredictionError
from histo_assets.core.prediction.frames import (
    Frame,
    Samples,
    checked_samples,
    fold_frames,
    gene_blocks,
    out_of_fold,
    whole_frame,
)
from histo_assets.core.prediction.gene_regressor import GeneRegressor
from histo_assets.core.prediction.metrics import correlation
from histo_assets.core.prediction.paired_samples import PairedSamples
from histo_assets.core.prediction.regressors.regressor import RegressorSettings
from histo_assets.core.prediction.scoring import (
    GenePredictions,
    gene_figures,
    permutation_null,
    tissue_figures,
)
from histo_assets.core.prediction.settings import PredictionSettings
from histo_assets.core.progress import Progress, silent

Floats = NDArray[np.float64]
_ARRAYS = ("predictions", "baseline", "adjusted_baseline", "known")


@dataclass(frozen=True)
class CrossValidation:
    """The predictions of a regressor for samples that it has not seen, and their figures.

    Attributes
    ----------
    predictions
        (n, g) float32: rows of a fold by the model of the other folds, locked rows by that of all folds.
    baseline
        (n, g) float32: the mean of the row's tissue over the same training rows.
    adjusted_baseline
        (n, g) float32: `baseline` and the part of the covariates; `baseline` itself where there are none.
    known
        (n,) bool: rows of a tissue that training had seen; only these are judged.
    figures
        One row a gene, as `tables.GeneFigures` declares it.
    by_tissue
        One row a gene and tissue, as `tables.TissueGeneFigures` declares it.
    model
        The regressor fitted on all folds, which predicted the locked rows.
    notes
        What was left out, in sentences.
    """

    predictions: NDArray[np.float32]
    baseline: NDArray[np.float32]
    adjusted_baseline: NDArray[np.float32]
    known: NDArray[np.bool_]
    figures: pd.DataFrame
    by_tissue: pd.DataFrame
    model: GeneRegressor
    notes: tuple[str, ...]

    def write(self, folder: str | Path) -> None:
        """Write all of it to `folder`: the model's files, parquet tables, npz without objects, JSON."""
        from histo_assets.core.prediction.tables import GeneFigures, TissueGeneFigures
        from histo_assets.core.tables import write_table

        folder = Path(folder)
        self.model.write(folder / "model")
        write_table(self.figures, folder / "figures.parquet", GeneFigures)
        write_table(self.by_tissue, folder / "by_tissue.parquet", TissueGeneFigures)
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        np.savez(folder / "predictions.npz", **arrays)
        write_json(folder / "notes.json", self.notes)

    @classmethod
    def read(cls, folder: str | Path) -> CrossValidation:
        """Return what `write` put in `folder`."""
        from histo_assets.core.prediction.tables import GeneFigures, TissueGeneFigures
        from histo_assets.core.tables import read_pandas

        folder = Path(folder)
        model = GeneRegressor.read(folder / "model")
        try:
            with np.load(folder / "predictions.npz", allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in _ARRAYS}
            figures = read_pandas(folder / "figures.parquet", GeneFigures)
            by_tissue = read_pandas(folder / "by_tissue.parquet", TissueGeneFigures)
            notes = tuple(json.loads((folder / "notes.json").read_text()))
        except (OSError, KeyError, ValueError) as error:
            raise PredictionError(f"{folder} holds no whole cross-validation ({error}); fit it again") from None
        return cls(**arrays, figures=figures, by_tissue=by_tissue, model=model, notes=notes)


@dataclass(frozen=True)
class OutOfFold:
    """Predictions alone, of folds and locked rows (n, g) float32, as `CrossValidation` names them."""

    predictions: NDArray[np.float32]
    baseline: NDArray[np.float32]
    adjusted_baseline: NDArray[np.float32]
    known: NDArray[np.bool_]


def cross_validate(
    paired: PairedSamples,
    regressor: RegressorSettings,
    settings: PredictionSettings,
    progress: Progress = silent,
    *,
    workers: int = 1,
) -> CrossValidation:
    """Return out-of-fold predictions and figures of every gene.

    Everything fitted (tissue means, covariates, scale, components, penalties, trees) is fitted on the
    training donors of each fold alone, the penalty by generalised cross-validation inside them: the
    figures of the folds are those of a nested cross-validation. Locked rows choose nothing.

    Parameters
    ----------
    workers
        Processes that LightGBM's genes are dealt to.

    Raises
    ------
    PredictionError
        Sizes that do not agree, values that are not finite, a donor in two folds, fewer than two folds,
        too few rows, or a covariate that is the tissue under another name.
    """
    samples, notes = checked_samples(paired)
    Y, names = paired.Y, tuple(str(gene) for gene in paired.genes)
    if len(names) != Y.shape[1]:
        raise PredictionError(f"{len(names)} gene names were given for {Y.shape[1]} columns of expression")
    with regressor.learning(workers, settings.seed) as learn_image:
        frames = fold_frames(samples, learn_image)
        whole = whole_frame(samples, learn_image)
        progress(f"{len(frames)} folds and all of them: features adjusted and decomposed")
        oof, model = _predicted(frames, whole, Y, names, progress)
        progress("permuting donors")
        null = permutation_null(frames, samples, Y, oof.known, regressor, settings)
    predictions = GenePredictions(Y, oof.predictions, oof.baseline, oof.adjusted_baseline, oof.known, samples)
    figures = gene_figures(predictions, null, names, settings)
    figures["r_between"] = _between_tissues(model)
    figures = figures.assign(**model.image.gene_columns())
    by_tissue = tissue_figures(predictions, null, names)
    return CrossValidation(
        oof.predictions,
        oof.baseline,
        oof.adjusted_baseline,
        oof.known,
        figures,
        by_tissue,
        model,
        tuple(notes),
    )


def out_of_fold_predictions(
    X: NDArray[Any], Y: NDArray[Any], samples: Samples, regressor: RegressorSettings
) -> NDArray[np.float32]:
    """Return the out-of-fold predictions of a regressor on other features `X` of the same samples: (n, g)."""
    samples = replace(samples, X=np.asarray(X))
    with regressor.learning() as learn_image:
        frames, whole = fold_frames(samples, learn_image), whole_frame(samples, learn_image)
        names = tuple(str(number) for number in range(Y.shape[1]))
        return _predicted(frames, whole, Y, names, silent)[0].predictions


def _predicted(
    frames: Sequence[Frame], whole: Frame, Y: NDArray[Any], names: tuple[str, ...], progress: Progress
) -> tuple[OutOfFold, GeneRegressor]:
    """Return predictions of all rows and the regressor of the whole training side, gene block by gene block."""
    predictions, baseline, adjusted = (np.full(Y.shape, np.nan, dtype=np.float32) for _ in range(3))
    fits = []
    for block in gene_blocks(Y.shape[1]):
        values = np.asarray(Y[:, block], dtype=np.float64)
        tissue_means, adjusted_means, residual = out_of_fold(frames, values)
        fit = whole.learn(values, keep=True)
        tissue_means[whole.test], adjusted_means[whole.test] = fit.tissue, fit.adjusted
        residual[whole.test] = fit.residual
        baseline[:, block], adjusted[:, block] = tissue_means, adjusted_means
        predictions[:, block] = adjusted_means + residual
        fits.append(replace(fit, tissue=values[:0], adjusted=values[:0], residual=values[:0]))
        progress(f"{min(block.stop, Y.shape[1])} of {Y.shape[1]} genes predicted")
    known = np.zeros(len(Y), dtype=bool)
    for frame in [*frames, whole]:
        known[frame.test] = frame.known
    if not whole.rows.code.columns:
        adjusted = baseline
    expression = Effects(
        np.hstack([fit.effects.means for fit in fits]),
        np.hstack([fit.effects.slopes for fit in fits]),
    )
    models = [fit.model for fit in fits if fit.model is not None]
    model = GeneRegressor(names, whole.adjustment, expression, type(models[0]).joined(models))
    return OutOfFold(predictions, baseline, adjusted, known), model


def _between_tissues(model: GeneRegressor) -> Floats:
    """Return the correlation, over tissues, of the gene's mean with the within-tissue model's prediction of it.

    Negative where the relation inside tissues runs against that between them (Simpson's paradox).
    NaN for trees, which do not reach beyond what they were trained on, and for fewer than three tissues.
    """
    slopes = model.image.slopes()
    if slopes is None or len(model.tissues) < 3:
        return np.full(len(model.genes), np.nan)
    features, genes = model.adjustment.features.means, model.expression.means
    predicted = ((features - features.mean(axis=0)) / model.adjustment.scale) @ slopes
    return correlation(predicted - predicted.mean(axis=0), genes - genes.mean(axis=0))
