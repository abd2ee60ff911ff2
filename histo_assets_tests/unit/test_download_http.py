"""Fetching a file from a server that drops connections, truncates and lies."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
import threading
import time
from email.utils import formatdate
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from histo_assets.core.download.errors import DownloadError
from histo_assets.core.download.http import Fetched, RemoteFile, fetch_file
from histo_assets_tests.unit.lying_server import Request, dropping, refusing, serving, stalling, trickling

CONTENT = np.random.default_rng(0).bytes(1_000_000)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HISTO_CACHE", str(tmp_path / "cache"))


def fetch(address: str, folder: Path, **options: Any) -> Fetched:
    known = {key: options.pop(key) for key in ("bytes", "sha256", "md5") if key in options}
    options.setdefault("wait", lambda seconds: None)
    return fetch_file(RemoteFile(f"{address}/a.svs", "a.svs", **known), folder / "a.svs", **options)


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_file())


def test_a_file_arrives_whole_with_its_digest_and_leaves_nothing_else(tmp_path: Path) -> None:
    with serving({"/a.svs": CONTENT}) as server:
        fetched = fetch(server.address, tmp_path)
    assert fetched.path.read_bytes() == CONTENT
    assert fetched.bytes == len(CONTENT)
    assert fetched.sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert left(tmp_path) == ["a.svs"]


@given(size=st.integers(1, 300_000), drops=st.lists(st.integers(0, 300_000), max_size=4))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_dropped_the_bytes_arrive_once(
    tmp_path_factory: pytest.TempPathFactory, size: int, drops: list[int]
) -> None:
    content, folder = CONTENT[:size], tmp_path_factory.mktemp("drops")
    with serving({"/a.svs": content}, *[dropping(after) for after in drops]) as server:
        fetched = fetch(server.address, folder, attempts=10)
    assert fetched.path.read_bytes() == content
    starts = [int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0 for asked in server.starts]
    # Every request after a drop asks for the rest alone.
    assert starts == sorted(starts)
    arrived = 0
    for start, after in zip(starts, [*drops, size], strict=False):
        assert start == arrived
        arrived = min(size, start + after)


def test_a_server_that_always_drops_is_given_up_and_what_arrived_is_kept(tmp_path: Path) -> None:
    with serving({"/a.svs": CONTENT}, dropping(300_000), *[dropping(0)] * 20) as server:
        with pytest.raises(DownloadError, match=r"a.svs could not be fetched .* in 3 attempts"):
            fetch(server.address, tmp_path, attempts=3)
        assert len(server.asked) == 3
        assert not (tmp_path / "a.svs").exists()
        server.answers.clear()
        fetch(server.address, tmp_path)
    assert server.starts[-1] == "bytes=300000-"
    assert (tmp_path / "a.svs").read_bytes() == CONTENT


def test_progress_of_bytes_forgives_failures(tmp_path: Path) -> None:
    with serving({"/a.svs": CONTENT}, *[dropping(100_000)] * 8) as server:
        fetch(server.address, tmp_path, attempts=2)
    assert len(server.asked) == 9


def test_a_server_that_ignores_ranges_is_read_from_the_start(tmp_path: Path) -> None:
    def whole(request: Request) -> None:
        request.send(200, request.content, {"ETag": '"one"'})

    with serving({"/a.svs": CONTENT}, dropping(400_000), whole) as server:
        assert fetch(server.address, tmp_path).path.read_bytes() == CONTENT


def test_content_that_changed_meanwhile_is_not_glued_to_the_old(tmp_path: Path) -> None:
    def other(request: Request) -> None:
        request.content = bytes(reversed(CONTENT))
        request.serve(etag='"two"')

    for second in (other, lambda request: request.send(206, b"x", {"Content-Range": "bytes 7-7/1000000"})):
        with serving({"/a.svs": CONTENT}, dropping(400_000), second) as server:
            assert fetch(server.address, tmp_path).path.read_bytes() == CONTENT
        assert server.starts[:2] == [None, "bytes=400000-"]
        assert server.starts[2] is None


def test_content_that_nothing_identifies_is_not_resumed(tmp_path: Path) -> None:
    def anonymous(request: Request) -> None:
        request.send(200, request.content[:1000], length=len(request.content))
        request.handler.close_connection = True

    with serving({"/a.svs": CONTENT}, anonymous) as server:
        assert fetch(server.address, tmp_path).path.read_bytes() == CONTENT
        assert server.starts == [None, None]
        (tmp_path / "a.svs").unlink()
        server.answers += [Request.serve, anonymous]
        known = hashlib.sha256(CONTENT).hexdigest()
        assert fetch(server.address, tmp_path, sha256=known).path.read_bytes() == CONTENT
    assert server.starts[2:] == [None, "bytes=1000-"]


def test_a_truncated_file_with_a_truthful_length_is_completed(tmp_path: Path) -> None:
    def short(request: Request) -> None:
        request.send(200, request.content[:1000], {"ETag": '"one"'}, length=len(request.content))
        request.handler.close_connection = True

    with serving({"/a.svs": CONTENT}, short) as server:
        assert fetch(server.address, tmp_path).bytes == len(CONTENT)


def test_a_file_shorter_than_the_listing_says_is_refused(tmp_path: Path) -> None:
    message = r"a.svs has 1,000,001 bytes, but .* offers 1,000,000"
    with serving({"/a.svs": CONTENT}) as server, pytest.raises(DownloadError, match=message):
        fetch(server.address, tmp_path, bytes=len(CONTENT) + 1)
    assert not (tmp_path / "a.svs").exists()


def test_a_body_without_a_length_is_checked_against_the_listing(tmp_path: Path) -> None:
    def endless(request: Request) -> None:
        request.handler.protocol_version = "HTTP/1.0"
        request.send(200, request.content[:500], {"Content-Length": ""})
        request.handler.close_connection = True

    with serving({"/a.svs": CONTENT}, endless) as server:
        assert fetch(server.address, tmp_path, bytes=len(CONTENT)).path.read_bytes() == CONTENT


@pytest.mark.parametrize("kind", ["sha256", "md5"])
def test_a_lie_about_the_digest_is_found_and_told(tmp_path: Path, kind: str) -> None:
    truth = hashlib.new(kind, CONTENT).hexdigest()
    with serving({"/a.svs": CONTENT}) as server:
        fetch(server.address, tmp_path, **{kind: truth})
        (tmp_path / "a.svs").unlink()
        with pytest.raises(DownloadError, match=f"has {kind} {truth}, {'0' * len(truth)} is expected, twice"):
            fetch(server.address, tmp_path, **{kind: "0" * len(truth)})
        assert len(server.asked) == 3
    assert left(tmp_path) == []


def test_bytes_damaged_on_the_way_once_are_fetched_again(tmp_path: Path) -> None:
    def damaged(request: Request) -> None:
        request.content = b"\0" + request.content[1:]
        request.serve()

    with serving({"/a.svs": CONTENT}, damaged) as server:
        fetched = fetch(server.address, tmp_path, sha256=hashlib.sha256(CONTENT).hexdigest())
    assert fetched.path.read_bytes() == CONTENT


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "application/octet-stream"])
def test_a_page_sold_as_a_slide_is_refused_by_its_title(tmp_path: Path, kind: str) -> None:
    page = b"\n<!DOCTYPE html><html><head><title>Please &amp; sign\n in</title></head></html>"
    message = r"sent an HTML page \(Please & sign in\) in place of a.svs"
    with (
        serving({}, lambda request: request.send(200, page, {"Content-Type": kind})) as server,
        pytest.raises(DownloadError, match=message),
    ):
        fetch(server.address, tmp_path)
    assert left(tmp_path) == []


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_refusal_is_told_at_once(tmp_path: Path, status: int) -> None:
    with serving({"/a.svs": CONTENT}, refusing(status)) as server:
        with pytest.raises(DownloadError, match=rf"a.svs: the server answered {status} .* correct the address"):
            fetch(server.address, tmp_path)
        assert len(server.asked) == 1


def test_a_busy_server_is_asked_again_after_the_time_that_it_names(tmp_path: Path) -> None:
    waited: list[float] = []
    busy = [refusing(503, Retry_After="7"), refusing(429), refusing(500), refusing(503, Retry_After="99999")]
    with serving({"/a.svs": CONTENT}, *busy) as server:
        fetch(server.address, tmp_path, wait=waited.append)
    assert waited[0] == 7
    assert 2 <= waited[1] <= 3
    assert 4 <= waited[2] <= 5
    assert waited[3] == 60


def test_the_time_that_a_busy_server_names_may_be_a_date(tmp_path: Path) -> None:
    def at(seconds: float) -> str:
        return formatdate(time.time() + seconds, usegmt=True)

    waited: list[float] = []
    named = [at(30), at(-30), at(1e5), "soon", "Fri, 31 Dec 99999 23:59:59 GMT"]
    busy = [refusing(503, Retry_After=when) for when in named]
    with serving({"/a.svs": CONTENT}, *busy) as server:
        fetch(server.address, tmp_path, wait=waited.append, attempts=10)
    assert 25 < waited[0] <= 30
    assert waited[1] == 0
    assert waited[2] == 60
    # What cannot be understood counts as not said.
    assert 8 <= waited[3] <= 9
    assert 16 <= waited[4] <= 17


def test_pauses_grow_to_a_minute_and_begin_anew_after_bytes_have_arrived(tmp_path: Path) -> None:
    waited: list[float] = []
    with serving({"/a.svs": CONTENT}, *[dropping(0)] * 9, dropping(10), dropping(0)) as server:
        fetch(server.address, tmp_path, wait=waited.append, attempts=20)
    assert waited[0] == 0.5
    assert all(2**n <= seconds <= 2**n + 1 for n, seconds in enumerate(waited[1:6], start=1))
    assert waited[6:9] == [60, 60, 60]
    assert waited[9] == 0.5
    assert 2 <= waited[10] <= 3


def test_a_server_that_stalls_is_asked_again(tmp_path: Path) -> None:
    with serving({"/a.svs": CONTENT}, stalling(3)) as server:
        fetch(server.address, tmp_path, timeout_seconds=0.3)
        assert len(server.asked) == 2


def test_a_redirect_is_followed(tmp_path: Path) -> None:
    with serving({"/b.svs": CONTENT}, refusing(302, Location="/b.svs")) as server:
        assert fetch(server.address, tmp_path).bytes == len(CONTENT)


def test_a_server_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"a.svs could not be fetched from http://127.0.0.1:9/a.svs in 2 attempts"):
        fetch("http://127.0.0.1:9", tmp_path, attempts=2)


def test_a_disk_that_is_too_small_is_told_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("histo_assets.core.download.http.shutil.disk_usage", lambda path: type("U", (), {"free": 10}))
    with serving({"/a.svs": CONTENT}) as server, pytest.raises(DownloadError, match=r"a.svs has 0.00 GB, and .* make"):
        fetch(server.address, tmp_path)
    assert left(tmp_path) == []


def test_progress_is_told_and_ends_with_everything(tmp_path: Path) -> None:
    counts: list[tuple[int, int | None]] = []
    with serving({"/a.svs": CONTENT}, dropping(600_000)) as server:
        fetch(server.address, tmp_path, progress=lambda here, all_: counts.append((here, all_)))
    assert counts[-1] == (len(CONTENT), len(CONTENT))
    assert [here for here, _ in counts] == sorted(here for here, _ in counts)


def test_a_killed_download_is_resumed_by_the_next_process(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from histo_assets.core.download.http import RemoteFile, fetch_file\n"
        "fetch_file(RemoteFile(sys.argv[1], 'a.svs'), Path(sys.argv[2]))\n"
    )
    slow = trickling(50_000, 0.05)
    with serving({"/a.svs": CONTENT}, slow, slow, slow) as server:
        arguments = [sys.executable, "-c", code, f"{server.address}/a.svs", str(tmp_path / "a.svs")]
        part = tmp_path / ".a.svs.part"
        for _ in range(2):
            child = subprocess.Popen(arguments)
            before, until = part.stat().st_size if part.exists() else 0, time.monotonic() + 30
            while (not part.exists() or part.stat().st_size <= before) and time.monotonic() < until:
                time.sleep(0.01)
            child.send_signal(signal.SIGKILL)
            child.wait()
            assert not (tmp_path / "a.svs").exists()
        fetch(server.address, tmp_path)
    assert (tmp_path / "a.svs").read_bytes() == CONTENT
    assert all(asked is not None for asked in server.starts[1:])


def test_two_that_want_the_same_file_share_one_transfer(tmp_path: Path) -> None:
    with serving({"/a.svs": CONTENT}, trickling(100_000, 0.02)) as server:
        threads = [threading.Thread(target=fetch, args=(server.address, tmp_path)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(server.asked) == 1
    assert (tmp_path / "a.svs").read_bytes() == CONTENT


WAITING = """
import sys
from pathlib import Path
from histo_assets.core.download.http import RemoteFile, fetch_file
from histo_assets.interrupts import ended_by_signals
with ended_by_signals():
    print("begun", flush=True)
    fetch_file(RemoteFile(sys.argv[1], "a.svs"), Path(sys.argv[2]))
"""


def test_who_waits_for_another_transfer_ends_on_a_signal_and_a_killed_one_keeps_nobody_waiting(tmp_path: Path) -> None:
    def begun(address: str) -> subprocess.Popen[str]:
        arguments = [sys.executable, "-c", WAITING, f"{address}/a.svs", str(tmp_path / "a.svs")]
        process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stdout is not None and process.stdout.readline() == "begun\n"
        return process

    with serving({"/a.svs": CONTENT}, stalling(60)) as server:
        holding = begun(server.address)
        until = time.monotonic() + 30
        while not server.asked and time.monotonic() < until:
            time.sleep(0.01)
        (lock,) = (tmp_path / "cache" / "locks").iterdir()
        file = lock.stat().st_ino
        for number in (signal.SIGINT, signal.SIGTERM):
            waiting = begun(server.address)
            time.sleep(1)
            assert waiting.poll() is None
            waiting.send_signal(number)
            assert waiting.wait(5) == 128 + number
            waiting.communicate()
        assert len(server.asked) == 1
        holding.kill()
        holding.communicate()
        assert fetch(server.address, tmp_path).path.read_bytes() == CONTENT
    assert lock.stat().st_ino == file
