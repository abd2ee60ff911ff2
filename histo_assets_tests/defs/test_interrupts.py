"""INT and TERM end what runs, with all its children, and nothing new begins."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest

from histo_assets.defs import unpublished
from histo_assets.processes import this_process, ticks_at_start

Start = Callable[[str], "subprocess.Popen[str]"]
CANCELED, FAILURE = dg.DagsterRunStatus.CANCELED, dg.DagsterRunStatus.FAILURE


@pytest.fixture
def home(sqlite_home: Path) -> Path:
    return sqlite_home


@pytest.fixture
def start(home: Path) -> Iterator[Start]:
    """Start a process that runs two assets in one of the ways of `sleeping`."""
    started: list[subprocess.Popen[str]] = []

    def begin(way: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "histo_assets_tests.defs.sleeping", str(home), way]
        with open(home / "log", "a") as log:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True)
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def begun(home: Path, process: subprocess.Popen[str]) -> subprocess.Popen[str]:
    while not (home / "begun").exists():
        assert process.poll() is None, (home / "log").read_text()
        time.sleep(0.05)
    time.sleep(0.3)
    return process


def runs(instance: dg.DagsterInstance) -> list[dg.DagsterRun]:
    return [record.dagster_run for record in instance.get_run_records(ascending=True)]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_interrupts_the_step_and_nothing_new_begins(
    instance: dg.DagsterInstance, home: Path, start: Start, number: int, code: int
) -> None:
    process = begun(home, start("sleep"))
    process.send_signal(number)
    assert process.wait(20) == code
    (run,) = runs(instance)
    assert run.status == FAILURE
    assert not unpublished.pools(instance, ["slide_io"])[0].holders


@pytest.mark.faults
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_step_that_is_in_a_long_call_into_a_library(
    instance: dg.DagsterInstance, home: Path, start: Start, number: int
) -> None:
    process = begun(home, start("compute"))
    process.send_signal(number)
    assert process.wait(20) == 128 + number
    (run,) = runs(instance)
    assert run.status == CANCELED
    assert not unpublished.pools(instance, ["slide_io"])[0].holders


@pytest.mark.faults
def test_children_in_sessions_of_their_own_end_too(home: Path, start: Start) -> None:
    process = begun(home, start("children"))
    child = int((home / "child").read_text())
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 143
    assert ticks_at_start(child) is None


def test_the_second_signal_ends_at_once(instance: dg.DagsterInstance, home: Path, start: Start) -> None:
    process = begun(home, start("second"))  # it would wait an hour after the first
    process.send_signal(signal.SIGINT)
    time.sleep(1)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 130
    assert [run.status for run in runs(instance)] == [CANCELED]


def test_a_command_that_waits_says_for_whom_and_ends_with_a_signal(
    instance: dg.DagsterInstance, home: Path, start: Start
) -> None:
    holder = begun(home, start("sleep"))
    waiting = start("quick")
    assert waiting.stdout is not None
    line = waiting.stdout.readline()
    held = runs(instance)[0]
    assert f"waits for pool slide_io, held by run {held.run_id[:8]} (asleep)" in line
    assert f"on {this_process().host}, process {holder.pid} since" in line
    waiting.send_signal(signal.SIGINT)
    assert waiting.wait(20) == 130
    assert [run.status for run in runs(instance)] == [dg.DagsterRunStatus.STARTED, CANCELED]
    assert unpublished.pools(instance, ["slide_io"])[0].holders == (held.run_id,)


@pytest.mark.faults
def test_a_command_that_waits_ends_a_holder_that_was_killed_and_goes_on(
    instance: dg.DagsterInstance, home: Path, start: Start
) -> None:
    holder = begun(home, start("sleep"))
    waiting = start("quick")
    assert waiting.stdout is not None and "waits for pool" in waiting.stdout.readline()
    holder.kill()
    holder.wait()
    assert waiting.wait(60) == 0
    assert [run.status.value for run in runs(instance)] == ["FAILURE", "SUCCESS", "SUCCESS"]


def test_terminate_ends_the_whole_study_job_with_the_run_inside_it(
    instance: dg.DagsterInstance, home: Path, start: Start
) -> None:
    process = begun(home, start("nested"))
    process.send_signal(signal.SIGINT)  # what Dagster's launcher sends a run's worker
    process.wait(20)
    assert [(run.job_name == "nested", run.status) for run in runs(instance)] == [(True, FAILURE), (False, FAILURE)]


def test_a_forked_child_that_is_told_to_end_ends_alone() -> None:
    from histo_assets import interrupts

    with interrupts.watched(handlers=True):
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGTERM, lambda *_: os._exit(7))  # as Dagster and torch have theirs
            time.sleep(60)
            os._exit(0)
        time.sleep(0.2)
        os.kill(child, signal.SIGTERM)
        _, status = os.waitpid(child, 0)
        time.sleep(0.2)
        assert os.waitstatus_to_exitcode(status) == 7
        assert interrupts.received() is None
