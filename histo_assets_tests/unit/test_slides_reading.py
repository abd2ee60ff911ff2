"""Reading regions of slides."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import pytest
import simplejpeg
import slideio
from hypothesis import given, settings
from hypothesis import strategies as st

from histo_assets.core.slides.directory import SlideError
from histo_assets.core.slides.settings import SlideSettings
from histo_assets.core.slides.slide import open_slide
from histo_assets.demo.damage import empty_storage_tiles, overwrite_storage_tiles
from histo_assets.demo.svs import Compression, Encoding, Scan, write_svs
from histo_assets_tests.unit.tissue_slides import stroma, tissue_picture


@pytest.fixture(scope="module")
def rgb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_svs(tmp_path_factory.mktemp("rgb") / "rgb.svs", tissue_picture(700), levels=(4,))


@pytest.fixture(scope="module")
def ycbcr(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_svs(
        tmp_path_factory.mktemp("ycbcr") / "ycbcr.svs", tissue_picture(700), encoding=Encoding(photometric="ycbcr")
    )


def through_slideio(path: Path, x: int, y: int, w: int, h: int) -> np.ndarray:
    return slideio.open_slide(str(path), "SVS").get_scene(0).read_block((x, y, w, h), size=(w, h))


@settings(max_examples=25, deadline=None)
@given(x=st.integers(0, 600), y=st.integers(0, 600), w=st.integers(1, 300), h=st.integers(1, 300))
def test_any_region_of_an_rgb_slide_equals_slideio_s(rgb: Path, x: int, y: int, w: int, h: int) -> None:
    w, h = min(w, 700 - x), min(h, 700 - y)
    with open_slide(rgb) as slide:
        assert slide.checked
        assert np.array_equal(slide.read_region(x, y, w, h, slide.mpp), through_slideio(rgb, x, y, w, h))


def test_a_ycbcr_slide_equals_openslide_s_pixels_and_is_close_to_slideio_s(ycbcr: Path) -> None:
    openslide = pytest.importorskip("openslide")
    with open_slide(ycbcr) as slide:
        pixels = slide.read_region(0, 0, 700, 700, slide.mpp)
    reference = np.asarray(openslide.OpenSlide(str(ycbcr)).read_region((0, 0), 0, (700, 700)).convert("RGB"))
    assert np.array_equal(pixels, reference)
    assert np.abs(pixels.astype(int) - through_slideio(ycbcr, 0, 0, 700, 700)).mean() < 3  # noise all over, worst case


def test_a_coarser_resolution_is_area_resampling_of_the_best_level(rgb: Path) -> None:
    with open_slide(rgb) as slide:
        full = slide.read_region(0, 0, 700, 700, 0.5)
        halved = slide.read_region(100, 200, 150, 100, 1.0)
        assert np.array_equal(halved, cv2.resize(full[200:400, 100:400], (150, 100), interpolation=cv2.INTER_AREA))
        decoded_before = slide.read_storage_tiles
        eighth = slide.read_region(0, 0, 87, 87, 4.0)
        assert slide.read_storage_tiles - decoded_before == 1  # the level at 2 um/px is one storage tile
    reference = cv2.resize(full[:696, :696], (87, 87), interpolation=cv2.INTER_AREA)
    assert np.abs(eighth.astype(int) - reference).mean() < 4


def test_every_storage_tile_is_decoded_once(rgb: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = []
    decode = simplejpeg.decode_jpeg

    def noted(*arguments: Any, **options: Any) -> Any:
        decoded.append(1)
        return decode(*arguments, **options)

    monkeypatch.setattr(simplejpeg, "decode_jpeg", noted)
    with open_slide(rgb) as slide:
        for y in range(0, 600, 100):
            for x in range(0, 600, 100):
                slide.read_region(x, y, 100, 100, 0.5)
        assert len(decoded) == slide.read_storage_tiles == 9


def test_what_lies_outside_the_slide_is_white(rgb: Path) -> None:
    with open_slide(rgb) as slide:
        region = slide.read_region(-10, 690, 30, 30, 0.5)
        assert (region[:, :10] == 255).all()
        assert (region[10:] == 255).all()
        assert np.array_equal(region[:10, 10:], slide.read_region(0, 690, 20, 10, 0.5))


def test_a_thumbnail_has_the_slide_s_shape_and_is_never_enlarged(rgb: Path) -> None:
    with open_slide(rgb) as slide:
        assert slide.thumbnail(100).shape == (100, 100, 3)
        assert slide.thumbnail(5000).shape == (700, 700, 3)


@pytest.mark.parametrize("photometric", ["rgb", "ycbcr"])
def test_a_damaged_storage_tile_is_counted_as_lost(tmp_path: Path, photometric: Literal["rgb", "ycbcr"]) -> None:
    path = write_svs(
        tmp_path / "a.svs", tissue_picture(700), encoding=Encoding(photometric=photometric), associated=False
    )
    ((x, y, w, h),) = overwrite_storage_tiles(path, 1)
    with open_slide(path) as slide:
        pixels, lost = slide.read_with_losses(x, y, w, h, 0.5)
        assert lost == slide.lost_storage_tiles == 1
        assert (pixels == 255).all()
        assert slide.lost_areas() == [(x, y, w, h)]
        sound, none = slide.read_with_losses(0, 0, 50, 50, 0.5)
        assert none == 0
        assert (sound < 255).any()


def test_a_storage_tile_of_length_zero_is_blank_and_not_lost(tmp_path: Path) -> None:
    path = write_svs(tmp_path / "a.svs", tissue_picture(700), associated=False)
    ((x, y, w, h),) = empty_storage_tiles(path, 1)
    with open_slide(path) as slide:
        pixels, lost = slide.read_with_losses(x, y, w, h, 0.5)
        assert (pixels == 255).all()
        assert (lost, slide.blank_storage_tiles, slide.lost_storage_tiles) == (0, 1, 0)


@pytest.mark.parametrize("compression", ["jpeg2000", "lzw", "deflate", "none"])
def test_other_compressions_are_read_through_their_storage_tiles(tmp_path: Path, compression: Compression) -> None:
    pixels = stroma(480, 480)
    path = write_svs(tmp_path / "a.svs", pixels, encoding=Encoding(compression, quality=95), associated=False)
    with open_slide(path) as slide:
        assert slide.checked
        assert (slide.dimensions, slide.mpp) == ((480, 480), 0.5)
        read = slide.read_region(100, 50, 200, 300, 0.5)
    # JPEG 2000 loses a little, the others nothing.
    tolerance = 8 if compression == "jpeg2000" else 0
    assert np.abs(read.astype(int) - pixels[50:350, 100:300]).mean() <= tolerance


def test_a_resolution_that_the_file_lacks_is_assumed(tmp_path: Path) -> None:
    path = write_svs(tmp_path / "a.svs", stroma(256, 256), Scan(mpp=None), associated=False)
    for assumed in (0.25, {"a": 0.25, "b": 1.0}):
        with open_slide(path, SlideSettings(assume_mpp=assumed), "a") as slide:
            assert slide.mpp == 0.25


def test_a_resolution_in_the_file_beats_an_assumed_one(rgb: Path) -> None:
    with open_slide(rgb, SlideSettings(assume_mpp=2.0)) as slide:
        assert slide.mpp == 0.5


@pytest.mark.parametrize("name", ["missing.svs", "slide.txt"])
def test_what_is_no_slide_is_an_error_that_names_it(tmp_path: Path, name: str) -> None:
    if name != "missing.svs":
        (tmp_path / name).write_text("no slide")
    with pytest.raises(SlideError, match=name):
        open_slide(tmp_path / name)
