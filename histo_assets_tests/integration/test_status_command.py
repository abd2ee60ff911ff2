"""`histo-assets status` and `reconcile`: the truth is what the storage holds, and what advice says to run heals."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from histo_assets_tests.conftest import FinishedStudy

pytestmark = pytest.mark.study


class Copy:
    """A finished study's storage, carried to a folder of its own, with the command that works on it."""

    def __init__(self, made: FinishedStudy, folder: Path) -> None:
        self.data = folder / "data"
        shutil.copytree(made.folder / "data", self.data, ignore=shutil.ignore_patterns("incoming_*"))
        self.environment = made.environment | {
            "HISTO_STORAGE": str(self.data),
            "DAGSTER_HOME": str(folder / "home"),
            "COLUMNS": "300",
        }

    def run(self, *arguments: str, code: int = 0) -> str:
        """Return what a command prints; it must exit with `code`."""
        command = [sys.executable, "-m", "histo_assets", *arguments]
        ran = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=300)
        assert ran.returncode == code, ran.stdout + ran.stderr
        return ran.stdout + ran.stderr

    def states(self, *arguments: str, code: int) -> dict[str, list[str]]:
        """Return artefact -> state and reasons, of those that are not fresh."""
        content = json.loads(self.run("status", "--json", *arguments, code=code))
        return {
            f"{row['asset']}/{row['partition'] or 'all'}": [row["state"], *row["reasons"]]
            for row in content["artefacts"]
            if row["state"] != "fresh"
        }

    def version(self, artefact: str) -> str:
        pointer = json.loads((self.data / "tiny" / artefact / "current.json").read_text())
        return str(pointer["data_version"])


@pytest.fixture(scope="module")
def copy(tiny: FinishedStudy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Copy]:
    yield Copy(tiny, tmp_path_factory.mktemp("status"))


def test_a_finished_study_is_fresh_and_exits_with_0(copy: Copy) -> None:
    printed = copy.run("status")
    assert "39 fresh" in printed
    assert "The cohort's files were looked at" in printed


def test_an_edited_study_is_stale_in_words_and_exits_with_1(copy: Copy, tmp_path: Path) -> None:
    (tmp_path / "edited.yaml").write_text("extends: tiny\nname: tiny\nprediction: {clusters: 3}\n")
    states = copy.states("--study", str(tmp_path / "edited.yaml"), code=1)
    assert states["expression_clusters/all"] == ["stale", "prediction.clusters 4 -> 3"]
    assert states["cluster_expression/all"] == ["stale", "expression_clusters is not fresh"]
    assert set(states) == {
        "expression_clusters/all",
        "cluster_expression/all",
        "prediction_comparison/all",
        "study_report/all",
    }


@pytest.mark.parametrize(
    ("lost", "sentence"),
    [
        ("pointer", "missing"),
        ("version", r"\S+ is missing"),
        ("shard", r"shards/tiles/liver/\S+\.tar is missing"),
        ("sidecar", r"shards/tiles/liver/\S+\.json is missing"),
        ("file", r"files/index\.parquet has 100 bytes instead of \d+"),
    ],
)
def test_what_is_lost_is_noticed_and_the_advised_command_heals(copy: Copy, lost: str, sentence: str) -> None:
    before = copy.version("tiles/liver")
    folder = copy.data / "tiny" / "tiles" / "liver"
    version = json.loads((folder / "current.json").read_text())["version"]
    if lost == "pointer":
        (folder / "current.json").unlink()
    elif lost == "version":
        shutil.rmtree(folder / version)
    elif lost in ("shard", "sidecar"):
        suffix = {"shard": "tar", "sidecar": "json"}[lost]
        next((copy.data / "tiny" / "shards" / "tiles" / "liver").glob(f"*.{suffix}")).unlink()
    else:
        os.truncate(folder / version / "files" / "index.parquet", 100)
    [state, *reasons] = copy.states(code=1)["tiles/liver"]
    assert state == ("missing" if lost == "pointer" else "stale")
    assert re.fullmatch(sentence, reasons[0])
    assert "up to date" not in copy.run("materialize", "--dry-run")
    copy.run("materialize", "--select", "tiles")
    assert copy.states(code=0) == {}
    assert copy.version("tiles/liver") == before


def test_reconcile_tells_a_new_instance_and_says_what_it_told(copy: Copy, tmp_path: Path) -> None:
    copy.environment["DAGSTER_HOME"] = str(tmp_path / "another")
    assert "39 artefacts that Dagster did not know, 0 that the storage lacks" in copy.run("reconcile", "--dry-run")
    assert "39 artefacts that Dagster did not know" in copy.run("reconcile")
    assert "0 artefacts that Dagster did not know" in copy.run("reconcile")


def test_a_storage_that_is_gone_is_not_up_to_date(copy: Copy) -> None:
    """Last in this module: it removes the copy."""
    shutil.rmtree(copy.data)
    states = copy.states(code=1)
    assert len(states) == 39
    assert {state for state, *_ in states.values()} == {"missing"}
    assert "up to date" not in copy.run("materialize", "--dry-run")
