"""One image under two slides: a copy is noticed whatever its name, place, tissue and encoding; others are not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
import tifffile

from histo_assets.core.slides.settings import SlideSettings
from histo_assets.core.tiling.job import TissueJob
from histo_assets.core.tiling.same_image import same_images
from histo_assets.core.tiling.settings import TilingSettings
from histo_assets.core.tiling.tile_set import TileSet
from histo_assets.core.tiling.tiles import tile_tissue
from histo_assets.demo.svs import write_svs
from histo_assets_tests.unit.tissue_slides import glass, slide_table, stroma, tissue_picture

TILING = TilingSettings(tile_px=64, mpp=0.5, tiles_per_slide=8, tiles_per_tissue=None, mask_mpp=4.0)


def blotched(seed: int, grain: int = 0) -> np.ndarray[Any, Any]:
    """Return tissue whose shape and shades come from `seed`, and whose fibres come from `grain`."""
    rng = np.random.default_rng(seed)
    shades = cv2.GaussianBlur(rng.random((768, 768)).astype(np.float32), (0, 0), 24)
    shades = (shades - shades.min()) / (shades.max() - shades.min())
    tissue = stroma(768, 768, grain) * (0.6 + 0.4 * shades[..., None])
    pixels = glass(768, 768)
    pixels[shades > 0.4] = tissue.astype(np.uint8)[shades > 0.4]
    return pixels


def tiled(folder: Path, tissue: str, donors: dict[str, str], tiling: TilingSettings = TILING) -> TileSet:
    table = slide_table(folder, list(donors), tissue)
    table = table.assign(donor=[donors[slide] for slide in table["slide"]])
    job = TissueJob(tissue, str(folder / "shards"), tiling, SlideSettings())
    return tile_tissue(table, job, workers=1, progress=lambda sentence: None)


def put(folder: Path, **pictures: np.ndarray[Any, Any]) -> None:
    for name, pixels in pictures.items():
        write_svs(folder / f"{name}.svs", pixels)


def pairs(*tiles: TileSet) -> list[tuple[str, str]]:
    return [found.slides for found in same_images({one.tissue: one for one in tiles})]


def test_a_copy_under_another_donor_and_tissue_is_found_and_named(tmp_path: Path) -> None:
    put(tmp_path, A1=tissue_picture(seed=1), C1=tissue_picture(seed=2), E1=tissue_picture(seed=3))
    (tmp_path / "B1.svs").write_bytes((tmp_path / "A1.svs").read_bytes())
    one, other = tiled(tmp_path, "x", {"A1": "D1", "C1": "D3"}), tiled(tmp_path, "y", {"B1": "D2", "E1": "D4"})
    (found,) = same_images({"x": one, "y": other})
    assert found.of_two_donors
    assert str(found) == "A1 (donor D1, x) and B1 (donor D2, y)"


def test_a_copy_of_ones_own_is_no_other_donors(tmp_path: Path) -> None:
    put(tmp_path, A1=tissue_picture(seed=1), B1=tissue_picture(seed=1))
    (found,) = same_images({"x": tiled(tmp_path, "x", {"A1": "D1", "B1": "D1"})})
    assert not found.of_two_donors


@pytest.mark.parametrize("quality", [60, 95])
def test_a_copy_that_was_encoded_anew_in_another_container_is_found(tmp_path: Path, quality: int) -> None:
    put(tmp_path, A1=blotched(1), C1=blotched(2))
    tifffile.imwrite(
        tmp_path / "B1.svs",
        blotched(1),
        tile=(256, 256),
        compression="jpeg",
        compressionargs={"level": quality},
        photometric="rgb",
        description="Aperio Image Library v11\n768x768|AppMag = 20|MPP = 0.5",
        metadata=None,
    )
    assert pairs(tiled(tmp_path, "x", {"A1": "D1", "B1": "D2", "C1": "D3"})) == [("A1", "B1")]


def test_slides_without_a_tile_in_common_are_told_by_their_thumbnails(tmp_path: Path) -> None:
    put(tmp_path, A1=blotched(1), B1=blotched(1), C1=blotched(2))
    few = TILING.model_copy(update={"tiles_per_slide": 1})
    tiles = tiled(tmp_path, "x", {"A1": "D1", "B1": "D2", "C1": "D3"}, few)
    places = tiles.index.select("x", "y").n_unique()
    assert places == 3
    assert pairs(tiles) == [("A1", "B1")]


def test_slides_alike_from_afar_are_told_apart_by_their_tiles(tmp_path: Path) -> None:
    near, far = blotched(1, grain=1), blotched(1, grain=1)
    other = stroma(768, 768, seed=9)
    shown = (far != glass(768, 768)).any(axis=2)
    blurred = cv2.GaussianBlur(far, (0, 0), 5).astype(np.int16)
    detail = other.astype(np.int16) - cv2.GaussianBlur(other, (0, 0), 5)
    far[shown] = np.clip(blurred + detail, 0, 255).astype(np.uint8)[shown]
    put(tmp_path, A1=near, B1=far)
    assert pairs(tiled(tmp_path, "x", {"A1": "D1", "B1": "D2"})) == []


def test_lost_sidecars_and_no_tiles_at_all_are_no_copies(tmp_path: Path) -> None:
    put(tmp_path, A1=blotched(1), B1=blotched(1))
    tiles = tiled(tmp_path, "x", {"A1": "D1", "B1": "D2"})
    for sidecar in (tmp_path / "shards" / "x").glob("*.json"):
        sidecar.unlink()
    assert pairs(tiles) == []
    write_svs(tmp_path / "blank.svs", glass(300, 300))
    assert pairs(tiled(tmp_path, "z", {"blank": "D1"})) == []
    assert isinstance(tiles.funnel, pd.DataFrame)
