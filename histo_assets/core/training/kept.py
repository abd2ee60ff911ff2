"""Which epochs of a training run are kept, and when the run is over."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from histo_assets.core.training.checkpoint import predictions_name, weights_name
from histo_assets.core.training.settings import ExperimentSettings

History = Sequence[Mapping[str, float]]


def kept_epochs(experiment: ExperimentSettings, history: History) -> list[int]:
    """Return the epochs of `history` whose weights are kept, ascending.

    The named ones, the last (should the next fail, it is the last good one), and the best so far
    where the run may stop early.
    """
    done = len(history)
    kept = {epoch for epoch in (*experiment.checkpoints, done) if 0 < epoch <= done}
    if experiment.patience is not None and history:
        kept.add(best_epoch(history))
    return sorted(kept)


def best_epoch(history: History) -> int:
    """Return the epoch with the highest validation accuracy; of equals that with the lower loss, then the earlier.

    An epoch without validation figures is as bad as can be: the first is returned where none has any.
    """

    def merit(row: Mapping[str, float]) -> tuple[float, float]:
        accuracy, loss = row["validation_accuracy"], row["validation_loss"]
        return (accuracy, -loss) if accuracy == accuracy else (-1.0, 0.0)

    return max(range(len(history)), key=lambda place: (merit(history[place]), -place)) + 1


def is_over(experiment: ExperimentSettings, history: History) -> bool:
    """Return whether all epochs are done, or the last `patience` of them brought no better one."""
    done = len(history)
    if done >= experiment.epochs:
        return True
    validated = any(row["validation_accuracy"] == row["validation_accuracy"] for row in history)
    return experiment.patience is not None and validated and done - best_epoch(history) >= experiment.patience


def remove_epochs(folder: Path, kept: Iterable[int]) -> None:
    """Remove the weights and predictions of every epoch in `folder` but the `kept` ones."""
    names = {name for epoch in kept for name in (weights_name(epoch), predictions_name(epoch))}
    for path in folder.glob("epoch_*"):
        if path.name not in names:
            path.unlink(missing_ok=True)
