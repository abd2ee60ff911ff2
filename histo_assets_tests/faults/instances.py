"""A lost, a second and a new Dagster instance: history follows the storage and costs no recomputation."""

from __future__ import annotations

import shutil
from typing import Any

from histo_assets_tests.faults.artefacts import Stored, stored
from histo_assets_tests.faults.campaign import Trial
from histo_assets_tests.faults.judge import (
    UP_TO_DATE,
    after_the_next_run,
    left_in_dagster,
    made_again,
    reference_of,
    versions,
)
from histo_assets_tests.faults.place import STUDY, Place


def lost_instance(trial: Trial) -> None:
    """DAGSTER_HOME removed: nothing is made again, and `reconcile` tells the new one of everything."""
    place = trial.place
    shutil.rmtree(place.home)
    before = versions(place)
    ran = place.materialize()
    lost = [] if ran.ended_well and UP_TO_DATE in ran.output else [f"not up to date: {ran}"]
    lost += made_again(before, versions(place))
    trial.tried("materialize without its instance", lost)
    shutil.rmtree(place.home, ignore_errors=True)
    ran = place.run("reconcile", "--study", STUDY)
    trial.tried("reconcile of a new instance", [str(ran)] if not ran.ended_well else _unknown(place))
    trial.tried("the whole study after that", [*after_the_next_run(place), *made_again(before, versions(place))])


def second_instance(trial: Trial) -> None:
    """A second DAGSTER_HOME on the same storage, and a relative one."""
    place = trial.place
    second: dict[str, Any] = {"DAGSTER_HOME": str(place.live / "tmp" / "second")}
    artefact = Stored("expression_clusters")
    before = versions(place)
    ran = place.materialize(**second)
    lost = [] if ran.ended_well and UP_TO_DATE in ran.output else [f"not up to date: {ran}"]
    trial.tried("materialize with a second instance", [*lost, *made_again(before, versions(place))])
    ran = place.materialize(*artefact.words, "--force", **second)
    trial.tried("an artefact made again there", [*([] if ran.ended_well else [str(ran)]), *after_the_next_run(place)])
    ran = place.materialize(DAGSTER_HOME="relative")
    refused = "Traceback" not in ran.errors and ran.code == 2 and ran.errors.strip().count("\n") == 0
    trial.tried("a relative DAGSTER_HOME", [] if ran.ended_well or refused else [str(ran)])
    shutil.rmtree(place.live / "relative", ignore_errors=True)


def first_uses(trial: Trial) -> None:
    """Several first uses of one new DAGSTER_HOME at once."""
    place = trial.place
    for _ in range(1 if trial.short else 4):
        shutil.rmtree(place.home, ignore_errors=True)
        before = versions(place)
        commands = [place.start("materialize", "--study", STUDY) for _ in range(2)]
        lost = [str(ran) for ran in (command.wait() for command in commands) if not ran.ended_well]
        lost += made_again(before, versions(place))
        lost += left_in_dagster(place)
        if not trial.tried("two first uses at once", lost):
            place.restore()
    if not trial.short:
        trial.tried("the whole study after that", after_the_next_run(place))


def _unknown(place: Place) -> list[str]:
    """Return each artefact that Dagster does not know as the storage has it."""
    facts = place.facts()
    lost = []
    for artefact, pointer in stored(reference_of(place)).items():
        known = facts["materialized"].get(artefact.asset)
        if known is None or (artefact.partition != "all" and artefact.partition not in known):
            lost.append(f"Dagster does not know {artefact}")
        elif artefact.partition == "all" and facts["data_versions"].get(artefact.asset) != pointer["data_version"]:
            lost.append(f"Dagster knows another data version of {artefact}")
    return lost
