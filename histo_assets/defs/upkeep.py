"""The sensor that keeps Dagster's record in order: what a daemon does every half minute for a study.

A chore is a function of the instance that returns what it did, a sentence each. It must be quick, and
safe to do again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import dagster as dg

from histo_assets.defs.reconciling import reconcile, stored_versions
from histo_assets.defs.runs import end_dead_runs
from histo_assets.storage.layout import StudyStorage

if TYPE_CHECKING:
    from histo_assets.defs.study_assets import StudyAssets

SECONDS_BETWEEN_LOOKS = 60.0

Chore = Callable[[dg.DagsterInstance], Sequence[str]]


def dead_runs(instance: dg.DagsterInstance) -> Sequence[str]:
    """End the runs whose process is gone."""
    return [f"ended run {dead.run_id[:8]}: {dead.sentence}" for dead in end_dead_runs(instance)]


def history_of(assets: StudyAssets, storage: StudyStorage) -> Chore:
    """Return the chore that tells Dagster of what the storage holds: once a minute, and where something changed."""
    before: dict[str, str] | None = None
    due = 0.0

    def history_follows(instance: dg.DagsterInstance) -> Sequence[str]:
        nonlocal before, due
        if time.monotonic() < due:
            return []
        due = time.monotonic() + SECONDS_BETWEEN_LOOKS
        now = stored_versions(assets, storage)
        if now == before:
            return []
        before = now
        changes = reconcile(assets, storage, instance)
        count = len(changes.unknown)
        news = [f"told Dagster of {count} artefacts that were found in the storage"] if count else []
        return news + [f"{artefact} is gone from the storage" for artefact in changes.lost]

    return history_follows


def upkeep_sensor(study_name: str, chores: Sequence[Chore]) -> dg.SensorDefinition:
    """Return the sensor `<study>_upkeep`, on from the start; it does its chores and launches nothing."""

    @dg.sensor(
        name=f"{study_name}_upkeep",
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Ends runs whose process was killed, frees what they hold, and tells Dagster what is stored.",
    )
    def upkeep(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        done = [sentence for chore in chores for sentence in chore(context.instance)]
        return dg.SkipReason("; ".join(done) or "nothing to do")

    return upkeep
