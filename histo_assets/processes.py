"""Processes of this machine: which one this is, whether another still lives, who descends from whom.

Read from `/proc`. Where there is none (macOS), a process is known by its number alone, and
descendants are not found.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import time
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Process:
    """The identity of a process among all others, on this machine and others, before and after a reboot.

    Attributes
    ----------
    host
        Name of the machine (of the container, inside one), as a tag of Dagster may hold it.
    boot
        Id of the machine's boot: after a reboot no process of before lives.
    namespace
        Number of the namespace in which `pid` counts: two containers of one machine have two.
    pid
        Number of the process.
    started
        When it started, in clock ticks since the boot: a number that is given again starts later.
    """

    host: str
    boot: str
    namespace: str
    pid: int
    started: str


def this_process() -> Process:
    """Return the identity of the running process."""
    pid = os.getpid()
    host = re.sub(r"[^A-Za-z0-9_.-]", "_", socket.gethostname())[:63]
    return Process(host, _boot_id(), _pid_namespace(), pid, ticks_at_start(pid) or UNKNOWN)


def ticks_at_start(pid: int) -> str | None:
    """Return when process `pid` started, in clock ticks since the boot; None where it is gone or a zombie."""
    fields = _stat(pid)
    if fields is None:
        return None if PROC.is_dir() or not _answers(pid) else UNKNOWN
    return None if fields[0] in "ZX" else fields[19]


def seconds_at_start(pid: int) -> float | None:
    """Return when process `pid` started, in seconds since 1970; None where that is not known."""
    ticks = ticks_at_start(pid)
    boot = next((line for line in _lines(PROC / "stat") if line.startswith("btime ")), None)
    if ticks is None or ticks == UNKNOWN or boot is None:
        return None
    return int(boot.split()[1]) + int(ticks) / os.sysconf("SC_CLK_TCK")


def descendants(pid: int) -> list[int]:
    """Return the processes that descend from `pid` and live, whatever their session."""
    children: dict[int, list[int]] = {}
    for entry in PROC.iterdir() if PROC.is_dir() else ():
        fields = _stat(int(entry.name)) if entry.name.isdigit() else None
        if fields is not None and fields[0] not in "ZX":
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    living: list[int] = []
    parents = [pid]
    while parents:
        below = children.get(parents.pop(), [])
        living += below
        parents += below
    return living


def kill_descendants(patience: float = 2.0) -> None:
    """Kill every process that descends from this one; those that are made meanwhile too."""
    deadline = time.monotonic() + patience
    while (living := descendants(os.getpid())) and time.monotonic() < deadline:
        for pid in living:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        time.sleep(0.02)


def _stat(pid: int) -> list[str] | None:
    """Return the fields of `/proc/<pid>/stat` after the program's name, or None where there is no such process."""
    try:
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def _answers(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


def _boot_id() -> str:
    return next(iter(_lines(PROC / "sys/kernel/random/boot_id")), UNKNOWN)


def _pid_namespace() -> str:
    try:
        return "".join(filter(str.isdigit, os.readlink(PROC / "self/ns/pid")))
    except OSError:
        return UNKNOWN
