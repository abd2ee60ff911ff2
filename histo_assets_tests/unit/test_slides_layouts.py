"""TIFFs of other layouts are read rightly, or refused as what they are; damage is said only where there is some."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from histo_assets.core.slides.errors import SlideError
from histo_assets.core.slides.integrity import inspect_slide
from histo_assets.core.slides.slide import open_slide
from histo_assets_tests.unit.odd_tiffs import SIDE, Pixels, write_tiff, write_tiles
from histo_assets_tests.unit.tissue_slides import tissue_picture

PICTURE = tissue_picture(400, margin=48)


def levels_of(pixels: Pixels) -> list[Pixels]:
    return [pixels, pixels[::2, ::2]]


def shown(path: Path) -> Pixels:
    record = inspect_slide(path)
    assert (record.quarantined, record.integrity, record.levels) == (None, "checked", 2)
    with open_slide(path) as slide:
        whole = slide.read_region(0, 0, 400, 400, 0.5)
        assert np.array_equal(slide.read_region(0, 0, 200, 200, 1.0), whole[::2, ::2])
        return whole


@pytest.mark.parametrize("bigtiff", [False, True])
@pytest.mark.parametrize("compression", [None, "deflate", "lzw", "zstd"])
@pytest.mark.parametrize("predictor", [False, True])
def test_every_lossless_compression_gives_the_picture(
    tmp_path: Path, compression: str | None, predictor: bool, bigtiff: bool
) -> None:
    options: dict[str, Any] = {
        "compression": compression,
        "predictor": predictor and compression is not None,
        "bigtiff": bigtiff,
    }
    assert np.array_equal(shown(write_tiff(tmp_path / "a.tif", levels_of(PICTURE), **options)), PICTURE)


@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_colour_planes_apart_are_put_together(tmp_path: Path, byteorder: Any) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path, byteorder=byteorder) as tiff:
        for level, per in zip(levels_of(PICTURE), (20000, 10000), strict=True):
            tiff.write(
                np.ascontiguousarray(level.transpose(2, 0, 1)),
                tile=(SIDE, SIDE),
                compression="deflate",
                photometric="rgb",
                planarconfig="separate",
                resolution=(per, per),
                resolutionunit="CENTIMETER",
                metadata=None,
            )
    assert np.array_equal(shown(path), PICTURE)


def test_a_lost_plane_is_a_lost_storage_tile(tmp_path: Path) -> None:
    test_colour_planes_apart_are_put_together(tmp_path, "<")
    path = tmp_path / "a.tif"
    with tifffile.TiffFile(path) as tiff:
        offset = tiff.pages[0].dataoffsets[2 * 16 + 5]  # type: ignore[union-attr]
    content = bytearray(path.read_bytes())
    content[offset : offset + 40] = b"\0" * 40
    path.write_bytes(content)
    with open_slide(path) as slide:
        slide.read_region(0, 0, 400, 400, 0.5)
        assert (slide.lost_storage_tiles, slide.lost_areas()) == (1, [(128.0, 128.0, 128.0, 128.0)])


def test_a_palette_shows_its_colours(tmp_path: Path) -> None:
    palette = np.random.default_rng(0).integers(0, 256, (3, 256)).astype(np.uint16)
    indices = PICTURE[..., 0]
    options: dict[str, Any] = {"photometric": "palette", "colormap": palette * 257}
    path = write_tiff(tmp_path / "a.tif", levels_of(indices), **options)
    assert np.array_equal(shown(path), palette.astype(np.uint8).T[indices])


@pytest.mark.parametrize(("photometric", "inverted"), [("minisblack", False), ("miniswhite", True)])
def test_grey_is_grey(tmp_path: Path, photometric: str, inverted: bool) -> None:
    grey = PICTURE[..., 1]
    path = write_tiff(tmp_path / "a.tif", levels_of(grey), photometric=photometric)
    assert np.array_equal(shown(path), np.repeat((255 - grey if inverted else grey)[..., None], 3, axis=2))


def test_what_is_transparent_shows_glass(tmp_path: Path) -> None:
    alpha = np.full((400, 400, 1), 255, np.uint8)
    alpha[100:200] = 0
    alpha[200:300] = 128
    path = write_tiff(tmp_path / "a.tif", levels_of(np.dstack([PICTURE, alpha])), extrasamples=["unassalpha"])
    found = shown(path).astype(int)
    assert np.array_equal(found[:100], PICTURE[:100])
    assert (found[100:200] == 255).all()
    assert np.abs(found[200:300] - (PICTURE[200:300] * (128 / 255) + 255 * (127 / 255))).max() <= 1
    over = (PICTURE * (alpha / 255)).astype(np.uint8)
    path = write_tiff(tmp_path / "b.tif", levels_of(np.dstack([over, alpha])), extrasamples=["assocalpha"])
    assert np.abs(shown(path).astype(int) - found).max() <= 2
    path = write_tiff(tmp_path / "c.tif", levels_of(np.dstack([PICTURE, alpha])), extrasamples=["unspecified"])
    assert np.array_equal(shown(path), PICTURE)


REFUSED: dict[str, tuple[Any, dict[str, Any]]] = {
    "16-bit samples": (PICTURE.astype(np.uint16) * 257, {}),
    "32-bit floating point numbers": (PICTURE.astype(np.float32), {}),
    "8-bit signed integers": (PICTURE.astype(np.int8), {}),
    "CMYK inks": (np.dstack([PICTURE, PICTURE[..., :1]]), {"photometric": "separated"}),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_8_bit_rgb_is_refused_as_what_it_is(tmp_path: Path, what: str) -> None:
    pixels, options = REFUSED[what]
    path = write_tiff(tmp_path / "a.tif", levels_of(pixels), **options)
    assert inspect_slide(path).quarantined == f"a.tif holds {what}, where 8-bit RGB is needed; convert it"
    with pytest.raises(SlideError, match=f"a.tif holds {what}"):
        open_slide(path)


def test_a_volume_is_refused_as_one(tmp_path: Path) -> None:
    volume = np.stack([PICTURE[:256, :256]] * 16)
    options: dict[str, Any] = {"resolution": (20000, 20000), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(tmp_path / "a.tif", volume, tile=(16, 128, 128), photometric="rgb", volumetric=True, **options)
    assert "a.tif holds a volume" in str(inspect_slide(tmp_path / "a.tif").quarantined)


@pytest.mark.parametrize("compression", ["deflate", "lzw", "jpeg", "zstd"])
def test_damage_of_a_storage_tile_is_counted_as_lost_and_not_shown_as_glass(tmp_path: Path, compression: str) -> None:
    path = write_tiff(tmp_path / "a.tif", levels_of(PICTURE), compression=compression)
    with tifffile.TiffFile(path) as tiff:
        offset, length = (values[5] for values in (tiff.pages[0].dataoffsets, tiff.pages[0].databytecounts))  # type: ignore[union-attr]
    content = bytearray(path.read_bytes())
    content[offset : offset + length] = b"\0" * length
    path.write_bytes(content)
    with open_slide(path) as slide:
        assert slide.read_with_losses(128, 128, 128, 128, 0.5)[1] == 1
        assert slide.lost_storage_tiles == 1


def test_a_storage_tile_that_unpacks_to_more_than_it_may_costs_no_memory(tmp_path: Path) -> None:
    import resource

    bomb = zlib.compress(b"\0" * (400 << 20), 9)
    path = write_tiles(tmp_path / "a.tif", [(PICTURE[:128, :128], iter([bomb]))], 8)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with open_slide(path) as slide:
        slide.read_region(0, 0, 128, 128, 0.5)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 << 10
