"""Methods side by side on the same samples, and the genes that are recoverable from images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from histo_assets.core.prediction.clusters import cluster_average
from histo_assets.core.prediction.covariates import PredictionError
from histo_assets.core.prediction.crossval import out_of_fold_predictions
from histo_assets.core.prediction.frames import Samples, checked_samples, gene_blocks, plain_baselines
from histo_assets.core.prediction.metrics import bootstrap_shares, membership, share_explained
from histo_assets.core.prediction.paired_samples import PairedSamples
from histo_assets.core.prediction.regressors.ridge import RidgeSettings
from histo_assets.core.prediction.settings import PredictionSettings

Floats = NDArray[np.float64]
LOCKED_DONORS = 60
"""With fewer locked donors a locked test decides little; nested cross-validation decides then."""


def recoverable_genes(figures: pd.DataFrame, locked_donors: int, settings: PredictionSettings) -> pd.DataFrame:
    """Return for every gene whether it is recoverable from images, and why not where it is not.

    A gene is recoverable where q < `max_q`, the lower bound of r2_within is above zero and r2_within is at
    least `min_r2_within`. With `LOCKED_DONORS` locked donors or more, the folds choose each gene's regressor
    and the locked donors decide. With fewer, nested cross-validation decides, and the regressor is the first
    of the study for every gene: what chose must not report.

    Parameters
    ----------
    figures
        `CrossValidation.figures` of all regressors with a column `regressor`, the study's first one first.
    locked_donors
        How many donors are locked.

    Returns
    -------
    gene, regressor, r2_within, low, high, q, evidence (`locked` | `nested cross-validation`), recoverable,
    why; and beside them r2_within_folds, r2_within_locked, direction and r_between. One row a gene, the
    recoverable ones first.
    """
    if "regressor" not in figures or not len(figures):
        raise PredictionError("recoverable genes need the figures of at least one regressor, with a column regressor")
    by_locked = locked_donors >= LOCKED_DONORS
    if by_locked:
        order = figures.assign(rank=figures["r2_within"].fillna(-np.inf)).sort_values("rank", ascending=False)
        chosen = figures.loc[order.drop_duplicates("gene").index.sort_values()]
    else:
        chosen = figures[figures["regressor"] == figures["regressor"].iloc[0]]
    side = "_locked" if by_locked else ""
    table = pd.DataFrame(
        {
            "gene": chosen["gene"],
            "regressor": chosen["regressor"],
            "r2_within": chosen[f"r2_within{side}"],
            "low": chosen[f"r2_within_low{side}"],
            "high": chosen[f"r2_within_high{side}"],
            "q": chosen[f"q{side}"],
        }
    )
    table["evidence"] = "locked" if by_locked else "nested cross-validation"
    table["why"] = [_why_not(row, settings) for row in table.itertuples(index=False)]
    table["recoverable"] = table["why"] == ""
    table.loc[table["recoverable"], "why"] = "all three criteria are met"
    table["r2_within_folds"], table["r2_within_locked"] = chosen["r2_within"], chosen["r2_within_locked"]
    table["direction"], table["r_between"] = chosen["direction"], chosen["r_between"]
    return table.sort_values(["recoverable", "r2_within"], ascending=False, kind="stable").reset_index(drop=True)


def compare_predictions(
    paired: PairedSamples,
    predictions: Mapping[str, NDArray[Any]],
    settings: PredictionSettings,
    *,
    features: Mapping[str, NDArray[Any]] | None = None,
) -> pd.DataFrame:
    """Return the figures of every method, from the plainest to the regressors, on samples it has not seen.

    Parameters
    ----------
    predictions
        (n, g) of each regressor, by name: `CrossValidation.predictions` of the same rows.
    features
        Other features of the same rows, by name (colour statistics, an untouched backbone): a ridge each.

    Returns
    -------
    One row a method, side (`folds`, `locked`) and metric: method, side, metric, value, low, high, n.
    Metrics: median_r2, median_r2_within (against the plain tissue mean; interval over donors), rmse (log2
    units), share_better (of genes with a smaller error than the tissue mean's), from_tissue_mean (root mean
    square difference of the two predictions: how far a method departs from it).
    """
    Y, (samples, _) = paired.Y, checked_samples(paired)
    tissue_mean, with_covariates, known = plain_baselines(samples, Y)
    methods: dict[str, Callable[[], NDArray[Any]]] = {
        "global mean": lambda: _global_mean(Y, samples.folds),
        "tissue mean": lambda: tissue_mean,
    }
    if samples.covariates is not None:
        methods["tissue mean + covariates"] = lambda: with_covariates
    for name, other in (features or {}).items():
        methods[f"{name} + ridge"] = partial(_ridge_predictions, other, Y, samples)
    clusters = settings.clusters or len(np.unique(samples.tissues))
    methods["cluster average"] = lambda: cluster_average(samples.X, Y, samples.folds, clusters, settings.seed)
    for name, predicted in predictions.items():
        methods[name] = partial(_checked_predictions, name, predicted, Y)
    rows = []
    for method, predict in methods.items():
        predicted = predict()
        for side, locked in (("folds", False), ("locked", True)):
            scored = np.flatnonzero(known & ((samples.folds < 0) == locked))
            if len(scored):
                figures = _method_figures(samples, Y, predicted, tissue_mean, scored, settings)
                rows += [(method, side, *figure, len(scored)) for figure in figures]
    return pd.DataFrame(rows, columns=["method", "side", "metric", "value", "low", "high", "n"])


def _ridge_predictions(other: NDArray[Any], Y: NDArray[Any], samples: Samples) -> NDArray[Any]:
    return out_of_fold_predictions(other, Y, samples, RidgeSettings())


def _checked_predictions(name: str, predictions: NDArray[Any], Y: NDArray[Any]) -> NDArray[Any]:
    if predictions.shape != Y.shape:
        raise PredictionError(f"{name} predicts {predictions.shape}, expression is {Y.shape}; fit it again")
    return predictions


def _global_mean(Y: NDArray[Any], folds: NDArray[np.int64]) -> NDArray[np.float32]:
    predicted = np.empty(Y.shape, dtype=np.float32)
    for fold in np.unique(folds):
        predicted[folds == fold] = Y[(folds >= 0) & (folds != fold)].mean(axis=0, dtype=np.float64)
    return predicted


def _method_figures(
    samples: Samples,
    Y: NDArray[Any],
    predictions: NDArray[Any],
    baseline: NDArray[np.float32],
    rows: NDArray[np.int64],
    settings: PredictionSettings,
) -> list[tuple[str, float, float, float]]:
    member = membership(samples.donors[rows])
    r2, within, draws = [], [], []
    squares = departures = 0.0
    for block in gene_blocks(Y.shape[1]):
        measured = np.asarray(Y[rows, block], dtype=np.float64)
        errors = (measured - predictions[rows, block]) ** 2
        spread = (measured - baseline[rows, block]) ** 2
        r2.append(share_explained(errors.sum(axis=0), ((measured - measured.mean(axis=0)) ** 2).sum(axis=0)))
        within.append(share_explained(errors.sum(axis=0), spread.sum(axis=0)))
        draws.append(bootstrap_shares(member @ errors, member @ spread, settings.bootstraps, settings.seed))
        squares += float(errors.sum())
        departures += float(((predictions[rows, block] - baseline[rows, block]).astype(np.float64) ** 2).sum())
    shares, size = np.concatenate(within), len(rows) * Y.shape[1]
    known = np.isfinite(shares)
    medians = np.nanmedian(np.hstack(draws)[:, known], axis=1) if known.any() else np.array([np.nan])
    low, high = np.quantile(medians, [0.025, 0.975])
    unknown = (np.nan, np.nan)
    return [
        ("median_r2", _median(np.concatenate(r2)), *unknown),
        ("median_r2_within", _median(shares), float(low), float(high)),
        ("rmse", float(np.sqrt(squares / size)), *unknown),
        ("share_better", float((shares[known] > 1e-6).mean()) if known.any() else np.nan, *unknown),
        ("from_tissue_mean", float(np.sqrt(departures / size)), *unknown),
    ]


def _median(values: Floats) -> float:
    return float(np.nanmedian(values)) if np.isfinite(values).any() else float("nan")


def _why_not(row: Any, settings: PredictionSettings) -> str:
    """Return the first criterion that a gene misses, as a sentence without a stop; '' where it misses none."""
    if not np.isfinite(row.r2_within):
        return "not evaluable: nothing was judged, or the gene does not vary there"
    if not row.q < settings.max_q:
        return f"q {row.q:.3g} is not below {settings.max_q:g}"
    if not row.low > 0:
        return f"the interval of r2_within reaches down to {row.low:.3f}"
    if row.r2_within < settings.min_r2_within:
        return f"r2_within {row.r2_within:.3f} is below {settings.min_r2_within:g}"
    return ""
