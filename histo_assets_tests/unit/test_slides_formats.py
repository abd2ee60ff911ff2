"""DICOM, OME-TIFF and what openslide reads, behind the same slide; the child that tries unknown files."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import openslide
import pytest
import slideio

from histo_assets.core.slides import opening
from histo_assets.core.slides.directory import SlideError
from histo_assets.core.slides.inspection import slide_files
from histo_assets.core.slides.integrity import inspect_slide
from histo_assets.core.slides.readers import OpenslideReader
from histo_assets.core.slides.settings import SlideSettings
from histo_assets.core.slides.slide import open_slide
from histo_assets.demo.svs import write_svs
from histo_assets_tests.unit.generated_slides import write_dicom
from histo_assets_tests.unit.odd_tiffs import write_ome_tiff
from histo_assets_tests.unit.tissue_slides import stroma

PIXELS = stroma(500, 700)


def test_a_dicom_folder_is_read_like_openslide_and_slideio_read_it(tmp_path: Path) -> None:
    folder = write_dicom(tmp_path / "a", PIXELS)
    with open_slide(folder) as slide:
        assert slide.checked
        assert slide.levels == [(700, 500), (175, 125)]
        assert slide.mpp == pytest.approx(0.5)
        whole = slide.read_region(0, 0, 700, 500, 0.5)
    theirs = np.asarray(openslide.OpenSlide(str(folder / "level1.dcm")).read_region((0, 0), 0, (700, 500)))[:, :, :3]
    assert np.array_equal(whole, theirs)
    general = slideio.open_slide(str(folder), "DCM").get_scene(0).read_block((0, 0, 700, 500))
    assert np.abs(whole.astype(int) - general).mean() < 0.5
    assert np.abs(whole.astype(int) - PIXELS).mean() < 6


def test_a_dicom_folder_is_found_and_described_as_one_slide(tmp_path: Path) -> None:
    folder = write_dicom(tmp_path / "slides" / "a", PIXELS)
    assert slide_files(str(tmp_path / "slides")) == [str(folder)]
    record = inspect_slide(folder)
    assert (record.quarantined, record.integrity, record.vendor, record.levels) == (None, "checked", "dicom", 2)
    assert (record.width, record.height) == (700, 500)
    assert record.mpp == pytest.approx(0.5)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_truncated_dicom_file_is_quarantined_with_the_frames_that_it_lacks(tmp_path: Path, share: float) -> None:
    folder = write_dicom(tmp_path / "a", PIXELS)
    content = (folder / "level1.dcm").read_bytes()
    (folder / "level1.dcm").write_bytes(content[: int(len(content) * share)])
    reason = inspect_slide(folder).quarantined
    assert reason is not None
    assert "a is truncated: level1.dcm holds" in reason


def test_a_damaged_frame_of_a_dicom_slide_is_lost_and_not_white(tmp_path: Path) -> None:
    folder = write_dicom(tmp_path / "a", PIXELS)
    with open_slide(folder) as slide:
        offset, length = (int(array[0]) for array in (slide._storage[0].level.offsets, slide._storage[0].level.lengths))
    with open(folder / "level1.dcm", "r+b") as file:
        file.seek(offset + 2)
        file.write(bytes(length - 2))
    with open_slide(folder) as slide:
        assert slide.read_with_losses(0, 0, 64, 64, 0.5)[1] == 1
        assert slide.lost_storage_tiles == 1


def test_a_dicom_slide_without_spacing_needs_a_resolution_to_be_assumed(tmp_path: Path) -> None:
    folder = write_dicom(tmp_path / "a", PIXELS, mpp=None)
    assert "names no resolution" in str(inspect_slide(folder).quarantined)
    assert inspect_slide(folder, SlideSettings(assume_mpp={"a": 0.25}), "a").mpp == 0.25


def test_the_resolution_of_a_dicom_slide_is_that_of_its_finest_image(tmp_path: Path) -> None:
    folder = write_dicom(tmp_path / "a", PIXELS, levels=(1, 2, 4))
    assert inspect_slide(folder).mpp == pytest.approx(0.5)
    (folder / "level1.dcm").unlink()
    assert inspect_slide(folder).mpp == pytest.approx(1.0)


def test_a_dicom_level_that_calls_itself_a_concatenation_of_one_file_is_read(tmp_path: Path) -> None:
    folder = write_dicom(tmp_path / "a", PIXELS, levels=(1,), ConcatenationUID="1.2.3")
    record = inspect_slide(folder)
    assert record.quarantined is None
    assert record.integrity == "checked"
    assert record.mpp == pytest.approx(0.5)


def test_a_folder_without_a_whole_slide_image_is_one_sentence(tmp_path: Path) -> None:
    folder = write_dicom(tmp_path / "a", PIXELS)
    for level in folder.glob("level*.dcm"):
        level.unlink()
    assert "a holds no DICOM whole-slide image" in str(inspect_slide(folder).quarantined)
    (folder / "label.dcm").write_bytes(b"no DICOM at all" * 100)
    assert "label.dcm is no readable DICOM file" in str(inspect_slide(folder).quarantined)


def test_an_ome_tiff_is_read_by_slideio_in_a_child_and_unverified(tmp_path: Path) -> None:
    path = write_ome_tiff(tmp_path / "a.ome.tiff", PIXELS)
    record = inspect_slide(path)
    assert (record.quarantined, record.integrity, record.vendor) == (None, "unverified", "ometiff")
    with open_slide(path, SlideSettings(assume_mpp=0.5)) as slide:
        assert np.array_equal(slide.read_region(0, 0, 700, 500, slide.mpp), PIXELS)


def test_openslide_reads_the_same_pixels_behind_the_same_slide(tmp_path: Path) -> None:
    write_svs(tmp_path / "a.svs", PIXELS)
    shutil.copy(tmp_path / "a.svs", tmp_path / "a.svslide")
    record = inspect_slide(tmp_path / "a.svslide")
    assert (record.quarantined, record.integrity, record.mpp) == (None, "unverified", 0.5)
    with open_slide(tmp_path / "a.svs") as ours, open_slide(tmp_path / "a.svslide") as theirs:
        assert theirs.levels == ours.levels
        assert not theirs.checked
        for mpp in (0.5, 1.0, 2.0):
            one, other = (slide.read_region(96, 64, 80, 60, mpp).astype(int) for slide in (ours, theirs))
            assert np.abs(one - other).mean() < 1
        outside = theirs.read_region(650, 450, 100, 100, 0.5)
        assert (outside[60:, 60:] == 255).all()


def test_a_format_of_openslide_s_needs_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openslide", None)
    with pytest.raises(SlideError, match=r"a.mrxs is read by openslide only: pip install 'histo_assets\[openslide\]'"):
        OpenslideReader(tmp_path / "a.mrxs")


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """Return the probing children that are started from now on."""
    started: list[subprocess.Popen[bytes]] = []
    really_start = subprocess.Popen

    def noted(*arguments: object, **options: object) -> object:
        started.append(really_start(*arguments, **options))  # type: ignore[call-overload]
        return started[-1]

    monkeypatch.setattr(opening, "_IDLE", [])
    monkeypatch.setattr("histo_assets.core.slides.opening.subprocess.Popen", noted)
    return started


def test_one_child_serves_many_files(tmp_path: Path, children: list[subprocess.Popen[bytes]]) -> None:
    path = write_ome_tiff(tmp_path / "a.ome.tif", stroma(256, 256))
    for number in range(12):
        copy = tmp_path / f"{number}.ome.tif"
        shutil.copy(path, copy)
        assert inspect_slide(copy).integrity == "unverified"
    assert len(children) == 1


def test_a_file_that_kills_the_child_costs_itself_alone(
    tmp_path: Path, children: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = write_ome_tiff(tmp_path / "a.ome.tif", stroma(256, 256))
    assert opening.asked(sound, "OMETIFF").levels == [(256, 256)]
    os.kill(children[0].pid, signal.SIGFPE)
    with pytest.raises(SlideError, match=r"a.ome.tif .*(signal 8|had ended)"):
        opening.asked(sound, "OMETIFF")
    assert opening.asked(sound, "OMETIFF").levels == [(256, 256)]
    assert len(children) == 2


def test_a_file_that_takes_too_long_is_given_up(
    tmp_path: Path, children: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = write_ome_tiff(tmp_path / "a.ome.tif", stroma(256, 256))
    assert opening.asked(sound, "OMETIFF").levels == [(256, 256)]
    os.kill(children[0].pid, signal.SIGSTOP)
    monkeypatch.setattr(opening, "SECONDS", 0.3)
    with pytest.raises(SlideError, match=r"a.ome.tif keeps its reader busy for more than 0.3 s"):
        opening.asked(sound, "OMETIFF")
    monkeypatch.setattr(opening, "SECONDS", 120)
    assert opening.asked(sound, "OMETIFF").levels == [(256, 256)]


def test_the_child_ends_with_a_killed_parent(tmp_path: Path) -> None:
    path = write_ome_tiff(tmp_path / "a.ome.tif", stroma(256, 256))
    code = (
        "import sys, time; from pathlib import Path; from histo_assets.core.slides import opening\n"
        "opening.asked(Path(sys.argv[1]), 'OMETIFF'); print(opening._IDLE[0].pid, flush=True); time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    until = time.monotonic() + 20
    while _is_alive(child) and time.monotonic() < until:
        time.sleep(0.1)
    assert not _is_alive(child)


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
