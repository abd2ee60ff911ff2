"""Experiments side by side, and which of them serves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from histo_assets.core.learning.checkpoint import Checkpoint
from histo_assets.core.learning.errors import LearningError


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
        Columns experiment, backbone, mode, schedule, split ('' where it is the study's), seed, order,
        frozen_up_to, saved (bool: the epoch's weights
        are kept), total_seconds and total_cpu_seconds (since the first epoch), and those of the
        histories.
    """
    tables = []
    for checkpoint in checkpoints:
        settings, history = checkpoint.experiment, checkpoint.history
        described = pd.DataFrame(
            {
                "experiment": checkpoint.name,
                "backbone": settings.backbone,
                "mode": settings.mode,
                "schedule": settings.schedule,
                "split": settings.split or "",
                "seed": settings.seed,
                "order": settings.order,
                "frozen_up_to": -1 if settings.freeze_up_to is None else settings.freeze_up_to,
                "saved": history["epoch"].isin(checkpoint.epochs),
                "total_seconds": history["seconds"].cumsum(),
                "total_cpu_seconds": history["cpu_seconds"].cumsum(),
            }
        )
        tables.append(pd.concat([described, history], axis=1))
    return pd.concat(tables, ignore_index=True)


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
    judged = saved[saved["validation_accuracy"].notna()]
    if judged.empty:
        last = saved[saved["experiment"] == saved["experiment"].iloc[0]].iloc[-1]
        why = f"{named}no tile is on the validation side, so the last epoch is taken unjudged"
        return Choice(str(last["experiment"]), int(last["epoch"]), why)
    order = judged.sort_values(
        ["validation_accuracy", "validation_loss", "epoch"], ascending=[False, True, True], kind="stable"
    )
    best = order.iloc[0]
    why = (
        f"{named}highest accuracy on the validation side, {best['validation_accuracy']:.3f}, "
        f"among {len(judged)} saved epochs of {judged['experiment'].nunique()} experiments"
    )
    return Choice(str(best["experiment"]), int(best["epoch"]), why)
