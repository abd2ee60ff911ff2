"""Cutting a tissue's tiles: balanced, incremental, safe against bad slides and kills."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import simplejpeg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from histo_assets.core.slides.integrity import inspect_slide
from histo_assets.core.slides.settings import SlideSettings
from histo_assets.core.slides.slide import open_slide
from histo_assets.core.tiling import cut as cut_module
from histo_assets.core.tiling import tiles as tiles_module
from histo_assets.core.tiling.cut import cut_slide
from histo_assets.core.tiling.job import TissueJob
from histo_assets.core.tiling.pictures import MAX_BYTES, contact_sheet, overlay
from histo_assets.core.tiling.pictures import decoded as pixels_of
from histo_assets.core.tiling.settings import QualitySettings, TilingSettings
from histo_assets.core.tiling.store import ShardStore
from histo_assets.core.tiling.tile_set import (
    TileReader,
    TileSet,
    TilingError,
    left_out_slides,
    one_parameter_set,
)
from histo_assets.core.tiling.tiles import tile_tissue
from histo_assets.demo.damage import empty_storage_tiles, overwrite_storage_tiles
from histo_assets.demo.svs import Scan, write_svs
from histo_assets_tests.unit.odd_tiffs import write_ome_tiff
from histo_assets_tests.unit.tissue_slides import glass, slide_table, stroma, tissue_picture, write_slides

TILING = TilingSettings(tile_px=64, mpp=0.5, tiles_per_slide=6, tiles_per_tissue=None, mask_mpp=4.0)
SLIDES = ["a", "b", "c"]


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    return write_slides(tmp_path_factory.mktemp("slides"), SLIDES)


def cut(table: pd.DataFrame, root: Path | str, tiling: TilingSettings = TILING, **options: Any) -> TileSet:
    arguments: dict[str, Any] = {
        "workers": 1,
        "progress": lambda sentence: None,
        "slide_settings": SlideSettings(),
    } | options
    job = TissueJob("uterus", str(root), tiling, arguments.pop("slide_settings"), arguments.pop("folder", ""))
    return tile_tissue(table, job, **arguments)


def files(root: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((root / "uterus").iterdir())}


def test_tiles_are_cut_from_where_the_index_says(slides: pd.DataFrame, tmp_path: Path) -> None:
    tile_set = cut(slides, tmp_path)
    assert dict(tile_set.index.schema) == {
        **dict.fromkeys(("tile", "slide", "donor", "tissue"), pl.String),
        **dict.fromkeys(("x", "y", "size"), pl.Int64),
        "mpp": pl.Float64,
        "shard": pl.String,
        **dict.fromkeys(("offset", "length"), pl.Int64),
        **dict.fromkeys(("jpeg_bytes", "piece_sd", "channel_sd", "sharpness", "pen_share"), pl.Float64),
        "tissue_share": pl.Float64,
        "crc32": pl.Int64,
    }
    assert list(tile_set.index.columns)[9:11] == ["offset", "length"]
    assert tile_set.complete
    assert tile_set.index.group_by("slide").len().sort("slide").rows() == [(slide, 6) for slide in SLIDES]
    assert tile_set.index["tile"].n_unique() == 18
    for row, jpeg in zip(tile_set.index.iter_rows(named=True), tile_set.jpeg_bytes(tile_set.index), strict=True):
        assert row["tile"] == f"{row['slide']}_{row['x']}_{row['y']}"
        assert row["donor"] == f"donor-{row['slide']}"
        with open_slide(slides.set_index("slide")["path"][row["slide"]]) as slide:
            expected = slide.read_region(row["x"], row["y"], 64, 64, 0.5)
        pixels = simplejpeg.decode_jpeg(jpeg).astype(int)
        assert np.abs(pixels - expected).mean() < 12
        assert np.corrcoef(pixels.ravel(), expected.ravel())[0, 1] > 0.9


def test_a_shard_is_a_plain_tar_whose_members_lie_at_the_offsets(slides: pd.DataFrame, tmp_path: Path) -> None:
    tile_set = cut(slides, tmp_path)
    rows = tile_set.index.filter(pl.col("slide") == "a")
    with tarfile.open(tmp_path / "uterus" / rows["shard"][0]) as tar:
        members = {member.name: member for member in tar.getmembers()}
    assert list(members) == [f"{tile}.jpg" for tile in rows["tile"]]
    assert {member.mtime for member in members.values()} == {0}
    for row in rows.iter_rows(named=True):
        member = members[f"{row['tile']}.jpg"]
        assert (member.offset_data, member.size) == (row["offset"], row["length"])


def test_a_long_slide_name_does_not_shift_the_offsets(tmp_path: Path) -> None:
    name = "s" * 100
    tile_set = cut(write_slides(tmp_path / "slides", [name]), tmp_path / "shards")
    assert all(simplejpeg.is_jpeg(jpeg) for jpeg in tile_set.jpeg_bytes(tile_set.index))


def test_a_second_run_decodes_nothing_and_does_not_need_the_slides(tmp_path: Path) -> None:
    table = write_slides(tmp_path / "slides", ["a", "b"])
    first = cut(table, tmp_path / "shards")
    before = files(tmp_path / "shards")
    for path in table["path"]:
        os.unlink(path)
    second = cut(table, tmp_path / "shards")
    assert second.content_digest() == first.content_digest()
    assert second.index.equals(first.index)
    assert second.previews == first.previews
    assert files(tmp_path / "shards") == before


def test_a_changed_threshold_gives_new_shards_and_keeps_the_old(slides: pd.DataFrame, tmp_path: Path) -> None:
    first = cut(slides, tmp_path)
    changed = TILING.model_copy(update={"quality": QualitySettings(min_sharpness=21.0)})
    second = cut(slides, tmp_path, changed)
    assert not set(second.index["shard"]) & set(first.index["shard"])
    assert first.parameters != second.parameters
    assert TileReader([first]).read(first.index)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Return the candidates that are decoded from now on."""
    candidates: list[tuple[int, int]] = []
    decisions = cut_module._decisions

    def noted(job: Any, slide: Any, batch: Any, examples: Any) -> Any:
        candidates.extend((x, y) for x, y, _ in batch)
        return decisions(job, slide, batch, examples)

    monkeypatch.setattr(cut_module, "_decisions", noted)
    return candidates


@given(sharpness=st.floats(0, 4000), piece=st.floats(0, 40))
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_changed_threshold_judges_again_and_reads_only_what_it_lacks(
    slides: pd.DataFrame, tmp_path: Path, decoded: list[Any], sharpness: float, piece: float
) -> None:
    changed = TILING.model_copy(update={"quality": QualitySettings(min_sharpness=sharpness, min_piece_sd=piece)})
    with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
        cut(slides, Path(folder) / "one")
        decoded.clear()
        afresh = cut(slides, Path(folder) / "other", changed)
        decoded_afresh = len(decoded)
        decoded.clear()
        again = cut(slides, Path(folder) / "one", changed)
    assert again.content_digest() == afresh.content_digest()
    assert len(decoded) <= decoded_afresh


def test_a_stricter_threshold_that_enough_tiles_pass_opens_no_slide(tmp_path: Path, decoded: list[Any]) -> None:
    table = write_slides(tmp_path / "slides", SLIDES)
    many = cut(table, tmp_path / "shards", TILING.model_copy(update={"tiles_per_slide": 20}))
    decoded.clear()
    (tmp_path / "slides").rename(tmp_path / "elsewhere")
    stricter = QualitySettings(min_sharpness=float(many.index["sharpness"].quantile(0.5, "midpoint") or 0))
    few = cut(table, tmp_path / "shards", TILING.model_copy(update={"quality": stricter}))
    assert few.complete
    assert not few.quarantined
    assert not decoded
    assert (few.index["sharpness"] >= stricter.min_sharpness).all()


def test_another_tissue_s_threshold_changes_no_shard(slides: pd.DataFrame, tmp_path: Path) -> None:
    first = cut(slides, tmp_path)
    changed = TILING.model_copy(update={"quality": QualitySettings(per_tissue={"liver": {"min_sharpness": 1.0}})})
    assert set(cut(slides, tmp_path, changed).index["shard"]) == set(first.index["shard"])


def test_wanting_more_tiles_keeps_those_already_cut_and_wanting_fewer_cuts_nothing(
    slides: pd.DataFrame, tmp_path: Path
) -> None:
    few = cut(slides, tmp_path)
    many = cut(slides, tmp_path, TILING.model_copy(update={"tiles_per_slide": 20}))
    for slide in SLIDES:
        tiles = many.index.filter(pl.col("slide") == slide)["tile"]
        assert tiles.head(6).to_list() == few.index.filter(pl.col("slide") == slide)["tile"].to_list()
    assert many.jpeg_bytes(many.index.filter(pl.col("tile").is_in(few.index["tile"].implode()))) == few.jpeg_bytes(
        few.index
    )
    before = files(tmp_path)
    again = cut(slides, tmp_path)
    assert files(tmp_path) == before
    assert again.content_digest() == few.content_digest()
    at_once = cut(slides, tmp_path / "new", TILING.model_copy(update={"tiles_per_slide": 20}))
    assert at_once.content_digest() == many.content_digest()
    assert {name: content for name, content in files(tmp_path / "new").items() if name.endswith("tar")}.items() <= (
        files(tmp_path).items()
    )


def test_what_poor_slides_cannot_give_is_spread_over_the_others(tmp_path: Path) -> None:
    table = write_slides(tmp_path / "slides", ["a", "b", "c", "poor"])
    picture = glass(768, 768)
    picture[64:192, 64:192] = stroma(128, 128)
    write_svs(tmp_path / "slides" / "poor.svs", picture, associated=False)
    table = slide_table(tmp_path / "slides", list(table["slide"]))
    tiling = TILING.model_copy(update={"tiles_per_tissue": 60})
    tile_set = cut(table, tmp_path / "shards", tiling)
    counts = dict(tile_set.index.group_by("slide").len().iter_rows())
    assert sum(counts.values()) == 60
    assert counts["poor"] == 4
    assert max(counts.values()) - min(counts[slide] for slide in SLIDES) <= 1
    assert tile_set.complete
    backwards = cut(table.iloc[::-1], tmp_path / "other", tiling)
    assert set(backwards.index["tile"]) == set(tile_set.index["tile"])


def test_worker_processes_cut_the_same_tiles(
    slides: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = cut(slides, tmp_path / "alone")
    monkeypatch.setattr(tiles_module, "_WORTH_A_POOL", 0)
    together = cut(slides, tmp_path / "together", workers=2)
    assert together.content_digest() == alone.content_digest()
    assert files(tmp_path / "together") == files(tmp_path / "alone")


def deadly_cut(job: Any, wanted: int, earlier: Any) -> Any:
    if job.slide == "b":
        os.kill(os.getpid(), signal.SIGFPE)
    return _cut_or_reason(job, wanted, earlier)


_cut_or_reason = tiles_module._cut_or_reason


def test_a_slide_that_ends_its_process_is_quarantined_and_the_others_go_on(
    slides: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiles_module, "_cut_or_reason", deadly_cut)
    tile_set = cut(slides.assign(integrity=["checked", "unverified", "unverified"]), tmp_path)
    assert list(tile_set.quarantined) == ["b"]
    assert tile_set.quarantined["b"].startswith("b.svs ends the process that reads it")
    assert set(tile_set.index["slide"]) == {"a", "c"}


def greedy_cut(job: Any, wanted: int, earlier: Any) -> Any:
    """Stand in for `cut_slide`: the slide b makes its reader allocate a gigabyte."""
    if job.slide == "b":
        np.ones(1 << 27)
    return cut_slide(job, wanted, earlier)


def greedy_cut_or_reason(job: Any, wanted: int, earlier: Any) -> Any:
    vars(tiles_module)["cut_slide"] = greedy_cut
    return _cut_or_reason(job, wanted, earlier)


def test_a_slide_that_takes_too_much_memory_is_quarantined_and_the_others_go_on(
    slides: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiles_module, "_cut_or_reason", greedy_cut_or_reason)
    unverified = slides.assign(integrity="unverified")
    tile_set = cut(unverified, tmp_path, workers=2, worker_megabytes=700)
    assert list(tile_set.quarantined) == ["b"]
    assert "raise resources.worker_megabytes" in tile_set.quarantined["b"]
    assert tile_set.quarantined["b"].startswith("b.svs takes more memory")
    assert set(tile_set.index["slide"]) == {"a", "c"}


def test_a_killed_run_leaves_no_half_written_shard_and_the_next_one_continues(
    slides: pd.DataFrame, tmp_path: Path
) -> None:
    slides.to_parquet(tmp_path / "slides.parquet")
    code = (
        "import sys, pandas as pd\n"
        "from histo_assets_tests.unit.test_tiling_tiles import cut, TILING\n"
        "many = TILING.model_copy(update={'tiles_per_slide': 60})\n"
        "print('ready', flush=True)\n"
        f"cut(pd.read_parquet({str(tmp_path / 'slides.parquet')!r}), {str(tmp_path / 'shards')!r}, many)\n"
    )
    for delay in (0.03, 0.1):
        child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        assert child.stdout is not None and child.stdout.readline()
        time.sleep(delay)
        child.kill()
        child.wait()
        child.stdout.close()
        if not (tmp_path / "shards" / "uterus").exists():
            continue
        published = {name for name in files(tmp_path / "shards") if not name.startswith(".")}
        for name in (name for name in published if name.endswith(".json")):
            sidecar = json.loads((tmp_path / "shards" / "uterus" / name).read_text())
            shard = tmp_path / "shards" / "uterus" / name.replace(".json", ".tar")
            assert shard.stat().st_size == sidecar["shard_bytes"]
            with tarfile.open(shard) as tar:
                assert len(tar.getmembers()) == 60
    many = TILING.model_copy(update={"tiles_per_slide": 60})
    assert cut(slides, tmp_path / "shards", many).content_digest() == cut(slides, tmp_path / "x", many).content_digest()


def test_a_truncated_shard_is_cut_again(slides: pd.DataFrame, tmp_path: Path) -> None:
    first = cut(slides, tmp_path)
    shard = tmp_path / "uterus" / first.index["shard"][0]
    os.truncate(shard, 600)
    with pytest.raises(TilingError, match=f"uterus/{shard.name}"):
        TileReader([first]).read(first.index.head(6))
    assert cut(slides, tmp_path).content_digest() == first.content_digest()
    assert TileReader([first]).read(first.index)


def test_bad_slides_are_quarantined_and_the_rest_go_on(tmp_path: Path) -> None:
    folder = tmp_path / "slides"
    write_slides(folder, ["good", "lost", "zero", "gone", "changed"])
    write_svs(folder / "blank.svs", glass(768, 768), associated=False)
    write_svs(folder / "coarse.svs", tissue_picture(), Scan(mpp=1.98), associated=False)
    write_svs(folder / "small.svs", stroma(50, 50), levels=(), associated=False)
    overwrite_storage_tiles(folder / "lost.svs", 6)
    empty_storage_tiles(folder / "zero.svs", 1)
    (folder / "page.svs").write_text("<html>")
    names = ["good", "lost", "zero", "gone", "changed", "blank", "coarse", "small", "page"]
    table = slide_table(folder, names)
    (folder / "gone.svs").unlink()
    os.utime(folder / "changed.svs", ns=(1, 1))
    lines: list[str] = []
    tile_set = cut(table, tmp_path / "shards", progress=lines.append)
    reasons = tile_set.quarantined
    assert set(reasons) == {"lost", "changed", "blank", "coarse", "small"}
    assert set(tile_set.missing) == {"gone"}
    assert set(tile_set.left_out) == {*reasons, "gone", "page"}
    assert "do not decode, more than slides.max_lost_share = 0.05" in reasons["lost"]
    assert tile_set.missing["gone"].startswith("gone.svs is missing")
    assert "has changed since it was inspected" in reasons["changed"]
    assert reasons["blank"].startswith("blank: blank.svs shows no tissue")
    assert reasons["coarse"].startswith("scanned at 1.98 um/px, coarser than the study's 0.5")
    assert "smaller than one tile" in reasons["small"]
    assert not any(str(tmp_path) in reason for reason in tile_set.left_out.values())
    assert set(tile_set.index["slide"]) == {"good", "zero"}
    assert not tile_set.complete
    assert any("storage tiles of length zero" in sentence for sentence in lines)
    again = cut(table, tmp_path / "shards")
    assert again.content_digest() == tile_set.content_digest()


def test_a_full_disk_is_one_sentence_and_leaves_nothing(
    slides: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*paths: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("histo_assets.core.tiling.store.os.fsync", full)
    with pytest.raises(TilingError, match=r"tiles of slide a cannot be written .* No space left on device"):
        cut(slides, tmp_path)
    assert files(tmp_path) == {}


def test_a_lost_storage_tile_rejects_the_tiles_that_touch_it_and_no_others(tmp_path: Path) -> None:
    everything = TILING.model_copy(update={"tiles_per_slide": 999})
    tolerant = SlideSettings(max_lost_share=0.5)
    sound = cut(write_slides(tmp_path / "slides", ["a"]), tmp_path / "shards", everything, slide_settings=tolerant)
    ((left, top, width, height),) = overwrite_storage_tiles(tmp_path / "slides" / "a.svs", 1)
    os.utime(tmp_path / "slides" / "a.svs", ns=(1, 1))
    damaged = cut(slide_table(tmp_path / "slides", ["a"]), tmp_path / "shards", everything, slide_settings=tolerant)
    x, y = pl.col("x"), pl.col("y")
    touching = (x + 64 > left) & (x < left + width) & (y + 64 > top) & (y < top + height)
    untouched = sound.index.filter(~touching)["tile"].to_list()
    assert damaged.index["tile"].to_list() == untouched
    assert damaged.funnel["lost"][0] >= len(sound.index) - len(untouched) > 0


def test_the_funnel_adds_up(slides: pd.DataFrame, tmp_path: Path) -> None:
    everything = TILING.model_copy(update={"tiles_per_slide": 999})
    funnel = cut(slides, tmp_path, everything).funnel
    rejected = funnel[["no_tissue", "jpeg_size", "half_empty", "dirt", "blur", "pen", "lost"]].sum(axis=1)
    assert (funnel["candidates"] == rejected + funnel["good"]).all()
    assert (funnel["kept"] == funnel["good"]).all()
    assert (funnel["candidates"] == 144).all()


def test_another_scan_resolution_gives_tiles_of_the_same_field(tmp_path: Path) -> None:
    table = write_slides(tmp_path / "slides", ["fine"], scan=Scan(mpp=0.25))
    tile_set = cut(table, tmp_path / "shards")
    assert tile_set.index["size"].unique().to_list() == [128]
    assert simplejpeg.decode_jpeg_header(tile_set.jpeg_bytes(tile_set.index)[0])[:2] == (64, 64)


def test_a_slide_read_by_slideio_alone_is_cut_in_a_process_of_its_own(tmp_path: Path) -> None:
    path = write_ome_tiff(tmp_path / "a.ome.tif", tissue_picture())
    row = {"slide": "a", "donor": "donor-a", "tissue": "uterus", "sample": "a"} | asdict(inspect_slide(path))
    table = pd.DataFrame([row])
    assert table["integrity"].tolist() == ["unverified"]
    assert len(cut(table, tmp_path / "shards").index) == 6


def test_a_tile_set_survives_being_written_and_read(slides: pd.DataFrame, tmp_path: Path) -> None:
    strict = TILING.model_copy(update={"quality": QualitySettings(min_sharpness=1e5), "tiles_per_slide": 40})
    for tiling in (TILING, strict):
        tile_set = cut(slides, tmp_path / "shards", tiling)
        tile_set.write(tmp_path / "handle")
        read = TileSet.read(tmp_path / "handle")
        assert read.content_digest() == tile_set.content_digest()
        assert read.index.equals(tile_set.index)
        assert read.funnel.equals(tile_set.funnel)
        assert read.rejected_examples() == tile_set.rejected_examples()
        assert (read.previews, read.quarantined) == (tile_set.previews, tile_set.quarantined)
    assert set(tile_set.rejected) >= {f"blur_{slide}_{number}" for slide in SLIDES for number in (1, 2)}
    assert all(pixels_of(jpeg).std() > 5 for jpeg in tile_set.rejected.values())
    assert set(tile_set.quarantined) == set(SLIDES)
    assert all("blank: all" in reason for reason in tile_set.quarantined.values())


def test_a_handle_does_not_say_where_its_shards_lie_but_finds_them_below_the_root_it_is_given(
    slides: pd.DataFrame, tmp_path: Path
) -> None:
    tile_set = cut(slides, tmp_path / "first" / "tiles")
    tile_set.write(tmp_path / "handle")
    (tmp_path / "first").rename(tmp_path / "second")
    assert str(tmp_path) not in (tmp_path / "handle" / "tileset.json").read_text()
    moved = TileSet.read(tmp_path / "handle").located(str(tmp_path / "second"))
    assert moved.shard_root == str(tmp_path / "second" / "tiles")
    assert len(moved.jpeg_bytes(moved.index)) == len(tile_set.index)
    assert moved.content_digest() == tile_set.content_digest()


def test_a_handle_of_version_0_1_0_is_read_and_found_again_by_its_folder_s_name(
    slides: pd.DataFrame, tmp_path: Path
) -> None:
    tile_set = cut(slides, tmp_path / "shards" / "tiles")
    tile_set.write(tmp_path / "handle")
    stored = tmp_path / "handle" / "tileset.json"
    content = json.loads(stored.read_text())
    del content["missing"], content["left_out"]
    stored.write_text(json.dumps(content | {"shard_root": "/an/old/place/shards/tiles"}))
    read = TileSet.read(tmp_path / "handle")
    assert (read.missing, read.left_out) == ({}, {})
    read = read.located(str(tmp_path / "shards"))
    assert read.jpeg_bytes(read.index) == tile_set.jpeg_bytes(tile_set.index)


def test_slides_that_inspection_left_out_are_named_with_the_tiles_and_change_no_version(
    slides: pd.DataFrame, tmp_path: Path
) -> None:
    others = slides.assign(
        slide=["x", "y", "z"],
        missing=pd.Series(["404", None, None], dtype=object),
        quarantined=pd.Series([None, "torn", "torn"], dtype=object),
    )
    whole = cut(slides, tmp_path / "shards")
    made = cut(pd.concat([slides, others], ignore_index=True), tmp_path / "shards")
    assert made.content_digest() == whole.content_digest()
    assert made.quarantined == {}
    made.write(tmp_path / "handle")
    left_out = left_out_slides({"uterus": TileSet.read(tmp_path / "handle")})
    assert sorted(left_out.itertuples(index=False, name=None)) == [
        ("x", "uterus", "missing", "404"),
        ("y", "uterus", "quarantined", "torn"),
        ("z", "uterus", "quarantined", "torn"),
    ]


def test_a_table_of_version_0_1_0_is_tiled_though_it_has_no_column_of_missing_slides(
    slides: pd.DataFrame, tmp_path: Path
) -> None:
    old = slides.drop(columns="missing")
    assert cut(old, tmp_path, folder="/elsewhere").content_digest() == cut(slides, tmp_path).content_digest()


def test_a_reader_travels_to_other_processes_and_finds_every_tissue(slides: pd.DataFrame, tmp_path: Path) -> None:
    tile_set = cut(slides, tmp_path)
    rows = tile_set.index.sample(10, seed=1)
    expected = tile_set.jpeg_bytes(rows)
    for reader in (TileReader([tile_set]), TileReader({"uterus": str(tmp_path)})):
        reader.read(rows.head(1))
        assert pickle.loads(pickle.dumps(reader)).read(rows.drop("crc32")) == expected
    with pytest.raises(TilingError, match="liver"):
        TileReader([tile_set]).read(rows.with_columns(tissue=pl.lit("liver")))


def test_shards_on_an_object_store_are_fetched_once(
    slides: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HISTO_CACHE", str(tmp_path / "cache"))
    root = f"memory://{tmp_path.name}/shards"
    tile_set = cut(slides, root)
    local = cut(slides, tmp_path / "local")
    assert tile_set.content_digest() == local.content_digest()
    assert tile_set.jpeg_bytes(tile_set.index) == local.jpeg_bytes(local.index)
    assert len(ShardStore(root, "uterus").names()) == 6
    assert cut(slides, root).content_digest() == local.content_digest()
    folder = ShardStore(root, "uterus").folder
    folder.fs.rm(folder.path, recursive=True)
    assert tile_set.jpeg_bytes(tile_set.index.head(3))


def test_tissues_cut_under_different_settings_are_told_apart(slides: pd.DataFrame, tmp_path: Path) -> None:
    a, b = cut(slides, tmp_path), cut(slides, tmp_path, TILING.model_copy(update={"jpeg_quality": 80}))
    assert one_parameter_set({"x": a, "y": a, "other": b}, ["x", "y"]) == a.parameters
    with pytest.raises(TilingError, match="the tiles of z were cut under other settings"):
        one_parameter_set({"x": a, "y": a, "z": b}, ["x", "y", "z"])
    with pytest.raises(TilingError, match="no tiles of w"):
        one_parameter_set({"x": a}, ["x", "w"])


def test_a_contact_sheet_shows_every_tile_in_its_place_and_stays_small(slides: pd.DataFrame, tmp_path: Path) -> None:
    tile_set = cut(slides, tmp_path, TILING.model_copy(update={"tiles_per_slide": 60}))
    reader = TileReader([tile_set])
    sheet = pixels_of(contact_sheet(reader, tile_set.index.head(6), columns=4, px=64))
    assert sheet.shape == (2 * 68, 4 * 68, 3)
    for place, jpeg in enumerate(reader.read(tile_set.index.head(6))):
        top, left = place // 4 * 68 + 2, place % 4 * 68 + 2
        assert np.abs(sheet[top : top + 64, left : left + 64].astype(int) - pixels_of(jpeg)).mean() < 6
    assert len(contact_sheet(reader, tile_set.index, columns=12, px=96)) <= MAX_BYTES
    assert (pixels_of(contact_sheet(reader, tile_set.index.head(0))) > 250).all()
    assert {len(jpeg) <= MAX_BYTES for jpeg in tile_set.previews.values()} == {True}


def test_a_preview_outlines_its_tiles_in_blue_and_the_tissue_in_green() -> None:
    """A tile of 200 px at (600, 200), shown at a tenth, beside a mask of the left half."""
    mask = np.zeros((10, 10), dtype=bool)
    mask[:, :5] = True
    glass_ = np.full((100, 100, 3), 255, dtype=np.uint8)
    shown = pixels_of(overlay(glass_, mask, pl.DataFrame({"x": [600], "y": [200], "size": [200]}), 0.1)).astype(int)
    blue, green = shown[..., 2] - shown[..., 1] > 50, shown[..., 1] - shown[..., 2] > 25
    rows, columns = np.nonzero(blue)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == pytest.approx((20, 39, 60, 79), abs=1)
    assert (shown[24:36, 64:76] > 230).all()
    assert np.nonzero(green)[1].max() == pytest.approx(49, abs=1) and green[20:80, 48:51].any(1).mean() > 0.9
