"""Dagster's servers as children that do not outlive their command."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

from histo_assets.interrupts import Interrupted, be_patient, received
from histo_assets.processes import descendants, kill_descendants

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
LAST_MOMENT = 6.0  # seconds that the servers have to end by themselves


def serve(arguments: Sequence[str]) -> int:
    """Run Dagster's servers until they end or a signal arrives; return their exit code.

    `dagster dev` starts webserver, daemon, code servers and run workers in sessions of their own, and
    some of them outlive it. This process adopts them (Linux), hands INT and TERM on to them, and kills
    what is left after some seconds. Where this process is killed, the servers are told to end.
    """
    libc = ctypes.CDLL(None)

    def end_with_parent() -> None:
        if sys.platform == "linux":
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)

    if sys.platform == "linux":
        libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    servers = subprocess.Popen(arguments, start_new_session=True, preexec_fn=end_with_parent)
    try:
        return servers.wait()
    except Interrupted:
        be_patient(LAST_MOMENT + 3)
        os.killpg(servers.pid, received() or signal.SIGTERM)
        until = time.monotonic() + LAST_MOMENT
        while time.monotonic() < until and (servers.poll() is None or descendants(os.getpid())):
            time.sleep(0.1)
        raise
    finally:
        kill_descendants()
