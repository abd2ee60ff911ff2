"""Several images in one file: the scan is found wherever it stands, a second one is named and can be chosen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from histo_assets.core.slides.integrity import inspect_slide
from histo_assets.core.slides.settings import SlideSettings
from histo_assets.core.slides.slide import open_slide
from histo_assets.core.tiling.one_slide import tile_slide
from histo_assets.core.tiling.settings import TilingSettings
from histo_assets_tests.unit.odd_tiffs import Pixels, write_tiff
from histo_assets_tests.unit.tissue_slides import stroma, tissue_picture

SCAN, OTHER = tissue_picture(768), tissue_picture(640, seed=3)
OVERVIEW = np.full((700, 400, 3), 225, np.uint8)


def write_ome(path: Path, images: Sequence[tuple[str, Pixels, float]]) -> Path:
    with tifffile.TiffWriter(path, ome=True) as tiff:
        for name, pixels, mpp in images:
            metadata: dict[str, Any] = {"axes": "YXS", "Name": name, "PhysicalSizeX": mpp, "PhysicalSizeY": mpp}
            metadata |= {"PhysicalSizeXUnit": "µm", "PhysicalSizeYUnit": "µm"}
            tiff.write(pixels, tile=(128, 128), photometric="rgb", subifds=1, metadata=metadata)
            reduced = np.ascontiguousarray(pixels[::2, ::2])
            tiff.write(reduced, tile=(128, 128), photometric="rgb", subfiletype=1)
    return path


def write_pages(path: Path, pages: Sequence[tuple[Pixels, float]], **options: Any) -> Path:
    with tifffile.TiffWriter(path) as tiff:
        for pixels, mpp in pages:
            tiff.write(
                np.ascontiguousarray(pixels),
                tile=(128, 128),
                photometric="rgb",
                resolution=(1e4 / mpp, 1e4 / mpp),
                resolutionunit="CENTIMETER",
                metadata=None,
                **options,
            )
    return path


def pixels_of(path: Path, settings: SlideSettings | None = None) -> Pixels:
    record = inspect_slide(path, settings)
    assert record.quarantined is None
    with open_slide(path, settings) as slide:
        assert slide.dimensions == (record.width, record.height)
        return slide.read_region(0, 0, record.width, record.height, slide.mpp)


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 2, 0), (2, 0, 1)])
def test_the_scan_of_an_ome_tiff_is_read_wherever_it_stands(tmp_path: Path, order: tuple[int, ...]) -> None:
    images = [("scan", SCAN, 0.5), ("label image", stroma(900, 900), 0.5), ("Image:1", OVERVIEW, 16.0)]
    path = write_ome(tmp_path / "a.ome.tif", [images[i] for i in order])
    assert inspect_slide(path).mpp == pytest.approx(0.5)
    assert np.array_equal(pixels_of(path), SCAN)


def test_a_second_scan_of_an_ome_tiff_is_named_and_can_be_chosen(tmp_path: Path) -> None:
    images = [("macro", OVERVIEW, 16.0), ("left", SCAN, 0.5), ("right", OTHER, 0.5)]
    path = write_ome(tmp_path / "a.ome.tif", images)
    reason = str(inspect_slide(path, slide_id="S1").quarantined)
    assert "a.ome.tif holds 2 scans (2: left, 768 x 768 px, 3: right, 640 x 640 px)" in reason
    assert "slides.image" in reason
    for choice, expected in (("right", OTHER), (2, SCAN), ("3", OTHER)):
        assert np.array_equal(pixels_of(path, SlideSettings(image=choice)), expected)
    assert inspect_slide(path, SlideSettings(image={"S1": "left"}), "S1").width == 768
    assert "no image 'middle'" in str(inspect_slide(path, SlideSettings(image="middle")).quarantined)
    assert len({inspect_slide(path, SlideSettings(image=n)).digest for n in (2, 3)}) == 2


@pytest.mark.parametrize("first", [OVERVIEW, stroma(300, 300)])
def test_the_scan_of_a_tiff_is_read_though_another_page_comes_first(tmp_path: Path, first: Pixels) -> None:
    path = write_pages(tmp_path / "a.tif", [(first, 16.0), (SCAN, 0.5), (SCAN[::2, ::2], 1.0)])
    record = inspect_slide(path)
    assert (record.levels, record.mpp) == (2, 0.5)
    assert "-image2" in record.digest
    assert np.array_equal(pixels_of(path), SCAN)


def test_pages_in_strips_before_the_scan_are_passed_over(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
        tiff.write(OVERVIEW, photometric="rgb", metadata=None)
    write_pages(tmp_path / "b.tif", [(SCAN, 0.5)])
    with tifffile.TiffWriter(tmp_path / "a.tif", append=True) as tiff:
        options: dict[str, Any] = {"resolution": (20000, 20000), "resolutionunit": "CENTIMETER"}
        tiff.write(SCAN, tile=(128, 128), photometric="rgb", metadata=None, **options)
    assert np.array_equal(pixels_of(tmp_path / "a.tif"), SCAN)


def test_a_second_scan_of_a_tiff_is_named_can_be_chosen_and_lends_no_level(tmp_path: Path) -> None:
    pages = [(SCAN, 0.5), (SCAN[::4, ::4], 2.0), (OTHER, 0.5), (OTHER[::4, ::4], 2.0)]
    path = write_pages(tmp_path / "a.tif", pages)
    assert "a.tif holds 2 scans (1: without a name, 768 x 768 px, 2: " in str(inspect_slide(path).quarantined)
    for choice, expected in ((1, SCAN), (2, OTHER)):
        settings = SlideSettings(image=choice)
        assert np.array_equal(pixels_of(path, settings), expected)
        with open_slide(path, settings) as slide:
            side = expected.shape[0] // 4
            assert np.array_equal(slide.read_region(0, 0, side, side, 2.0), expected[::4, ::4])


def test_levels_out_of_their_order_are_no_second_scan(tmp_path: Path) -> None:
    path = write_pages(tmp_path / "a.tif", [(SCAN, 0.5), (SCAN[::4, ::4], 2.0), (SCAN[::2, ::2], 1.0)])
    assert inspect_slide(path).levels == 2


def test_the_chosen_scan_is_cut(tmp_path: Path) -> None:
    path = write_pages(tmp_path / "a.tif", [(SCAN, 0.5), (OTHER, 0.5)])
    tiling = TilingSettings(tile_px=64, tiles_per_slide=4, tiles_per_tissue=None, mask_mpp=4.0)
    done = tile_slide(path, "a", tmp_path / "out", tiling, SlideSettings(image=2), "skin", lambda sentence: None)
    assert done.quarantined is None
    assert (done.record.width, len(done.tiles.index)) == (640, 4)  # type: ignore[union-attr]


def test_a_pyramid_keeps_its_digest(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "a.tif", [SCAN, SCAN[::2, ::2]], compression="jpeg")
    assert "-" not in inspect_slide(path).digest


def test_a_mask_beside_the_scan_is_no_scan_and_a_flag_alone_makes_no_overview(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
        options: dict[str, Any] = {"resolution": (20000, 20000), "resolutionunit": "CENTIMETER", "metadata": None}
        tiff.write(SCAN, tile=(128, 128), photometric="rgb", subfiletype=1, **options)
        tiff.write(SCAN[..., 0], tile=(128, 128), photometric="minisblack", subfiletype=1, **options)
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+") as written:
        written.pages[1].tags["NewSubfileType"].overwrite(4)  # type: ignore[union-attr]
    assert np.array_equal(pixels_of(tmp_path / "a.tif"), SCAN)
