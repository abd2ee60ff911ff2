"""SIGKILL at random moments, over every kind of asset, on single artefacts.

An artefact is made due, its run is killed, and at once the next run must make it, without waiting for
what the dead one held.
"""

from __future__ import annotations

import itertools
import random
import shutil
import signal
import time
from collections.abc import Iterator

from histo_assets_tests.faults.artefacts import POINTER, Stored, differences, stored
from histo_assets_tests.faults.campaign import Trial
from histo_assets_tests.faults.judge import (
    after_the_next_run,
    artefact_after_the_next_run,
    last_good_state,
    reference_of,
)
from histo_assets_tests.faults.place import STUDY, Command, Place
from histo_assets_tests.faults.study import predict

KILLS = 60
KILLS_OF_PREDICTION = 6
FULL_JUDGEMENT_EVERY = 8
SHORT_KINDS = ("tiles", "trained_model", "tile_embeddings")
STEP_AT_FIRST = 3.0  # seconds that a step is taken to last before it has been seen to the end


def kills(trial: Trial) -> None:
    """SIGKILL of `materialize --select X`, at least 60 times and over every kind of asset."""
    place = trial.place
    durations = Durations(place)
    killed = 0
    for kind in _kinds(trial):
        dead, sound = _one_kill(trial, kind, durations)
        killed += dead
        last = killed >= KILLS and not trial.short
        if sound and not trial.short and (killed % FULL_JUDGEMENT_EVERY == 0 or last):
            sound = trial.tried(f"the whole study after {killed} kills", after_the_next_run(place))
        if not sound:
            place.restore()
        if last:
            return
    trial.tried(f"the whole study after {killed} kills", after_the_next_run(place))


def kills_of_prediction(trial: Trial) -> None:
    """SIGKILL of `predict`, and the same prediction again."""
    place, chance = trial.place, trial.chance
    incoming = [a for a in stored(reference_of(place)) if a.incoming]
    undisturbed = predict(place).seconds
    for _ in range(KILLS_OF_PREDICTION):
        lost_before = chance.choice([*incoming, None])
        if lost_before:
            (lost_before.folder(place.data) / POINTER).unlink()
        killed = place.start("predict", str(place.new_slide()), "--study", STUDY)
        when = _kill_at(killed, chance.uniform(0.3 * undisturbed, undisturbed), group=True)
        lost = last_good_state(place)
        ran = predict(place)
        lost += differences(place.data, reference_of(place), set(incoming)) if ran.ended_well else [str(ran)]
        if not trial.tried(f"predict ({lost_before or 'nothing'} lost before) killed {when}", lost):
            place.restore()
    trial.tried("the whole study after the kills", after_the_next_run(place))


class Durations:
    """How long an undisturbed `materialize --select` of each kind takes, as far as one was seen to its end."""

    def __init__(self, place: Place) -> None:
        self._known: dict[str, float] = {}
        self.start = place.materialize("--select", "slide_manifest").seconds

    def of(self, artefact: Stored) -> float:
        """Return the seconds from the start of the process to its end."""
        return self._known.get(artefact.asset, self.start + STEP_AT_FIRST)

    def seen(self, artefact: Stored, seconds: float) -> None:
        """Take note of an undisturbed run of an artefact's kind."""
        self._known[artefact.asset] = max(seconds, self.start) + 0.3

    def moment(self, artefact: Stored, chance: random.Random) -> float:
        """Return a moment to kill at: mostly while the step runs, now and then while the process starts."""
        return chance.uniform(self.start * chance.choice((0.1, 0.8, 0.8, 0.8)), self.of(artefact))


def make_due(place: Place, artefact: Stored, chance: random.Random) -> tuple[str, tuple[str, ...]]:
    """Make an artefact due; return how, and what `materialize` needs to be told to make it."""
    folder = artefact.folder(place.data)
    ways = ["asked for", "pointer lost", "all lost"] + (["shards lost"] if artefact.asset == "tiles" else [])
    way = chance.choice(ways)
    if way == "asked for":
        return way, ("--force",)
    (folder / POINTER).unlink(missing_ok=True)
    if way != "pointer lost":
        shutil.rmtree(folder)
    if way == "shards lost":
        shutil.rmtree(place.data / "shards" / artefact.asset / artefact.partition)
    return way, ()


def _kinds(trial: Trial) -> Iterator[str]:
    """Yield kinds of assets, every one before any comes again."""
    if trial.short:
        yield from SHORT_KINDS
        return
    every = sorted({a.asset for a in stored(reference_of(trial.place)) if not a.incoming})
    for _ in itertools.count():
        yield from trial.chance.sample(every, len(every))


def _one_kill(trial: Trial, kind: str, durations: Durations) -> tuple[int, bool]:
    """Kill what makes an artefact of `kind`, every other time twice; return how often, and whether all went well."""
    place, chance = trial.place, trial.chance
    artefact = chance.choice([a for a in stored(reference_of(place)) if a.asset == kind])
    moments = [durations.moment(artefact, chance) for _ in range(2 if chance.random() < 0.5 else 1)]
    how, force = make_due(place, artefact, chance)
    group, at_the_draft = chance.random() < 0.7, chance.random() < 0.25
    words = ("materialize", "--study", STUDY, *artefact.words, *force)
    lost: list[str] = []
    kills = []
    for moment in moments:
        command = place.start(*words)
        kills.append(
            _kill_at_draft(place, command, artefact, group) if at_the_draft else _kill_at(command, moment, group)
        )
        lost += last_good_state(place)
    again = place.materialize(*artefact.words, *force)
    durations.seen(artefact, again.seconds)
    lost += artefact_after_the_next_run(place, artefact, again)
    whom = "all" if group else "the first process"
    sound = trial.tried(f"{artefact} ({how}), {whom} killed {' and '.join(kills)}", lost)
    return sum("late" not in when for when in kills), sound


def _kill_at(command: Command, moment: float, group: bool) -> str:
    """Kill a command some seconds after its start; return when."""
    while command.runs and time.monotonic() - command.began < moment:
        time.sleep(0.005)
    return _kill(command, group, f"after {moment:.1f} s")


def _kill_at_draft(place: Place, command: Command, artefact: Stored, group: bool) -> str:
    """Kill a command as soon as a version that is not finished lies in the artefact's folder; return when."""
    folder = artefact.folder(place.data)
    while command.runs and not any(folder.glob(".*")):
        time.sleep(0.001)
    return _kill(command, group, "at its draft")


def _kill(command: Command, group: bool, when: str) -> str:
    late = not command.runs
    command.signal(signal.SIGKILL, group)
    command.ends_within(10)
    return f"too late ({when})" if late else when
