"""DICOM slides as scanners and converters write them: the picture that was written, or one sentence."""

from __future__ import annotations

import itertools
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import openslide
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from histo_assets.core.slides.integrity import inspect_slide
from histo_assets.core.slides.settings import SlideSettings
from histo_assets.core.slides.slide import open_slide
from histo_assets_tests.unit.generated_dicom import Coding, Header, write_image, write_pyramid
from histo_assets_tests.unit.tissue_slides import glass, stroma

PIXELS = stroma(500, 700)
CELLS = 24
LOSS = 6.0
"""What JPEG and subsampled colour cost, in grey levels on average; a frame in the place of another costs over 20."""


def off_by(folder: Path, pixels: np.ndarray[Any, Any], factor: int = 1) -> float:
    """Return how far the slide at 1/`factor` is from the picture, in grey levels on average."""
    expected = pixels[::factor, ::factor]
    height, width = expected.shape[:2]
    with open_slide(folder, SlideSettings(assume_mpp=0.5)) as slide:
        assert slide.checked
        got, lost = slide.read_with_losses(0, 0, width, height, slide.mpp * factor)
    assert lost == 0
    return float(np.abs(got.astype(int) - expected).mean())


def reason(folder: Path) -> str:
    """Return why a slide is quarantined."""
    return str(inspect_slide(folder).quarantined)


@settings(max_examples=25, deadline=None)
@given(
    cells=st.permutations(range(CELLS)),
    kept=st.integers(1, CELLS),
    split=st.frozensets(st.integers(0, CELLS - 1)),
    table=st.sampled_from(["basic", "extended", "zeros", "none"]),
)
def test_any_order_share_and_fragmentation_of_frames_gives_the_picture(
    cells: list[int], kept: int, split: frozenset[int], table: str
) -> None:
    expected = np.full_like(PIXELS, 255)
    for cell in cells[:kept]:
        here = np.s_[cell // 6 * 128 : cell // 6 * 128 + 128, cell % 6 * 128 : cell % 6 * 128 + 128]
        expected[here] = PIXELS[here]
    with tempfile.TemporaryDirectory() as folder:
        write_image(Path(folder) / "0.dcm", PIXELS, coding=Coding(order=cells[:kept], split=split, table=table))
        assert off_by(Path(folder), expected) < LOSS


def fragments(content: bytes | bytearray) -> list[int]:
    """Return where the fragments of a file begin, each with its tag and length."""
    start = content.index(b"\xe0\x7f\x10\x00OB")
    items = [place for place in range(start, len(content)) if content.startswith(b"\xfe\xff\x00\xe0", place)]
    return items[1:]  # the first is the table of offsets


@pytest.mark.parametrize("split", [{7}, {0}, {23}, {3, 4, 11}, set(range(CELLS))])
@pytest.mark.parametrize("table", ["basic", "extended", "zeros", "none"])
def test_a_frame_in_several_fragments_is_one_frame(tmp_path: Path, table: str, split: set[int]) -> None:
    folder = write_pyramid(tmp_path / "a", PIXELS, Coding(table=table, split=frozenset(split)))
    assert inspect_slide(folder).integrity == "checked"
    assert off_by(folder, PIXELS) < LOSS
    assert off_by(folder, PIXELS, 4) < LOSS + 8  # every fourth pixel, as the level was made


@pytest.mark.parametrize("table", ["basic", "none"])
def test_a_file_that_ends_within_a_frame_of_several_fragments_is_truncated(tmp_path: Path, table: str) -> None:
    folder = write_pyramid(tmp_path / "a", PIXELS, Coding(table=table, split=frozenset({7, 23})))
    content = (folder / "level1.dcm").read_bytes()
    (folder / "level1.dcm").write_bytes(content[: fragments(content)[-1]])
    assert "a is truncated: level1.dcm holds 23 of 24 frames" in reason(folder)
    # As many fragments as frames are left, but they are not the frames.
    (folder / "level1.dcm").write_bytes(content[: fragments(content)[24]])
    assert "a is truncated: level1.dcm holds 22 of 24 frames" in reason(folder)


def test_a_damaged_frame_is_lost_alone_whatever_its_neighbours(tmp_path: Path) -> None:
    for table in ("basic", "none"):
        folder = write_pyramid(tmp_path / table, PIXELS, Coding(table=table, split=frozenset({7})))
        content = bytearray((folder / "level1.dcm").read_bytes())
        start, end = fragments(content)[3] + 8, fragments(content)[4]
        content[start:end] = bytes(end - start - 2) + b"\xff\xd9"
        (folder / "level1.dcm").write_bytes(content)
        with open_slide(folder) as slide:
            got, lost = slide.read_with_losses(0, 0, 700, 500, 0.5)
        assert lost == 1
        mask = np.ones((500, 700), bool)
        mask[:128, 384:512] = False
        assert np.abs(got[mask].astype(int) - PIXELS[mask]).mean() < LOSS
        assert (got[~mask] == 255).all()


def test_a_frame_of_no_bytes_is_lost_and_not_glass(tmp_path: Path) -> None:
    frames = iter(range(1000))

    def empty_at_seven(frame: np.ndarray[Any, Any]) -> bytes:
        return b"" if next(frames) == 7 else Coding().encode(frame)

    write_image(tmp_path / "a" / "level1.dcm", PIXELS, coding=Coding(empty_at_seven))
    with open_slide(tmp_path / "a") as slide:
        assert slide.read_with_losses(0, 0, 700, 500, 0.5)[1] == 1


def test_two_slides_in_one_folder_are_refused_by_name(tmp_path: Path) -> None:
    folder = tmp_path / "export"
    for name, series, pixels in (("a", "1.2.3", PIXELS), ("b", "1.2.4", stroma(600, 400, 2))):
        write_image(folder / f"{name}0.dcm", pixels, header=Header(0.5, series=series))
        write_image(folder / f"{name}1.dcm", np.ascontiguousarray(pixels[::4, ::4]), header=Header(2.0, series=series))
    said = reason(folder)
    assert "export holds 2 whole slides (a0.dcm, a1.dcm; b0.dcm, b1.dcm)" in said
    assert "a folder of its own" in said
    for name in "ab":  # the way out works
        own = tmp_path / name
        own.mkdir()
        for file in folder.glob(f"{name}*.dcm"):
            file.rename(own / file.name)
        assert inspect_slide(own).quarantined is None


@pytest.mark.parametrize("tag", ["PyramidUID", "SeriesInstanceUID"])
def test_two_pyramids_of_one_size_are_two_slides(tmp_path: Path, tag: str) -> None:
    for name in ("1.5", "1.6"):
        write_image(tmp_path / "a" / f"{name}.dcm", PIXELS, header=Header(tags={tag: name}))
    assert "a holds 2 whole slides" in reason(tmp_path / "a")


def test_two_images_of_one_resolution_in_one_series_are_refused_by_name(tmp_path: Path) -> None:
    folder = write_pyramid(tmp_path / "a", PIXELS)
    write_image(folder / "region.dcm", stroma(500, 350, 3))
    assert "a holds two images at 0.5 um/px (level1.dcm, region.dcm)" in reason(folder)
    (folder / "region.dcm").unlink()
    assert off_by(folder, PIXELS) < LOSS


@pytest.mark.parametrize("kind", ["LABEL", "OVERVIEW", "LOCALIZER", "THUMBNAIL"])
@pytest.mark.parametrize("series", ["1.2.3", "1.2.9"])
def test_what_lies_beside_the_slide_is_never_cut(tmp_path: Path, kind: str, series: str) -> None:
    folder = write_pyramid(tmp_path / "a", PIXELS)
    write_image(folder / "0.dcm", stroma(900, 900, 5), 900, Header(0.4, kind=kind, series=series))
    record = inspect_slide(folder)
    assert (record.quarantined, record.width, record.height, record.levels) == (None, 700, 500, 2)
    assert off_by(folder, PIXELS) < LOSS


def test_a_volume_that_shows_the_label_is_the_label(tmp_path: Path) -> None:
    folder = write_pyramid(tmp_path / "a", PIXELS, SpecimenLabelInImage="NO")
    write_image(folder / "0.dcm", stroma(900, 900, 5), 900, Header(0.4, tags={"SpecimenLabelInImage": "YES"}))
    assert inspect_slide(folder).width == 700


def test_a_copy_of_a_file_and_hidden_files_change_nothing(tmp_path: Path) -> None:
    folder = write_pyramid(tmp_path / "a", PIXELS)
    (folder / "level1 (1).dcm").write_bytes((folder / "level1.dcm").read_bytes())
    (folder / "._level1.dcm").write_bytes(b"\0\5\26\7" * 40)
    assert inspect_slide(folder).levels == 2
    assert off_by(folder, PIXELS) < LOSS


def test_suffixes_of_any_case_and_none_are_found(tmp_path: Path) -> None:
    folder = write_pyramid(tmp_path / "a", PIXELS)
    for name in ("level1", "level4"):
        (folder / f"{name}.dcm").rename(folder / f"{name}.DCM")
    assert off_by(folder, PIXELS) < LOSS
    for name in ("level1", "level4"):
        (folder / f"{name}.DCM").rename(folder / name)
    assert off_by(folder, PIXELS) < LOSS


def padded_pyramid(folder: Path, pixels: np.ndarray[Any, Any], factors: tuple[float, ...], **header: Any) -> Path:
    """Write levels that are padded to whole frames, as Philips scanners do, and return the folder."""
    for factor in factors:
        ys, xs = (np.arange(0, side, factor).astype(int) for side in pixels.shape[:2])
        small = pixels[np.ix_(ys, xs)]
        full = np.pad(small, ((0, -small.shape[0] % 256), (0, -small.shape[1] % 256), (0, 0)), constant_values=243)
        write_image(folder / f"level{factor}.dcm", full, 256, Header(**{"mpp": 0.5 * factor, **header}))
    return folder


def half_tissue() -> np.ndarray[Any, Any]:
    """Return glass with tissue at the right."""
    pixels = glass(800, 2100)
    pixels[100:700, 1200:1900] = stroma(600, 700)
    return pixels


@pytest.mark.parametrize("factors", [(1, 2, 4, 8, 16), (1, 2.5, 6.25)])
def test_a_level_has_the_scale_that_it_states_whatever_its_padding(tmp_path: Path, factors: tuple[float, ...]) -> None:
    pixels = half_tissue()
    folder = padded_pyramid(tmp_path / "a", pixels, factors)
    with open_slide(folder) as slide:
        assert len(slide.levels) == len(factors)
        for factor in factors:
            there = slide.read_region(1200, 100, int(700 / factor), int(600 / factor), 0.5 * factor)
            beside = slide.read_region(0, 0, int(1150 / factor), int(800 / factor), 0.5 * factor)
            assert (np.ptp(there, axis=2) > 20).mean() > 0.97
            assert (np.ptp(beside, axis=2) > 20).mean() < 0.01
        thumbnail = slide.thumbnail(250)
    scale = thumbnail.shape[1] / slide.dimensions[0]
    rows, columns = np.nonzero(np.ptp(thumbnail, axis=2) > 20)
    found = [columns.min() / scale, columns.max() / scale, rows.min() / scale, rows.max() / scale]
    assert found == pytest.approx([1200, 1900, 100, 700], abs=1.5 / scale)


def test_the_imaged_volume_states_the_scale_where_no_spacing_does(tmp_path: Path) -> None:
    pixels = half_tissue()
    for factor in (1, 2, 4, 8):
        small = pixels[::factor, ::factor]
        full = np.pad(small, ((0, -small.shape[0] % 256), (0, -small.shape[1] % 256), (0, 0)), constant_values=243)
        size = {
            "ImagedVolumeWidth": full.shape[1] * 0.0005 * factor,
            "ImagedVolumeHeight": full.shape[0] * 0.0005 * factor,
        }
        write_image(tmp_path / "a" / f"{factor}.dcm", full, 256, Header(None, tags=size))
    assert inspect_slide(tmp_path / "a").mpp == pytest.approx(0.5)
    for factor in (2, 4, 8):
        assert off_by(tmp_path / "a", pixels, factor) < LOSS


def test_a_level_whose_scale_cannot_be_told_is_left_out(tmp_path: Path) -> None:
    pixels = half_tissue()
    folder = padded_pyramid(tmp_path / "a", pixels, (1, 2, 4), mpp=None)
    with open_slide(folder, SlideSettings(assume_mpp=0.5)) as slide:
        assert len(slide.levels) < 3
    for factor in (2, 4):
        assert off_by(folder, pixels, factor) < LOSS


def test_padded_levels_that_all_state_the_finest_resolution_are_named(tmp_path: Path) -> None:
    folder = padded_pyramid(tmp_path / "a", half_tissue(), (1, 2), mpp=0.5)
    assert "a holds two images at 0.5 um/px (level1.dcm, level2.dcm)" in reason(folder)


def test_levels_of_whole_factors_may_all_state_the_finest_resolution(tmp_path: Path) -> None:
    for factor in (1, 4):
        write_image(tmp_path / "a" / f"{factor}.dcm", np.ascontiguousarray(PIXELS[::factor, ::factor]))
    with open_slide(tmp_path / "a") as slide:
        assert len(slide.levels) == 2
    assert off_by(tmp_path / "a", PIXELS, 4) < LOSS + 8


def test_levels_of_whole_factors_need_state_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    for factor in (1, 3):
        write_image(folder / f"{factor}.dcm", np.ascontiguousarray(PIXELS[::factor, ::factor]), header=Header(None))
    with open_slide(folder, SlideSettings(assume_mpp=0.5)) as slide:
        assert len(slide.levels) == 2


def test_pixels_that_are_not_square_are_named(tmp_path: Path) -> None:
    write_image(tmp_path / "a" / "0.dcm", PIXELS, header=Header((0.25, 0.5)))
    assert "0.dcm has pixels of 0.25 x 0.5 um" in reason(tmp_path / "a")


@pytest.mark.parametrize("spacing", [[0.0, 0.0], [-1.0, -1.0], [0.5, 0.5], [1e-9, 1e-9]])
def test_a_resolution_that_no_scanner_has_is_none(tmp_path: Path, spacing: list[float]) -> None:
    write_image(tmp_path / "a" / "0.dcm", PIXELS, header=Header(None, tags={"PixelSpacing": spacing}))
    assert "names no resolution" in reason(tmp_path / "a")
    assert inspect_slide(tmp_path / "a", SlideSettings(assume_mpp=0.25)).mpp == 0.25


def test_frames_in_another_order_lie_where_they_say(tmp_path: Path) -> None:
    order = np.random.default_rng(0).permutation(CELLS).tolist()
    folder = write_pyramid(tmp_path / "a", PIXELS, Coding(order=order, split=frozenset({5})))
    assert off_by(folder, PIXELS) < LOSS


def test_sparse_tiling_is_white_where_nothing_is_stored(tmp_path: Path) -> None:
    stored = [1, 2, 3, 7, 8, 9, 10, 15]
    write_image(tmp_path / "a" / "0.dcm", PIXELS, coding=Coding(order=stored))
    with open_slide(tmp_path / "a") as slide:
        got, lost = slide.read_with_losses(0, 0, 700, 500, 0.5)
        assert slide.blank_storage_tiles == CELLS - len(stored)
    expected = np.full_like(PIXELS, 255)
    for cell in stored:
        here = np.s_[cell // 6 * 128 : cell // 6 * 128 + 128, cell % 6 * 128 : cell % 6 * 128 + 128]
        expected[here] = PIXELS[here]
    assert lost == 0
    assert np.abs(got.astype(int) - expected).mean() < LOSS
    theirs = np.asarray(openslide.OpenSlide(str(tmp_path / "a" / "0.dcm")).read_region((0, 0), 0, (700, 500)))
    here = theirs[..., 3] == 255
    assert np.array_equal(got[here], theirs[here][:, :3])


def test_a_reduced_level_that_lacks_what_the_finest_has_is_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    write_image(folder / "0.dcm", PIXELS, coding=Coding(order=range(CELLS)))
    write_image(
        folder / "1.dcm", np.ascontiguousarray(PIXELS[::2, ::2]), header=Header(1.0), coding=Coding(order=[0, 1])
    )
    assert off_by(folder, PIXELS, 2) < LOSS + 8


@pytest.mark.parametrize(("tags", "frame"), [({"TotalPixelMatrixFocalPlanes": 3}, 1), ({"NumberOfOpticalPaths": 3}, 0)])
def test_of_several_planes_the_middle_and_of_several_paths_the_first_is_read(
    tmp_path: Path, tags: dict[str, int], frame: int
) -> None:
    layers = [stroma(512, 640, seed) for seed in range(3)]
    stacked = np.concatenate(layers)  # a full grid has all frames of a layer before those of the next
    size = {"TotalPixelMatrixRows": 512}
    write_image(tmp_path / "a" / "0.dcm", stacked, header=Header(tags={**tags, **size}))
    assert off_by(tmp_path / "a", layers[frame]) < LOSS


def test_focal_planes_that_frames_state_are_told_apart(tmp_path: Path) -> None:
    layers = [stroma(512, 640, seed) for seed in range(3)]
    path = write_image(tmp_path / "a" / "0.dcm", np.concatenate(layers), coding=Coding(order=range(60)))
    slide = pydicom.dcmread(path)
    slide.TotalPixelMatrixRows = 512
    for index, group in enumerate(slide.PerFrameFunctionalGroupsSequence):
        position = group.PlanePositionSlideSequence[0]
        position.RowPositionInTotalImagePixelMatrix = index % 20 // 5 * 128 + 1
        position.ZOffsetInSlideCoordinateSystem = [2.0, -1.5, 0.0][index // 20]
    slide.save_as(path)
    assert off_by(tmp_path / "a", layers[2]) < LOSS


@pytest.mark.parametrize("shift", [5, 100_000])
def test_frames_off_the_grid_are_named(tmp_path: Path, shift: int) -> None:
    path = write_image(tmp_path / "a" / "0.dcm", PIXELS, coding=Coding(order=range(CELLS)))
    slide = pydicom.dcmread(path)
    position = slide.PerFrameFunctionalGroupsSequence[3].PlanePositionSlideSequence[0]
    position.ColumnPositionInTotalImagePixelMatrix += shift * 128 if shift > 1000 else shift
    slide.save_as(path)
    assert "0.dcm is no readable DICOM file" in reason(tmp_path / "a")


def concatenation(folder: Path, cuts: list[int], **tags: Any) -> Path:
    """Write a level in several files, each with some of the frames."""
    for number, (start, end) in enumerate(itertools.pairwise(cuts), 1):
        own = {
            "ConcatenationUID": "1.7",
            "InConcatenationNumber": number,
            "InConcatenationTotalNumber": len(cuts) - 1,
            "ConcatenationFrameOffsetNumber": start,
        }
        # Names in another order than the parts.
        path = folder / f"part{9 - number}.dcm"
        write_image(path, PIXELS, header=Header(tags={**own, **tags}), part=slice(start, end))
    return folder


@pytest.mark.parametrize("cuts", [[0, 24], [0, 10, 24], [0, 1, 2, 20, 24]])
def test_a_level_in_several_files_is_one_level(tmp_path: Path, cuts: list[int]) -> None:
    folder = concatenation(tmp_path / "a", cuts)
    write_image(folder / "1.dcm", np.ascontiguousarray(PIXELS[::4, ::4]), header=Header(2.0))
    assert inspect_slide(folder).levels == 2
    assert off_by(folder, PIXELS) < LOSS


def test_a_level_that_lacks_one_of_its_files_is_named(tmp_path: Path) -> None:
    folder = concatenation(tmp_path / "a", [0, 10, 16, 24])
    (folder / "part7.dcm").unlink()
    assert "a is incomplete: of the 3 files of one level it holds number 1, 3" in reason(folder)


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ({"Rows": 0}, "is no readable DICOM file"),
        ({"Columns": 0}, "is no readable DICOM file"),
        ({"Rows": None}, "is no readable DICOM file"),
        ({"TotalPixelMatrixColumns": None}, "is no readable DICOM file"),
        ({"TotalPixelMatrixColumns": 4_000_000_000, "TotalPixelMatrixRows": 4_000_000_000}, "is too large"),
        ({"Rows": 60_000}, "is too large"),
        ({"NumberOfFrames": 2_000_000_000}, "holds 24 of 2000000000 frames"),
        ({"NumberOfFrames": 3}, "its fragments make 24 frames where its header says 3"),
        ({"NumberOfFrames": None}, "its fragments make 24 frames where its header says 1"),
        ({"TotalPixelMatrixColumns": 300}, "24 frames of 128 x 128 px are no full grid of 300 x 500 px"),
        ({"BitsAllocated": 16}, "holds pixels of 3 x 16 bits in YBR_FULL_422, where 8-bit colour is needed"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "in PALETTE COLOR, where 8-bit colour is needed"),
        ({"SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2", "NumberOfOpticalPaths": 4}, "4 channels"),
        ({"PixelData": None}, "holds 0 of 24 frames"),
    ],
)
def test_missing_and_absurd_tags_are_one_sentence(tmp_path: Path, tags: dict[str, Any], said: str) -> None:
    write_image(tmp_path / "a" / "0.dcm", PIXELS, header=Header(tags=tags))
    assert said in reason(tmp_path / "a")
    assert "0.dcm" in reason(tmp_path / "a")


def test_deeply_nested_sequences_are_one_sentence(tmp_path: Path) -> None:
    inner = Dataset()
    inner.PixelSpacing = [0.0005, 0.0005]
    for _ in range(200):
        outer = Dataset()
        outer.PixelMeasuresSequence = Sequence([inner])
        inner = outer
    path = write_image(tmp_path / "a" / "0.dcm", PIXELS, header=Header(tags={}))
    content = path.read_bytes()
    nested = b"\x00\x52\x29\x92SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * 20_000
    at = content.index(b"\x00\x52\x29\x92SQ")
    path.write_bytes(content[:at] + nested + content[at:])
    assert "0.dcm" in reason(tmp_path / "a")


def test_a_syntax_that_is_not_read_is_named(tmp_path: Path) -> None:
    coding = replace(Coding(), syntax="1.2.840.10008.1.2.4.102")
    write_image(tmp_path / "a" / "0.dcm", PIXELS, coding=coding)
    assert "0.dcm is stored as MPEG-4 AVC/H.264" in reason(tmp_path / "a")
    assert "convert the slide to JPEG baseline" in reason(tmp_path / "a")


def test_a_sound_slide_keeps_its_digest_and_one_that_was_misread_has_a_new_one(tmp_path: Path) -> None:
    sound = inspect_slide(write_pyramid(tmp_path / "a", PIXELS))
    split = inspect_slide(write_pyramid(tmp_path / "b", PIXELS, Coding(split=frozenset({7}))))
    padded = inspect_slide(padded_pyramid(tmp_path / "c", half_tissue(), (1, 2, 4)))
    assert len(sound.digest) == 64
    assert split.digest.endswith("-reading2")
    assert padded.digest.endswith("-reading2")
