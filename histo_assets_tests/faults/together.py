"""Several at once: runs, backfills and prune on one storage and one DAGSTER_HOME."""

from __future__ import annotations

import shutil
import time

from histo_assets_tests.faults.artefacts import POINTER, stored
from histo_assets_tests.faults.campaign import Trial
from histo_assets_tests.faults.judge import after_the_next_run, reference_of
from histo_assets_tests.faults.place import LIMIT, STUDY
from histo_assets_tests.faults.servers import Server, backfill, unfinished_backfills

LOST = 8  # artefacts that each round loses, so that there is work for two
A_MINUTE = "0.0007"  # days


def two_runs(trial: Trial) -> None:
    """Two `materialize` at once, on what is due and on what is fresh."""
    place = trial.place
    for forced in (False, True):
        if not forced:  # a forced run of some assets does not make what these lack
            _lose_some(trial)
        words = ("--force", "--select", "tiles", "--select", "slide_embeddings") if forced else ()
        commands = [place.start("materialize", "--study", STUDY, *words) for _ in range(2)]
        lost = [str(ran) for ran in (command.wait(3 * LIMIT) for command in commands) if not ran.ended_well]
        what = "two forced runs at once" if forced else "two runs at once"
        if not trial.tried(what, [*lost, *after_the_next_run(place)]):
            place.restore()


def two_backfills(trial: Trial) -> None:
    """Two backfills of one job at once, through code server and daemon."""
    place = trial.place
    for asset in ("raw_slides", "tiles"):
        shutil.rmtree(place.data / asset)
    with Server(place) as server:
        begun = [backfill(server, "tile_tissues") for _ in range(2)]
        lost = [str(ran) for ran in begun if not ran.ended_well]
        lost += unfinished_backfills(server, patience=5 * 60)
    trial.tried("two backfills of tile_tissues at once", [*lost, *after_the_next_run(place)])


def runs_beside_prune(trial: Trial) -> None:
    """Two `materialize` beside `prune` in a loop."""
    place = trial.place
    for _ in range(2):
        _lose_some(trial)
        commands = [place.start("materialize", "--study", STUDY) for _ in range(2)]
        until = time.monotonic() + 3 * LIMIT
        pruned, lost = 0, []
        while any(command.runs for command in commands) and time.monotonic() < until:
            ran = place.run("prune", "--study", STUDY, "--days", A_MINUTE, "--yes")
            pruned += 1
            lost += [] if ran.ended_well else [str(ran)]
        lost += [str(ran) for ran in (command.ends_within(5) for command in commands) if not ran.ended_well]
        if not trial.tried(f"two runs beside {pruned} times prune", [*lost, *after_the_next_run(place)]):
            place.restore()


def _lose_some(trial: Trial) -> None:
    every = [a for a in stored(reference_of(trial.place)) if not a.incoming]
    for artefact in trial.chance.sample(every, LOST):
        folder = artefact.folder(trial.place.data)
        if trial.chance.random() < 0.5:
            shutil.rmtree(folder)
        else:
            (folder / POINTER).unlink()
