"""Slides that the demo writes open in openslide and slideio with the right pixels and resolution."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import openslide
import pytest
import slideio
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from histo_assets.demo.svs import Encoding, Scan, write_svs


def _picture(height: int = 500, width: int = 700) -> np.ndarray:
    rng = np.random.default_rng(0)
    small = rng.integers(0, 255, (height // 20, width // 20, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC))


CODECS = [
    ("jpeg", "rgb", 240, 3.0),
    ("jpeg", "ycbcr", 256, 5.0),
    ("jpeg2000", "rgb", 256, 3.0),
    ("lzw", "rgb", 240, 0.0),
    ("deflate", "rgb", 256, 0.0),
    ("none", "rgb", 256, 0.0),
]


@pytest.mark.parametrize(("compression", "photometric", "storage_px", "tolerance"), CODECS)
def test_openslide_and_slideio_read_what_was_written(
    tmp_path: Path, compression: str, photometric: str, storage_px: int, tolerance: float
) -> None:
    picture = _picture()
    path = write_svs(
        tmp_path / "slide.svs",
        picture,
        encoding=Encoding(compression, photometric, storage_px=storage_px),  # type: ignore[arg-type]
        levels=(2, 4),
    )

    with openslide.OpenSlide(str(path)) as slide:
        assert slide.properties["openslide.vendor"] == "aperio"
        assert float(slide.properties["openslide.mpp-x"]) == 0.5
        assert slide.properties["openslide.objective-power"] == "20"
        assert slide.level_dimensions == ((700, 500), (350, 250), (175, 125))
        assert set(slide.associated_images) == {"thumbnail", "label", "macro"}
        seen = np.asarray(slide.read_region((0, 0), 0, (700, 500)))[..., :3]
    assert np.abs(seen.astype(int) - picture).mean() <= tolerance

    scene = slideio.open_slide(str(path), "SVS").get_scene(0)
    assert scene.rect == (0, 0, 700, 500)
    assert scene.resolution == pytest.approx((5e-7, 5e-7))
    assert scene.num_zoom_levels == 3
    assert np.abs(scene.read_block((0, 0, 700, 500)).astype(int) - picture).mean() <= tolerance


def test_the_photometric_tag_says_what_the_jpegs_hold(tmp_path: Path) -> None:
    for photometric, tag in (("rgb", tifffile.PHOTOMETRIC.RGB), ("ycbcr", tifffile.PHOTOMETRIC.YCBCR)):
        path = write_svs(tmp_path / f"{photometric}.svs", _picture(), encoding=Encoding(photometric=photometric))  # type: ignore[arg-type]
        with tifffile.TiffFile(path) as tiff:
            assert tiff.pages.first.photometric == tag


def test_a_slide_can_be_written_without_a_resolution(tmp_path: Path) -> None:
    path = write_svs(tmp_path / "slide.svs", _picture(), Scan(mpp=None))
    assert slideio.open_slide(str(path), "SVS").get_scene(0).resolution == (0.0, 0.0)


def test_the_magnification_follows_the_resolution_unless_it_is_given(tmp_path: Path) -> None:
    write_svs(tmp_path / "forty.svs", _picture(), Scan(mpp=0.25))
    write_svs(tmp_path / "five.svs", _picture(), Scan(app_mag=5))
    for name, power in (("forty", "40"), ("five", "5")):
        with openslide.OpenSlide(str(tmp_path / f"{name}.svs")) as slide:
            assert slide.properties["openslide.objective-power"] == power


def test_pixels_that_are_no_rgb_picture_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="uint8 is needed"):
        write_svs(tmp_path / "slide.svs", np.zeros((100, 100), np.uint8))


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(height=st.integers(1, 400), width=st.integers(1, 400), storage=st.sampled_from([128, 240, 256]))
def test_any_size_of_picture_keeps_its_size(tmp_path: Path, height: int, width: int, storage: int) -> None:
    path = write_svs(
        tmp_path / "slide.svs", np.full((height, width, 3), 200, np.uint8), encoding=Encoding(storage_px=storage)
    )
    with openslide.OpenSlide(str(path)) as slide:
        assert slide.dimensions == (width, height)
