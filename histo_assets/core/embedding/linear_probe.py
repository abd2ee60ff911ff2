"""What a slide is taken for where the network knows no tissues: a linear probe on embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from histo_assets.core.embedding.classifiers import embedding_classifier, log_probabilities_of
from histo_assets.core.networks.errors import LearningError

Matrix = npt.NDArray[np.float32]


class TissueProbe:
    """A logistic regression on the slides' embeddings, fitted on the training side.

    Parameters
    ----------
    slides
        (s, d) mean embeddings.
    tissues
        (s,) what each slide is of.
    train
        (s,) bool, the slides to learn from.

    Raises
    ------
    LearningError
        The training side holds fewer than two tissues.
    """

    def __init__(self, slides: npt.NDArray[Any], tissues: Sequence[str], train: npt.NDArray[np.bool_]) -> None:
        truth = np.asarray(tissues, dtype=str)
        if len(set(truth[train])) < 2:
            raise LearningError("the training side holds slides of fewer than two tissues; a probe tells none apart")
        self.labels = sorted(set(truth))
        self._model = embedding_classifier(np.asarray(slides)[train], truth[train])

    def log_probabilities(self, vectors: npt.NDArray[Any]) -> Matrix:
        """Return the log-probabilities (n, labels) of embeddings (n, d) of slides or tiles."""
        return log_probabilities_of(self._model, np.asarray(vectors), self.labels).astype(np.float32)
