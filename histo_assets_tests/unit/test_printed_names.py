"""Paths and names are printed as they are, whatever is in them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from histo_assets.cli.app import app
from histo_assets.cli.environment import console, say
from histo_assets.demo.svs import write_svs
from histo_assets_tests.unit.tissue_slides import tissue_picture

NAMES = ["run [x]", "[bold]", "[/]", "[/red] 7", ":smile:", "Prä 7 症例", "\\[x]", "[link=a]", "a" * 300]


@pytest.mark.parametrize("name", NAMES)
def test_a_line_holds_the_name_whole(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    say(f"Wrote {name}")
    console.print(f"Page: {name}")
    assert capsys.readouterr().out == f"Wrote {name}\nPage: {name}\n"


@pytest.mark.parametrize("name", NAMES[:-1])
def test_the_folder_of_tiles_is_printed_whole(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    out = f"out {name}".replace("/", ":")
    write_svs(tmp_path / "a.svs", tissue_picture())
    ran = CliRunner().invoke(app, ["tile", "a.svs", out, "--tile-px", "64", "--mpp", "0.5", "--tiles", "2"])
    assert ran.exit_code == 0, ran.output
    assert f"Tiles, index and pictures: {out}\n" in ran.output


def test_a_quarantined_slide_is_named_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a [x] :boom:.svs").write_bytes(b"no slide")
    ran = CliRunner().invoke(app, ["tile", "a [x] :boom:.svs", "out"])
    assert "quarantined: a [x] :boom:.svs is no TIFF file" in ran.output


def test_a_name_that_the_terminal_cannot_show_is_printed_by_its_bytes(capfd: pytest.CaptureFixture[str]) -> None:
    from histo_assets.cli.environment import print_any_name

    with pytest.MonkeyPatch.context() as patch, open(1, "w", encoding="ascii", closefd=False) as ascii_only:
        patch.setattr(sys, "stdout", ascii_only)
        print_any_name()
        print(os.fsdecode(b"Gr\xfcn"), "Prä", flush=True)
    assert capfd.readouterr().out == "Gr\\udcfcn Pr\\xe4\n"
