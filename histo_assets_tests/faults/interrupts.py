"""INT and TERM: a run and the user interface end, with all their children, within ten seconds."""

from __future__ import annotations

import shutil
import signal
import time
import urllib.request

from histo_assets_tests.faults.artefacts import stored
from histo_assets_tests.faults.campaign import Trial
from histo_assets_tests.faults.judge import after_the_next_run, last_good_state, reference_of
from histo_assets_tests.faults.place import STUDY, Command, Place
from histo_assets_tests.faults.servers import free_port

PATIENCE = 10.0
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}


def interrupts(trial: Trial) -> None:
    """INT and TERM at random moments of a whole `materialize`, to its group or its first process, once or twice."""
    place, chance = trial.place, trial.chance
    start = place.materialize("--dry-run").seconds
    for number in range(1 if trial.short else 6):
        wanted = signal.SIGTERM if number % 2 else signal.SIGINT
        group, twice = chance.random() < 0.5, chance.random() < 0.4
        _forget(trial)
        command = place.start("materialize", "--study", STUDY)
        time.sleep(chance.uniform(0.7 * start, start + (4 if trial.short else 12)))
        late = not command.runs
        lost = _interrupted(place, command, wanted, group, twice) if not late else []
        times = "twice" if twice else "once"
        what = f"{wanted.name} {times} to {'all' if group else 'the first process'}{' (too late)' if late else ''}"
        lost += last_good_state(place)
        if not trial.tried(what, [*lost, *after_the_next_run(place)]):
            place.restore()


def interrupted_ui(trial: Trial) -> None:
    """INT and TERM to `ui`: web server, daemon and code servers go too."""
    for number, group in ((signal.SIGTERM, False), (signal.SIGINT, False), (signal.SIGINT, True)):
        place = trial.place
        port = free_port()
        command = place.start("ui", "--study", STUDY, "--port", str(port))
        answered = _answers(command, port)
        lost = [] if answered else ["the user interface did not come up"]
        lost += _interrupted(place, command, number, group, twice=False)
        trial.tried(f"{number.name} to {'all of ui' if group else 'the first process of ui'}", lost)
        place.end_processes()
    trial.tried("the whole study after that", after_the_next_run(trial.place))


def _forget(trial: Trial) -> None:
    """Lose a third of the artefacts, so that many runs are due."""
    every = [a for a in stored(reference_of(trial.place)) if not a.incoming]
    for artefact in trial.chance.sample(every, len(every) // 3):
        shutil.rmtree(artefact.folder(trial.place.data), ignore_errors=True)


def _interrupted(place: Place, command: Command, number: int, group: bool, twice: bool) -> list[str]:
    """Send the signal and return what did not end, began afterwards, or says something else than the signal."""
    moment = time.time()
    command.signal(number, group)
    if twice:
        time.sleep(0.3)
        command.signal(number, group)
    ran = command.ends_within(PATIENCE)
    lost = [f"alive after {PATIENCE:.0f} s: {line}" for line in place.processes_left(2.0)]
    place.end_processes()
    if ran.hung:
        lost.append("it does not end")
    elif ran.code != CODES[signal.Signals(number)]:
        lost.append(f"exit {ran.code}, not {CODES[signal.Signals(number)]}: {ran}")
    facts = place.facts()
    lost += [f"run {run[:8]} stays {state}" for run, state in facts["unfinished"].items()]
    if facts["latest_run"] > moment + 1:
        lost.append("it began a run afterwards")
    return lost


def _answers(command: Command, port: int, patience: float = 90.0) -> bool:
    until = time.monotonic() + patience
    while command.runs and time.monotonic() < until:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/server_info", timeout=2).close()
            return True
        except OSError:
            time.sleep(0.5)
    return False
