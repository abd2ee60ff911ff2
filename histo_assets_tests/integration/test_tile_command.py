"""`histo-assets tile`: one slide without Dagster, as a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

from histo_assets.demo.svs import Scan, write_svs
from histo_assets_tests.unit.tissue_slides import glass, tissue_picture

SMALL = ("--study", "tiny", "--tile-px", "96", "--tiles", "6")


def tile(*arguments: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "histo_assets", "tile", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def slide(tmp_path: Path) -> Path:
    return write_svs(tmp_path / "Pat 7.svs", tissue_picture())


def test_a_slide_becomes_a_shard_an_index_and_pictures(tmp_path: Path, slide: Path) -> None:
    done = tile(slide, tmp_path / "out", *SMALL, "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    index = pl.read_parquet(tmp_path / "out" / "index.parquet")
    assert answer["kept"] == len(index) == 6
    assert answer["mpp"] == 0.5
    assert answer["quarantined"] is None
    assert answer["lost_storage_tiles"] == 0
    assert answer["candidates"] == 64
    assert answer["rejected"]["no_tissue"] == 28, "the margin of glass is one tile wide"
    assert answer["cpu_seconds"] > 0
    shard = next((tmp_path / "out" / "shards" / "slide").glob("*.tar"))
    with tarfile.open(shard) as tar:
        assert len(tar.getnames()) == 6
    drawn = {}
    for path in (tmp_path / "out" / "pictures").iterdir():
        with Image.open(path) as picture:
            drawn[path.name] = np.asarray(picture.convert("RGB"))
    assert set(drawn) >= {"tiles.jpg", "chosen.png", "rejections.png", "jpeg_size.png"}
    assert drawn["tiles.jpg"].shape == (100, 6 * 100, 3), "six tiles of 96 px in a row"
    assert min(picture.std() for picture in drawn.values()) > 10


def test_a_second_run_decodes_nothing(tmp_path: Path, slide: Path) -> None:
    tile(slide, tmp_path / "out", *SMALL)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "shards").rglob("*.*")}
    again = tile(slide, tmp_path / "out", *SMALL)
    assert "had been cut before" in again.stdout
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "shards").rglob("*.*")}


def test_a_damaged_slide_is_quarantined_with_exit_status_1(tmp_path: Path, slide: Path) -> None:
    slide.write_bytes(slide.read_bytes()[:60_000])
    done = tile(slide, tmp_path / "out", *SMALL, "--json")
    assert done.returncode == 1
    answer = json.loads(done.stdout)
    assert "Pat 7.svs" in answer["quarantined"]
    assert answer["kept"] == 0
    assert json.loads((tmp_path / "out" / "result.json").read_text()) == answer


def test_a_blank_slide_is_quarantined_after_its_mask_was_made(tmp_path: Path) -> None:
    done = tile(write_svs(tmp_path / "blank.svs", glass(768, 768)), tmp_path / "out", *SMALL, "--json")
    assert done.returncode == 1
    answer = json.loads(done.stdout)
    assert answer["quarantined"].startswith("blank")
    assert answer["rejected"]["no_tissue"] == answer["candidates"] == 64


def test_a_slide_without_resolution_needs_one_to_be_assumed(tmp_path: Path) -> None:
    slide = write_svs(tmp_path / "plain.svs", tissue_picture(), Scan(mpp=None))
    assert tile(slide, tmp_path / "out", *SMALL, "--json").returncode == 1
    done = tile(slide, tmp_path / "out", *SMALL, "--json", "--assume-mpp", "0.25")
    assert json.loads(done.stdout)["mpp"] == 0.25
    # Tiles are cut at the study's resolution: from a scan twice as fine, a tile takes twice the pixels.
    assert np.unique(pl.read_parquet(tmp_path / "out" / "index.parquet")["size"]) == [192]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("absent.svs", "out"), "absent.svs does not exist"),
        (("{slide}", "{slide}"), "is a file; name a folder"),
        (("{slide}", "out", "--mpp", "0"), "--mpp 0 is no resolution"),
        (("{slide}", "out", "--tiles", "0"), "--tiles"),
        (("{slide}", "out", "--study", "nowhere"), "nowhere"),
        (("{slide}",), "out"),
    ],
)
def test_wrong_use_ends_with_exit_status_2(tmp_path: Path, slide: Path, arguments: Any, sentence: str) -> None:
    done = tile(*[part.format(slide=slide) if "{" in part else part for part in arguments])
    assert done.returncode == 2
    assert sentence in done.stderr
