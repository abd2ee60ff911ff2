"""Runs of one tissue after each other, beside each other, and killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from histo_assets.core.slides.settings import SlideSettings
from histo_assets.core.slides.slide import open_slide
from histo_assets.core.tiling import cut as cut_module
from histo_assets.core.tiling.job import SlideJob
from histo_assets.core.tiling.settings import TilingSettings
from histo_assets.core.tiling.sidecar import SlideCut
from histo_assets_tests.unit.test_tiling_tiles import TILING, cut, files
from histo_assets_tests.unit.tissue_slides import slide_table, write_slides

MANY = TILING.model_copy(update={"tiles_per_slide": 60})
NAMES = [f"s{number}" for number in range(8)]

RUN = """
import sys, pandas as pd
from histo_assets.core.tiling import tiles
from histo_assets_tests.unit.test_tiling_runs import MANY, cut
tiles._WORTH_A_POOL = 0
print("ready", flush=True)
made = cut(pd.read_parquet(sys.argv[1]), sys.argv[2], MANY, workers=2)
print(made.content_digest(), flush=True)
"""


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    return write_slides(tmp_path_factory.mktemp("slides"), NAMES)


@pytest.fixture(scope="module")
def stored(table: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("table") / "slides.parquet"
    table.to_parquet(path)
    return path


def started(stored: Path, shards: Path) -> subprocess.Popen[str]:
    """Return a run in a process group of its own that is about to cut."""
    command = [sys.executable, "-c", RUN, str(stored), str(shards)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    return child


def test_one_new_slide_is_the_only_one_that_is_opened(
    table: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut(table.head(7), tmp_path)
    opened: list[str] = []
    really_open = open_slide

    def noted(path: Any, *rest: Any) -> Any:
        opened.append(Path(path).stem)
        return really_open(path, *rest)

    monkeypatch.setattr(cut_module, "open_slide", noted)
    cut(table, tmp_path)
    assert opened == ["s7"]


def test_a_slide_that_leaves_and_returns_is_not_opened(
    table: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = cut(table, tmp_path)
    monkeypatch.setattr(cut_module, "open_slide", None)
    cut(table.drop(index=3), tmp_path)
    assert cut(table, tmp_path).content_digest() == whole.content_digest()


def test_two_runs_of_a_tissue_at_once_come_to_the_same(table: pd.DataFrame, stored: Path, tmp_path: Path) -> None:
    runs = [started(stored, tmp_path / "shards") for _ in range(2)]
    digests = {run.communicate(timeout=120)[0] for run in runs}
    assert [run.returncode for run in runs] == [0, 0]
    assert digests == {cut(table, tmp_path / "alone", MANY).content_digest() + "\n"}
    assert files(tmp_path / "shards") == files(tmp_path / "alone")


def test_a_kill_at_any_moment_costs_at_most_the_slides_in_hand(
    table: pd.DataFrame, stored: Path, tmp_path: Path
) -> None:
    shards = tmp_path / "shards"
    rng = np.random.default_rng(5)
    finished: dict[str, int] = {}
    for _ in range(8):
        run = started(stored, shards)
        time.sleep(rng.uniform(0.02, 1.2))
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
        assert run.stdout is not None
        run.stdout.close()
        now = sidecars(shards)
        # What one run finished, later ones neither lose nor write again.
        assert finished.items() <= now.items()
        finished = now
        for path in (shards / "uterus").glob("s*.json"):  # a killed draft begins with a dot
            kept = SlideCut.from_json(path.read_text())
            with tarfile.open(path.with_suffix(".tar")) as tar:
                assert len(tar.getnames()) == len(kept.good)
    whole = cut(table, shards, MANY)
    assert finished.items() <= sidecars(shards).items()
    assert whole.content_digest() == cut(table, tmp_path / "alone", MANY).content_digest()


def sidecars(shards: Path) -> dict[str, int]:
    """Return the finished slides' sidecars with their times."""
    return {path.name: path.stat().st_mtime_ns for path in (shards / "uterus").glob("s*.json")}


def test_workers_end_with_the_run_that_started_them(stored: Path, tmp_path: Path) -> None:
    run = started(stored, tmp_path / "shards")
    time.sleep(0.6)
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    assert run.stdout is not None
    run.stdout.close()
    until = time.monotonic() + 20
    while (left := members(run.pid)) and time.monotonic() < until:
        time.sleep(0.1)
    assert not left


def members(group: int) -> list[int]:
    """Return the live processes of a group, the resource tracker's and zombies left out."""
    pids = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            status = (entry / "stat").read_text().rsplit(")", 1)[1].split()
        except (OSError, IndexError):
            continue
        if int(status[2]) == group and status[0] != "Z":
            pids.append(int(entry.name))
    return pids


def test_a_slide_replaced_by_another_file_is_cut_anew(tmp_path: Path) -> None:
    before = cut(write_slides(tmp_path / "slides", NAMES[:2]), tmp_path / "shards")
    (tmp_path / "slides" / "s0.svs").write_bytes((tmp_path / "slides" / "s1.svs").read_bytes())
    after = cut(slide_table(tmp_path / "slides", NAMES[:2]), tmp_path / "shards")
    first, second = (made.index.filter(made.index["slide"] == "s0") for made in (before, after))
    assert set(first["shard"]).isdisjoint(second["shard"])
    assert before.jpeg_bytes(before.index.filter(before.index["slide"] == "s1")) == after.jpeg_bytes(
        after.index.filter(after.index["slide"] == "s1")
    )


def test_cuts_of_the_version_before_are_found_by_the_same_key() -> None:
    job = SlideJob("s1", "s1.svs", 0.5, "d", "directory", 512, 512, "liver", "r", TilingSettings(), SlideSettings())
    assert job.key == "35d0240a4a2a-6b3624", "as the commit before filters became files had it"
