"""The partitions of a study and their keys. Few, and never one per slide of the cohort."""

from __future__ import annotations

import dagster as dg

from histo_assets.studies.study import Study


class StudyPartitions:
    """The five partition families of one study."""

    def __init__(self, study: Study) -> None:
        self.tissues = dg.StaticPartitionsDefinition(list(study.selection.tissues))
        self.experiments = dg.StaticPartitionsDefinition(list(study.learning.experiments))
        self.epochs = dg.StaticPartitionsDefinition([epoch_key(epoch) for epoch in studied_epochs(study)])
        self.regressors = dg.StaticPartitionsDefinition(list(study.prediction.regressors))
        self.incoming = dg.DynamicPartitionsDefinition(name=f"incoming_{study.name}")

    def family(self, partitions: dg.PartitionsDefinition) -> str:
        """Return the name of the family that `partitions` is, as settings by partition name it."""
        named = {
            "tissue": self.tissues,
            "experiment": self.experiments,
            "epoch": self.epochs,
            "regressor": self.regressors,
            "incoming": self.incoming,
        }
        return next(name for name, definition in named.items() if definition is partitions)


def studied_epochs(study: Study) -> tuple[int, ...]:
    """Return the checkpoint epochs of the studied experiment, ascending; none where nothing is trained."""
    if study.learning.frozen:
        return ()
    return study.learning.experiments[study.learning.studied].saved_epochs


def epoch_key(epoch: int) -> str:
    """Return the partition key of a checkpoint epoch.

    >>> epoch_key(5)
    'epoch_005'
    """
    return f"epoch_{epoch:03d}"


def epoch_of(key: str) -> int:
    """Return the epoch that a partition key names.

    >>> epoch_of("epoch_005")
    5
    """
    return int(key.removeprefix("epoch_"))
