"""A server as `deploy` describes it: PostgreSQL restarted under runs, the code server killed as containers are."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from histo_assets_tests.faults.artefacts import stored
from histo_assets_tests.faults.campaign import Skipped, Trial
from histo_assets_tests.faults.judge import after_the_next_run, left_in_dagster, reference_of
from histo_assets_tests.faults.place import LIMIT, PROJECT, STUDY, Command, Place, Ran

PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin")) if Path("/usr/lib/postgresql").is_dir() else []
GRACE = 10.0  # seconds between TERM and KILL, as containers have it
FOR_GOOD = 240.0  # seconds after which a run that is still STARTED counts as left for good


class Postgres:
    """A PostgreSQL server on 127.0.0.1 that can be restarted."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self._server: subprocess.Popen[bytes] | None = None
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres", "postgres")
        self._program("initdb", "-D", str(folder / "data"), "-U", "histo", "--auth=trust", "-E", "UTF8")

    def start(self) -> None:
        """Start the server and wait until it answers."""
        words = ["-D", str(self.folder / "data"), "-p", str(self.port), "-h", "127.0.0.1", "-k", str(self.folder)]
        self._server = subprocess.Popen(
            _as_postgres(str(PROGRAMS[-1] / "postgres"), *words),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        ready = [str(PROGRAMS[-1] / "pg_isready"), "-h", "127.0.0.1", "-p", str(self.port)]
        for _ in range(200):
            if subprocess.run(ready, capture_output=True).returncode == 0:
                return
            time.sleep(0.1)
        raise RuntimeError("PostgreSQL does not start")

    def stop(self, at_once: bool = False) -> None:
        """End the server: with its clients (fast), or as a crash does (`at_once`)."""
        if self._server is not None:
            os.killpg(self._server.pid, signal.SIGQUIT if at_once else signal.SIGINT)
            self._server.wait(30)
            self._server = None

    def _program(self, name: str, *words: str) -> None:
        subprocess.run(_as_postgres(str(PROGRAMS[-1] / name), *words), check=True, capture_output=True)


class Server:
    """Code server, daemon and web server on this machine, each a process of its own, as `compose.yaml` has them."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.port = free_port()
        self.workspace = place.live / "tmp" / "workspace.yaml"
        self.code: Command | None = None
        self.daemon: Command | None = None

    def __enter__(self) -> Server:
        """Start both, and wait until the code server answers."""
        server = {"host": "127.0.0.1", "port": self.port, "location_name": "histo_assets"}
        self.workspace.write_text(yaml.safe_dump({"load_from": [{"grpc_server": server}]}))
        ran = self.place.materialize("--dry-run")  # puts the package's instance file where there is none
        if not ran.ended_well:
            raise RuntimeError(str(ran))
        self.start_code()
        self.daemon = self.program("dagster-daemon", "run", "--workspace", str(self.workspace))
        return self

    def __exit__(self, *_: object) -> None:
        """End both."""
        self.place.end_processes()

    def start_code(self) -> None:
        """Start the code server and wait until it answers."""
        words = ["--module-name", "histo_assets.definitions", "--host", "127.0.0.1", "--port", str(self.port)]
        self.code = self.program("dagster", "api", "grpc", *words)
        for _ in range(60):
            health = self.program("dagster", "api", "grpc-health-check", "--port", str(self.port)).wait(30)
            if health.ended_well:
                return
            time.sleep(0.5)
        raise RuntimeError(f"the code server does not answer: {self.code.ends_within(0)}")

    def kill_code_as_containers_are(self) -> None:
        """TERM to the first process, and KILL to all that is left in its session ten seconds later."""
        assert self.code is not None
        self.code.signal(signal.SIGTERM, group=False)
        until = time.monotonic() + GRACE
        while self.code.runs and time.monotonic() < until:
            time.sleep(0.1)
        daemon = self.daemon.process.pid if self.daemon else -1
        for pid in self.place.processes():  # when a container ends, everything in it does
            if _session_of(pid) != daemon:
                _kill(pid)
        self.code.ends_within(5)

    def program(self, name: str, *words: str) -> Command:
        """Start one of Dagster's programs."""
        binary = str(Path(sys.executable).parent / name)
        return self.place.start_program([binary, *words], [name, *words], HISTO_STUDY=STUDY)

    def run(self, *words: str) -> Ran:
        """Run a command of `dagster` to its end."""
        return self.program("dagster", *words).wait(LIMIT)


def postgres_restarted(trial: Trial) -> None:
    """PostgreSQL restarted, and killed, during a run of the command line."""
    place, chance = trial.place, trial.chance
    with _postgres_instance(place) as postgres:
        first = place.materialize(limit=3 * LIMIT)
        trial.tried("a new PostgreSQL beside a finished storage", [] if first.ended_well else [str(first)])
        for at_once in (False, True):
            for artefact in chance.sample([a for a in stored(reference_of(place)) if not a.incoming], 8):
                shutil.rmtree(artefact.folder(place.data))
            command = place.start("materialize", "--study", STUDY)
            time.sleep(chance.uniform(2, 10))
            postgres.stop(at_once)
            time.sleep(chance.uniform(0.5, 4))
            postgres.start()
            ran = command.wait(3 * LIMIT)
            lost = [str(ran)] if ran.hung else []
            how = "killed and restarted" if at_once else "restarted"
            sound = trial.tried(
                f"PostgreSQL {how} (the run ended with {ran.code})", [*lost, *after_the_next_run(place)]
            )
            if not sound:
                place.restore(parts=("data",))


def code_server_killed(trial: Trial) -> None:
    """The code server ended as containers are (TERM, 10 s, KILL) while a backfill's runs are going."""
    place, chance = trial.place, trial.chance
    for round_ in range(2):
        place.restore()
        tiles = [a for a in stored(reference_of(place)) if a.asset in ("selected_slides", "raw_slides", "tiles")]
        for artefact in tiles:
            shutil.rmtree(artefact.folder(place.data))
        shutil.rmtree(place.data / "shards" / "tiles")
        with Server(place) as server:
            begun = backfill(server, "tile_tissues")
            lost = [] if begun.ended_well else [str(begun)]
            _wait_for(lambda: bool(place.facts()["unfinished"]), 60)
            time.sleep(chance.uniform(1, 6))
            server.kill_code_as_containers_are()
            server.start_code()
            lost += unfinished_backfills(server, FOR_GOOD)
        trial.tried(f"code server killed under a backfill, round {round_ + 1}", [*lost, *after_the_next_run(place)])


def backfill(server: Server, job: str) -> Ran:
    """Launch a backfill of all partitions of one of the study's jobs."""
    words = ("--workspace", str(server.workspace), "--job", f"{STUDY}_{job}", "--all", "all", "--noprompt")
    return server.run("job", "backfill", *words)


def unfinished_backfills(server: Server, patience: float) -> list[str]:
    """Wait until no run is queued or going any more; return what still is after `patience` seconds."""
    _wait_for(lambda: not server.place.facts()["unfinished"], patience, pause=3)
    return left_in_dagster(server.place)


def free_port() -> int:
    """Return a port of 127.0.0.1 that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _postgres_instance(place: Place) -> Iterator[Postgres]:
    """Replace the place's instance by one on PostgreSQL, with the instance file of `deploy`."""
    if not PROGRAMS:
        raise Skipped("no PostgreSQL server on this machine")
    folder = Path(tempfile.mkdtemp(prefix="histo-pg-"))
    postgres = Postgres(folder)
    try:
        postgres.start()
        config = yaml.safe_load((PROJECT / "deploy" / "dagster.yaml").read_text())
        config["storage"]["postgres"]["postgres_db"]["port"] = postgres.port
        shutil.rmtree(place.home, ignore_errors=True)
        place.home.mkdir()
        (place.home / "dagster.yaml").write_text(yaml.safe_dump(config))
        names = {"HOST": "127.0.0.1", "USER": "histo", "PASSWORD": "unused", "DB": "postgres"}
        place.changes = {f"DAGSTER_PG_{name}": value for name, value in names.items()}
        yield postgres
    finally:
        place.end_processes()
        place.changes = {}
        postgres.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _as_postgres(*command: str) -> list[str]:
    """Return a command that PostgreSQL accepts: its programs refuse to run as root."""
    return ["runuser", "-u", "postgres", "--", *command] if os.geteuid() == 0 else list(command)


def _wait_for(reached: Callable[[], bool], patience: float, pause: float = 0.5) -> bool:
    """Return whether a condition came true in time."""
    until = time.monotonic() + patience
    while time.monotonic() < until:
        if reached():
            return True
        time.sleep(pause)
    return False


def _session_of(pid: int) -> int:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return -1


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
