"""The files that a server runs from are such that Dagster accepts them, and open to nobody else."""

from __future__ import annotations

import re
import shlex
import shutil
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from dagster import DagsterInstance
from dagster._core.instance.config import dagster_instance_config

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
INSTANCE_FILES = [DEPLOY / "dagster.yaml", DEPLOY.parent / "histo_assets" / "defs" / "instance.yaml"]
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]

pytestmark = pytest.mark.skipif(not DEPLOY.is_dir(), reason="deploy/ is not part of an installed package")


@pytest.fixture(autouse=True)
def database(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOST", "USER", "PASSWORD", "DB"):
        monkeypatch.setenv(f"DAGSTER_PG_{name}", name.lower())


@pytest.mark.parametrize("path", INSTANCE_FILES, ids=lambda path: path.name)
def test_an_instance_file_is_valid_and_quiet(path: Path, tmp_path: Path) -> None:
    shutil.copy(path, tmp_path / "dagster.yaml")
    config, _ = dagster_instance_config(str(tmp_path))
    assert config["telemetry"] == {"enabled": False}
    assert config["nux"] == {"enabled": False}
    assert config["concurrency"]["pools"] == {"granularity": "op", "default_limit": 1}
    assert config["retention"]["sensor"]["purge_after_days"]["skipped"] == 7


def test_the_local_instance_opens(tmp_path: Path) -> None:
    shutil.copy(INSTANCE_FILES[1], tmp_path / "dagster.yaml")
    with DagsterInstance.from_config(str(tmp_path)) as instance:
        assert not instance.telemetry_enabled
        assert not instance.nux_enabled
        assert instance.get_runs_count() == 0


def test_the_database_is_reached_by_the_driver_that_is_installed() -> None:
    from dagster_postgres.utils import pg_url_from_config
    from sqlalchemy import make_url

    storage = yaml.safe_load((DEPLOY / "dagster.yaml").read_text())["storage"]["postgres"]["postgres_db"]
    plain = {key: value["env"] if isinstance(value, dict) else value for key, value in storage.items()}
    assert make_url(pg_url_from_config({"postgres_db": plain})).get_dialect().driver == "psycopg2"


def test_ports_are_published_on_loopback_alone() -> None:
    published = {name: [str(port) for port in service.get("ports", [])] for name, service in SERVICES.items()}
    assert {name for name, ports in published.items() if ports} == {"webserver"}
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)
    assert not any(service.get("network_mode") == "host" for service in SERVICES.values())


def test_secrets_come_from_the_environment_file_alone() -> None:
    example = dict(line.split("=", 1) for line in (DEPLOY / ".env.example").read_text().splitlines() if "=" in line[1:])
    assert example["DAGSTER_PG_PASSWORD"] == ""
    assert "AWS_SECRET_ACCESS_KEY" in str(example)
    for name, service in SERVICES.items():
        for key, value in service["environment"].items():
            if "PASSWORD" in key or "SECRET" in key:
                assert str(value).startswith("${"), f"{name} holds {key}"


def commands() -> list[list[str]]:
    """Return every command line of Dagster that the compose file holds."""
    lines = []
    for service in SERVICES.values():
        for command in (service.get("command"), service.get("healthcheck", {}).get("test")):
            if command and command[0] == "sh":
                lines += [shlex.split(part) for part in command[-1].split("&&")]
            elif command and not command[0].startswith("CMD-SHELL"):
                lines.append([word for word in command if word != "CMD"])
    return lines


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_a_command_is_one_that_dagster_knows(words: list[str]) -> None:
    from dagster._cli import create_dagster_cli
    from dagster._daemon.cli import create_dagster_daemon_cli
    from dagster_webserver.cli import create_dagster_webserver_cli

    programs = {
        "dagster": create_dagster_cli,
        "dagster-daemon": create_dagster_daemon_cli,
        "dagster-webserver": create_dagster_webserver_cli,
    }
    assert words[0] in {script.name for script in entry_points(group="console_scripts")}
    command: click.Command = programs[words[0]]()
    arguments = words[1:]
    while isinstance(command, click.Group) and arguments and arguments[0] in command.commands:
        command = command.commands[arguments.pop(0)]
    existing = [str(DEPLOY / "workspace.yaml") if word == "/opt/dagster/workspace.yaml" else word for word in arguments]
    assert not isinstance(command, click.Group)
    command.make_context(words[0], existing)  # raises on an option that does not exist


def test_the_workspace_points_at_the_code_service_and_its_port() -> None:
    (location,) = yaml.safe_load((DEPLOY / "workspace.yaml").read_text())["load_from"]
    server = location["grpc_server"]
    command = SERVICES[server["host"]]["command"]
    assert command[command.index("--port") + 1] == str(server["port"])
    assert command[command.index("--module-name") + 1] == "histo_assets.definitions"


def test_tables_are_made_before_anything_uses_them() -> None:
    def needed(name: str) -> set[str]:
        direct = set(SERVICES[name].get("depends_on", {}))
        return direct.union(*(needed(other) for other in direct))

    for name in ("code", "webserver", "daemon"):
        assert {"postgres", "migrate"} <= needed(name)
    assert SERVICES["code"]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}


def test_every_variable_of_the_compose_file_is_in_the_example() -> None:
    text = (DEPLOY / "compose.yaml").read_text()
    example = (DEPLOY / ".env.example").read_text()
    for name in re.findall(r"\$\{(\w+)", text):
        assert re.search(rf"^#? ?{name}=", example, re.M), name
