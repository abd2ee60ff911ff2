"""Everything an evaluation says, in one table."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import polars as pl

from histo_assets.core.learning.baselines import colour_histogram_baseline, majority_baseline
from histo_assets.core.learning.datasets import training_rows
from histo_assets.core.learning.errors import LearningError, TileBytes
from histo_assets.core.learning.evaluation import (
    classification_figures,
    confusion,
    evaluate_tiles,
    slide_predictions,
)
from histo_assets.core.learning.selected import SelectedModel
from histo_assets.core.learning.settings import LearningSettings

NETWORK = "network"
_COLUMNS = ["method", "level", "side", "metric", "tissue", "predicted", "value", "low", "high", "n"]


def evaluate(
    model: SelectedModel,
    training_set: pl.DataFrame,
    reader: TileBytes,
    settings: LearningSettings,
    *,
    bootstraps: int,
    seed: int,
    progress: Callable[[str], None],
) -> pd.DataFrame:
    """Return the figures of the selected network and of its baselines on every side of the split.

    Returns
    -------
    pandas.DataFrame
        method ('network', 'colour histogram', 'majority'), level ('tile', 'slide'), side, metric
        ('accuracy', 'macro_f1', 'ece', 'recall', 'confusion'), tissue, predicted (of a confusion),
        value, low, high (95 % over donors), n. A confusion's value counts tiles or slides of `tissue`
        taken for `predicted`.
    """
    from histo_assets.core.learning.resume import training_set_digest

    training_set = training_rows(training_set, model.checkpoint.experiment)
    if model.checkpoint.training_set != training_set_digest(training_set):
        raise LearningError(
            f"{model.name} was trained on another training set than this one, so its sides do not hold;"
            " materialise trained_model again"
        )
    labels = list(model.labels)
    tiles = evaluate_tiles(
        model.network(),
        training_set,
        reader,
        labels,
        settings.input_px,
        batch_size=settings.batch_size,
        device=settings.device,
        threads=settings.threads,
        workers=settings.workers,
        progress=progress,
    )
    slides = slide_predictions(tiles)
    parts = [_figures(table, NETWORK, bootstraps, seed) for table in (tiles, slides)]
    parts += [_confusions(table, level, labels) for level, table in (("tile", tiles), ("slide", slides))]
    colours = colour_histogram_baseline(training_set, reader, labels, seed)
    parts.append(_figures(colours, "colour histogram", bootstraps, seed))
    parts.append(_figures(majority_baseline(training_set, labels), "majority", bootstraps, seed))
    return pd.concat(parts, ignore_index=True).reindex(columns=_COLUMNS)


def _figures(table: pd.DataFrame, method: str, bootstraps: int, seed: int) -> pd.DataFrame:
    return classification_figures(table, bootstraps, seed).assign(method=method, predicted="")


def _confusions(table: pd.DataFrame, level: str, labels: list[str]) -> pd.DataFrame:
    parts = []
    for side, rows in table.groupby("side"):
        counts = confusion(rows, labels).rename_axis(index="tissue").reset_index()
        parts.append(counts.melt("tissue", var_name="predicted", value_name="value").assign(side=side))
    table = pd.concat(parts).assign(level=level, metric="confusion", method=NETWORK)
    return table.assign(n=table["value"])


def judged_side(evaluation: pd.DataFrame) -> str:
    """Return the side that reports: locked donors, or validation donors where none is locked."""
    return "test" if (evaluation["side"] == "test").any() else "validation"


def confusion_of(evaluation: pd.DataFrame, level: str) -> pd.DataFrame:
    """Return the confusion matrix (true x predicted, counts) of the side that reports."""
    rows = evaluation[
        (evaluation["level"] == level)
        & (evaluation["metric"] == "confusion")
        & (evaluation["side"] == judged_side(evaluation))
    ]
    matrix = rows.pivot_table(index="tissue", columns="predicted", values="value", aggfunc="sum", fill_value=0)
    order = sorted(set(matrix.index) | set(matrix.columns))
    return matrix.reindex(index=order, columns=order, fill_value=0)


def headline(evaluation: pd.DataFrame, unit: str = "donor") -> dict[str, float | str]:
    """Return the few figures that stand for an evaluation, on the side that reports.

    `unit` is what the study splits by: `donor`, or `tile`, where every donor was trained on.
    """
    side = judged_side(evaluation)
    judged_on = f"{side} donors" if unit == "donor" else f"{side} tiles, of donors that were also trained on"
    if side == "validation":
        judged_on += ", which also chose the model"

    def figure(level: str, metric: str, method: str = NETWORK, column: str = "value") -> float:
        rows = evaluation[
            (evaluation["side"] == side)
            & (evaluation["level"] == level)
            & (evaluation["metric"] == metric)
            & (evaluation["method"] == method)
        ]
        return float(rows[column].iloc[0]) if len(rows) else float("nan")

    return {
        "judged_on": judged_on,
        "slide_accuracy": figure("slide", "accuracy"),
        "slide_accuracy_low": figure("slide", "accuracy", column="low"),
        "slide_accuracy_high": figure("slide", "accuracy", column="high"),
        "tile_accuracy": figure("tile", "accuracy"),
        "slide_macro_f1": figure("slide", "macro_f1"),
        "slide_calibration_error": figure("slide", "ece"),
        "colour_histogram_accuracy": figure("slide", "accuracy", "colour histogram"),
        "majority_accuracy": figure("slide", "accuracy", "majority"),
    }
