"""Slides that are fetched, inspected, tiled and dropped again."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
import simplejpeg

from histo_assets.core.download.idc import series_of_slides
from histo_assets.core.download.settings import SourceSettings
from histo_assets.core.slides.arrival import arrived_slides, outages
from histo_assets.core.slides.budget import FetchedCopy
from histo_assets.core.slides.directory import SlideError
from histo_assets.core.slides.settings import SlideSettings
from histo_assets.core.tiling.job import TissueJob
from histo_assets.core.tiling.settings import TilingSettings
from histo_assets.core.tiling.tile_set import TileSet
from histo_assets.core.tiling.tiles import tile_tissue
from histo_assets_tests.unit.generated_dicom import Coding, write_pyramid
from histo_assets_tests.unit.generated_slides import write_dicom
from histo_assets_tests.unit.lying_server import Request, Server, refusing, serving
from histo_assets_tests.unit.test_download_slides import BUCKET, bucket, idc_source
from histo_assets_tests.unit.tissue_slides import tissue_picture, write_slides

NAMES = ["a", "b", "c"]
TILING = TilingSettings(tile_px=64, mpp=0.5, tiles_per_slide=6, tiles_per_tissue=None, mask_mpp=4.0)
SELECTED = pd.DataFrame([{"slide": n, "donor": f"donor-{n}", "tissue": "uterus", "sample": n} for n in NAMES])


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("HISTO_CACHE", str(tmp_path / "cache"))
    write_slides(tmp_path / "published", NAMES)
    contents = {f"/{name}": (tmp_path / "published" / f"{name}.svs").read_bytes() for name in NAMES}
    with serving(contents) as running:
        yield running


def from_server(server: Server, keep: str = "all") -> SlideSettings:
    return SlideSettings(source=SourceSettings(kind="url", url=server.address + "/{slide}", keep=keep, attempts=1))


def arrived(tmp_path: Path, settings: SlideSettings) -> pd.DataFrame:
    return arrived_slides(SELECTED, str(tmp_path / "slides"), settings)[0]


def cut(tmp_path: Path, table: pd.DataFrame, settings: SlideSettings, **options: Any) -> TileSet:
    arguments: dict[str, Any] = {"tissue": "uterus", "workers": 1, "progress": lambda sentence: None} | options
    tissue, folder = arguments.pop("tissue"), str(tmp_path / "slides")
    return tile_tissue(table, TissueJob(tissue, str(tmp_path / "shards"), TILING, settings, folder), **arguments)


def here(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "slides").glob("*.svs"))


def test_slides_are_fetched_and_described_by_the_digest_of_their_content(tmp_path: Path, server: Server) -> None:
    table = arrived(tmp_path, from_server(server))
    assert here(tmp_path) == ["a.svs", "b.svs", "c.svs"]
    assert table["quarantined"].isna().all()
    assert set(table["digest_kind"]) == {"fetched"}
    assert table["digest"].nunique() == 3
    assert (table["mpp"] == 0.5).all()
    again = arrived(tmp_path, from_server(server))
    pd.testing.assert_frame_equal(again, table)
    assert len(server.asked) == 3


def test_under_keep_none_a_slide_goes_once_its_tiles_are_made_and_is_not_fetched_again(
    tmp_path: Path, server: Server
) -> None:
    settings = from_server(server, "none")
    table = arrived(tmp_path, settings)
    assert here(tmp_path) == ["a.svs", "b.svs", "c.svs"]
    tiles = cut(tmp_path, table, settings)
    assert here(tmp_path) == []
    again = arrived(tmp_path, settings)
    pd.testing.assert_frame_equal(again, table)
    assert cut(tmp_path, again, settings).content_digest() == tiles.content_digest()
    assert len(server.asked) == 3


def test_a_dropped_slide_keeps_its_row_digest_and_picture(tmp_path: Path, server: Server) -> None:
    settings = from_server(server, "none")
    table = arrived(tmp_path, settings)
    cut(tmp_path, table, settings)
    again, pictures = arrived_slides(SELECTED, str(tmp_path / "slides"), settings)
    pd.testing.assert_frame_equal(again, table)
    assert set(pictures) == set(NAMES)
    for seed, name in enumerate(NAMES):
        drawn = simplejpeg.decode_jpeg(pictures[name])
        painted = cv2.resize(tissue_picture(seed=seed), drawn.shape[1::-1], interpolation=cv2.INTER_AREA)
        assert np.abs(drawn.astype(int) - painted).mean() < 8


def test_a_dropped_slide_is_fetched_again_where_its_shard_is_lost(tmp_path: Path, server: Server) -> None:
    settings = from_server(server, "none")
    table = arrived(tmp_path, settings)
    tiles = cut(tmp_path, table, settings)
    next((tmp_path / "shards" / "uterus").glob("b-*.tar")).unlink()
    assert cut(tmp_path, table, settings).content_digest() == tiles.content_digest()
    assert [path for path, _ in server.asked[3:]] == ["/b"]
    assert here(tmp_path) == []


def test_a_budget_smaller_than_the_tissue_costs_transfers_and_changes_no_tile(tmp_path: Path, server: Server) -> None:
    everything = from_server(server)
    kept = cut(tmp_path / "kept", arrived(tmp_path / "kept", everything), everything)
    largest = max(len(content) for content in server.contents.values())
    tight = from_server(server, f"{largest / 1e6:.6f} MB")
    asked = len(server.asked)
    table = arrived(tmp_path, tight)
    assert len(here(tmp_path)) <= 1
    assert cut(tmp_path, table, tight).content_digest() == kept.content_digest()
    assert len(here(tmp_path)) <= 1
    assert len(server.asked) - asked <= 2 * len(NAMES)


def test_worker_processes_fetch_what_was_dropped(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("histo_assets.core.tiling.tiles._WORTH_A_POOL", 0)
    settings = from_server(server, "0.000001 MB")
    table = arrived(tmp_path, settings)
    assert here(tmp_path) == []
    tiles = cut(tmp_path, table, settings, workers=2)
    assert set(tiles.index["slide"]) == set(NAMES)
    assert here(tmp_path) == []


def test_a_slide_that_cannot_be_fetched_is_missing_and_the_others_go_on(tmp_path: Path, server: Server) -> None:
    server.contents["/a"] = b"<html><head><title>Sign in</title></head></html>"
    del server.contents["/b"]
    table = arrived(tmp_path, from_server(server)).set_index("slide")
    assert "HTML page (Sign in)" in table["missing"]["a"]
    assert "answered 404" in table["missing"]["b"]
    assert table.loc["c", "missing"] is None
    assert table["quarantined"].isna().all()


def test_after_one_bad_minute_of_the_server_the_next_run_has_all_slides(tmp_path: Path, server: Server) -> None:
    settings = from_server(server)
    server.answers = [refusing(503), stopping, refusing(404)]
    first = arrived(tmp_path, settings)
    assert first["missing"].notna().all()
    assert first["quarantined"].isna().all()
    assert set(outages(first, settings)) == set(NAMES)
    assert cut(tmp_path, first, settings).index.is_empty()
    second = arrived(tmp_path, settings)
    assert second["missing"].isna().all()
    assert outages(second, settings) == {}
    tiles = cut(tmp_path, second, settings)
    assert set(tiles.index["slide"]) == set(NAMES)
    assert tiles.left_out == {}


def test_a_dropped_slide_that_cannot_be_fetched_again_is_missing_until_it_can(tmp_path: Path, server: Server) -> None:
    settings = from_server(server, "0.000001 MB")
    table = arrived(tmp_path, settings)
    content = server.contents.pop("/b")
    tiles = cut(tmp_path, table, settings)
    assert tiles.quarantined == {}
    assert set(tiles.missing) == set(tiles.left_out) == {"b"}
    assert "answered 404" in tiles.missing["b"]
    server.contents["/b"] = content
    assert cut(tmp_path, table, settings).left_out == {}


def test_a_file_in_the_place_of_a_dropped_slide_is_named_without_its_folder(tmp_path: Path, server: Server) -> None:
    settings = from_server(server, "0.000001 MB")
    table = arrived(tmp_path, settings)
    (tmp_path / "slides" / "b.svs").write_bytes(b"mine")
    assert cut(tmp_path, table, settings).missing["b"].startswith("b.svs was not fetched from")


def test_a_disk_that_is_full_while_a_slide_is_fetched_is_no_verdict_on_it(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "slides"))

    monkeypatch.setattr("histo_assets.core.download.fetched.write_json", full)
    table = arrived(tmp_path, from_server(server))
    assert table["quarantined"].isna().all()
    assert set(table["missing"]) == {
        f"slide {name} could not be fetched (No space left on device); run again" for name in NAMES
    }


def test_a_slide_that_is_not_in_a_local_folder_is_missing_but_nothing_to_be_tried_again(tmp_path: Path) -> None:
    table = arrived(tmp_path, SlideSettings())
    assert table["missing"].notna().all()
    assert outages(table, SlideSettings()) == {}


def test_what_lies_beside_a_fetched_slide_does_not_say_where_the_folder_is(tmp_path: Path, server: Server) -> None:
    server.contents["/c"] = server.contents["/c"][:5000]
    table = arrived(tmp_path, from_server(server))
    assert list(table["path"]) == ["a.svs", "b.svs", "c.svs"]
    assert table.set_index("slide")["quarantined"]["c"].startswith("c.svs ")
    for record in (tmp_path / "slides").glob(".*.fetched.json"):
        assert str(tmp_path) not in record.read_text()


def stopping(request: Request) -> None:
    """End the connection without an answer."""
    request.handler.connection.shutdown(socket.SHUT_RDWR)
    request.handler.close_connection = True


def test_a_truncated_slide_that_the_server_thinks_whole_is_quarantined(tmp_path: Path, server: Server) -> None:
    server.contents["/a"] = server.contents["/a"][: len(server.contents["/a"]) // 2]
    table = arrived(tmp_path, from_server(server)).set_index("slide")
    assert "a.svs" in table["quarantined"]["a"]
    assert table["quarantined"].notna().sum() == 1


def test_another_file_under_the_same_address_is_not_taken_for_the_inspected_one(tmp_path: Path, server: Server) -> None:
    settings = from_server(server, "0.000001 MB")
    table = arrived(tmp_path, settings)
    server.contents["/a"], server.contents["/b"] = server.contents["/b"], server.contents["/a"]
    tiles = cut(tmp_path, table, settings)
    assert set(tiles.missing) == {"a", "b"}
    assert "bytes, but" in tiles.missing["a"]
    assert set(tiles.index["slide"]) == {"c"}


def test_other_content_of_the_same_size_is_not_taken_for_the_inspected_one(tmp_path: Path, server: Server) -> None:
    settings = from_server(server, "none")
    table = arrived(tmp_path, settings)
    cut(tmp_path, table, settings)
    next((tmp_path / "shards" / "uterus").glob("b-*.tar")).unlink()
    server.contents["/b"] = server.contents["/b"][:-1] + bytes([server.contents["/b"][-1] ^ 1])
    tiles = cut(tmp_path, table, settings)
    assert "is expected, twice; see to the source" in tiles.left_out["b"]
    assert set(tiles.index["slide"]) == {"a", "c"}


def test_a_slide_that_was_inspected_with_other_content_than_is_on_record_has_changed(
    tmp_path: Path, server: Server
) -> None:
    settings = from_server(server, "none")
    cut(tmp_path, arrived(tmp_path, settings), settings)
    copy = FetchedCopy("b", tmp_path / "slides" / "b.svs", "0" * 64, settings.source, "run `again")
    with pytest.raises(SlideError, match=r"b.svs has changed since it was inspected; run `again --force`"):
        copy.fetch_again()


def test_a_file_that_lies_in_the_folder_is_taken_and_none_is_fetched(tmp_path: Path, server: Server) -> None:
    (tmp_path / "slides").mkdir()
    (tmp_path / "slides" / "a.svs").write_bytes(server.contents["/b"])
    settings = from_server(server, "none")
    table = arrived(tmp_path, settings)
    assert sorted(path for path, _ in server.asked) == ["/b", "/c"]
    assert table.set_index("slide").loc["a", "digest_kind"] == "directory"
    cut(tmp_path, table, settings)
    assert here(tmp_path) == ["a.svs"]


def test_a_resolution_assumed_later_has_a_dropped_slide_looked_at_again(tmp_path: Path, server: Server) -> None:
    settings = from_server(server, "none")
    cut(tmp_path, arrived(tmp_path, settings), settings)
    arrived(tmp_path, settings.model_copy(update={"assume_mpp": 0.3}))
    assert len(server.asked) == 6


def test_slides_of_imaging_data_commons_are_fetched_checked_and_tiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HISTO_CACHE", str(tmp_path / "cache"))
    source = idc_source(tmp_path / "sm_index.parquet", [*NAMES, "frozen"])
    series = series_of_slides(source)
    contents: dict[str, bytes] = {}
    for place, name in enumerate(NAMES):
        published, pixels = tmp_path / "published" / name, tissue_picture(seed=place)
        in_two = Coding(split=frozenset({3}))  # which earlier versions misread
        folder = write_dicom(published, pixels) if place else write_pyramid(published, pixels, in_two)
        prefix = series[name].removeprefix(f"s3://{BUCKET}/").rstrip("/")
        contents |= bucket({path.name: path.read_bytes() for path in sorted(folder.iterdir())}, prefix)
    with serving(contents) as server:
        located = source.model_copy(update={"endpoint": server.address + "/{bucket}", "keep": "none"})
        settings = SlideSettings(source=located)
        table = arrived(tmp_path, settings)
        assert table["quarantined"].isna().all()
        assert set(table["integrity"]) == {"checked"}
        assert set(table["vendor"]) == {"dicom"}
        assert [digest[64:] for digest in table["digest"]] == ["-reading2", *[""] * (len(NAMES) - 1)]
        tiles = cut(tmp_path, table, settings)
        assert not list((tmp_path / "slides").glob("[!.]*"))
        asked = len(server.asked)
        assert cut(tmp_path, arrived(tmp_path, settings), settings).content_digest() == tiles.content_digest()
        assert len(server.asked) == asked
    assert tiles.index.group_by("slide").len().sort("slide").rows() == [(name, 6) for name in NAMES]
