"""Every call into Dagster that Dagster does not publish, with the reason.

`test_unpublished.py` fails where a later Dagster renames one of them or lets it mean something else.
Nothing else in this package imports `dagster._core` or calls an undocumented method for runs and pools.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import dagster as dg


@dataclass(frozen=True)
class Pool:
    """A pool: how many steps it admits (None: any number), which runs hold it and which wait for it."""

    name: str
    limit: int | None
    holders: tuple[str, ...]
    waiting: tuple[str, ...]

    @property
    def full(self) -> bool:
        """Whether the next step has to wait."""
        return self.limit is not None and len(self.holders) >= self.limit


def pools(instance: dg.DagsterInstance, names: Iterable[str] | None = None) -> list[Pool]:
    """Return the state of the named pools, or of all that steps have used.

    A command that waits for a pool has to say who holds it. Dagster's webserver asks the storage
    (`get_concurrency_keys`, `get_concurrency_info`); nothing published stands for them.
    """
    storage = instance.event_log_storage
    if not storage.supports_global_concurrency_limits:
        return []
    states = []
    for name in sorted(set(storage.get_concurrency_keys() if names is None else names)):
        seen = storage.get_concurrency_info(name)
        holders = tuple(slot.run_id for slot in seen.claimed_slots)
        waiting = tuple(s.run_id for s in seen.pending_steps if s.run_id not in holders)
        states.append(Pool(name, seen.limit, holders, waiting))
    return states


def runs_in_pools(instance: dg.DagsterInstance) -> set[str]:
    """Return the runs that hold a slot of any pool or wait for one, whether they still go on or not.

    As `pools`.
    """
    return {run for pool in pools(instance) for run in pool.holders + pool.waiting}


def free_slots(instance: dg.DagsterInstance, run_id: str) -> None:
    """Free what a run that has ended holds of pools and claims in their queues.

    Dagster frees it itself minutes after the end (`free_slots_after_run_end_seconds`), and only where a
    daemon runs; its webserver calls `free_concurrency_slots_for_run`, for which nothing published stands.
    """
    if instance.event_log_storage.supports_global_concurrency_limits:
        instance.event_log_storage.free_concurrency_slots_for_run(run_id)


def end_run(instance: dg.DagsterInstance, run: dg.DagsterRun, sentence: str, canceled: bool = False) -> None:
    """End a run in Dagster's record, with `sentence` as its last event, and free its slots.

    A run whose process was killed stays STARTED: Dagster's default launcher has no way to see it.
    `report_run_failed` is what the daemon calls for runs that never started (and what makes a server's
    `run_retries` try again), `report_run_canceled` what the webserver calls to force an end; neither is
    published.
    """
    if canceled:
        instance.report_run_canceled(run, sentence)
    else:
        instance.report_run_failed(run, sentence)
    free_slots(instance, run.run_id)


def tag_run(instance: dg.DagsterInstance, run_id: str, tags: dict[str, str]) -> None:
    """Add tags to a run that exists already, or renew them.

    A run's worker learns only inside the run in which process it works; published are tags at a run's
    creation alone.
    """
    instance.add_run_tags(run_id, tags)


def process_of_run(instance: dg.DagsterInstance, run_id: str) -> tuple[int, float] | None:
    """Return the process that last reported that it works on a run, and when (seconds since 1970).

    For runs without this package's tags: made by version 0.1.0, or killed before their first step.
    Dagster writes the number into its engine events (`EngineEventData.in_process`); reading a run's
    events (`all_logs`) is not published.
    """
    latest: tuple[int, float] | None = None
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
        event: Any = getattr(entry.dagster_event, "event_specific_data", None)
        value = getattr((getattr(event, "metadata", None) or {}).get("pid"), "value", None)
        if value is not None and str(value).isdigit():
            latest = int(value), entry.timestamp
    return latest


def is_on_this_machine(instance: dg.DagsterInstance) -> bool:
    """Return whether the instance keeps its runs in SQLite, below a DAGSTER_HOME that is always local.

    Only then does the number of a process that an event names mean one of this machine. Which storage
    an instance uses is seen from the class alone.
    """
    return "sqlite" in type(instance.run_storage).__module__


def tell_of_check(instance: dg.DagsterInstance, evaluation: dg.AssetCheckEvaluation) -> None:
    """Record the verdict of a check outside of any run, in the place of an earlier one of that kind.

    `report_runless_asset_event` refuses a second verdict on the same partition: its row is unique by check, run
    and partition, and all verdicts outside of runs have the same, empty, run. The earlier row is removed first.
    Where another process records the same at the same time, its row is as good.
    """
    from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable as Rows
    from sqlalchemy.exc import IntegrityError

    storage: Any = instance.event_log_storage
    partition = evaluation.partition
    with storage.index_connection() as connection:
        connection.execute(
            Rows.delete().where(
                Rows.c.asset_key == evaluation.asset_key.to_string(),
                Rows.c.check_name == evaluation.check_name,
                Rows.c.run_id == "",
                Rows.c.partition.is_(None) if partition is None else Rows.c.partition == partition,
            )
        )
    try:
        instance.report_runless_asset_event(evaluation)
    except IntegrityError:
        pass


def was_interrupted(ran: dg.ExecuteInProcessResult) -> bool:
    """Return whether INT, TERM or "Terminate" ended a run that was executed in this process.

    `execute_in_process(raise_on_error=False)` returns that as an ordinary failure. The reason stands in
    a tag whose name and value are not published.
    """
    run = ran.dagster_run
    return (
        run.status == dg.DagsterRunStatus.CANCELED or run.tags.get("dagster/failure_reason") == "UNEXPECTED_TERMINATION"
    )


def executor_of(definition: dg.ExecutorDefinition, init_context: dg.InitExecutorContext) -> dg.Executor:
    """Return the executor that a definition makes. To wrap one, nothing published stands."""
    make: Any = definition.executor_creation_fn
    executor: dg.Executor = make(init_context)
    return executor


def rest_while_waiting() -> None:
    """Let a run that waits for a pool sleep between its looks.

    Dagster 1.13 takes the smallest of 0 and the seconds to the next look, so a waiting run turns in a
    loop without a pause and takes a whole core from the run that it waits for.
    """
    from dagster._core.execution.plan.instance_concurrency_context import InstanceConcurrencyContext

    def seconds_to_next_look(self: Any) -> float:
        nearest = min(self._pending_timeouts.values(), default=0.0)
        return float(min(max(nearest - time.time(), 0.05), 1.0)) if self._pending_claims else 0.0

    InstanceConcurrencyContext.interval_to_next_pending_claim_check = seconds_to_next_look  # type: ignore[method-assign]
