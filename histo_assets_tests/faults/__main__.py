"""`python -m histo_assets_tests.faults`: break it in every known way, and say what was lost."""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from histo_assets_tests.faults import SCENARIOS, SHORT
from histo_assets_tests.faults.campaign import run_scenarios, say, table, write_rows
from histo_assets_tests.faults.lanes import run_in_lanes
from histo_assets_tests.faults.place import Place
from histo_assets_tests.faults.study import make_reference


def main() -> int:
    """Run the suite; return 1 if anything was lost."""
    parser = argparse.ArgumentParser(prog="python -m histo_assets_tests.faults", description=__doc__)
    parser.add_argument("--short", action="store_true", help="a few faults of the commonest kinds, about 3 minutes")
    parser.add_argument("--only", action="append", choices=sorted(SCENARIOS), help="this scenario; may be repeated")
    parser.add_argument("--json", type=Path, help="write the table here too")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6), help="of all chance")
    parser.add_argument("--folder", type=Path, help="work here, and keep a finished reference for the next time")
    parser.add_argument("--lanes", type=int, default=min(2, os.cpu_count() or 1), help="scenarios side by side")
    parser.add_argument("--cohorts", type=Path, help=argparse.SUPPRESS)  # of the reference, in a lane
    options = parser.parse_args()
    names = options.only or (SHORT if options.short else list(SCENARIOS))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers end and disks are unmounted
    say(f"seed {options.seed}")
    folder = options.folder or Path(tempfile.mkdtemp(prefix="histo-faults-"))
    place = Place(folder, options.cohorts)
    try:
        if not (place.root / "reference").is_dir():
            make_reference(place)
        if options.lanes > 1 and len(names) > 1:
            rows = run_in_lanes(names, place, options.lanes, options.short, options.seed)
        else:
            rows = run_scenarios({name: SCENARIOS[name] for name in names}, place, options.short, options.seed)
    finally:
        place.end_processes()
        if options.folder is None:
            shutil.rmtree(folder, ignore_errors=True)
    say(table(rows))
    if options.json:
        write_rows(options.json, rows, options.seed)
    return 1 if any(row.lost for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
