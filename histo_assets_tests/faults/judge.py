"""The judge: after a fault, is the study what it would have been, and is nothing left behind?

Every function returns losses as sentences; an empty list is a verdict of not guilty.
"""

from __future__ import annotations

import json
from pathlib import Path

from histo_assets_tests.faults.artefacts import Stored, differences, half_written, orphans, stored
from histo_assets_tests.faults.place import LIMIT, STUDY, Place, Ran

UP_TO_DATE = "up to date"
MOST_WORDS = 10  # lines on standard error of a command that says in plain words why it failed


def reference_of(place: Place) -> Path:
    """Return the folder of the undisturbed study's artefacts."""
    return place.root / "reference" / "data" / STUDY


def last_good_state(place: Place) -> list[str]:
    """Return what is half written right after a fault, before anything runs again."""
    return half_written(place.data)


def after_the_next_run(place: Place, limit: float = 4 * LIMIT) -> list[str]:
    """Run the study once more and return everything that is then not as it was before the fault."""
    lost = result_of_the_next_run(place, limit)
    return lost or [*not_fresh(place), *left_behind(place)]


def result_of_the_next_run(place: Place, limit: float = 4 * LIMIT) -> list[str]:
    """Run the study once more; return what then differs from the reference, or is still due."""
    ran = place.materialize(limit=limit)
    if not ran.ended_well:
        return [str(ran)]
    lost = differences(place.data, reference_of(place))
    return lost or _second_run(place.materialize())


def left_behind(place: Place) -> list[str]:
    """Return what a fault left in Dagster, on disk and alive, after the study has run again."""
    alive = [f"still alive: {line}" for line in place.processes_left()]
    return [*left_in_dagster(place), *left_on_disk(place), *alive]


def artefact_after_the_next_run(place: Place, artefact: Stored, ran: Ran) -> list[str]:
    """Return what is wrong with one artefact after the run that was to make it again."""
    if not ran.ended_well:
        return [str(ran)]
    return differences(place.data, reference_of(place), only={artefact}, with_shards=artefact.asset == "tiles")


def not_fresh(place: Place) -> list[str]:
    """Return each artefact that `status` does not call fresh."""
    states = status(place)
    return [f"status says {name} is {state}" for name, state in states.items() if state != "fresh"]


def status(place: Place) -> dict[str, str]:
    """Return the state of every artefact as `histo-assets status --json` says it."""
    ran = place.run("status", "--study", STUDY, "--json")
    if ran.hung or ran.code not in (0, 1) or not ran.output.lstrip().startswith("{"):
        return {"status": str(ran)}
    rows = json.loads(ran.output)["artefacts"]
    return {str(Stored(row["asset"], row["partition"] or "all")): row["state"] for row in rows}


def left_in_dagster(place: Place) -> list[str]:
    """Return runs that never ended and pool slots that nobody holds any more."""
    facts = place.facts()
    return [
        *[f"run {run[:8]} stays {state}" for run, state in facts["unfinished"].items()],
        *[f"pool {pool} keeps {count} slots" for pool, count in facts["slots"].items()],
        *[f"pool {pool} keeps {count} steps waiting" for pool, count in facts["pending"].items()],
    ]


def left_on_disk(place: Place) -> list[str]:
    """Prune to the last day and return what lies there all the same; a second pass may be needed."""
    left: list[str] = []
    for _ in range(2):
        ran = place.run("prune", "--study", STUDY, "--days", "0", "--yes")
        if not ran.ended_well:
            return [str(ran)]
        left = orphans(place.data, reference_of(place))
        if not left:
            break
    return [
        *left,
        *[f"left in the cache: {path}" for path in _left_in_cache(place)],
        *differences(place.data, reference_of(place)),
    ]


def versions(place: Place) -> dict[Stored, str]:
    """Return which version of every artefact counts: equal before and after means nothing was made again."""
    return {artefact: pointer.get("version", "") for artefact, pointer in stored(place.data).items()}


def made_again(before: dict[Stored, str], after: dict[Stored, str]) -> list[str]:
    """Return a sentence for each artefact that was made again though nothing asked for it."""
    return [f"{artefact} was made again" for artefact in before if after.get(artefact) != before[artefact]]


def one_sentence(ran: Ran, *words: str) -> list[str]:
    """Return what is wrong with how a command refused: it must say why in plain words, without a traceback."""
    problems = []
    if ran.hung or ran.code == 0:
        problems.append(f"it should have failed: {ran}")
    if "Traceback" in ran.errors + ran.output:
        problems.append(f"a traceback: {ran}")
    if len(ran.errors.splitlines()) > MOST_WORDS:
        problems.append(f"{len(ran.errors.splitlines())} lines of errors: {ran}")
    if words and not any(word in (ran.errors + ran.output).lower() for word in words):
        problems.append(f"it does not say why: {ran}")
    return problems


def _second_run(ran: Ran) -> list[str]:
    if not ran.ended_well:
        return [str(ran)]
    return [] if UP_TO_DATE in ran.output else [f"the second run still finds something due: {ran}"]


def _left_in_cache(place: Place) -> list[str]:
    """Return unfinished uploads and temporary files in the cache."""
    cache = place.live / "cache"
    files = [path.relative_to(cache) for path in cache.rglob("*") if path.is_file()]
    return [str(path) for path in files if path.parts[0] == "uploads" or path.name.startswith(".")]
