"""Colours where the container says one thing and the stored stream another: the picture that was written is right."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import imagecodecs
import numpy as np
import openslide
import pytest
import simplejpeg
import tifffile

from histo_assets.core.slides.integrity import inspect_slide, slide_digest
from histo_assets.core.slides.slide import open_slide
from histo_assets_tests.unit.odd_tiffs import Pixels, write_encoded
from histo_assets_tests.unit.tissue_slides import tissue_picture

PICTURE = tissue_picture(512)
JPEG, RGB, YCBCR = 7, 2, 6


def ycbcr_of(pixels: Pixels) -> Pixels:
    return np.ascontiguousarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2YCrCb)[..., [0, 2, 1]])


def as_they_are(planes: Pixels, sampling: str = "444") -> bytes:
    """Return a JPEG of three components without any colour transform, with a JFIF header that claims YCbCr."""
    shrunk = planes[::2, ::2] if sampling == "420" else planes
    parts = [np.ascontiguousarray(planes[..., 0]), *(np.ascontiguousarray(shrunk[..., i]) for i in (1, 2))]
    return bytes(simplejpeg.encode_jpeg_yuv_planes(*parts, 92))


def without_jfif(jpeg: bytes) -> bytes:
    assert jpeg[2:4] == b"\xff\xe0"
    return jpeg[:2] + jpeg[4 + int.from_bytes(jpeg[4:6], "big") :]


def with_adobe(jpeg: bytes, transform: int) -> bytes:
    marker = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00" + bytes([transform])
    return jpeg[:2] + marker + without_jfif(jpeg)[2:]


def named(jpeg: bytes, names: bytes) -> bytes:
    """Return a JPEG whose components are called otherwise, in its frame and in its scan."""
    changed = bytearray(without_jfif(jpeg))
    frame, scan = changed.index(b"\xff\xc0"), changed.index(b"\xff\xda")
    for i, name in enumerate(names):
        changed[frame + 10 + 3 * i] = changed[scan + 5 + 2 * i] = name
    return bytes(changed)


STREAMS: dict[str, tuple[int, Callable[[Pixels], bytes]]] = {
    "RGB, silent": (RGB, lambda tile: without_jfif(as_they_are(tile))),
    "RGB, though JFIF": (RGB, as_they_are),
    "RGB, though Adobe says YCbCr": (RGB, lambda tile: with_adobe(as_they_are(tile), 1)),
    "RGB by Adobe": (RGB, lambda tile: with_adobe(as_they_are(tile), 0)),
    "YCbCr, JFIF": (YCBCR, lambda tile: as_they_are(ycbcr_of(tile))),
    "YCbCr, silent": (YCBCR, lambda tile: without_jfif(as_they_are(ycbcr_of(tile)))),
    "YCbCr by Adobe": (YCBCR, lambda tile: with_adobe(as_they_are(ycbcr_of(tile)), 1)),
    "YCbCr subsampled": (YCBCR, lambda tile: as_they_are(ycbcr_of(tile), "420")),
    "YCbCr, though Adobe says RGB": (YCBCR, lambda tile: with_adobe(as_they_are(ycbcr_of(tile)), 0)),
    "YCbCr, though its names say RGB": (YCBCR, lambda tile: named(as_they_are(ycbcr_of(tile)), b"RGB")),
    "tag RGB, stored as YCbCr": (RGB, lambda tile: as_they_are(ycbcr_of(tile))),
    "tag RGB, stored as subsampled YCbCr": (RGB, lambda tile: as_they_are(ycbcr_of(tile), "420")),
    "tag YCbCr, stored as RGB by name": (YCBCR, lambda tile: named(as_they_are(tile), b"RGB")),
    "tag YCbCr, stored as RGB by Adobe": (YCBCR, lambda tile: with_adobe(as_they_are(tile), 0)),
}
AGREE = ("RGB, silent", "RGB by Adobe", "YCbCr, JFIF", "YCbCr, silent", "YCbCr by Adobe", "YCbCr subsampled")


def written(path: Path, kind: str, **options: Any) -> Path:
    tag, encode = STREAMS[kind]
    write_encoded(path, [PICTURE, PICTURE[::2, ::2]], encode, JPEG, **options)
    with tifffile.TiffFile(path, mode="r+") as tiff:
        for page in tiff.pages:
            page.tags["PhotometricInterpretation"].overwrite(tag)  # type: ignore[union-attr]
    return path


@pytest.mark.parametrize("kind", STREAMS)
def test_the_pixels_are_those_of_the_picture_whatever_the_headers_say(tmp_path: Path, kind: str) -> None:
    path = written(tmp_path / "a.tif", kind)
    assert inspect_slide(path).integrity == "checked"
    with open_slide(path) as slide:
        for level, mpp in ((PICTURE, 0.5), (PICTURE[::2, ::2], 1.0)):
            shown = slide.read_region(0, 0, level.shape[1], level.shape[0], mpp)
            assert np.abs(shown.astype(int) - level).mean() < (9 if "subsampled" in kind else 3)


@pytest.mark.parametrize("kind", AGREE)
def test_where_headers_agree_the_pixels_are_openslide_s_and_the_digest_is_as_it_was(tmp_path: Path, kind: str) -> None:
    path = written(tmp_path / "a.tif", kind)
    with open_slide(path) as ours, openslide.OpenSlide(str(path)) as theirs:
        region = np.asarray(theirs.read_region((0, 0), 0, (512, 512)))[..., :3].astype(int)
        assert np.abs(ours.read_region(0, 0, 512, 512, 0.5) - region).mean() < 0.5
    assert "-" not in slide_digest(path)[0]


def test_a_slide_that_was_read_in_other_colours_has_another_digest(tmp_path: Path) -> None:
    assert slide_digest(written(tmp_path / "a.tif", "RGB, though JFIF"))[0].endswith("-colours")


def test_an_empty_or_broken_storage_tile_decides_nothing_about_colours(tmp_path: Path) -> None:
    path = written(tmp_path / "a.tif", "RGB, though JFIF")
    with tifffile.TiffFile(path, mode="r+") as tiff:
        page = tiff.pages[0]
        counts, offsets = page.tags["TileByteCounts"], page.tags["TileOffsets"].value  # type: ignore[union-attr]
        counts.overwrite([0, *counts.value[1:]])
    content = bytearray(path.read_bytes())
    content[offsets[5] + 2 : offsets[5] + 60] = b"\0" * 58
    path.write_bytes(content)
    with open_slide(path) as slide:
        shown = slide.read_region(128, 256, 256, 256, 0.5)
        assert np.abs(shown.astype(int) - PICTURE[256:, 128:384]).mean() < 3


@pytest.mark.parametrize(("compression", "stored"), [(33003, ycbcr_of), (33005, np.asarray)])
def test_aperio_s_jpeg_2000_of_both_kinds_is_the_picture_and_openslide_s(
    tmp_path: Path, compression: int, stored: Callable[[Pixels], Pixels]
) -> None:
    def encode(tile: Pixels) -> bytes:
        return bytes(imagecodecs.jpeg2k_encode(stored(tile), level=0, codecformat="J2K", mct=False))

    about = "Aperio Image Library v11.2.1 \r\n512x512 (128x128) J2K|AppMag = 20|MPP = 0.5"
    path = write_encoded(tmp_path / "a.svs", [PICTURE, PICTURE[::2, ::2]], encode, compression, description=about)
    with open_slide(path) as ours, openslide.OpenSlide(str(path)) as theirs:
        shown = ours.read_region(0, 0, 512, 512, 0.5).astype(int)
        region = np.asarray(theirs.read_region((0, 0), 0, (512, 512)))[..., :3]
    assert np.abs(shown - PICTURE).max() <= 2
    assert np.abs(shown - region).max() <= 2
