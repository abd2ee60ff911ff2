"""The evaluation of a model, in one table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
import polars as pl

from histo_assets.core.embedding.classifiers import second_classifiers
from histo_assets.core.evaluation.baselines import colour_histogram_baseline, majority_baseline
from histo_assets.core.evaluation.classification import (
    classification_figures,
    confusion,
    slide_predictions,
)
from histo_assets.core.evaluation.look_alikes import merged_figures, mistaken_figures
from histo_assets.core.networks.errors import LearningError, TileBytes
from histo_assets.core.networks.inference import Inference
from histo_assets.core.networks.predictions import prediction_table
from histo_assets.core.progress import Progress
from histo_assets.core.training.checkpoint import Checkpoint
from histo_assets.core.training.datasets import training_rows
from histo_assets.core.training.selected import SelectedModel
from histo_assets.core.training.settings import LearningSettings

NETWORK = "network"
_KNOWN = ("tile", "slide", "donor", "tissue", "side")


@dataclass(frozen=True)
class Resampling:
    """How often donors are drawn anew for an interval, and the seed of all that is drawn at random."""

    bootstraps: int
    seed: int


def evaluate(
    model: SelectedModel,
    training_set: pl.DataFrame,
    reader: TileBytes,
    settings: LearningSettings,
    *,
    sexes: Mapping[str, str],
    resampling: Resampling,
    progress: Progress,
) -> pd.DataFrame:
    """Return the figures of the selected network and of what it is held against, on every side of the split.

    Parameters
    ----------
    sexes
        Donor -> sex, of the donors whose sex is known.

    Returns
    -------
    pandas.DataFrame
        As `tables.Evaluation` declares it. Methods: 'network'; 'logistic regression' and 'LightGBM' on its
        embeddings; 'colour histogram'; 'majority'.

    Raises
    ------
    LearningError
        The network was trained on another training set, or a tile cannot be decoded.
    """
    from histo_assets.core.evaluation.tables import Evaluation
    from histo_assets.core.networks.forward import network_outputs
    from histo_assets.core.training.resume import training_set_digest

    rows = training_rows(training_set, model.checkpoint.experiment)
    if model.checkpoint.training_set != training_set_digest(rows):
        raise LearningError(
            f"{model.name} was trained on another training set than this one, so its sides do not hold;"
            " materialise trained_model again"
        )
    labels, bootstraps, seed = list(model.labels), resampling.bootstraps, resampling.seed
    inference = Inference(
        settings.input_px,
        settings.batch_size,
        device=settings.device,
        threads=settings.threads,
        workers=settings.workers,
    )
    embeddings, log_probabilities = network_outputs(model.network(), rows, reader, inference, progress)
    tiles = prediction_table(rows.select(_KNOWN), log_probabilities, labels)
    predictions = {NETWORK: [tiles, slide_predictions(tiles)]}
    progress("second classifiers on the embeddings")
    predictions |= second_classifiers(rows, embeddings, labels, seed)
    predictions["colour histogram"] = [colour_histogram_baseline(rows, reader, labels, seed)]
    predictions["majority"] = [majority_baseline(rows, labels)]
    parts = [_figures(table, method, bootstraps, seed) for method, tables in predictions.items() for table in tables]
    for level, table in zip(("tile", "slide"), predictions[NETWORK], strict=True):
        parts.append(_confusions(table, level, labels))
        parts.append(mistaken_figures(table, settings.look_alikes, sexes, bootstraps, seed).assign(method=NETWORK))
        parts.append(merged_figures(table, settings.look_alikes, bootstraps, seed).assign(method=NETWORK))
    filled = pd.concat([part for part in parts if len(part)], ignore_index=True).reindex(
        columns=[column.name for column in Evaluation.columns()]
    )
    return filled.assign(**{name: filled[name].fillna("") for name in ("tissue", "predicted", "sex")})


def _figures(table: pd.DataFrame, method: str, bootstraps: int, seed: int) -> pd.DataFrame:
    return classification_figures(table, bootstraps, seed).assign(method=method, predicted="")


def _confusions(table: pd.DataFrame, level: str, labels: list[str]) -> pd.DataFrame:
    parts = []
    for side, rows in table.groupby("side"):
        counts = confusion(rows, labels).rename_axis(index="tissue").reset_index()
        parts.append(counts.melt("tissue", var_name="predicted", value_name="value").assign(side=side))
    table = pd.concat(parts).assign(level=level, metric="confusion", method=NETWORK)
    return table.assign(n=table["value"])


def validation_confusions(checkpoints: Iterable[Checkpoint], labels: Sequence[str]) -> dict[str, pd.DataFrame]:
    """Return, by experiment, how many validation tiles of each tissue its last epoch took for each tissue."""
    return {checkpoint.name: confusion(checkpoint.validation(), labels) for checkpoint in checkpoints}


def reporting_side(evaluation: pd.DataFrame) -> str:
    """Return the side that reports: locked donors, or validation donors where none is locked."""
    return "test" if (evaluation["side"] == "test").any() else "validation"


def confusion_of(evaluation: pd.DataFrame, level: str) -> pd.DataFrame:
    """Return the confusion matrix (true x predicted, counts) of the side that reports."""
    rows = evaluation[
        (evaluation["level"] == level)
        & (evaluation["metric"] == "confusion")
        & (evaluation["side"] == reporting_side(evaluation))
    ]
    matrix = rows.pivot_table(index="tissue", columns="predicted", values="value", aggfunc="sum", fill_value=0)
    order = sorted(set(matrix.index) | set(matrix.columns))
    return matrix.reindex(index=order, columns=order, fill_value=0)


@dataclass(frozen=True)
class Headline:
    """The few figures that stand for an evaluation, on the side that reports; shares are 0 to 1, NaN where unknown.

    Attributes
    ----------
    judged_on
        The side, in words.
    slide_accuracy, slide_accuracy_low, slide_accuracy_high
        The network's accuracy on slides, and its 95 % interval over donors.
    tile_accuracy
        Its accuracy on tiles.
    slide_accuracy_look_alikes_merged
        Its accuracy on slides where tissues that look alike count as one.
    slide_macro_f1, slide_calibration_error
        Mean F1 of the tissues, and the expected calibration error, on slides.
    logistic_regression_accuracy, lightgbm_accuracy
        Accuracy on slides of classifiers on the network's embeddings.
    colour_histogram_accuracy, majority_accuracy
        Accuracy on slides of the baselines.
    """

    judged_on: str
    slide_accuracy: float
    slide_accuracy_low: float
    slide_accuracy_high: float
    tile_accuracy: float
    slide_accuracy_look_alikes_merged: float
    slide_macro_f1: float
    slide_calibration_error: float
    logistic_regression_accuracy: float
    lightgbm_accuracy: float
    colour_histogram_accuracy: float
    majority_accuracy: float


def headline(evaluation: pd.DataFrame, unit: str = "donor") -> Headline:
    """Return the few figures that stand for an evaluation, on the side that reports.

    `unit` is what the study splits by: `donor`, or `tile`, where every donor was trained on.
    """
    side = reporting_side(evaluation)
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

    return Headline(
        judged_on=judged_on,
        slide_accuracy=figure("slide", "accuracy"),
        slide_accuracy_low=figure("slide", "accuracy", column="low"),
        slide_accuracy_high=figure("slide", "accuracy", column="high"),
        tile_accuracy=figure("tile", "accuracy"),
        slide_accuracy_look_alikes_merged=figure("slide", "merged_accuracy"),
        slide_macro_f1=figure("slide", "macro_f1"),
        slide_calibration_error=figure("slide", "ece"),
        logistic_regression_accuracy=figure("slide", "accuracy", "logistic regression"),
        lightgbm_accuracy=figure("slide", "accuracy", "LightGBM"),
        colour_histogram_accuracy=figure("slide", "accuracy", "colour histogram"),
        majority_accuracy=figure("slide", "accuracy", "majority"),
    )
