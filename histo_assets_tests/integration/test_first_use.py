"""A new DAGSTER_HOME, a relative one, and disks on which nothing can be written."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy.exc

from histo_assets.full_disk import why_it_cannot_write, with_its_place

OPEN = """
from histo_assets.cli.environment import dagster_instance, open_study
open_study("tiny")
with dagster_instance() as instance:
    print(instance.root_directory)
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    places = {"DAGSTER_HOME": "home", "HISTO_STORAGE": "data", "HISTO_COHORTS": "cohorts", "HISTO_CACHE": "cache"}
    return {**os.environ, "DO_NOT_TRACK": "1", **{name: str(tmp_path / place) for name, place in places.items()}}


def opened(environment: dict[str, str], folder: Path) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    root = Path(__file__).parents[2]
    return subprocess.Popen(
        [sys.executable, "-c", OPEN],
        env={**environment, "PYTHONPATH": str(root)},
        cwd=folder,
        stdout=pipe,
        stderr=pipe,
        text=True,
    )


def test_first_uses_of_one_new_home_at_once_all_work(environment: dict[str, str], tmp_path: Path) -> None:
    first_uses = [opened(environment, tmp_path) for _ in range(4)]
    ends = [(process.communicate(), process.returncode) for process in first_uses]
    assert [code for _, code in ends] == [0] * 4, ends
    with dg.DagsterInstance.from_config(environment["DAGSTER_HOME"]) as instance:
        assert instance.get_run_records() == []


def test_a_relative_home_is_the_same_for_child_processes(environment: dict[str, str], tmp_path: Path) -> None:
    process = opened({**environment, "DAGSTER_HOME": "here/home"}, tmp_path)
    out, errors = process.communicate()
    assert out.strip() == str(tmp_path / "here/home"), errors


def command(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "histo_assets", *arguments]
    return subprocess.run(line, env=environment, capture_output=True, text=True, timeout=120)


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte without a free byte."""
    folder = tmp_path / "full"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)], capture_output=True).returncode:
        pytest.skip("only root may mount a file system")
    try:
        with pytest.raises(OSError), open(folder / "ballast", "wb", buffering=0) as ballast:
            while ballast.write(bytes(4096)):
                pass
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("place", ["DAGSTER_HOME", "HISTO_COHORTS"])
def test_a_full_disk_is_one_sentence_that_names_the_place(environment: dict[str, str], full: Path, place: str) -> None:
    ended = command({**environment, place: str(full)}, "materialize", "--study", "tiny", "--select", "slide_manifest")
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr
    (sentence,) = ended.stderr.strip().splitlines()
    assert "no space is left" in sentence and f"{place}, {full}" in sentence


def test_the_place_that_is_full_is_named_from_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HISTO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HISTO_STORAGE", str(tmp_path))
    wrapped = RuntimeError("the step failed")
    wrapped.__cause__ = OSError(28, "No space left on device", str(tmp_path / "cache" / "x.svs"))
    sentence = why_it_cannot_write(wrapped)
    assert sentence is not None and f"no space is left in HISTO_CACHE, {tmp_path / 'cache'}" in sentence


def test_a_read_only_home_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    error = sqlalchemy.exc.OperationalError("UPDATE", {}, Exception("attempt to write a readonly database"))
    sentence = why_it_cannot_write(error)
    assert sentence is not None and f"nothing can be written in DAGSTER_HOME, {tmp_path}" in sentence


def test_a_step_that_found_a_full_disk_names_the_place(monkeypatch: pytest.MonkeyPatch, full: Path) -> None:
    monkeypatch.setenv("HISTO_STORAGE", str(full))
    assert f"in HISTO_STORAGE, {full}" in with_its_place("[Errno 28] No space left on device")
    assert with_its_place("a gene twice") == "a gene twice"


def test_other_errors_are_not_a_disk(tmp_path: Path) -> None:
    assert why_it_cannot_write(ValueError("no such column")) is None
    assert why_it_cannot_write(FileNotFoundError(2, "No such file", str(tmp_path))) is None
