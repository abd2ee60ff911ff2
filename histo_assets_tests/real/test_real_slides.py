"""Real slides: read to the pixel, kept by the mask and the filters. HISTO_REAL_DATA says where they are."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
import slideio

from histo_assets.core.slides.inspection import inspect_slides
from histo_assets.core.slides.integrity import inspect_slide
from histo_assets.core.slides.settings import SlideSettings
from histo_assets.core.slides.slide import open_slide
from histo_assets.core.tiling.job import TissueJob
from histo_assets.core.tiling.mask import tissue_mask
from histo_assets.core.tiling.pictures import encoded
from histo_assets.core.tiling.quality import judge, tile_quality
from histo_assets.core.tiling.settings import QualitySettings, TilingSettings
from histo_assets.core.tiling.tiles import tile_tissue

DATA = Path(os.environ.get("HISTO_REAL_DATA") or "absent")

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not DATA.is_dir(), reason="HISTO_REAL_DATA names no folder with the real slides"),
]

CMU = DATA / "slides" / "CMU-1-Small-Region.svs"
GTEX = sorted((DATA / "slides").glob("GTEX-*.svs"))


def raw_slides(paths: list[Path]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"slide": path.stem, "donor": path.stem, "tissue": "uterus", "sample": path.stem}
            | asdict(inspect_slide(path))
            for path in paths
        ]
    )


def test_the_gtex_slides_are_found_by_their_manifest_names_and_none_is_quarantined() -> None:
    names = [path.stem[:-1] + "6" for path in GTEX]
    selected = pd.DataFrame({"slide": names, "donor": names, "tissue": "uterus", "sample": names})
    table = inspect_slides(selected, str(DATA / "slides"), SlideSettings())
    assert len(table) == 6
    assert table["quarantined"].isna().all()
    assert set(table["integrity"]) == {"checked"}
    assert set(table["mpp"]) == {1.9764}


def test_every_pixel_of_a_real_aperio_slide_equals_openslide_s_and_slideio_s() -> None:
    openslide = pytest.importorskip("openslide")
    reference = openslide.OpenSlide(str(CMU))
    with open_slide(CMU) as slide:
        width, height = slide.dimensions
        pixels = slide.read_region(0, 0, width, height, slide.mpp)
        assert slide.lost_storage_tiles == 0
    assert (width, height) == reference.dimensions
    assert np.array_equal(pixels, np.asarray(reference.read_region((0, 0), 0, (width, height)).convert("RGB")))
    assert np.array_equal(pixels, slideio.open_slide(str(CMU), "SVS").get_scene(0).read_block())


@pytest.mark.parametrize("path", GTEX, ids=lambda path: path.stem)
def test_a_ycbcr_slide_equals_openslide_s_pixels_and_is_close_to_slideio_s(path: Path) -> None:
    openslide = pytest.importorskip("openslide")
    with open_slide(path) as slide:
        width, height = slide.dimensions
        pixels = slide.read_region(0, 0, width, height, slide.mpp)
    reference = openslide.OpenSlide(str(path)).read_region((0, 0), 0, (width, height)).convert("RGB")
    assert np.array_equal(pixels, np.asarray(reference))
    by_slideio = slideio.open_slide(str(path), "SVS").get_scene(0).read_block()
    assert np.abs(pixels.astype(np.int16) - by_slideio).mean() < 0.55


@pytest.mark.parametrize("path", [CMU, *GTEX], ids=lambda path: path.stem)
def test_the_mask_tells_tissue_from_glass(path: Path) -> None:
    with open_slide(path) as slide:
        scale = 8.0 / slide.mpp
        width, height = slide.dimensions
        thumbnail = slide.read_region(0, 0, int(width / scale), int(height / scale), 8.0)
    mask = tissue_mask(thumbnail)
    gray = cv2.cvtColor(thumbnail, cv2.COLOR_RGB2GRAY)
    assert mask[gray < 170].mean() > 0.95  # a dark crust of CMU-1 looks like ink
    inside = cv2.erode(mask.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    assert (gray[inside] > 235).mean() < 0.06
    assert mask[cv2.blur(gray, (15, 15)) >= 240].mean() < 0.01


def test_tiles_are_cut_from_real_slides_at_their_own_resolution(tmp_path: Path) -> None:
    tiling = TilingSettings(tile_px=224, mpp=2.0, tiles_per_slide=12, tiles_per_tissue=None)
    tile_set = tile_tissue(
        raw_slides(GTEX),
        TissueJob("uterus", str(tmp_path), tiling, SlideSettings()),
        workers=1,
        progress=lambda sentence: None,
    )
    assert tile_set.quarantined == {}
    assert (tile_set.complete, len(tile_set.index)) == (True, 72)


def test_a_scan_coarser_than_the_study_s_resolution_is_refused(tmp_path: Path) -> None:
    tiling = TilingSettings(tile_px=224, mpp=0.5, tiles_per_slide=4, tiles_per_tissue=None)
    tile_set = tile_tissue(
        raw_slides([CMU, *GTEX]), TissueJob("uterus", str(tmp_path), tiling, SlideSettings()), workers=1, progress=print
    )
    assert set(tile_set.index["slide"]) == {CMU.stem}
    assert set(tile_set.quarantined) == {path.stem for path in GTEX}
    assert all("1.98 um/px, coarser than the study's 0.5" in reason for reason in tile_set.quarantined.values())


def picture(path: Path) -> np.ndarray[Any, Any]:
    pixels = cv2.imread(str(path))
    assert pixels is not None, path
    return pixels


def test_the_filters_keep_real_tissue_fat_included() -> None:
    pictures = {path.name: picture(path)[:, :, ::-1] for path in (DATA / "tiles" / "crc").glob("*.png")}
    for path in (DATA / "tiles" / "monuseg").glob("*/*.jpg"):
        crop = cv2.resize(picture(path), (500, 500), interpolation=cv2.INTER_AREA)
        pictures[path.name] = crop[:448, :448, ::-1]
    verdicts = {}
    for name, pixels in pictures.items():
        pixels = np.ascontiguousarray(pixels)
        verdicts[name] = judge(tile_quality(pixels, len(encoded(pixels, 90)), 1.0), QualitySettings())
    assert len(verdicts) == 46
    assert {name: reason for name, reason in verdicts.items() if reason} == {}
