"""A study of two assets of which the first takes for ever, run as `materialize` runs the real ones.

`python -m histo_assets_tests.defs.sleeping HOME WAY`, where WAY is one of WAYS below.
"""

import hashlib
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg

from histo_assets.defs.executor import in_process_executor
from histo_assets.defs.progress import progress_logger
from histo_assets.defs.upkeep import dead_runs, upkeep_sensor
from histo_assets.defs.whole_study import StudyDriver
from histo_assets.interrupts import Interrupted, be_patient, ended_by_signals
from histo_assets.studies.study import load_study

KEY = dg.AssetKey(["tiny", "asleep"])
NEXT = dg.AssetKey(["tiny", "next"])


def sleep(home: Path) -> None:
    time.sleep(600)


def compute(home: Path) -> None:
    """Stay in one long call into a library, where no handler of Python runs."""
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2_000_000_000)


def have_children(home: Path) -> None:
    """Leave a process in a session of its own, and sleep."""
    child = subprocess.Popen(["sleep", "600"], start_new_session=True)
    (home / "child").write_text(str(child.pid))
    compute(home)


BODIES: dict[str, Callable[[Path], None]] = {"compute": compute, "children": have_children, "second": compute}
WAYS = ("sleep", "plain", "nested", "quick", *BODIES)


def definitions(home: Path | None = None, way: str = "quick") -> dg.Definitions:
    """Return a study whose first asset writes the file `begun` in `home` and then takes for ever, unless quick."""

    @dg.asset(key=KEY, pool="slide_io")
    def asleep() -> None:
        if home is not None and way != "quick":
            (home / "begun").touch()
            BODIES.get(way, sleep)(home)

    @dg.asset(key=NEXT)
    def next() -> None:
        pass

    @dg.op
    def both(context: dg.OpExecutionContext) -> None:
        assert home is not None
        try:
            run_both(context.instance, home, "sleep")
        except Interrupted as interrupted:
            raise dg.DagsterExecutionInterruptedError from interrupted

    @dg.job(executor_def=in_process_executor)
    def nested() -> None:
        both()

    loggers: Any = {"console": dg.colored_console_logger, "progress": progress_logger}
    return dg.Definitions(
        [asleep, next],
        jobs=[nested, dg.define_asset_job("alone", [asleep])],
        sensors=[upkeep_sensor("tiny", [dead_runs])],
        executor=in_process_executor,
        loggers=loggers,
    )


def driver(instance: dg.DagsterInstance, home: Path | None = None, way: str = "quick") -> StudyDriver:
    """Return the driver of that study."""
    return StudyDriver(definitions(home, way), load_study("tiny"), instance)


def run_both(instance: dg.DagsterInstance, home: Path, way: str) -> None:
    """Run one asset after the other, as the driver does after failures too."""
    made = driver(instance, home, way)
    for name in ("asleep", "next"):
        made.run((name,), None, lambda line: print(line, flush=True))


def main(home: Path, way: str) -> None:
    with dg.DagsterInstance.from_config(str(home)) as instance:
        if way == "plain":
            job = definitions(home, way).resolve_implicit_global_asset_job_def()
            job.execute_in_process(instance=instance, asset_selection=[KEY])
        elif way == "nested":
            definitions(home, way).resolve_job_def("nested").execute_in_process(instance=instance)
        else:
            with ended_by_signals():
                if way == "second":
                    be_patient(3600)
                run_both(instance, home, way)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
