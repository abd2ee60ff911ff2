"""CPU seconds and peak memory of one side of a benchmark, taken in a process of its own."""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

Side = Callable[..., dict[str, Any]]


def cpu_seconds() -> float:
    """Return user and system seconds of this process and of its children that have ended."""
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in spent)


def peak_megabytes() -> float:
    """Return the largest resident memory of this process so far; its parent's does not count."""
    with open("/proc/self/status", encoding="ascii") as status:
        line = next(line for line in status if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def in_own_process(module: str, side: str, *arguments: Any) -> dict[str, Any]:
    """Return what `run_side` prints for a side of the benchmark `module`, run in a fresh interpreter."""
    command = [sys.executable, "-m", module, "--side", side, *map(str, arguments)]
    child = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    answer: dict[str, Any] = json.loads(child.stdout.splitlines()[-1])
    return answer


def run_side(side: Side, arguments: list[str]) -> None:
    """Run a side and print what it returns as JSON, with its CPU seconds, wall seconds and peak megabytes.

    A side does its imports when it is called with no arguments, so that they are not counted.
    """
    side()
    cpu, wall = cpu_seconds(), time.monotonic()
    results = side(*arguments)
    measured = {
        "cpu_seconds": cpu_seconds() - cpu,
        "wall_seconds": time.monotonic() - wall,
        "peak_mb": peak_megabytes(),
    }
    print(json.dumps({**measured, **results}))


def parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser that knows `--json` and the hidden `--side` with its arguments."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--json", action="store_true", help="one JSON object in place of lines")
    made.add_argument("--side", nargs="+", help=argparse.SUPPRESS)
    return made


def line(name: str, value: float, unit: str, target: str = "", met: bool | None = None) -> str:
    """Return one line of a report: a figure, its unit, and whether it meets its target."""
    verdict = "" if met is None else "  met" if met else "  NOT MET"
    return f"{name:58} {value:9.3f} {unit:12}{target:>14}{verdict}"
