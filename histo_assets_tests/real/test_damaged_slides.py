"""Damaged twins of real slides: none ends or hangs a run, and none passes white for tissue."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import pytest
import simplejpeg
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from histo_assets.core.slides.directory import StoredLevel, read_directory
from histo_assets.core.slides.integrity import inspect_slide
from histo_assets.core.slides.settings import SlideSettings
from histo_assets.core.tiling.job import TissueJob
from histo_assets.core.tiling.settings import QualitySettings, TilingSettings
from histo_assets.core.tiling.tile_set import TileSet
from histo_assets.core.tiling.tiles import tile_tissue

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif("HISTO_REAL_DATA" not in os.environ, reason="HISTO_REAL_DATA names no folder of real data"),
]

FOLDER = Path(os.environ.get("HISTO_REAL_DATA", ".")) / "slides"
SLIDES = sorted(FOLDER.glob("*.svs"))
ANY_TILE = QualitySettings(
    min_jpeg_bytes_per_pixel=0, min_piece_sd=0, min_channel_sd=0, min_sharpness=0, max_pen_share=1
)
SECONDS = 60

many = settings(
    max_examples=int(os.environ.get("HISTO_DAMAGED_TWINS", "100")),
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


@dataclass(frozen=True)
class Sound:
    """An undamaged slide: its bytes, levels, and every tile of its grid as a JPEG by (x, y)."""

    path: Path
    content: bytes
    levels: tuple[StoredLevel, ...]
    tiling: TilingSettings
    tiles: dict[tuple[int, int], bytes]


@cache
def sound(path: Path) -> Sound:
    mpp = inspect_slide(path).mpp
    tiling = TilingSettings(tile_px=224, mpp=mpp, tiles_per_slide=25, tiles_per_tissue=None, mask_mpp=16 * mpp)
    anything = tiling.model_copy(update={"quality": ANY_TILE, "tiles_per_slide": 10_000, "min_tissue_share": 0.0})
    with TemporaryDirectory() as folder:
        made = cut([path], Path(folder), anything)
        jpegs = made.jpeg_bytes(made.index)
    places = made.index.select("x", "y").rows()
    return Sound(path, path.read_bytes(), read_directory(path).levels, tiling, dict(zip(places, jpegs, strict=True)))


def cut(paths: list[Path], shards: Path, tiling: TilingSettings, workers: int = 1) -> TileSet:
    rows = [
        {"slide": path.stem, "donor": path.stem, "tissue": "uterus", "sample": path.stem}
        | asdict(inspect_slide(path, None, path.stem))
        for path in paths
    ]
    table = pd.DataFrame(rows).astype({"quarantined": object})
    table["quarantined"] = table["quarantined"].where(table["quarantined"].notna(), None)
    made = tile_tissue(table, TissueJob("uterus", str(shards), tiling, SlideSettings()), workers, lambda sentence: None)
    quarantined = dict(zip(table["slide"], table["quarantined"], strict=True))
    return TileSet(**{**made.__dict__, "quarantined": {k: v for k, v in quarantined.items() if v} | made.quarantined})


@contextmanager
def watched() -> Iterator[None]:
    """Fail what takes longer than a minute."""

    def too_long(*_: Any) -> None:
        raise TimeoutError(f"a damaged slide took more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def fate_and_tiles(original: Sound, content: bytes, touched: list[tuple[int, int]] | None) -> tuple[str, TileSet]:
    """Cut the twin beside a sound slide, check what holds for all damage, and return its fate and the tiles.

    `touched` are the (start, end) of changed bytes of a file that is as long as before; None where none are known.
    """
    other = SLIDES[0] if original.path != SLIDES[0] else SLIDES[1]
    with TemporaryDirectory() as folder, watched():
        twin = Path(folder) / "twin.svs"
        twin.write_bytes(content)
        made = cut([twin, other], Path(folder) / "shards", original.tiling)
        kept = made.index.filter(made.index["slide"] == "twin")
        jpegs = made.jpeg_bytes(kept)
    assert set(made.quarantined) <= {"twin", other.stem}
    # The scan resolutions differ, so the other slide may be too coarse; damage is not why.
    assert "damage" not in made.quarantined.get(other.stem, "")
    if "twin" in made.quarantined:
        assert "twin" in made.quarantined["twin"], made.quarantined
        return "quarantined", made
    whole_file = touched is not None and all(_in_storage(original, start, end) for start, end in touched)
    same_grid = touched is not None and made.funnel["candidates"].iloc[0] == len(original.tiles)
    for (x, y, size), jpeg in zip(kept.select("x", "y", "size").iter_rows(), jpegs, strict=True):
        before = original.tiles.get((x, y))
        if before is None or not same_grid:
            continue
        if whole_file and touched is not None and not _reads(original, x, y, size, touched):
            assert jpeg == before, f"tile {x}, {y} changed, and none of its bytes was touched"
        now, then = (simplejpeg.decode_jpeg(content, "RGB").mean() for content in (jpeg, before))
        assert not (now > 250 and then < 235), f"tile {x}, {y} is white where there was tissue"
    return "kept", made


def _in_storage(original: Sound, start: int, end: int) -> bool:
    return any(
        bool(((level.offsets <= start) & (end <= level.offsets + level.lengths)).any()) for level in original.levels
    )


def _reads(original: Sound, x: int, y: int, size: int, touched: list[tuple[int, int]]) -> bool:
    """Return whether a tile is cut from a storage tile of the full level with a touched byte."""
    level = original.levels[0]
    for start, end in touched:
        hit = np.flatnonzero((level.offsets < end) & (start < level.offsets + level.lengths))
        left, top = hit % level.columns * level.tile_width, hit // level.columns * level.tile_height
        across = (left < x + size) & (x < left + level.tile_width)
        if (across & (top < y + size) & (y < top + level.tile_height)).any():
            return True
    return False


@pytest.mark.parametrize("path", SLIDES, ids=lambda path: path.stem)
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_slide_that_is_cut_short_is_quarantined(path: Path, share: float) -> None:
    content = sound(path).content
    fate, _ = fate_and_tiles(sound(path), content[: int(len(content) * share)], None)
    assert fate == "quarantined"


@many
@given(path=st.sampled_from(SLIDES), end=st.floats(0, 1, exclude_max=True))
def test_wherever_a_slide_ends_it_is_quarantined_or_whole(path: Path, end: float) -> None:
    original = sound(path)
    length = int(len(original.content) * end)
    needed = max(int((level.offsets + level.lengths).max()) for level in original.levels)
    fate, made = fate_and_tiles(original, original.content[:length], None)
    if length < needed:
        assert fate == "quarantined", made.quarantined


@many
@given(
    path=st.sampled_from(SLIDES),
    place=st.floats(0, 1, exclude_max=True),
    kind=st.sampled_from(["zeros", "noise", "cut"]),
    seed=st.integers(0, 99),
)
def test_an_overwritten_storage_tile_is_lost_and_never_white(path: Path, place: float, kind: str, seed: int) -> None:
    original = sound(path)
    level = original.levels[0]
    full = np.flatnonzero(level.lengths > 0)
    index = full[int(place * len(full))]
    offset, length = int(level.offsets[index]), int(level.lengths[index])
    damaged = bytearray(original.content)
    start = offset + (length // 2 if kind == "cut" else 0)
    rest = offset + length - start
    damaged[start : offset + length] = np.random.default_rng(seed).bytes(rest) if kind == "noise" else bytes(rest)
    fate, made = fate_and_tiles(original, bytes(damaged), [(start, offset + length)])
    reads = [
        (x, y)
        for x, y, size in made.index.filter(made.index["slide"] == "twin").select("x", "y", "size").iter_rows()
        if _reads(original, x, y, size, [(start, offset + length)])
    ]
    if kind == "zeros":
        # A storage tile of zeros never decodes, so no tile that is kept stands on it.
        assert fate == "quarantined" or not reads
        rejected = made.decisions.filter((made.decisions["slide"] == "twin") & (made.decisions["reason"] == "lost"))
        assert fate == "quarantined" or rejected.is_empty() or made.lost_storage_tiles["twin"] == 1


@many
@given(path=st.sampled_from(SLIDES), seed=st.integers(0, 10_000), flips=st.integers(1, 200))
def test_flipped_bytes_end_no_run_and_change_no_tile_that_they_do_not_touch(path: Path, seed: int, flips: int) -> None:
    original = sound(path)
    rng = np.random.default_rng(seed)
    damaged = bytearray(original.content)
    places = sorted({int(place) for place in rng.integers(0, len(damaged), flips)})
    for place in places:
        damaged[place] ^= int(rng.integers(1, 256))
    fate_and_tiles(original, bytes(damaged), [(place, place + 1) for place in places])


@many
@given(path=st.sampled_from(SLIDES), seed=st.integers(0, 10_000), flips=st.integers(1, 8))
def test_a_flipped_directory_ends_no_run(path: Path, seed: int, flips: int) -> None:
    original = sound(path)
    with tifffile.TiffFile(path) as tiff:
        starts = [page.offset for page in tiff.pages]
    rng = np.random.default_rng(seed)
    damaged = bytearray(original.content)
    for _ in range(flips):
        place = min(int(rng.choice(starts) + rng.integers(0, 300)), len(damaged) - 1)
        damaged[place] ^= int(rng.integers(1, 256))
    fate_and_tiles(original, bytes(damaged), None)


@pytest.mark.parametrize("path", SLIDES, ids=lambda path: path.stem)
@pytest.mark.parametrize("share", [0.01, 0.3])
def test_storage_tiles_of_length_zero_are_background_as_the_scanner_means_them(path: Path, share: float) -> None:
    original = sound(path)
    damaged = bytearray(original.content)
    with tifffile.TiffFile(path) as tiff:
        tag = tiff.pages.first.tags["TileByteCounts"]
        width, count, start = tag.dtype.itemsize if hasattr(tag.dtype, "itemsize") else 4, tag.count, tag.valueoffset
        width = {3: 2, 4: 4, 16: 8}[int(tag.dtype)]
    chosen = np.random.default_rng(0).choice(count, max(1, int(share * count)), replace=False)
    for index in chosen:
        damaged[start + width * index : start + width * (index + 1)] = bytes(width)
    level = original.levels[0]
    emptied = [(int(level.offsets[i]), int(level.offsets[i] + level.lengths[i])) for i in chosen]
    fate, made = fate_and_tiles(original, bytes(damaged), emptied)
    if fate == "kept":
        assert not made.lost_storage_tiles.get("twin")


def test_damaged_slides_end_no_worker_process_and_the_sound_ones_go_on(tmp_path: Path) -> None:
    (tmp_path / "slides").mkdir()
    paths = []
    for place, path in enumerate(SLIDES[1:5]):
        content = bytearray(path.read_bytes())
        if place % 2:
            for offset, length in zip(
                sound(path).levels[0].offsets[:40], sound(path).levels[0].lengths[:40], strict=True
            ):
                content[int(offset) : int(offset + length)] = bytes(int(length))
        paths.append(tmp_path / "slides" / path.name)
        paths[-1].write_bytes(bytes(content))
    made = cut(paths, tmp_path / "shards", sound(SLIDES[1]).tiling, workers=2)
    whole = {path.stem for path in paths[::2]}
    assert whole <= set(made.index["slide"])
    assert not whole & set(made.quarantined)


def test_no_undamaged_real_slide_is_quarantined(tmp_path: Path) -> None:
    for path in SLIDES:
        assert inspect_slide(path).quarantined is None
        with watched():
            made = cut([path], tmp_path / path.stem, sound(path).tiling)
        assert not made.quarantined
        assert len(made.index) > 0
