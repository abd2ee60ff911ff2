"""The Dagster UI on a finished study, in a real browser."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from histo_assets_tests.conftest import FinishedStudy

pytestmark = [pytest.mark.study, pytest.mark.browser]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def address(tiny: FinishedStudy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a webserver on the tiny study."""
    port = free_port()
    log = (tmp_path_factory.mktemp("ui") / "webserver.log").open("wb")
    binary = str(Path(sys.executable).parent / "dagster-webserver")
    command = [binary, "-h", "127.0.0.1", "-p", str(port), "-m", "histo_assets.definitions"]
    server = subprocess.Popen(
        command, env=tiny.environment, cwd=tiny.folder, stdout=log, stderr=log, start_new_session=True
    )
    try:
        for _ in range(120):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/server_info", timeout=2)
                break
            except OSError:
                assert server.poll() is None, Path(log.name).read_text()
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(20)
        log.close()


@pytest.fixture(scope="module")
def page(address: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium on this machine")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"],
        )
        opened = browser.new_page(viewport={"width": 1500, "height": 1000})
        opened.set_default_timeout(60_000)
        yield opened
        browser.close()


def screenshot(page: Any, name: str) -> None:
    """Keep a picture of the page where HISTO_SCREENSHOTS names a folder."""
    folder = os.environ.get("HISTO_SCREENSHOTS")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=str(Path(folder) / f"{name}.png"))


def test_the_lineage_shows_every_room(page: Any, address: str) -> None:
    page.goto(f"{address}/asset-groups")
    for room in ("cohort", "slides", "tiles", "model", "embeddings", "integration", "report"):
        page.get_by_text(room, exact=True).first.wait_for()
    screenshot(page, "lineage")


def test_an_asset_page_shows_description_figures_and_a_picture(page: Any, address: str) -> None:
    page.goto(f"{address}/assets/tiny/tiles?view=overview")
    page.get_by_text("Balanced, quality-filtered JPEG tiles").first.wait_for()
    screenshot(page, "tiles_overview")
    page.goto(f"{address}/assets/tiny/tiles?view=partitions&partition=liver")
    page.get_by_text("preview", exact=True).first.wait_for()
    page.get_by_text("[Show Markdown]").first.click()
    page.locator("img[src^='data:image/']").first.wait_for()
    screenshot(page, "tiles_preview")


def test_checks_of_an_asset_are_shown_with_their_verdict(page: Any, address: str) -> None:
    page.goto(f"{address}/assets/tiny/donor_split?view=checks")
    page.get_by_text("no_donor_on_two_sides").first.wait_for()
    screenshot(page, "checks")


def test_jobs_schedule_and_sensor_are_listed(page: Any, address: str) -> None:
    page.goto(f"{address}/jobs")
    page.get_by_text("tiny_tile_tissues").first.wait_for()
    page.get_by_text("tiny_whole_study").first.wait_for()
    screenshot(page, "jobs")
    page.goto(f"{address}/automation")
    page.get_by_text("tiny_nightly_tissues").first.wait_for()
    page.get_by_text("tiny_incoming_slides").first.wait_for()
    screenshot(page, "automation")
