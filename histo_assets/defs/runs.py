"""Runs whose process is gone: found, ended in Dagster's record, their slots of pools freed.

A killed run stays STARTED for Dagster and keeps its place in its pools for ever. Whatever starts (a
command, the daemon's upkeep, the whole-study job) therefore looks first for such runs.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import dagster as dg

from histo_assets.defs import unpublished
from histo_assets.defs.heartbeats import heartbeat_in, process_in
from histo_assets.processes import Process, seconds_at_start, this_process, ticks_at_start

SILENCE_SECONDS = 300  # without a heartbeat, after which a process on another host counts as gone
CLOCKS_DIFFER = 5.0  # seconds by which an event and a process's start may be out of order

UNDER_WAY = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
LEFT_OVER = [*UNDER_WAY, dg.DagsterRunStatus.NOT_STARTED]


@dataclass(frozen=True)
class DeadRun:
    """A run that was ended because its process is gone, and the sentence that its log now ends with."""

    run_id: str
    sentence: str


def end_dead_runs(instance: dg.DagsterInstance) -> list[DeadRun]:
    """End every run whose process is gone, and free the slots of runs that have ended.

    A process of this host is looked at; of one on another host, or in another container, the run's
    heartbeat decides. A run that was asked to stop is canceled, any other fails, so that the daemon
    of a server tries it again. Runs of which nothing is known are left alone.
    """
    ended = []
    for record in instance.get_run_records(dg.RunsFilter(statuses=LEFT_OVER)):
        sentence = why_dead(instance, record.dagster_run)
        if sentence is None:
            continue
        run = instance.get_run_by_id(record.dagster_run.run_id)  # a gone process writes no more: what stands now stays
        if run is None or run.status not in LEFT_OVER:
            continue
        unpublished.end_run(instance, run, sentence, canceled=run.status == dg.DagsterRunStatus.CANCELING)
        ended.append(DeadRun(run.run_id, sentence))
    _free_slots_of_ended_runs(instance)
    return ended


def why_dead(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str | None:
    """Return the sentence that says why a run cannot go on, or None where it may."""
    process = process_in(run.tags, run.run_id)
    if process is not None:
        return _gone(process, heartbeat_in(run.tags))
    if run.status == dg.DagsterRunStatus.NOT_STARTED or not unpublished.is_on_this_machine(instance):
        return None
    named = unpublished.process_of_run(instance, run.run_id)
    if named is None or _worked_then(*named):
        return None
    return (
        f"The process of this run ({named[0]} on {this_process().host}) is gone; it was killed or the machine stopped."
    )


def _gone(process: Process, heartbeat: float) -> str | None:
    here = this_process()
    name = f"The process of this run ({process.pid} on {process.host}) is gone"
    if process.host == here.host and process.boot != here.boot:
        return f"{name}; the machine was started anew since."
    if (process.host, process.boot, process.namespace) == (here.host, here.boot, here.namespace):
        alive = ticks_at_start(process.pid) == process.started
        return None if alive else f"{name}; it was killed (out of memory, a closed session) or it crashed."
    silent = time.time() - heartbeat
    return f"{name}; it last showed life {silent / 60:.0f} minutes ago." if silent > SILENCE_SECONDS else None


def _worked_then(pid: int, moment: float) -> bool:
    """Return whether the process that has this number now is the one that had it at `moment`."""
    if ticks_at_start(pid) is None:
        return False
    started = seconds_at_start(pid)
    return started is None or started <= moment + CLOCKS_DIFFER


def _free_slots_of_ended_runs(instance: dg.DagsterInstance) -> None:
    for run_id in unpublished.runs_in_pools(instance):
        run = instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            unpublished.free_slots(instance, run_id)
