"""Scenarios side by side: each in a process and a place of its own, with a copy of one reference."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from queue import Empty, SimpleQueue

from histo_assets_tests.faults.campaign import Row, read_rows, say
from histo_assets_tests.faults.place import Place


def run_in_lanes(names: Sequence[str], place: Place, lanes: int, short: bool, seed: int) -> list[Row]:
    """Run scenarios, `lanes` at a time, each lane taking the next one of the list; return their rows in its order."""
    waiting: SimpleQueue[str] = SimpleQueue()
    for name in names:
        waiting.put(name)
    rows: dict[str, Row] = {}
    running: set[subprocess.Popen[str]] = set()

    def work(lane: Path) -> None:
        _copy_reference(place, lane)
        while True:
            try:
                name = waiting.get_nowait()
            except Empty:
                return
            rows[name] = _run_one(name, place, lane, short, seed, running)

    threads = [
        threading.Thread(target=work, args=(place.root / f"lane-{number}",), daemon=True)
        for number in range(min(lanes, len(names)))
    ]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        while not waiting.empty():
            waiting.get_nowait()
        _end(running)
    return [rows[name] if name in rows else _not_run(name, "its lane ended before it") for name in names]


def _run_one(name: str, place: Place, lane: Path, short: bool, seed: int, running: set[subprocess.Popen[str]]) -> Row:
    """Run one scenario in a process of its own; its lines are told under its name."""
    table = lane / f"{name}.json"
    table.unlink(missing_ok=True)
    words = ["--only", name, "--seed", str(seed), "--json", str(table), "--folder", str(lane), "--lanes", "1"]
    words += ["--cohorts", str(place.cohorts), *(["--short"] if short else [])]
    process = subprocess.Popen(
        [sys.executable, "-m", "histo_assets_tests.faults", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    running.add(process)
    assert process.stdout is not None
    try:
        for line in process.stdout:
            say(f"{name:<20} {line.rstrip()}")
        code = process.wait()
    finally:
        running.discard(process)
    if not table.exists():
        return _not_run(name, f"it ended with {code} and left no table")
    (row,) = read_rows(table)
    return row


def _not_run(name: str, why: str) -> Row:
    return Row(name, lost={"the suite itself": [why]})


def _copy_reference(place: Place, lane: Path) -> None:
    """Give a lane its own copy of the reference."""
    shutil.rmtree(lane / "reference", ignore_errors=True)
    lane.mkdir(exist_ok=True)
    subprocess.run(["cp", "-a", "--reflink=auto", str(place.root / "reference"), str(lane / "reference")], check=True)


def _end(running: set[subprocess.Popen[str]]) -> None:
    """End scenarios that still run: each ends its servers and unmounts its disks on TERM."""
    for process in list(running):
        process.send_signal(signal.SIGTERM)
    for process in list(running):
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
