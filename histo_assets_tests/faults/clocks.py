"""A clock that goes backwards: what was made in the future, or by a machine that lags behind."""

from __future__ import annotations

import shutil
import signal
import time
from pathlib import Path
from typing import Any

from histo_assets_tests.faults.artefacts import POINTER, Stored
from histo_assets_tests.faults.campaign import Skipped, Trial
from histo_assets_tests.faults.judge import after_the_next_run, last_good_state
from histo_assets_tests.faults.place import STUDY, Command, Place

LIBRARIES = ("/usr/lib/*/faketime/libfaketimeMT.so.1", "/usr/lib/faketime/libfaketimeMT.so.1")
MADE = (Stored("tiles", "liver"), Stored("trained_model", "lite0"), Stored("slide_embeddings"))


def clock(trial: Trial) -> None:
    """Artefacts made days ahead or days behind the true clock, with kills and prune between."""
    shifts = {name: shifted(offset) for name, offset in (("three days ahead", "+3d"), ("three days behind", "-3d"))}
    place = trial.place
    for name, changes in shifts.items():
        for artefact in MADE:
            ran = place.materialize(*artefact.words, "--force", **changes)
            lost = [] if ran.ended_well else [str(ran)]
            trial.tried(f"{artefact} made {name}", [*lost, *last_good_state(place)])
        place.end_processes()  # Dagster's readers of a step's output outlive a run whose clock lags behind
        sound = trial.tried(f"the true clock after {name}", after_the_next_run(place))
        sound &= _killed_under_another_clock(trial, name, changes)
        sound &= _pruned_under_another_clock(trial, name, changes)
        if not sound:
            place.restore()


def shifted(offset: str) -> dict[str, Any]:
    """Return the environment in which a process reads a clock that is `offset` away from the true one.

    Raises
    ------
    Skipped
        libfaketime is not installed.
    """
    for pattern in LIBRARIES:
        for library in Path("/").glob(pattern.lstrip("/")):
            return {"LD_PRELOAD": str(library), "FAKETIME": offset, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    raise Skipped("libfaketime is not installed (Debian package faketime)")


def _killed_under_another_clock(trial: Trial, name: str, changes: dict[str, Any]) -> bool:
    """Kill a run that reads another clock; the next one reads the true one."""
    place = trial.place
    artefact = MADE[0]
    shutil.rmtree(artefact.folder(place.data))
    command = place.start("materialize", "--study", STUDY, *artefact.words, **changes)
    _wait_for_a_run(place, command)
    command.signal(signal.SIGKILL)
    command.ends_within(10)
    return trial.tried(f"{artefact} killed {name}", after_the_next_run(place))


def _pruned_under_another_clock(trial: Trial, name: str, changes: dict[str, Any]) -> bool:
    """Prune by another clock what the true one made, with the days that prune keeps by default."""
    place = trial.place
    (MADE[2].folder(place.data) / POINTER).unlink()
    remade = place.materialize()
    ran = place.run("prune", "--study", STUDY, "--yes", **changes)
    # Without its pointer, a version of the future may be the newer one: prune lists it, and removes it when asked to.
    pruned = place.run("prune", "--study", STUDY, "--days", "0", "--yes", "--orphans")
    lost = [str(ended) for ended in (remade, ran, pruned) if not ended.ended_well]
    return trial.tried(f"prune by a clock {name}", [*lost, *last_good_state(place), *after_the_next_run(place)])


def _wait_for_a_run(place: Place, command: Command, patience: float = 20.0) -> None:
    """Wait until the run has begun to write, or as long as it lasts."""
    until = time.monotonic() + patience
    while command.runs and time.monotonic() < until:
        if MADE[0].folder(place.data).exists():
            return
        time.sleep(0.005)
