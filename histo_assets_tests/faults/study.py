"""The undisturbed reference: a finished `tiny`, with one new slide predicted."""

from __future__ import annotations

import shutil
from pathlib import Path

from histo_assets_tests.faults.campaign import say
from histo_assets_tests.faults.place import LIMIT, STUDY, Place, Ran


def make_reference(place: Place) -> None:
    """Make a study from nothing and keep it as the reference (about a minute and a half)."""
    say("making the reference: a finished tiny study and one new slide")
    _finish(place)


def adopt_reference(place: Place, finished: Path) -> None:
    """Take a study that was finished elsewhere (its folders `data`, `home`, `cache`) as the reference."""
    say(f"taking {finished} as the reference")
    for part in ("data", "home", "cache"):
        shutil.rmtree(place.live / part, ignore_errors=True)
        if (finished / part).is_dir():
            shutil.copytree(finished / part, place.live / part, symlinks=True)
    for folder in place.data.glob("incoming_*"):
        shutil.rmtree(folder)
    shutil.rmtree(place.data / "shards" / "incoming_tiles", ignore_errors=True)
    _finish(place)


def predict(place: Place, limit: float = LIMIT) -> Ran:
    """Predict the new slide."""
    return place.run("predict", str(place.new_slide()), "--study", STUDY, limit=limit)


def _finish(place: Place) -> None:
    """Bring the study up to date, predict a slide, remove what no longer counts, and keep the result."""
    for ran in (
        place.materialize(limit=900),
        predict(place, limit=300),
        place.run("prune", "--study", STUDY, "--days", "0", "--yes"),
    ):
        if not ran.ended_well:
            raise RuntimeError(f"no reference without faults: {ran}\n{ran.output}\n{ran.errors}")
    place.keep("reference")
