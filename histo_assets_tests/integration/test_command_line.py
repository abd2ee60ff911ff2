"""The command line, as a person uses it, on a finished tiny study."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from histo_assets.core.figures.slides import jpeg_size_figure
from histo_assets.core.figures.style import png
from histo_assets.studies.study import load_study
from histo_assets_tests.conftest import FinishedStudy

pytestmark = pytest.mark.study


def histo_assets(finished: FinishedStudy, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "histo_assets", *arguments]
    return subprocess.run(command, env=finished.environment, cwd=finished.folder, capture_output=True, text=True)


def one_sentence(ran: subprocess.CompletedProcess[str]) -> str:
    """Return what a failed command said: one line, no traceback."""
    lines = ran.stderr.strip().splitlines()
    assert ran.returncode != 0
    assert len(lines) == 1 and "Traceback" not in ran.stderr, ran.stderr
    return lines[0]


def test_plan_counts_what_the_study_holds(tiny: FinishedStudy) -> None:
    ran = histo_assets(tiny, "plan", "--json")
    assert ran.returncode == 0, ran.stderr
    plan = json.loads(ran.stdout)
    assert plan["tissues"] == 4
    assert plan["pairs"] == len(tiny.load("slide_pairs"))
    assert plan["pair_donors"] == tiny.load("slide_pairs")["donor"].nunique()
    assert plan["slides"] == sum(len(tiny.load("selected_slides", t)) for t in tiny.study.selection.tissues)
    assert plan["tiles"] == plan["slides"] * tiny.study.tiling.tiles_per_slide
    assert plan["missing"] == []
    assert plan["due"] == []


def test_a_finished_study_has_nothing_due(tiny: FinishedStudy) -> None:
    ran = histo_assets(tiny, "materialize", "--dry-run")
    assert ran.returncode == 0, ran.stderr
    assert "up to date" in ran.stdout


def test_one_asset_of_one_partition_can_be_made_again(tiny: FinishedStudy) -> None:
    ran = histo_assets(tiny, "materialize", "--select", "selected_slides", "--partition", "liver", "--force")
    assert ran.returncode == 0, ran.stderr
    assert "selected_slides [liver] (asked for)" in ran.stdout


def test_an_unknown_asset_is_answered_with_the_known_ones(tiny: FinishedStudy) -> None:
    assert "tile_embeddings" in one_sentence(histo_assets(tiny, "materialize", "--select", "tilez"))


def test_an_unknown_partition_is_answered_with_the_known_ones(tiny: FinishedStudy) -> None:
    assert "brain_cortex" in one_sentence(histo_assets(tiny, "materialize", "--partition", "brain"))


def test_an_unknown_study_is_one_sentence(tiny: FinishedStudy) -> None:
    assert "gtex_post" in one_sentence(histo_assets(tiny, "plan", "--study", "gtx"))


def test_thresholds_are_proposed_from_what_was_looked_at_and_written_as_a_study(
    tiny: FinishedStudy, tmp_path: Path
) -> None:
    ran = histo_assets(tiny, "calibrate", "--json", "--picture", str(tmp_path / "sizes.png"))
    assert ran.returncode == 0, ran.stderr
    proposed = {row["tissue"]: row for row in json.loads(ran.stdout)}
    assert sorted(proposed) == sorted(tiny.study.selection.tissues)
    decisions = tiny.load("tiles", "liver").decisions
    assert proposed["liver"]["tiles"] == len(decisions) >= len(tiny.load("tiles", "liver").index)
    sizes = [tiny.load("tiles", tissue).decisions.to_pandas().assign(tissue=tissue) for tissue in proposed]
    thresholds = {tissue: row["threshold"] for tissue, row in proposed.items() if row["threshold"] is not None}
    assert (tmp_path / "sizes.png").read_bytes() == png(jpeg_size_figure(pd.concat(sizes), thresholds))
    written = tmp_path / "calibrated.yaml"
    ran = histo_assets(tiny, "calibrate", "--write", str(written))
    assert ran.returncode == 0, ran.stderr
    threshold = load_study(written).tiling.quality.for_tissue("liver").min_jpeg_bytes_per_pixel
    assert threshold == proposed["liver"]["threshold"]
    assert "exists" in one_sentence(histo_assets(tiny, "calibrate", "--write", str(written)))


def test_a_new_slide_is_predicted_with_a_page(tiny: FinishedStudy, tmp_path: Path) -> None:
    new = tmp_path / "new slide (1).svs"
    shutil.copyfile(tiny.slides / tiny.load("raw_slides", "liver")["path"].iloc[0], new)
    ran = histo_assets(tiny, "predict", str(new))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    files = tiny.load("incoming_prediction", "new_slide_1").files
    summary = json.loads(files["summary.json"])
    assert summary["tissue"] in tiny.study.selection.tissues
    assert sum(summary["probabilities"].values()) == pytest.approx(1, abs=1e-3)
    assert b"data:image/" in files["page.html"]
    assert {"page.html", "summary.json", "genes.csv"} <= set(files)


def test_a_page_that_calls_itself_a_slide_is_refused_in_one_sentence(tiny: FinishedStudy, tmp_path: Path) -> None:
    fake = tmp_path / "download.svs"
    fake.write_text("<!DOCTYPE html><html><body>Please log in</body></html>")
    assert "HTML" in one_sentence(histo_assets(tiny, "predict", str(fake)))


def test_a_truncated_slide_is_refused_in_one_sentence(tiny: FinishedStudy, tmp_path: Path) -> None:
    whole = (tiny.slides / tiny.load("raw_slides", "liver")["path"].iloc[0]).read_bytes()
    cut = tmp_path / "cut.svs"
    cut.write_bytes(whole[: int(len(whole) * 0.6)])
    assert "truncated" in one_sentence(histo_assets(tiny, "predict", str(cut)))


def test_prune_lists_before_it_removes(tiny: FinishedStudy) -> None:
    unnamed = tiny.folder / "data" / "tiny" / "shards" / "tiles" / "liver" / "unnamed-1.tar"
    unnamed.write_bytes(b"of a run that was killed")
    ran = histo_assets(tiny, "prune", "--days", "0")
    assert ran.returncode == 0, ran.stderr
    listed = [line for line in ran.stdout.splitlines() if line.startswith("would remove ")]
    assert any(f"{unnamed}: " in line for line in listed)
    assert re.findall(r"^(\d+) to remove; add --yes$", ran.stdout, re.MULTILINE) == [str(len(listed))]
    assert unnamed.exists()
    unnamed.unlink()
    assert histo_assets(tiny, "plan", "--json").returncode == 0


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda text: text.replace('"Subject ID"', '"Donor"'), "Subject ID"),
        (lambda text: text.replace('"GTEX-', '"../GTEX-', 1), "../GTEX-"),
    ],
)
def test_a_bad_manifest_is_one_sentence(tiny: FinishedStudy, tmp_path: Path, change: object, named: str) -> None:
    manifest = tmp_path / "portal.csv"
    manifest.write_text(change((tiny.cohort / "portal.csv").read_text()))  # type: ignore[operator]
    study = tmp_path / "lab.yaml"
    cohort = f"{{manifest: portal.csv, rna_samples: {tiny.cohort}/rna_samples.txt}}"
    study.write_text(f"extends: tiny\nname: lab\nsynthetic: null\ncohort: {cohort}\n")
    sentence = one_sentence(histo_assets(tiny, "plan", "--study", str(study)))
    assert named in sentence and "portal.csv" in sentence
