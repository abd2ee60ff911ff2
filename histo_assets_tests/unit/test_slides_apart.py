"""General readers run apart from who reads: a file that hangs, dies or takes all memory costs itself alone."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest

from histo_assets.core.slides import opening
from histo_assets.core.slides.errors import SlideError
from histo_assets.core.slides.integrity import inspect_slide
from histo_assets.core.slides.slide import Slide, open_slide
from histo_assets_tests.unit.odd_tiffs import write_ome_tiff
from histo_assets_tests.unit.tissue_slides import tissue_picture

PICTURE = tissue_picture(400, margin=48)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(opening, "_IDLE", [])
    return write_ome_tiff(tmp_path / "a.ome.tif", PICTURE)


def child_of(slide: Slide) -> int:
    reader = slide._reader
    assert isinstance(reader, opening.ReaderApart)
    assert reader._child is not None
    return reader._child.pid


def test_regions_come_from_another_process_and_are_the_picture(path: Path) -> None:
    with open_slide(path) as slide:
        assert child_of(slide) != os.getpid()
        assert np.array_equal(slide.read_region(30, 20, 100, 80, 0.5), PICTURE[20:100, 30:130])


def test_a_slide_that_hangs_while_it_is_read_is_given_up(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_slide(path) as slide:
        child = child_of(slide)
        os.kill(child, signal.SIGSTOP)
        monkeypatch.setattr(opening, "SECONDS", 0.3)
        with pytest.raises(SlideError, match=r"a.ome.tif keeps its reader busy for more than 0.3 s"):
            slide.read_region(0, 0, 100, 100, 0.5)
        monkeypatch.setattr(opening, "SECONDS", 120)
        with pytest.raises(SlideError, match="is closed"):
            slide.read_region(0, 0, 100, 100, 0.5)
    assert not Path(f"/proc/{child}").exists()
    assert inspect_slide(path).quarantined is None


def test_a_slide_that_ends_its_reader_is_given_up(path: Path) -> None:
    with open_slide(path) as slide:
        os.kill(child_of(slide), signal.SIGSEGV)
        with pytest.raises(SlideError, match=r"a.ome.tif .*(signal 11|had ended)"):
            slide.read_region(0, 0, 100, 100, 0.5)


def test_a_reader_s_memory_is_bounded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_slide(path) as slide:
        limits = Path(f"/proc/{child_of(slide)}/limits").read_text().splitlines()
    bound = next(line for line in limits if line.startswith("Max data size"))
    assert int(bound.split()[3]) == opening.MEGABYTES << 20


def test_two_slides_are_open_at_once_and_their_children_serve_others(path: Path) -> None:
    with open_slide(path) as one, open_slide(path) as other:
        children = {child_of(one), child_of(other)}
        assert len(children) == 2
        assert np.array_equal(one.read_region(0, 0, 50, 50, 0.5), other.read_region(0, 0, 50, 50, 0.5))
    with open_slide(path) as again:
        assert child_of(again) in children
