"""Storage tiles that a reduced level leaves empty are made from the finer level, as openslide makes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import openslide
import pytest
import tifffile

from histo_assets.core.slides.integrity import inspect_slide, slide_digest
from histo_assets.core.slides.slide import open_slide
from histo_assets.core.tiling.mask import tissue_mask
from histo_assets_tests.unit.odd_tiffs import Pixels, write_tiff
from histo_assets_tests.unit.tissue_slides import tissue_picture

PICTURE = tissue_picture(1024, margin=64)
ABOUT = "Aperio Image Library v11\n1024x1024 (128x128) JPEG/RGB Q=90|AppMag = 20|MPP = 0.5"


def pyramid(path: Path, compression: str, factors: tuple[int, ...] = (1, 2, 4)) -> Path:
    levels = [PICTURE.reshape(1024 // f, f, 1024 // f, f, 3).mean(axis=(1, 3)).astype(np.uint8) for f in factors]
    options: dict[str, Any] = {"compressionargs": {"outcolorspace": "rgb"}} if compression == "jpeg" else {}
    return write_tiff(path, levels, description=ABOUT, compression=compression, **options)


def emptied(path: Path, level: int, share: int, by_offset: bool = False) -> Path:
    """Leave every storage tile of a level empty whose number is no multiple of `share`, all of them for 0."""
    with tifffile.TiffFile(path, mode="r+") as tiff:
        tag = tiff.pages[level].tags["TileOffsets" if by_offset else "TileByteCounts"]  # type: ignore[union-attr]
        tag.overwrite([number if share and i % share == 0 else 0 for i, number in enumerate(tag.value)])
    return path


def shown(path: Path, mpp: float) -> Pixels:
    side = round(512 / mpp)
    with open_slide(path) as slide:
        return slide.read_region(0, 0, side, side, mpp)


@pytest.mark.parametrize("by_offset", [False, True])
@pytest.mark.parametrize("compression", ["jpeg", "deflate"])
@pytest.mark.parametrize("empty", [(1,), (2,), (1, 2)])
def test_empty_storage_tiles_of_reduced_levels_show_what_the_finer_level_has(
    tmp_path: Path, empty: tuple[int, ...], compression: str, by_offset: bool
) -> None:
    path = pyramid(tmp_path / "a.svs", compression)
    whole = {mpp: shown(path, mpp).astype(int) for mpp in (1.0, 2.0, 3.0)}
    for level in empty:
        emptied(path, level, 3 if level == 1 else 2, by_offset)
    assert inspect_slide(path).quarantined is None
    for mpp, before in whole.items():
        assert np.abs(shown(path, mpp) - before).mean() < 1.5
        assert (tissue_mask(shown(path, mpp)) == tissue_mask(before.astype(np.uint8))).mean() > 0.99
    if by_offset:
        return  # openslide takes the file's first bytes for a storage tile
    with openslide.OpenSlide(str(path)) as theirs:
        region = np.asarray(theirs.read_region((0, 0), 2, (256, 256)))[..., :3]
    assert np.abs(shown(path, 2.0).astype(int) - region).mean() < 3


def test_a_slide_with_holes_has_another_digest_and_one_of_bare_glass_keeps_its_own(tmp_path: Path) -> None:
    path = pyramid(tmp_path / "a.svs", "jpeg")
    assert "-" not in slide_digest(path)[0]
    emptied(path, 1, 2)
    assert slide_digest(path)[0].endswith("-filled")
    bare = pyramid(tmp_path / "b.svs", "jpeg", (1, 4))
    for level in (0, 1):
        emptied(bare, level, 1000)
    assert "-" not in slide_digest(bare)[0]
    assert (shown(bare, 2.0)[:, 128:] == 255).all()


def test_a_hole_over_a_broken_storage_tile_counts_as_lost(tmp_path: Path) -> None:
    path = emptied(pyramid(tmp_path / "a.svs", "jpeg", (1, 4)), 1, 1000)
    with tifffile.TiffFile(path) as tiff:
        offset = tiff.pages[0].dataoffsets[5 * 8 + 5]  # type: ignore[union-attr]
    content = bytearray(path.read_bytes())
    content[offset : offset + 200] = b"\0" * 200
    path.write_bytes(content)
    with open_slide(path) as slide:
        assert slide.read_with_losses(0, 0, 128, 128, 2.0)[1] == 0
        assert slide.read_with_losses(512, 512, 128, 128, 2.0)[1] == 1
        assert (640.0, 640.0, 128.0, 128.0) in slide.lost_areas()


def test_a_hole_far_above_its_level_is_filled_piece_by_piece(tmp_path: Path) -> None:
    picture = np.tile(tissue_picture(512, margin=32), (9, 9, 1))
    levels = [picture, picture[::36, ::36]]
    path = emptied(write_tiff(tmp_path / "a.svs", levels, description=ABOUT), 1, 0)
    with open_slide(path) as slide:
        region = slide.read_region(0, 0, 128, 128, 18.0)
        expected = slide.read_region(0, 0, 256, 256, 9.0)
    assert np.abs(region.astype(int) - expected.reshape(128, 2, 128, 2, 3).mean(axis=(1, 3))).mean() < 12
