"""The sensor that keeps Dagster's record in order: what a daemon does every half minute for a study.

A chore is a function of the instance that returns what it did, a sentence each. It must be quick, and
safe to do again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import dagster as dg

from histo_assets.defs.runs import end_dead_runs

Chore = Callable[[dg.DagsterInstance], Sequence[str]]


def dead_runs(instance: dg.DagsterInstance) -> Sequence[str]:
    """End the runs whose process is gone."""
    return [f"ended run {dead.run_id[:8]}: {dead.sentence}" for dead in end_dead_runs(instance)]


CHORES: tuple[Chore, ...] = (dead_runs,)


def upkeep_sensor(study_name: str, chores: Sequence[Chore] = CHORES) -> dg.SensorDefinition:
    """Return the sensor `<study>_upkeep`, on from the start; it does its chores and launches nothing."""

    @dg.sensor(
        name=f"{study_name}_upkeep",
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Ends runs whose process was killed, and frees what they hold.",
    )
    def upkeep(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        done = [sentence for chore in chores for sentence in chore(context.instance)]
        return dg.SkipReason("; ".join(done) or "nothing to do")

    return upkeep
