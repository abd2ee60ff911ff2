"""The post's second classifier: a simple model on the network's embeddings of tiles and of slides.

Beside the network's own last layer it measures how much of what is known lies in the embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import polars as pl

from histo_assets.core.networks.errors import LearningError
from histo_assets.core.networks.predictions import prediction_table

COMPONENTS = 64
MOST_TILES = 20_000
_LEAST = 1e-12
_KNOWN = ("slide", "donor", "tissue", "side")
_TREES: dict[str, Any] = {"n_estimators": 60, "num_leaves": 15, "min_child_samples": 5, "learning_rate": 0.1}


def second_classifiers(
    rows: pl.DataFrame, embeddings: npt.NDArray[np.float32], labels: Sequence[str], seed: int = 0
) -> dict[str, list[pd.DataFrame]]:
    """Return the predictions of a logistic regression and of LightGBM on embeddings, for each tile and each slide.

    Both see the first 64 principal components, which, like everything else of them, are fitted on the
    training side alone: on the tiles' embeddings for tiles (on at most 20,000 of them, drawn by
    `seed`), on their means for slides. Training tiles' embeddings come from a network that was
    trained on these very tiles, so figures of the training side mean little.

    Parameters
    ----------
    rows
        Columns tile, slide, donor, tissue, side.
    embeddings
        (n, d), one a row.
    labels
        All tissues; one without training tiles gets no probability.

    Returns
    -------
    dict
        By method ('logistic regression', 'LightGBM'): the tile-level and the slide-level table, as
        `evaluation` describes them.

    Raises
    ------
    LearningError
        There are not as many embeddings as rows, or fewer than two tissues to learn from.
    """
    if len(embeddings) != rows.height:
        raise LearningError(f"{rows.height} tiles are given, but {len(embeddings)} embeddings")
    slides, means = _slide_means(rows, embeddings)
    levels = ((rows.select("tile", *_KNOWN), embeddings), (slides, means))
    return {
        method: [_predictions(known, vectors, labels, make, seed) for known, vectors in levels]
        for method, make in (("logistic regression", _logistic), ("LightGBM", _boosted))
    }


def _slide_means(
    rows: pl.DataFrame, embeddings: npt.NDArray[np.float32]
) -> tuple[pl.DataFrame, npt.NDArray[np.float32]]:
    """Return the slides (those on several sides once a side) and the means of their tiles' embeddings."""
    keyed = rows.select(_KNOWN).with_row_index("row")
    grouped = keyed.group_by(_KNOWN).agg("row").sort(_KNOWN)
    means = [embeddings[members.to_numpy()].mean(0, dtype=np.float64) for members in grouped["row"]]
    return grouped.drop("row"), np.asarray(means, np.float32)


def _predictions(
    known: pl.DataFrame,
    vectors: npt.NDArray[np.float32],
    labels: Sequence[str],
    make: Callable[[int], Any],
    seed: int,
) -> pd.DataFrame:
    truth = np.asarray(known["tissue"].to_list(), dtype=str)
    train = np.flatnonzero(known["side"].to_numpy() == "train")
    if len(train) > MOST_TILES:
        train = np.sort(np.random.default_rng(seed).choice(train, MOST_TILES, replace=False))
    if len(set(truth[train])) < 2:
        raise LearningError("the training side holds fewer than two tissues; there is nothing to tell apart")
    model = embedding_classifier(vectors[train], truth[train], make, seed)
    return prediction_table(known, log_probabilities_of(model, vectors, labels), labels)


def embedding_classifier(
    vectors: npt.NDArray[np.float32],
    tissues: npt.NDArray[np.str_],
    make: Callable[[int], Any] | None = None,
    seed: int = 0,
) -> Any:
    """Return a classifier (None: logistic regression) of embeddings (n, d), on their principal components."""
    from sklearn.decomposition import PCA
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    components = min(COMPONENTS, vectors.shape[1], len(vectors) - 1)
    model = make_pipeline(StandardScaler(), PCA(components, random_state=seed), (make or _logistic)(seed))
    return model.fit(vectors, tissues)


def log_probabilities_of(
    model: Any, vectors: npt.NDArray[np.float32], labels: Sequence[str]
) -> npt.NDArray[np.float64]:
    """Return the log-probabilities (n, labels); a label that the model never saw has next to none."""
    probabilities = np.zeros((len(vectors), len(labels)))
    probabilities[:, [list(labels).index(tissue) for tissue in model.classes_]] = model.predict_proba(vectors)
    return np.log(np.maximum(probabilities, _LEAST))


def _logistic(seed: int) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=0.1, max_iter=1000, random_state=seed)


def _boosted(seed: int) -> Any:
    from lightgbm import LGBMClassifier

    return LGBMClassifier(**_TREES, random_state=seed, n_jobs=1, deterministic=True, force_row_wise=True, verbose=-1)
