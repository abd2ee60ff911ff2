"""The resolution that a file names, in every way that people write it, is believed or named; never a traceback."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import pandas as pd
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from histo_assets.core.slides.inspection import inspect_slides
from histo_assets.core.slides.integrity import SlideRecord, inspect_slide
from histo_assets.core.slides.settings import SlideSettings
from histo_assets.demo.svs import Scan, write_svs
from histo_assets_tests.unit.odd_tiffs import with_tag, write_tiff
from histo_assets_tests.unit.tissue_slides import stroma

PIXELS = stroma(256, 384)


def tagged(path: Path, x: float, y: float, unit: str = "CENTIMETER") -> SlideRecord:
    tifffile.imwrite(path, PIXELS, tile=(128, 128), photometric="rgb", resolution=(x, y), resolutionunit=unit)
    return inspect_slide(path)


def described(path: Path, about: str) -> SlideRecord:
    text = f"Aperio Image Library v11\n384x256|{about}"
    tifffile.imwrite(path, PIXELS, tile=(128, 128), photometric="rgb", description=text, metadata=None)
    return inspect_slide(path)


@pytest.mark.parametrize(("per", "unit"), [(20_000, "CENTIMETER"), (50_800, "INCH")])
def test_pixels_per_centimetre_and_per_inch_are_read(tmp_path: Path, per: float, unit: str) -> None:
    assert tagged(tmp_path / "a.tif", per, per, unit).mpp == pytest.approx(0.5)


@pytest.mark.parametrize("per", [4_294_967_295, 200, 1])
def test_a_resolution_that_no_scanner_has_is_named_and_not_taken(tmp_path: Path, per: int) -> None:
    record = tagged(tmp_path / "a.tif", per, per)
    assert "a.tif names a resolution that no scanner has" in str(record.quarantined)
    assert "slides.assume_mpp" in str(record.quarantined)
    assert inspect_slide(tmp_path / "a.tif", SlideSettings(assume_mpp=0.5)).mpp == 0.5


def test_pixels_that_are_not_square_are_said_to_be_so_whatever_is_assumed(tmp_path: Path) -> None:
    tagged(tmp_path / "a.tif", 20_000, 10_000)
    for settings in (None, SlideSettings(assume_mpp=0.5)):
        reason = inspect_slide(tmp_path / "a.tif", settings).quarantined
        assert reason == "a.tif has pixels that are not square (0.5 x 1 um); resample it to square ones"


@pytest.mark.parametrize("code", [282, 283])
@pytest.mark.parametrize("fraction", [(20_000, 0), (0, 1), (0, 0)])
def test_a_fraction_of_zeros_is_no_resolution_of_that_axis(
    tmp_path: Path, code: int, fraction: tuple[int, int]
) -> None:
    path = write_tiff(tmp_path / "a.tif", [PIXELS])
    with tifffile.TiffFile(path) as tiff:
        place = tiff.pages[0].tags[code].valueoffset  # type: ignore[union-attr]
    content = bytearray(path.read_bytes())
    struct.pack_into("<LL", content, place, *fraction)
    path.write_bytes(content)
    assert "names a resolution for one axis only (0.5 um/px)" in str(inspect_slide(path).quarantined)
    assert inspect_slide(path, SlideSettings(assume_mpp=0.25)).mpp == 0.25


@pytest.mark.parametrize(
    ("kind", "value", "mpp"), [(11, struct.pack("<f", 20_000), 0.5), (2, b"abc\0", None), (11, b"\0\0\xc0\x7f", None)]
)
def test_a_resolution_of_another_type_is_read_where_it_is_a_number(
    tmp_path: Path, kind: int, value: bytes, mpp: float | None
) -> None:
    path = write_tiff(tmp_path / "a.tif", [PIXELS])
    record = inspect_slide(with_tag(path, tmp_path / "b.tif", 282, kind, 4 if kind == 2 else 1, value))
    assert (record.mpp == mpp) if mpp else "one axis only" in str(record.quarantined)


@pytest.mark.parametrize(
    ("written", "mpp"),
    [("0.4942", 0.4942), ("0,4942", 0.4942), ("1,0080", 1.008), ("0.25um", 0.25), (".5", 0.5), ("252.0", None)],
)
def test_aperio_s_resolution_is_read_with_a_point_or_a_comma(tmp_path: Path, written: str, mpp: float | None) -> None:
    record = described(tmp_path / "a.svs", f"AppMag = 20|MPP = {written}|Left = 1")
    if mpp is None:
        assert "a.svs names a resolution that no scanner has (252 um/px)" in str(record.quarantined)
    else:
        assert record.mpp == pytest.approx(mpp)


@pytest.mark.parametrize("written", ["0.0000005", "0", "nan", "inf", "1e999", "-0.5", "abc", ""])
def test_a_resolution_that_is_none_is_quarantined_in_a_sentence(tmp_path: Path, written: str) -> None:
    reason = str(described(tmp_path / "a.svs", f"AppMag = 20|MPP = {written}").quarantined)
    assert "a.svs names " in reason
    assert "resolution" in reason
    assert "memory" not in reason


@given(st.text(max_size=12), st.floats(), st.integers(0, 5))
def test_no_text_or_number_raises(text: str, value: float, unit: int) -> None:
    from histo_assets.core.slides.resolution import FINEST, aperio_resolution, tagged_resolution

    for found in (
        aperio_resolution(f"Aperio|MPP = {text}"),
        tagged_resolution(value, (1, 2), unit),
        tagged_resolution((value, value), text, unit),
    ):
        assert math.isnan(found.mpp) != (found.mpp >= FINEST)
        assert bool(found.complaint) == math.isnan(found.mpp)


def test_a_column_of_resolutions_in_the_study_s_table_is_taken(tmp_path: Path) -> None:
    for slide in ("a", "b", "c", "d"):
        write_svs(tmp_path / f"{slide}.svs", PIXELS, Scan(mpp=0.5 if slide == "d" else None))
    rows = [
        {"slide": slide, "donor": slide, "tissue": "skin", "sample": slide, "MPP": mpp}
        for slide, mpp in (("a", "0,2527"), ("b", 0.4), ("c", None), ("d", 0.3))
    ]
    table = inspect_slides(pd.DataFrame(rows), str(tmp_path), SlideSettings(assume_mpp=1.0)).set_index("slide")
    assert table["mpp"].to_dict() == {"a": 0.2527, "b": 0.4, "c": 1.0, "d": 0.5}
    single = SlideSettings(assume_mpp={"a": 0.6})
    table = inspect_slides(pd.DataFrame(rows), str(tmp_path), single).set_index("slide")
    assert table["mpp"]["a"] == 0.6
    assert "c.svs names no resolution" in table["quarantined"]["c"]


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ({"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}, 0.5),
        ({"PhysicalSizeX": 250, "PhysicalSizeY": 250, "unit": "nm"}, 0.25),
        ({"PhysicalSizeX": 0.0005, "PhysicalSizeY": 0.0005, "unit": "mm"}, 0.5),
        ({"PhysicalSizeX": 0.5, "unit": "µm"}, "names a resolution for one axis only (0.5 um/px)"),
        ({"PhysicalSizeX": 0.5, "PhysicalSizeY": 1.0, "unit": "µm"}, "has pixels that are not square (0.5 x 1 um)"),
        ({"PhysicalSizeX": 1.0, "PhysicalSizeY": 1.0, "unit": "pixel"}, "names no resolution"),
        ({}, "names no resolution"),
    ],
)
def test_the_resolution_of_an_ome_tiff_is_read_in_its_unit(
    tmp_path: Path, sizes: dict[str, object], expected: float | str
) -> None:
    unit = sizes.get("unit")
    units = {f"{name}Unit": unit for name in sizes if unit is not None and name != "unit"}
    metadata = {"axes": "YXS", **{name: value for name, value in sizes.items() if name != "unit"}, **units}
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, PIXELS, tile=(128, 128), photometric="rgb", metadata=metadata, ome=True)
    record = inspect_slide(path)
    if isinstance(expected, str):
        assert f"a.ome.tif {expected}" in str(record.quarantined)
    else:
        assert record.mpp == pytest.approx(expected)
