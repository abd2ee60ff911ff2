"""Machines as containers make them: a read-only installation, a user without a home, folders named relatively."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from histo_assets.core.files import cache_root, can_be_written

READ_ONLY = """
import histo_assets.machine
made = histo_assets.machine.can_be_written
histo_assets.machine.can_be_written = lambda folder: "site-packages" not in str(folder) and made(folder)
"""

# No file can be made in /proc, whoever asks; a function that says it stands in a file there has no cache beside it.
COMPILED = """
import histo_assets.definitions
import numba
source = "def twice(x):\\n    return 2 * x\\n"
there = {}
exec(compile(source, "/proc/self/status", "exec"), there)
print(numba.njit(cache=True)(there["twice"])(21), cache_root())
"""


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from histo_assets.core.files import cache_root\n" + code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )


@pytest.fixture
def homeless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Return the environment of a user without a home."""
    monkeypatch.delenv("HISTO_CACHE", raising=False)
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    (tmp_path / "tmp").mkdir()
    return {"HOME": "/proc/none", "XDG_CACHE_HOME": "/proc/none", "TMPDIR": str(tmp_path / "tmp")}


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs a file system in which nothing can be made")
@pytest.mark.parametrize("cache", ["", "named"])
def test_compiled_libraries_load_from_a_read_only_installation_without_a_home(
    homeless: dict[str, str], tmp_path: Path, cache: str
) -> None:
    named = {"HISTO_CACHE": str(tmp_path / cache)} if cache else {}
    ran = run(READ_ONLY + COMPILED, **homeless, **named)
    assert ran.returncode == 0, ran.stderr
    kept = Path(named.get("HISTO_CACHE") or f"{homeless['TMPDIR']}/histo_assets-{os.getuid()}")
    assert ran.stdout == f"42 {kept}\n"
    assert list((kept / "numba").rglob("*.nbi"))


def test_a_home_that_can_be_written_keeps_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HISTO_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_root() == tmp_path / ".cache" / "histo_assets"


def test_a_folder_in_which_no_file_can_be_made_is_known(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert can_be_written(tmp_path / "new" / "folder")
    assert not can_be_written(tmp_path / "file" / "below")
    assert not can_be_written("/proc/none")


@pytest.mark.parametrize(("named", "meant"), [(".dagster", "work/.dagster"), ("", "work/.dagster"), ("~/d", "home/d")])
def test_a_relative_dagster_home_is_below_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str, meant: str
) -> None:
    from histo_assets.cli.environment import open_study

    for folder in ("work", "home"):
        (tmp_path / folder).mkdir()
    for name in ("HISTO_STUDY", "HISTO_STORAGE", "HISTO_COHORTS", "OMP_WAIT_POLICY"):
        monkeypatch.setenv(name, os.environ.get(name, ""))
    monkeypatch.setenv("DAGSTER_HOME", named)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "work")
    open_study("tiny")
    assert os.environ["DAGSTER_HOME"] == str(tmp_path / meant)
    assert list((tmp_path / "work").iterdir()) == []
