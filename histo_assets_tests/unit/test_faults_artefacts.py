"""What the judge of `make faults` sees: a suite that finds nothing must be able to find something."""

from __future__ import annotations

import json
import random
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pandas as pd
import pytest

from histo_assets_tests.faults.artefacts import Stored, differences, half_written, orphans, stored
from histo_assets_tests.faults.place import Place
from histo_assets_tests.faults.proxy import Weather, proxy


def put(study: Path, asset: str, content: bytes, name: str = "value.json", data_version: str = "one") -> Path:
    """Store an artefact with one file; return that file."""
    folder = study / asset / "all"
    (folder / "v1").mkdir(parents=True, exist_ok=True)
    (folder / "v1" / name).write_bytes(content)
    pointer = {"version": "v1", "files": {name: len(content)}, "data_version": data_version}
    (folder / "current.json").write_text(json.dumps(pointer))
    return folder / "v1" / name


def timed(seconds: float, loss: float, folder: Path) -> bytes:
    """Return a history of one epoch as parquet."""
    path = folder / "history.parquet"
    pd.DataFrame({"epoch": [1], "loss": [loss], "cpu_seconds": [seconds]}).to_parquet(path)
    return path.read_bytes()


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    return tmp_path / "ours"


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    return tmp_path / "reference"


def test_an_equal_study_differs_in_nothing(ours: Path, reference: Path) -> None:
    for study in (ours, reference):
        put(study, "slide_pairs", b"same")
    assert differences(ours, reference) == [] == half_written(ours)


@pytest.mark.parametrize(
    ("content", "data_version", "line"),
    [
        (b"other", "one", "slide_pairs: value.json differs"),
        (b"same", "two", "slide_pairs has another data version"),
    ],
)
def test_other_content_is_found(ours: Path, reference: Path, content: bytes, data_version: str, line: str) -> None:
    put(reference, "slide_pairs", b"same")
    put(ours, "slide_pairs", content, data_version=data_version)
    assert differences(ours, reference) == [line]


def test_seconds_are_no_result_but_what_stands_beside_them_is(ours: Path, reference: Path, tmp_path: Path) -> None:
    put(reference, "trained_model", timed(1.0, 0.5, tmp_path), "history.parquet")
    put(ours, "trained_model", timed(2.0, 0.5, tmp_path), "history.parquet")
    assert differences(ours, reference) == []
    put(ours, "trained_model", timed(2.0, 0.6, tmp_path), "history.parquet")
    assert differences(ours, reference) == ["trained_model: history.parquet differs"]


def test_what_a_page_shows_must_be_there_whatever_it_draws(ours: Path, reference: Path) -> None:
    put(reference, "trained_model", b'{"preview": 1, "cpu_seconds": 2}', "shown.json")
    put(ours, "trained_model", b'{"cpu_seconds": 3, "preview": 4}', "shown.json")
    assert differences(ours, reference) == []
    put(ours, "trained_model", b'{"preview": 1}', "shown.json")
    assert differences(ours, reference) == ["trained_model: shown.json differs"]


def test_a_lost_artefact_and_a_lost_shard_are_found(ours: Path, reference: Path) -> None:
    put(reference, "slide_pairs", b"same")
    (reference / "shards" / "tiles").mkdir(parents=True)
    (reference / "shards" / "tiles" / "slide.tar").write_bytes(b"tiles")
    ours.mkdir()
    assert differences(ours, reference) == ["slide_pairs is lost", "shards/tiles/slide.tar is lost"]


def test_a_file_that_is_cut_is_half_written(ours: Path) -> None:
    put(ours, "slide_pairs", b"same").write_bytes(b"sa")
    assert half_written(ours) == ["slide_pairs: value.json is not whole"]


@pytest.mark.parametrize(
    "left", ["slide_pairs/all/v0/value.json", "slide_pairs/all/.v2/value.json", "tiles/liver/.v1/a"]
)
def test_old_versions_and_drafts_are_orphans(ours: Path, reference: Path, left: str) -> None:
    put(ours, "slide_pairs", b"same")
    assert orphans(ours, reference) == []
    (ours / left).parent.mkdir(parents=True)
    (ours / left).write_bytes(b"")
    assert len(orphans(ours, reference)) == 1


def test_a_pointer_that_is_cut_is_no_artefact(ours: Path) -> None:
    put(ours, "slide_pairs", b"same")
    (ours / "slide_pairs" / "all" / "current.json").write_text('{"version"')
    assert stored(ours) == {Stored("slide_pairs"): {}}
    assert half_written(ours) == ["the pointer of slide_pairs cannot be read"]


def test_a_process_that_is_left_is_found_and_ended(tmp_path: Path) -> None:
    place = Place(tmp_path / "place")
    command = place.start_program(["sh", "-c", "sleep 60 & wait"], ["sleep"])
    assert len(place.processes_left(0.5)) == 2
    place.end_processes()
    assert place.processes_left(0) == []
    assert command.wait().code == -9


def test_a_command_that_hangs_is_ended(tmp_path: Path) -> None:
    ran = Place(tmp_path / "place").start_program(["sleep", "60"], ["sleep"]).wait(0.2)
    assert ran.hung and not ran.ended_well and "hung" in str(ran)


class Echo(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "10")
        self.end_headers()
        self.wfile.write(b"0123456789")

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.mark.parametrize(
    ("weather", "seen"),
    [(Weather(), b"0123456789"), (Weather(errors=1), 500), (Weather(half=1), "IncompleteRead")],
    ids=["good", "error", "half"],
)
def test_the_proxy_makes_the_weather_that_is_asked_for(weather: Weather, seen: object) -> None:
    weather.chance = random.Random(1)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        with proxy(f"http://127.0.0.1:{server.server_address[1]}", weather) as address:
            try:
                answer: object = urllib.request.urlopen(f"{address}/key", timeout=10).read()
            except urllib.error.HTTPError as error:
                answer = error.code
            except Exception as error:
                answer = type(error).__name__
        assert answer == seen
    finally:
        server.shutdown()
        server.server_close()
