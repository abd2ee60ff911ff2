"""The executor of runs that a server launches: Dagster's in-process one, which knows its process.

A run's worker says from its first moment, also while it waits for a pool, where it runs; it says whom
it waits for; and "Terminate" ends it within seconds whatever it is at.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import dagster as dg

from histo_assets import interrupts
from histo_assets.defs import unpublished
from histo_assets.defs.heartbeats import running_in_this_process
from histo_assets.defs.waiting import explained


class _KnownByItsProcess(dg.Executor):
    """Runs what another executor runs, in a process that says which it is."""

    def __init__(self, inner: dg.Executor) -> None:
        self.inner = inner

    @property
    def retries(self) -> Any:
        return self.inner.retries

    @property
    def step_dependency_config(self) -> Any:
        return self.inner.step_dependency_config

    def execute(self, plan_context: Any, execution_plan: Any) -> Iterator[Any]:
        unpublished.rest_while_waiting()
        instance, run_id = plan_context.instance, plan_context.run_id
        with (
            interrupts.watched(),
            running_in_this_process(instance, run_id),
            explained(instance, run_id, plan_context.log.info),
        ):
            yield from self.inner.execute(plan_context, execution_plan)


SCHEMA: Any = dg.in_process_executor.config_schema


@dg.executor(name="in_process", config_schema=SCHEMA)
def in_process_executor(init_context: dg.InitExecutorContext) -> dg.Executor:
    """Execute all steps of a run in its worker's process."""
    return _KnownByItsProcess(unpublished.executor_of(dg.in_process_executor, init_context))
