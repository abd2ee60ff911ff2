"""The predictions of a network for tiles, as a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import polars as pl

Array = npt.NDArray[Any]


def prediction_table(known: pl.DataFrame, log_probabilities: Array, labels: Sequence[str]) -> pd.DataFrame:
    """Return the table of predictions: the columns of `known`, predicted, confidence and `p_<tissue>`.

    `log_probabilities` is (n, len(labels)).
    """
    table: dict[str, Any] = {name: known[name].to_list() for name in known.columns}
    best = log_probabilities.argmax(1) if len(labels) else np.zeros(known.height, int)
    table["predicted"] = [labels[label] for label in best]
    table["confidence"] = list(np.exp(log_probabilities[np.arange(known.height), best]).astype(float))
    table |= {f"p_{tissue}": log_probabilities[:, label] for label, tissue in enumerate(labels)}
    return pd.DataFrame(table)
