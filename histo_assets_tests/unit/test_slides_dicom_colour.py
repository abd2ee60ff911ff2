"""The colours of DICOM slides: what the frames say of themselves, else what the header says."""

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
from pydicom.pixels.encoders.base import RLELosslessEncoder
from pydicom.uid import (
    JPEG2000,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from histo_assets.core.slides.integrity import inspect_slide
from histo_assets.core.slides.slide import open_slide
from histo_assets_tests.unit.generated_dicom import Coding, Header, write_image, write_pyramid
from histo_assets_tests.unit.tissue_slides import stroma

Pixels = np.ndarray[Any, Any]
PIXELS = stroma(300, 400)
LOSS = 6.0


def read_whole(folder: Path) -> Pixels:
    """Return the finest level, of which nothing may be lost."""
    assert inspect_slide(folder).quarantined is None
    with open_slide(folder) as slide:
        assert slide.checked
        pixels, lost = slide.read_with_losses(0, 0, 400, 300, 0.5)
    assert lost == 0
    return pixels


def off_by(folder: Path) -> float:
    """Return how far the finest level is from the picture, in grey levels on average."""
    return float(np.abs(read_whole(folder).astype(int) - PIXELS).mean())


def as_openslide_reads(folder: Path) -> Pixels:
    """Return the finest level as openslide reads it."""
    with openslide.OpenSlide(str(folder / "level1.dcm")) as slide:
        return np.asarray(slide.read_region((0, 0), 0, slide.dimensions))[:, :, :3]


def ycbcr(frame: Pixels) -> Pixels:
    """Return a frame in YCbCr of full range, as JPEG has it."""
    return np.ascontiguousarray(cv2.cvtColor(frame, cv2.COLOR_RGB2YCrCb)[:, :, [0, 2, 1]])


def jpeg(frame: Pixels, ids: bytes = b"\1\2\3", marker: bytes = b"") -> bytes:
    """Return the planes of a frame as they are in a JPEG of the given component ids and marker."""
    planes = [np.ascontiguousarray(frame[..., i]) for i in range(3)]
    coded = bytearray(simplejpeg.encode_jpeg_yuv_planes(*planes, 92))
    del coded[2 : 4 + int.from_bytes(coded[4:6], "big")]  # the JFIF header
    start, scan = coded.index(b"\xff\xc0") + 10, coded.index(b"\xff\xda") + 5
    for i, each in enumerate(ids):
        coded[start + 3 * i] = coded[scan + 2 * i] = each
    return bytes(coded[:2] + marker + coded[2:])


def adobe(transform: int) -> bytes:
    """Return Adobe's marker: 0 says RGB, 1 YCbCr."""
    return b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00" + bytes([transform])


JFIF = b"\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"

WAYS: dict[str, Callable[[Pixels], bytes]] = {
    "JFIF 4:2:0": lambda f: bytes(simplejpeg.encode_jpeg(f, 90, "RGB", "420")),
    "JFIF 4:2:2": lambda f: bytes(simplejpeg.encode_jpeg(f, 90, "RGB", "422")),
    "JFIF 4:4:4": lambda f: bytes(simplejpeg.encode_jpeg(f, 90, "RGB", "444")),
    "Adobe says YCbCr": lambda f: jpeg(ycbcr(f), marker=adobe(1)),
    "Adobe says RGB": lambda f: jpeg(f, marker=adobe(0)),
    "Adobe says RGB, ids R G B": lambda f: jpeg(f, b"RGB", adobe(0)),
    "ids R G B": lambda f: jpeg(f, b"RGB"),
}
"""Frames that say which colours they hold."""


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL_422", "YBR_FULL", "YBR_ICT"])
@pytest.mark.parametrize("way", WAYS)
def test_what_a_frame_says_of_its_colours_is_obeyed(tmp_path: Path, way: str, photometric: str) -> None:
    folder = write_pyramid(tmp_path / "a", PIXELS, Coding(WAYS[way], photometric=photometric))
    assert off_by(folder) < LOSS


@pytest.mark.parametrize(
    ("photometric", "convert"), [("RGB", np.asarray), ("YBR_FULL", ycbcr), ("YBR_FULL_422", ycbcr)]
)
@pytest.mark.parametrize("ids", [b"\1\2\3", b"\0\1\2"])
def test_a_frame_that_says_nothing_of_its_colours_is_read_by_the_header(
    tmp_path: Path, photometric: str, convert: Callable[[Pixels], Pixels], ids: bytes
) -> None:
    folder = write_pyramid(tmp_path / "a", PIXELS, Coding(lambda f: jpeg(convert(f), ids), photometric=photometric))
    assert off_by(folder) < LOSS
    if photometric != "YBR_FULL":  # which openslide refuses
        assert np.array_equal(read_whole(folder), as_openslide_reads(folder))


@pytest.mark.parametrize(("photometric", "convert"), [("RGB", np.asarray), ("YBR_FULL", ycbcr)])
def test_where_markers_contradict_each_other_the_header_decides(
    tmp_path: Path, photometric: str, convert: Callable[[Pixels], Pixels]
) -> None:
    coding = Coding(lambda f: jpeg(convert(f), marker=JFIF + adobe(0)), photometric=photometric)
    assert off_by(write_pyramid(tmp_path / "a", PIXELS, coding)) < LOSS


def test_subsampled_colour_is_ycbcr_whatever_the_header_says(tmp_path: Path) -> None:
    def without_marker(frame: Pixels) -> bytes:
        coded = simplejpeg.encode_jpeg(frame, 90, "RGB", "420")
        return bytes(coded[:2] + coded[4 + int.from_bytes(coded[4:6], "big") :])

    folder = write_pyramid(tmp_path / "a", PIXELS, Coding(without_marker, photometric="RGB"))
    assert off_by(folder) < LOSS


@pytest.mark.parametrize("way", ["JFIF 4:2:0", "JFIF 4:2:2", "JFIF 4:4:4"])
def test_sound_files_have_openslide_s_pixels(tmp_path: Path, way: str) -> None:
    folder = write_pyramid(tmp_path / "a", PIXELS, Coding(WAYS[way]))
    assert np.array_equal(read_whole(folder), as_openslide_reads(folder))
    assert len(inspect_slide(folder).digest) == 64


def jpeg_2000(frame: Pixels, transformed: bool = True) -> bytes:
    """Return a frame as a lossless codestream, with or without its own colour transform."""
    return bytes(imagecodecs.jpeg2k_encode(frame, codecformat="j2k", reversible=True, mct=transformed))


def run_lengths(frame: Pixels) -> bytes:
    """Return a frame in DICOM's run-length coding, by pydicom."""
    encode = RLELosslessEncoder.encode
    described = {
        "rows": frame.shape[0],
        "columns": frame.shape[1],
        "samples_per_pixel": 3,
        "bits_allocated": 8,
        "bits_stored": 8,
        "pixel_representation": 0,
        "photometric_interpretation": "RGB",
        "planar_configuration": 0,
        "number_of_frames": 1,
    }
    return bytes(encode(frame, **described))


LOSSLESS = {
    "JPEG 2000, RGB": Coding(lambda f: jpeg_2000(f, False), JPEG2000, "RGB"),
    "JPEG 2000, its own transform": Coding(jpeg_2000, JPEG2000Lossless, "YBR_RCT"),
    "JPEG 2000, transformed and called RGB": Coding(jpeg_2000, JPEG2000, "RGB"),
    "JPEG 2000, transformed and called YBR_FULL": Coding(jpeg_2000, JPEG2000, "YBR_FULL"),
    "JPEG 2000, not transformed and called so": Coding(lambda f: jpeg_2000(f, False), JPEG2000, "YBR_ICT"),
    "JPEG-LS": Coding(lambda f: bytes(imagecodecs.jpegls_encode(f)), JPEGLSLossless, "RGB"),
    "lossless JPEG": Coding(lambda f: bytes(imagecodecs.jpeg8_encode(f, lossless=True)), JPEGLosslessSV1, "RGB"),
    "run lengths": Coding(run_lengths, RLELossless, "RGB"),
    "uncompressed": Coding(lambda f: f.tobytes(), ExplicitVRLittleEndian, "RGB"),
    "JPEG 2000 under the name of JPEG": Coding(jpeg_2000, JPEGBaseline8Bit, "RGB"),
}


@pytest.mark.parametrize("way", LOSSLESS)
def test_lossless_frames_equal_the_picture(tmp_path: Path, way: str) -> None:
    folder = write_pyramid(tmp_path / "a", PIXELS, LOSSLESS[way])
    assert np.array_equal(read_whole(folder), PIXELS)


@pytest.mark.parametrize("way", ["JPEG 2000, RGB", "JPEG 2000, its own transform", "uncompressed"])
def test_lossless_frames_are_as_openslide_reads_them(tmp_path: Path, way: str) -> None:
    folder = write_pyramid(tmp_path / "a", PIXELS, LOSSLESS[way])
    assert np.array_equal(read_whole(folder), as_openslide_reads(folder))


def test_ycbcr_that_no_transform_of_the_codestream_undoes_is_converted(tmp_path: Path) -> None:
    coding = Coding(lambda f: jpeg_2000(ycbcr(f), False), JPEG2000, "YBR_FULL")
    assert off_by(write_pyramid(tmp_path / "a", PIXELS, coding)) < 1


def test_planes_apart_and_implicit_headers_are_read(tmp_path: Path) -> None:
    coding = Coding(lambda f: np.moveaxis(f, 2, 0).tobytes(), ExplicitVRLittleEndian, "RGB")
    write_image(tmp_path / "a" / "level1.dcm", PIXELS, header=Header(tags={"PlanarConfiguration": 1}), coding=coding)
    assert np.array_equal(read_whole(tmp_path / "a"), PIXELS)
    coding = Coding(lambda f: f.tobytes(), ImplicitVRLittleEndian, "RGB")
    write_image(tmp_path / "b" / "level1.dcm", PIXELS, coding=coding)
    assert np.array_equal(read_whole(tmp_path / "b"), PIXELS)


@pytest.mark.parametrize(("photometric", "turned"), [("MONOCHROME2", 0), ("MONOCHROME1", 255)])
@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, ExplicitVRLittleEndian, JPEG2000])
def test_grey_is_grey_and_not_its_negative(tmp_path: Path, photometric: str, turned: int, syntax: str) -> None:
    grey = PIXELS[:, :, 1]
    stored = (grey ^ turned).astype(np.uint8)
    encode: dict[str, Callable[[Pixels], bytes]] = {
        JPEGBaseline8Bit: lambda f: bytes(simplejpeg.encode_jpeg(f[..., :1].copy(), 95, "GRAY")),
        ExplicitVRLittleEndian: lambda f: f[..., 0].tobytes(),
        JPEG2000: lambda f: bytes(imagecodecs.jpeg2k_encode(f[..., 0].copy(), codecformat="j2k", reversible=True)),
    }
    header = Header(tags={"SamplesPerPixel": 1})
    coding = Coding(encode[syntax], syntax, photometric)
    write_image(tmp_path / "a" / "level1.dcm", np.repeat(stored[..., None], 3, axis=2), header=header, coding=coding)
    assert np.abs(read_whole(tmp_path / "a").astype(int) - grey[..., None]).mean() < 2


@pytest.mark.parametrize("way", LOSSLESS)
def test_a_frame_that_does_not_decode_is_lost_whatever_its_coding(tmp_path: Path, way: str) -> None:
    if way == "uncompressed":
        pytest.skip("bytes of nothing but pixels decode always")
    frames = iter(range(1000))

    def damaged(frame: Pixels) -> bytes:
        coded = LOSSLESS[way].encode(frame)
        return coded[: len(coded) // 2] if next(frames) == 5 else coded

    coding = Coding(damaged, LOSSLESS[way].syntax, LOSSLESS[way].photometric)
    write_image(tmp_path / "a" / "level1.dcm", PIXELS, coding=coding)
    with open_slide(tmp_path / "a") as slide:
        assert slide.read_with_losses(0, 0, 400, 300, 0.5)[1] == 1


def test_a_frame_that_claims_another_size_is_lost_before_it_takes_memory(tmp_path: Path) -> None:
    frames = iter(range(1000))

    def vast(frame: Pixels) -> bytes:
        coded = bytearray(Coding().encode(frame))
        if next(frames) == 5:
            start = coded.index(b"\xff\xc0") + 5
            coded[start : start + 4] = b"\xff\xff\xff\xff"
        return bytes(coded)

    write_image(tmp_path / "a" / "level1.dcm", PIXELS, coding=Coding(vast))
    with open_slide(tmp_path / "a") as slide:
        assert slide.read_with_losses(0, 0, 400, 300, 0.5)[1] == 1


def test_frames_of_more_than_8_bits_are_named(tmp_path: Path) -> None:
    def deep(frame: Pixels) -> bytes:
        return bytes(imagecodecs.jpeg2k_encode(frame.astype(np.uint16) * 16, codecformat="j2k", bitspersample=12))

    write_image(tmp_path / "a" / "0.dcm", PIXELS, coding=Coding(deep, JPEG2000, "RGB"))
    assert "0.dcm holds JPEG 2000 frames of 3 components of 1" in str(inspect_slide(tmp_path / "a").quarantined)
