"""Runs record in which process they go on, and that it lives.

The tags of a run name host, boot, process and its start; while it goes on, its process renews the
time in `histo_assets/heartbeat`, for those who cannot see the process: other hosts, other containers.
One thread of a process serves all its runs.
"""

from __future__ import annotations

import threading
import time
import uuid
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import dagster as dg

from histo_assets import interrupts
from histo_assets.defs import unpublished
from histo_assets.processes import UNKNOWN, Process, this_process

PREFIX = "histo_assets/"
HEARTBEAT = PREFIX + "heartbeat"
NO_RETRY = {"dagster/max_retries": "0"}
BEAT_SECONDS = 30.0
MOST_MISSED = 20  # beats that may fail in a row (a database that restarts) before a run is given up


def tags_of(process: Process, run_id: str) -> dict[str, str]:
    """Return the tags of a run that goes on in `process`. A retry inherits tags, hence the run's id among them."""
    values = {
        "host": process.host,
        "boot": process.boot,
        "namespace": process.namespace,
        "pid": str(process.pid),
        "started": process.started,
        "run": run_id,
        "heartbeat": str(int(time.time())),
    }
    return {PREFIX + name: value for name, value in values.items()}


def process_in(tags: Mapping[str, str], run_id: str) -> Process | None:
    """Return the process that a run's tags name, or None where they name none or are those of another run."""
    if tags.get(PREFIX + "run") != run_id or not tags.get(PREFIX + "pid", "").isdigit():
        return None
    named = {name: tags.get(PREFIX + name, UNKNOWN) for name in ("host", "boot", "namespace", "started")}
    return Process(pid=int(tags[PREFIX + "pid"]), **named)


def heartbeat_in(tags: Mapping[str, str]) -> float:
    """Return when the run's process was last known to live, in seconds since 1970."""
    value = tags.get(HEARTBEAT, "")
    return float(value) if value.isdigit() else 0.0


@dataclass
class _Beating:
    instance: weakref.ref[dg.DagsterInstance]
    missed: int = 0


@dataclass
class _Heart:
    """The runs of this process, and the thread that renews their heartbeats."""

    runs: dict[str, _Beating] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    thread: threading.Thread | None = None

    def add(self, instance: dg.DagsterInstance, run_id: str) -> bool:
        """Take a run on; return whether it is new here."""
        with self.lock:
            if run_id in self.runs:
                return False
            self.runs[run_id] = _Beating(weakref.ref(instance))
            if instance.is_persistent and (self.thread is None or not self.thread.is_alive()):
                self.thread = threading.Thread(target=self._beat_on, name="histo-assets-heartbeat", daemon=True)
                self.thread.start()
            return True

    def remove(self, run_id: str) -> None:
        with self.lock:
            self.runs.pop(run_id, None)

    def _beat_on(self) -> None:
        while True:
            time.sleep(BEAT_SECONDS)
            for run_id, beating in list(self.runs.items()):
                self.beat(run_id, beating)
            with self.lock:
                if not self.runs:
                    self.thread = None
                    return

    def beat(self, run_id: str, beating: _Beating) -> None:
        """Renew one run's heartbeat; leave a run that has ended alone from then on."""
        instance = beating.instance()
        if instance is None:
            return self.remove(run_id)
        try:
            run = instance.get_run_by_id(run_id)
            if run is not None and not run.is_finished:
                unpublished.tag_run(instance, run_id, {HEARTBEAT: str(int(time.time()))})
            elif run is not None:
                self.remove(run_id)
            beating.missed = 0
        except Exception:  # the database is away: the next beat may find it back
            beating.missed += 1
            if beating.missed >= MOST_MISSED:
                self.remove(run_id)


_heart = _Heart()


def runs_of_this_process() -> list[tuple[dg.DagsterInstance, str]]:
    """Return the runs that go on in this process, with their instances; the innermost first."""
    alive = [(beating.instance(), run_id) for run_id, beating in _heart.runs.items()]
    return [(instance, run_id) for instance, run_id in reversed(alive) if instance is not None]


def end_unless_ended(instance: dg.DagsterInstance, run_id: str) -> None:
    """Cancel a run that its process will not finish, where nobody has ended it yet."""
    run = instance.get_run_by_id(run_id)
    if run is not None and not run.is_finished:
        sentence = f"Interrupted: its process ({this_process().pid} on {this_process().host}) was told to end."
        unpublished.end_run(instance, run, sentence, canceled=True)


def end_own_runs() -> None:
    """Cancel every run that goes on in this process, the innermost first."""
    for instance, run_id in runs_of_this_process():
        end_unless_ended(instance, run_id)


interrupts.before_the_end(end_own_runs)


@contextmanager
def running_in_this_process(instance: dg.DagsterInstance, run_id: str) -> Iterator[None]:
    """Say in a run's tags that it goes on in this process, and keep its heartbeat until it ends.

    Called inside a run, as often as wanted: the tags are written once per run and process.
    """
    if _heart.add(instance, run_id):
        run = instance.get_run_by_id(run_id)
        process = this_process()
        if run is not None and process_in(run.tags, run_id) != process:
            unpublished.tag_run(instance, run_id, tags_of(process, run_id))
    yield


@contextmanager
def new_run_in_this_process(instance: dg.DagsterInstance) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield id and tags for a run that this process is about to make, and keep its heartbeat inside the block.

    Nothing tries such a run again: whoever makes it in its own process sees how it ends.
    """
    run_id = str(uuid.uuid4())
    _heart.add(instance, run_id)
    try:
        yield run_id, {**tags_of(this_process(), run_id), **NO_RETRY}
    except BaseException:
        end_unless_ended(instance, run_id)
        raise
    finally:
        _heart.remove(run_id)
