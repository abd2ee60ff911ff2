"""A study of one asset that sleeps in a pool, run as `materialize` runs the real ones.

`python -m histo_assets_tests.defs.sleeping HOME SECONDS [plain]`: `plain` runs it as version 0.1.0 did.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import dagster as dg

from histo_assets.defs.progress import progress_logger
from histo_assets.defs.whole_study import StudyDriver
from histo_assets.studies.study import load_study

KEY = dg.AssetKey(["tiny", "asleep"])


def definitions(seconds: float, mark: Path | None = None) -> dg.Definitions:
    """Return a study whose only asset sleeps that long, and writes `mark` when it begins."""

    @dg.asset(key=KEY, pool="slide_io")
    def asleep() -> None:
        if mark is not None:
            mark.touch()
        time.sleep(seconds)

    loggers: Any = {"console": dg.colored_console_logger, "progress": progress_logger}
    return dg.Definitions([asleep], executor=dg.in_process_executor, loggers=loggers)


def driver(instance: dg.DagsterInstance, seconds: float, mark: Path | None = None) -> StudyDriver:
    """Return the driver of that study."""
    return StudyDriver(definitions(seconds, mark), load_study("tiny"), instance)


if __name__ == "__main__":
    home, seconds = Path(sys.argv[1]), float(sys.argv[2])
    with dg.DagsterInstance.from_config(str(home)) as opened:
        if "plain" in sys.argv:
            whole = definitions(seconds, home / "begun").resolve_implicit_global_asset_job_def()
            whole.execute_in_process(instance=opened, asset_selection=[KEY])
        else:
            driver(opened, seconds, home / "begun").run(("asleep",), None)
