"""The place where faults are tried: one folder that holds a study, and the commands that run there.

A study is always restored to the same path, so that nothing depends on whether a results folder can
be moved. Every process that is started here carries a marker in its environment, by which what it
leaves behind is found.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MARKER = "HISTO_FAULT_ID"
STUDY = "tiny"
LIMIT = 120.0  # seconds that a command on a finished `tiny` may take before it counts as hanging
PARTS = ("data", "home", "cache", "tmp")
PROJECT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Ran:
    """A command that ended, or that was ended because it took too long (`hung`)."""

    arguments: tuple[str, ...]
    code: int
    output: str
    errors: str
    seconds: float
    hung: bool = False

    @property
    def ended_well(self) -> bool:
        """Whether the command ended by itself with exit code 0."""
        return self.code == 0 and not self.hung

    def __str__(self) -> str:
        """Return the command, how it ended and its last words."""
        lines = [line.strip(" │╭╮╰╯─") for line in (self.errors if self.errors.strip() else self.output).splitlines()]
        words = [line for line in lines if line][-1:] or ["no word"]
        ended = f"hung for {self.seconds:.0f} s" if self.hung else f"exit {self.code}"
        return f"`{' '.join(self.arguments)}`: {ended}: {words[0][:300]}"


class Command:
    """A command that runs in a session of its own, with its output in files."""

    def __init__(self, arguments: Sequence[str], words: Sequence[str], log: Path, **options: Any) -> None:
        self.words = tuple(words)
        self.log = log
        self.began = time.monotonic()
        with open(f"{log}.out", "wb") as output, open(f"{log}.err", "wb") as errors:
            self.process = subprocess.Popen(
                arguments, stdin=subprocess.DEVNULL, stdout=output, stderr=errors, start_new_session=True, **options
            )

    def signal(self, number: int, group: bool = True) -> None:
        """Send a signal to the session's processes, or to its first one alone."""
        try:
            os.killpg(self.process.pid, number) if group else self.process.send_signal(number)
        except ProcessLookupError:
            pass

    def wait(self, limit: float = LIMIT) -> Ran:
        """Return how the command ended; one that lives longer than `limit` seconds is killed."""
        hung = False
        try:
            self.process.wait(max(0.0, self.began + limit - time.monotonic()))
        except subprocess.TimeoutExpired:
            hung = True
            self.signal(signal.SIGKILL)
            self.process.wait()
        seconds = time.monotonic() - self.began
        output, errors = (Path(f"{self.log}.{end}").read_text(errors="replace") for end in ("out", "err"))
        return Ran(self.words, self.process.returncode, output, errors, seconds, hung)

    def ends_within(self, seconds: float) -> Ran:
        """Return how the command ended; one that still lives after `seconds` from now is killed."""
        return self.wait(time.monotonic() - self.began + seconds)

    @property
    def runs(self) -> bool:
        """Whether the command still runs."""
        return self.process.poll() is None


class Place:
    """A finished `tiny` below `root/live`, its reference, and everything that is done to it.

    Parameters
    ----------
    root
        An empty folder.
    cohorts
        Folder of the cohorts; it is written to only where the cohort is missing.
    """

    def __init__(self, root: Path, cohorts: Path | None = None) -> None:
        self.root = root.absolute()
        self.live = self.root / "live"
        self.cohorts = cohorts or self.root / "cohorts"
        self.marker = uuid.uuid4().hex
        self.changes: dict[str, str] = {}  # of the environment, for a whole scenario
        self._commands = 0
        (self.root / "logs").mkdir(parents=True, exist_ok=True)
        self.clear()

    @property
    def data(self) -> Path:
        """Folder of the study's artefacts."""
        return self.live / "data" / STUDY

    @property
    def home(self) -> Path:
        """Folder of the Dagster instance."""
        return self.live / "home"

    @property
    def slide(self) -> Path:
        """A slide that the study does not hold, for `predict`: one file for all places that share the cohorts."""
        return self.cohorts.parent / "new" / "new_slide.svs"

    def environment(self, **changes: str) -> dict[str, str]:
        """Return the environment of a command here."""
        ours = ("HISTO_", "DAGSTER_", "AWS_", "FAKETIME", "LD_PRELOAD")
        outside = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
        return {
            **outside,
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "MKL_NUM_THREADS": "1",
            "OMP_WAIT_POLICY": "PASSIVE",
            "DO_NOT_TRACK": "1",
            "PYTHONPATH": os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH")])),
            "DAGSTER_HOME": str(self.home),
            "HISTO_STORAGE": str(self.live / "data"),
            "HISTO_COHORTS": str(self.cohorts),
            "HISTO_CACHE": str(self.live / "cache"),
            "TMPDIR": str(self.live / "tmp"),
            MARKER: self.marker,
            **self.changes,
            **changes,
        }

    def start(self, *words: str, **changes: str) -> Command:
        """Start `histo-assets WORDS...` and return it while it runs."""
        return self.start_program([sys.executable, "-m", "histo_assets", *words], words, **changes)

    def start_program(self, arguments: Sequence[str], words: Sequence[str], **changes: str) -> Command:
        """Start any program in the environment of this place."""
        self._commands += 1
        log = self.root / "logs" / f"{self._commands:04d}"
        return Command(arguments, words, log, env=self.environment(**changes), cwd=self.live)

    def run(self, *words: str, limit: float = LIMIT, **changes: str) -> Ran:
        """Run `histo-assets WORDS...` to its end, or to its kill after `limit` seconds."""
        ran = self.start(*words, **changes).wait(limit)
        if ran.hung:
            self.end_processes()
        return ran

    def materialize(self, *words: str, limit: float = LIMIT, **changes: str) -> Ran:
        """Run `histo-assets materialize --study tiny WORDS...`."""
        return self.run("materialize", "--study", STUDY, *words, limit=limit, **changes)

    def facts(self) -> dict[str, Any]:
        """Return what the Dagster instance holds, looked up in a process of its own (see `instance_facts`)."""
        program = [sys.executable, "-m", "histo_assets_tests.faults.instance_facts", STUDY]
        ran = self.start_program(program, ["instance_facts"]).wait(LIMIT)
        if not ran.ended_well:
            raise RuntimeError(str(ran))
        facts: dict[str, Any] = json.loads(ran.output)
        return facts

    def processes(self) -> list[int]:
        """Return the ids of the living processes that were started here, their descendants included."""
        wanted = f"{MARKER}={self.marker}".encode()
        return [pid for pid in _living() if wanted in _environment_of(pid)]

    def processes_left(self, patience: float = 10.0) -> list[str]:
        """Return the command lines of the processes that still live after `patience` seconds."""
        until = time.monotonic() + patience
        while (pids := self.processes()) and time.monotonic() < until:
            time.sleep(0.1)
        return [f"{pid}: {_command_line_of(pid)}" for pid in pids]

    def end_processes(self) -> None:
        """Kill every process that was started here."""
        for _ in range(50):
            pids = self.processes()
            if not pids:
                return
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            time.sleep(0.1)

    def clear(self) -> None:
        """Begin with no results, no instance and no cache."""
        for part in PARTS:
            shutil.rmtree(self.live / part, ignore_errors=True)
            (self.live / part).mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self.home)

    def keep(self, name: str) -> None:
        """Keep what is here now, to be restored as often as wanted."""
        shutil.rmtree(self.root / name, ignore_errors=True)
        for part in PARTS:
            _copy(self.live / part, self.root / name / part)

    def restore(self, name: str = "reference", parts: Sequence[str] = PARTS) -> None:
        """Bring back what was kept; processes that still run here are killed first."""
        self.end_processes()
        for part in parts:
            shutil.rmtree(self.live / part, ignore_errors=True)
            _copy(self.root / name / part, self.live / part)

    def new_slide(self) -> Path:
        """Return the slide for `predict`: a copy, under another name, of one that the cohort holds."""
        if not self.slide.exists():
            self.slide.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(sorted((self.cohorts / STUDY / "slides").glob("*.svs"))[0], self.slide)
        return self.slide


def _copy(source: Path, target: Path) -> None:
    """Copy a folder with its times; where the file system can, blocks are shared until one side writes."""
    if not source.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "-a", "--reflink=auto", str(source), str(target)], check=True)


def _living() -> Iterator[int]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            yield int(entry.name)


def _environment_of(pid: int) -> list[bytes]:
    """Return the environment of a process, or nothing where it is over (a zombie has none left)."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []


def _command_line_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:160]
    except OSError:
        return "over by now"
