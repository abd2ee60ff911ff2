"""The space of both modalities, and how well one finds its partner in the other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from histo_assets.core.projection.project import ProjectionError

RECALL_AT = (1, 5, 10)


def joint_space(
    image_pcs: NDArray[Any], expression_pcs: NDArray[Any], fit: NDArray[np.bool_] | None = None
) -> NDArray[np.float32]:
    """Return both blocks side by side, each centred and divided so that its total variance is one.

    Without the scaling the block with the larger numbers alone would decide every distance.

    Parameters
    ----------
    image_pcs, expression_pcs
        (n, a) and (n, b), row by row the same samples.
    fit
        (n,) bool: rows that centre and scale are taken from; all rows when None.

    Returns
    -------
    (n, a + b) float32.
    """
    if len(image_pcs) != len(expression_pcs):
        raise ProjectionError(
            f"{len(image_pcs)} image rows and {len(expression_pcs)} expression rows cannot be joined; pair them first"
        )
    rows = np.ones(len(image_pcs), dtype=bool) if fit is None else np.asarray(fit, dtype=bool)
    return np.hstack([_unit_block(image_pcs, rows), _unit_block(expression_pcs, rows)])


def expression_from_image(
    image_pcs: NDArray[Any], expression_pcs: NDArray[Any], folds: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return expression components (n, b) float32 predicted from image components (n, a), out of fold.

    A linear map carries one modality into the space of the other, so that partners can be looked for.
    Rows of fold k come from a ridge fitted on the other folds, locked rows (-1) from all folds; scikit-learn's
    `RidgeCV` chooses the penalty inside.
    """
    from sklearn.linear_model import RidgeCV

    folds = np.asarray(folds)
    predicted = np.full(expression_pcs.shape, np.nan, dtype=np.float32)
    for fold in np.unique(folds):
        train = (folds >= 0) & (folds != fold)
        if train.sum() < 3:
            raise ProjectionError(
                f"fold {fold} leaves {train.sum()} rows to learn from; use fewer folds or more slides"
            )
        X = _unit_block(image_pcs, train)
        model = RidgeCV(alphas=np.logspace(-3, 3, 13) * train.sum() / X.shape[1])
        predicted[folds == fold] = model.fit(X[train], expression_pcs[train]).predict(X[folds == fold])
    return predicted


def matching_figures(predicted: NDArray[Any], measured: NDArray[Any], tissues: NDArray[Any]) -> pd.DataFrame:
    """Return how well a row of one modality finds its partner in the other.

    Parameters
    ----------
    predicted, measured
        (n, b) coordinates of the same samples in one space, from either modality.
    tissues
        (n,) labels.

    Returns
    -------
    One row a metric and scope (`overall`, `within tissue`): metric (`recall@1`, `recall@5`, `recall@10`,
    `foscttm`), scope, value, chance, n. FOSCTTM is the fraction of samples closer than the true match
    (Liu et al., WABI 2019), 0 at best, 0.5 by chance; every figure is the mean of both directions.
    Within tissue, only samples of the same tissue are candidates; tissues with one sample do not count.
    """
    tissues = np.asarray(tissues, dtype=str)
    everything = np.arange(len(tissues))
    by_tissue = [np.flatnonzero(tissues == tissue) for tissue in np.unique(tissues)]
    frames = []
    for scope, groups in (("overall", [everything]), ("within tissue", by_tissue)):
        groups = [group for group in groups if len(group) > 1]
        if not groups:
            continue
        closer = np.concatenate([_closer_than_partner(predicted[group], measured[group]) for group in groups])
        others = np.concatenate([np.full(2 * len(group), len(group) - 1) for group in groups])
        rows = [
            (f"recall@{k}", scope, (closer < k).mean(), np.minimum(k / (others + 1), 1).mean(), len(others) // 2)
            for k in RECALL_AT
        ]
        rows.append(("foscttm", scope, (closer / others).mean(), 0.5, len(others) // 2))
        frames.append(pd.DataFrame(rows, columns=["metric", "scope", "value", "chance", "n"]))
    if not frames:
        raise ProjectionError("matching needs at least two samples; select more slides")
    return pd.concat(frames, ignore_index=True)


def _closer_than_partner(first: NDArray[Any], second: NDArray[Any]) -> NDArray[np.int64]:
    """Return, for each row in both directions, how many rows of the other side are closer than its partner."""
    from scipy.spatial.distance import cdist

    distances = cdist(np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64))
    partner = np.diagonal(distances)
    forth = (distances < partner[:, None]).sum(axis=1)
    back = (distances < partner[None, :]).sum(axis=0)
    counts: NDArray[np.int64] = np.concatenate([forth, back])
    return counts


def _unit_block(block: NDArray[Any], fit: NDArray[np.bool_]) -> NDArray[np.float32]:
    fitted = np.asarray(block[fit], dtype=np.float64)
    spread = np.sqrt(fitted.var(axis=0).sum())
    unit: NDArray[np.float32] = ((block - fitted.mean(axis=0)) / (spread if spread > 0 else 1.0)).astype(np.float32)
    return unit
