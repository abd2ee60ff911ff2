"""Runs whose process was killed do not stay, and do not hold their pool."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest

from histo_assets.defs import heartbeats, unpublished
from histo_assets.defs.heartbeats import HEARTBEAT, tags_of
from histo_assets.defs.runs import end_dead_runs
from histo_assets.defs.upkeep import dead_runs, upkeep_sensor
from histo_assets.processes import Process, this_process
from histo_assets_tests.defs.sleeping import definitions, driver

RUN = "00000000-0000-4000-8000-00000000000a"
PARENT = "00000000-0000-4000-8000-00000000000b"

Start = Callable[..., "subprocess.Popen[bytes]"]
STARTED = dg.DagsterRunStatus.STARTED
FAILURE = dg.DagsterRunStatus.FAILURE


@pytest.fixture
def start(home: Path) -> Iterator[Start]:
    """Start a process that runs the sleeping asset; return once the step has begun."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(way: str = "sleep") -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "histo_assets_tests.defs.sleeping", str(home), way]
        (home / "begun").unlink(missing_ok=True)
        started.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        while not (home / "begun").exists():
            assert started[-1].poll() is None, "the process ended before its step began"
            time.sleep(0.05)
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.wait()


def killed(process: subprocess.Popen[bytes]) -> int:
    process.send_signal(signal.SIGKILL)
    process.wait()
    return process.pid


def the_run(instance: dg.DagsterInstance) -> dg.DagsterRun:
    (record,) = instance.get_run_records()
    return record.dagster_run


def made(instance: dg.DagsterInstance, tags: dict[str, str], status: dg.DagsterRunStatus = STARTED) -> dg.DagsterRun:
    job = definitions().resolve_implicit_global_asset_job_def()
    return instance.create_run_for_job(job, run_id=RUN, tags=tags, status=status)


def test_a_killed_run_fails_with_host_and_process_and_leaves_its_pool(
    instance: dg.DagsterInstance, start: Start
) -> None:
    pid = killed(start())
    assert the_run(instance).status == STARTED
    assert unpublished.pools(instance, ["slide_io"])[0].full

    (dead,) = end_dead_runs(instance)

    assert the_run(instance).status == FAILURE
    assert not unpublished.pools(instance, ["slide_io"])[0].holders
    assert f"{pid} on {this_process().host}" in dead.sentence and "is gone" in dead.sentence
    messages = [entry.user_message or entry.message for entry in instance.all_logs(dead.run_id)]
    assert any(dead.sentence in message for message in messages)
    assert end_dead_runs(instance) == []


def test_after_a_kill_the_next_run_gets_the_pool(instance: dg.DagsterInstance, start: Start) -> None:
    killed(start())
    end_dead_runs(instance)
    assert driver(instance).run(("asleep",), None).success


def test_a_run_that_goes_on_is_left_alone(instance: dg.DagsterInstance, start: Start) -> None:
    start()
    assert end_dead_runs(instance) == []
    assert the_run(instance).status == STARTED
    assert unpublished.pools(instance, ["slide_io"])[0].full


def test_a_killed_run_without_tags_is_known_by_its_events_on_this_machine_alone(
    instance: dg.DagsterInstance, start: Start, home: Path
) -> None:
    killed(start("plain"))
    sqlite = unpublished.is_on_this_machine(instance)
    assert len(end_dead_runs(instance)) == (1 if sqlite else 0)
    assert the_run(instance).status == (FAILURE if sqlite else STARTED)


def test_a_run_without_tags_that_goes_on_is_left_alone(instance: dg.DagsterInstance, start: Start) -> None:
    start("plain")
    assert end_dead_runs(instance) == []


HERE = this_process()
ELSEWHERE = Process("another-host", "another-boot", "1", 1, "1")


@pytest.mark.parametrize(
    ("process", "age", "ended"),
    [
        (HERE, 0, False),
        (HERE, 3600, False),
        (Process(HERE.host, HERE.boot, HERE.namespace, HERE.pid, "1"), 0, True),
        (Process(HERE.host, "a-boot-before", HERE.namespace, HERE.pid, HERE.started), 0, True),
        (Process(HERE.host, HERE.boot, "1", HERE.pid, HERE.started), 60, False),
        (Process(HERE.host, HERE.boot, "1", HERE.pid, HERE.started), 301, True),
        (ELSEWHERE, 60, False),
        (ELSEWHERE, 301, True),
    ],
    ids=[
        "this process",
        "this process, silent",
        "a number given again",
        "before a reboot",
        "another container",
        "another container, silent",
        "another host",
        "another host, silent",
    ],
)
def test_who_lives_is_seen_on_this_host_and_heard_from_others(
    sqlite_home: Path, process: Process, age: int, ended: bool
) -> None:
    with dg.DagsterInstance.from_config(str(sqlite_home)) as instance:
        run = made(instance, tags_of(process, RUN) | {HEARTBEAT: str(int(time.time()) - age)})
        assert bool(end_dead_runs(instance)) == ended
        assert instance.get_run_by_id(run.run_id).status == (FAILURE if ended else STARTED)  # type: ignore[union-attr]


def test_a_retry_is_not_judged_by_the_tags_that_it_inherits(sqlite_home: Path) -> None:
    with dg.DagsterInstance.from_config(str(sqlite_home)) as instance:
        made(instance, tags_of(Process(HERE.host, HERE.boot, HERE.namespace, HERE.pid, "1"), PARENT))
        assert end_dead_runs(instance) == []


def test_a_dead_run_that_was_asked_to_stop_is_canceled(sqlite_home: Path) -> None:
    with dg.DagsterInstance.from_config(str(sqlite_home)) as instance:
        gone = Process(HERE.host, HERE.boot, HERE.namespace, HERE.pid, "1")
        made(instance, tags_of(gone, RUN), dg.DagsterRunStatus.CANCELING)
        assert len(end_dead_runs(instance)) == 1
        assert the_run(instance).status == dg.DagsterRunStatus.CANCELED


def test_the_upkeep_of_the_daemon_ends_a_dead_run_and_says_so(sqlite_home: Path) -> None:
    with dg.DagsterInstance.from_config(str(sqlite_home)) as instance:
        made(instance, tags_of(Process(HERE.host, HERE.boot, HERE.namespace, HERE.pid, "1"), RUN))
        tick = upkeep_sensor("tiny", [dead_runs])(dg.build_sensor_context(instance=instance))
        assert isinstance(tick, dg.SkipReason) and f"ended run {RUN[:8]}" in str(tick.skip_message)
        assert the_run(instance).status == FAILURE


def test_the_slots_of_a_run_that_ended_are_freed(sqlite_home: Path) -> None:
    with dg.DagsterInstance.from_config(str(sqlite_home)) as instance:
        made(instance, {}, FAILURE)
        instance.event_log_storage.initialize_concurrency_limit_to_default("slide_io")
        instance.event_log_storage.claim_concurrency_slot("slide_io", RUN, "asleep")
        assert unpublished.pools(instance, ["slide_io"])[0].full
        end_dead_runs(instance)
        assert not unpublished.pools(instance, ["slide_io"])[0].full


def test_a_run_is_tagged_once_and_its_heartbeat_is_renewed_until_it_ends(instance: dg.DagsterInstance) -> None:
    made(instance, {})
    with heartbeats.running_in_this_process(instance, RUN):
        first = instance.get_run_by_id(RUN).tags  # type: ignore[union-attr]
        assert heartbeats.process_in(first, RUN) == this_process()
        with heartbeats.running_in_this_process(instance, RUN):
            pass
    unpublished.tag_run(instance, RUN, {HEARTBEAT: "1"})
    beating = heartbeats._heart.runs[RUN]
    heartbeats._heart.beat(RUN, beating)
    run = instance.get_run_by_id(RUN)
    assert run is not None and time.time() - heartbeats.heartbeat_in(run.tags) < 60
    unpublished.end_run(instance, run, "over")
    heartbeats._heart.beat(RUN, beating)
    assert RUN not in heartbeats._heart.runs
