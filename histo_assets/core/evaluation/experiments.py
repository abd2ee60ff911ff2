"""Experiments side by side, and which of them serves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import pandas as pd

from histo_assets.core.networks.errors import LearningError
from histo_assets.core.training.checkpoint import Checkpoint

# What experiments of one question differ in, and in nothing else but their number of epochs.
QUESTIONS = {
    "architectures": ("backbone",),
    "learning_rates": ("initial_learning_rate", "schedule"),
    "restart": ("mode",),
    "first_epochs": ("seed", "order"),
    "leak": ("split",),
}
_SETTINGS = (
    "backbone",
    "weights",
    "mode",
    "schedule",
    "initial_learning_rate",
    "split",
    "seed",
    "order",
    "frozen_up_to",
    "weight_decay",
    "label_smoothing",
    "clip_norm",
    "patience",
)


@dataclass(frozen=True)
class Choice:
    """The experiment and epoch that serve from here on, and why, in one sentence."""

    experiment: str
    epoch: int
    why: str


def compare_experiments(checkpoints: Sequence[Checkpoint]) -> pd.DataFrame:
    """Return one row for each epoch of each experiment.

    Returns
    -------
    pd.DataFrame
        Columns experiment, its settings (backbone, weights, mode, schedule, initial_learning_rate,
        split ('' where it is the study's), seed, order, frozen_up_to (-1: none), weight_decay,
        label_smoothing, clip_norm and patience (0: none)), saved (bool: the epoch's weights are kept),
        total_seconds and total_cpu_seconds (since the first epoch), and those of the histories.
    """
    tables = []
    for checkpoint in checkpoints:
        settings, history = checkpoint.experiment, checkpoint.history
        described = pd.DataFrame(
            {
                "experiment": checkpoint.name,
                "backbone": settings.backbone,
                "weights": settings.weights,
                "mode": settings.mode,
                "schedule": settings.schedule,
                "initial_learning_rate": settings.learning_rate,
                "split": settings.split or "",
                "seed": settings.seed,
                "order": settings.order,
                "frozen_up_to": -1 if settings.freeze_up_to is None else settings.freeze_up_to,
                "weight_decay": settings.weight_decay,
                "label_smoothing": settings.label_smoothing,
                "clip_norm": settings.clip_norm or 0.0,
                "patience": settings.patience or 0,
                "saved": history["epoch"].isin(checkpoint.epochs),
                "total_seconds": history["seconds"].cumsum(),
                "total_cpu_seconds": history["cpu_seconds"].cumsum(),
            }
        )
        tables.append(pd.concat([described, history], axis=1))
    return pd.concat(tables, ignore_index=True)


def answers(comparison: pd.DataFrame) -> dict[str, list[str]]:
    """Return the experiments that answer each question which the study's experiments can answer.

    A question is answered by two experiments or more that differ in what it asks for alone; of
    experiments that differ in their epochs only, the shortest stands. Where several sets answer, the
    largest does.

    Returns
    -------
    dict
        By question, a key of `QUESTIONS`, the experiments in the order of the table.
    """
    lengths = comparison.groupby("experiment", sort=False)["epoch"].max()
    settings = comparison.drop_duplicates("experiment").set_index("experiment")[list(_SETTINGS)]
    place = {name: number for number, name in enumerate(settings.index)}
    shortest = sorted(settings.index, key=lambda name: (lengths[name], place[name]))
    by_question = {}
    for question, differs in QUESTIONS.items():
        alike = [column for column in _SETTINGS if column not in differs]
        key = {name: tuple(settings.loc[name, alike]) for name in shortest}
        sets = []
        for _, group in groupby(sorted(shortest, key=lambda name: str(key[name])), key=lambda name: str(key[name])):
            names = list(group)
            distinct = settings.loc[names].drop_duplicates(list(differs)).index
            sets.append(sorted(distinct, key=place.__getitem__))
        largest = max(sets, key=lambda names: (len(names), -place[names[0]]))
        if len(largest) > 1:
            by_question[question] = largest
    return by_question


def leak(comparison: pd.DataFrame, studied_by: str) -> tuple[float, int] | None:
    """Return by how much the same experiment is more accurate under a split by tile than by donor, and when.

    Both are judged on their own validation tiles, after the last epoch that both have. None where
    the study has no such two experiments.

    Parameters
    ----------
    studied_by
        What the study splits by, `donor` or `tile`.
    """
    names = answers(comparison).get("leak", [])
    by_unit = {}
    for name in names:
        rows = comparison[comparison["experiment"] == name]
        by_unit[rows["split"].iloc[0] or studied_by] = rows.set_index("epoch")["validation_accuracy"]
    if set(by_unit) != {"tile", "donor"}:
        return None
    epoch = int(min(accuracies.index.max() for accuracies in by_unit.values()))
    return float(by_unit["tile"][epoch] - by_unit["donor"][epoch]), epoch


def choose(comparison: pd.DataFrame, experiment: str | None = None) -> Choice:
    """Return the saved epoch with the highest accuracy on validation donors.

    An experiment with a split of its own is left out unless it is named: its validation tiles are
    others, and by tile their donors were trained on. Ties go to the lower validation loss, then to
    the fewer epochs. Where nothing was validated, the last epoch of the first experiment is taken.

    Parameters
    ----------
    comparison
        What `compare_experiments` returned.
    experiment
        Choose among the epochs of this one alone (a study's `selected`).

    Raises
    ------
    LearningError
        That experiment is not in the table, or no epoch is saved.
    """
    saved = comparison[comparison["saved"]]
    saved = saved[saved["split"] == ""] if experiment is None else saved[saved["experiment"] == experiment]
    if saved.empty:
        among = sorted(comparison["experiment"].unique())
        raise LearningError(f"no saved epoch of {experiment or 'any experiment'} is there to choose; there are {among}")
    named = f"{experiment} is the study's choice; " if experiment else ""
    candidates = saved[saved["validation_accuracy"].notna()]
    if candidates.empty:
        last = saved[saved["experiment"] == saved["experiment"].iloc[0]].iloc[-1]
        why = f"{named}no tile is on the validation side, so the last epoch is taken unjudged"
        return Choice(str(last["experiment"]), int(last["epoch"]), why)
    order = candidates.sort_values(
        ["validation_accuracy", "validation_loss", "epoch"], ascending=[False, True, True], kind="stable"
    )
    best = order.iloc[0]
    why = (
        f"{named}highest accuracy on the validation side, {best['validation_accuracy']:.3f}, "
        f"among {len(candidates)} saved epochs of {candidates['experiment'].nunique()} experiments"
    )
    return Choice(str(best["experiment"]), int(best["epoch"]), why)
