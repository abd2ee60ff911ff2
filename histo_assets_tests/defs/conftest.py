"""A PostgreSQL server of its own for a test, and instances on it and on SQLite."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
SERVERS = sorted(Path("/usr/lib/postgresql").glob("*/bin")) if Path("/usr/lib/postgresql").is_dir() else []


def as_postgres(*command: str) -> list[str]:
    """Return a command that PostgreSQL accepts: its programs refuse to run as root."""
    return ["runuser", "-u", "postgres", "--", *command] if os.geteuid() == 0 else list(command)


@pytest.fixture
def port() -> Iterator[int]:
    """Port of a PostgreSQL server on 127.0.0.1, made for one test."""
    if not SERVERS:
        pytest.skip("no PostgreSQL server on this machine")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = int(probe.getsockname()[1])
    folder = Path(tempfile.mkdtemp(prefix="histo-pg-"))
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
    data = str(folder / "data")
    initdb = as_postgres(str(SERVERS[-1] / "initdb"), "-D", data, "-U", "histo", "--auth=trust", "-E", "UTF8")
    subprocess.run(initdb, check=True, capture_output=True)
    start = [str(SERVERS[-1] / "postgres"), "-D", data, "-p", str(free), "-h", "127.0.0.1", "-k", str(folder)]
    server = subprocess.Popen(
        as_postgres(*start), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        ready = [str(SERVERS[-1] / "pg_isready"), "-h", "127.0.0.1", "-p", str(free)]
        for _ in range(100):
            if subprocess.run(ready, capture_output=True).returncode == 0:
                break
            time.sleep(0.1)
        yield free
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(20)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres_home(port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A DAGSTER_HOME with the instance file of the server, on a PostgreSQL of its own."""
    config = yaml.safe_load((DEPLOY / "dagster.yaml").read_text())
    config["storage"]["postgres"]["postgres_db"]["port"] = port
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(config))
    for name, value in {"HOST": "127.0.0.1", "USER": "histo", "PASSWORD": "unused", "DB": "postgres"}.items():
        monkeypatch.setenv(f"DAGSTER_PG_{name}", value)
    return tmp_path


@pytest.fixture
def sqlite_home(tmp_path: Path) -> Path:
    """A DAGSTER_HOME with the product's own instance file."""
    shutil.copyfile(DEPLOY.parent / "histo_assets" / "defs" / "instance.yaml", tmp_path / "dagster.yaml")
    return tmp_path


@pytest.fixture(params=["sqlite", "postgres"])
def home(request: pytest.FixtureRequest) -> Path:
    return request.getfixturevalue(f"{request.param}_home")


@pytest.fixture
def instance(home: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.from_config(str(home)) as opened:
        yield opened
