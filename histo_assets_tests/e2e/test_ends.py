"""Servers and their run workers end with the command, and a restarted code server leaves no run behind."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest
import yaml

from histo_assets.processes import descendants, ticks_at_start

pytestmark = pytest.mark.faults
ROOT = Path(__file__).parents[2]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    places = {"DAGSTER_HOME": "home", "HISTO_STORAGE": "data", "HISTO_COHORTS": "cohorts", "HISTO_CACHE": "cache"}
    own = {name: str(tmp_path / place) for name, place in places.items()}
    return {**os.environ, **own, "DO_NOT_TRACK": "1", "PYTHONPATH": str(ROOT), "HISTO_STUDY": "tiny"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(true: Callable[[], bool], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.2)


def answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_outlives_the_ui(environment: dict[str, str], tmp_path: Path, number: int) -> None:
    port = free_port()
    command = [sys.executable, "-m", "histo_assets", "ui", "--study", "tiny", "--port", str(port)]
    with open(tmp_path / "log", "w") as log:
        ui = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    until(lambda: answers(port))
    below = descendants(ui.pid)
    assert len(below) >= 3
    try:
        ui.send_signal(number)
        code = ui.wait(20)
        assert code == (-9 if number == signal.SIGKILL else 128 + number)
        left = lambda: [pid for pid in below if ticks_at_start(pid) is not None]  # noqa: E731
        if number == signal.SIGKILL:
            until(lambda: not left(), 30)
        assert left() == []
    finally:
        for pid in below:
            if ticks_at_start(pid) is not None:
                os.kill(pid, signal.SIGKILL)


def test_a_killed_code_server_leaves_no_run_started_and_the_run_is_tried_again(
    environment: dict[str, str], tmp_path: Path
) -> None:
    home, port = tmp_path / "home", free_port()
    home.mkdir()
    config = yaml.safe_load((ROOT / "histo_assets" / "defs" / "instance.yaml").read_text())
    config["run_retries"] = {"enabled": True, "max_retries": 2, "retry_on_asset_or_op_failure": False}
    (home / "dagster.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "served.py").write_text(
        "from pathlib import Path\n"
        "from histo_assets_tests.defs.sleeping import definitions\n"
        f"defs = definitions(Path({str(home)!r}), 'sleep')\n"
    )
    workspace = {"load_from": [{"grpc_server": {"host": "127.0.0.1", "port": port, "location_name": "served"}}]}
    (tmp_path / "workspace.yaml").write_text(yaml.safe_dump(workspace))
    started: list[subprocess.Popen[bytes]] = []

    def start(*command: str) -> subprocess.Popen[bytes]:
        with open(tmp_path / "log", "a") as log:
            python = [sys.executable, "-m", *command]
            started.append(
                subprocess.Popen(python, env=environment, cwd=tmp_path, stdout=log, stderr=log, start_new_session=True)
            )
        return started[-1]

    server = ("dagster", "api", "grpc", "-f", str(tmp_path / "served.py"), "-h", "127.0.0.1", "-p", str(port))
    try:
        with dg.DagsterInstance.from_config(str(home)) as instance:
            instance.get_run_records()
            code = start(*server)
            until(lambda: answers(port))
            start("dagster._daemon", "run", "-w", str(tmp_path / "workspace.yaml"))
            launch = [sys.executable, "-m", "dagster", "job", "launch", "-w", str(tmp_path / "workspace.yaml")]
            subprocess.run([*launch, "-j", "alone"], env=environment, cwd=tmp_path, check=True, capture_output=True)
            until((home / "begun").exists)
            (home / "begun").unlink()

            everything = [code.pid, *descendants(code.pid)]
            code.send_signal(signal.SIGTERM)
            for pid in everything:  # a container's end takes all its processes
                if ticks_at_start(pid) is not None:
                    os.kill(pid, signal.SIGKILL)
            code.wait()
            start(*server)

            until((home / "begun").exists)  # the second try
            states = [record.dagster_run.status for record in instance.get_run_records(ascending=True)]
            assert states == [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.STARTED]
    finally:
        for process in started:
            for pid in [process.pid, *descendants(process.pid)]:
                if ticks_at_start(pid) is not None:
                    os.kill(pid, signal.SIGKILL)
            process.wait()
        shutil.rmtree(home, ignore_errors=True)
