"""A run that waits for its pool says who holds it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

import dagster as dg

from histo_assets import interrupts
from histo_assets.core.progress import Progress
from histo_assets.defs import unpublished
from histo_assets.defs.heartbeats import process_in
from histo_assets.defs.progress import announce
from histo_assets.defs.runs import end_dead_runs

FIRST_LOOK = 2.0
BETWEEN_LOOKS = 5.0
BETWEEN_GLANCES = 0.25


@contextmanager
def explained(instance: dg.DagsterInstance, run_id: str, progress: Progress) -> Iterator[None]:
    """Say, while the block runs, whom its run waits for; end holders whose process is gone.

    A line goes to `progress` when the holder is another than before, and every few seconds to whoever
    listens to progress. Dagster's loop that waits for a pool ignores INT and TERM: while it waits, a
    signal ends the process at once, since nothing is lost.
    """
    over = threading.Event()
    thread = threading.Thread(
        target=_look_on, args=(instance, run_id, progress, over), name="histo-assets-waiting", daemon=True
    )
    if instance.is_persistent:
        thread.start()
    try:
        yield
    finally:
        over.set()


def who_holds(instance: dg.DagsterInstance, run_id: str) -> list[str]:
    """Return a sentence for each run that holds a pool which run `run_id` waits for."""
    return [
        f"waits for pool {pool.name}, held by {_described(instance, holder)}"
        for pool in unpublished.pools(instance)
        if run_id in pool.waiting
        for holder in sorted(set(pool.holders))
    ]


def _described(instance: dg.DagsterInstance, run_id: str) -> str:
    record = instance.get_run_record_by_id(run_id)
    if record is None:
        return f"run {run_id[:8]}, which is not known any more"
    run = record.dagster_run
    what = ", ".join(sorted(key.path[-1] for key in run.asset_selection or ())) or run.job_name
    partition = f" [{run.tags['dagster/partition']}]" if "dagster/partition" in run.tags else ""
    process = process_in(run.tags, run_id)
    where = f" on {process.host}, process {process.pid}" if process else ""
    since = f" since {datetime.fromtimestamp(record.start_time):%H:%M:%S}" if record.start_time else ""
    return f"run {run_id[:8]} ({what}{partition}){where}{since}"


def _look_on(instance: dg.DagsterInstance, run_id: str, progress: Progress, over: threading.Event) -> None:
    over.wait(FIRST_LOOK)
    before: list[str] = []
    while not over.is_set():
        try:
            holders = who_holds(instance, run_id)
            if holders:
                end_dead_runs(instance)
                for sentence in holders:
                    announce(sentence)
                if holders != before:
                    progress("; ".join(holders))
            before = holders
        except Exception:  # the database is away: waiting goes on, and so does looking
            pass
        _glance(bool(before), over)


def _glance(waits: bool, over: threading.Event) -> None:
    """Let the time to the next look pass; end the process where it waits and was told to end."""
    until = time.monotonic() + BETWEEN_LOOKS
    while time.monotonic() < until and not over.wait(BETWEEN_GLANCES):
        if waits and interrupts.received() is not None:
            interrupts.end_now()
