"""A finished study that is carried to another folder, and one whose pointers are lost."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from histo_assets.core.slides.inspection import inspect_slides, thumbnails
from histo_assets.core.tiling.tile_set import TileReader, TilingError
from histo_assets.storage.digests import content_digest
from histo_assets.storage.layout import POINTER, Artefact, StudyStorage
from histo_assets.storage.prune import stored_artefacts
from histo_assets.studies.study import load_study
from histo_assets_tests.conftest import FinishedStudy
from histo_assets_tests.integration.stored_text import files_that_name

pytestmark = pytest.mark.study

INCOMING = ("incoming_slide", "incoming_tiles", "incoming_embedding", "incoming_prediction")


@pytest.fixture(scope="module")
def predicted(tiny: FinishedStudy) -> FinishedStudy:
    """The finished study, and a new slide that went through it."""
    incoming = Path(tiny.study.resolve(tiny.study.incoming.folder))
    incoming.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(tiny.slides / tiny.load("raw_slides", "liver")["path"].iloc[0], incoming / "mover.svs")
    tiny.instance.add_dynamic_partitions(f"incoming_{tiny.study.name}", ["mover"])
    assert tiny.driver().run(INCOMING, "mover").success
    return tiny


@pytest.fixture
def moved(predicted: FinishedStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FinishedStudy:
    """A copy of results and cohort in another folder, and the study that finds its cohort there."""
    for name in ("data", "cohorts"):
        shutil.copytree(predicted.folder / name, tmp_path / "carried" / name)
    monkeypatch.setenv("HISTO_COHORTS", str(tmp_path / "carried" / "cohorts"))
    return replace(predicted, study=load_study(predicted.study.name), folder=tmp_path / "carried")


def storage(made: FinishedStudy) -> StudyStorage:
    return StudyStorage(made.folder / "data" / made.study.name)


def test_no_stored_file_says_where_storage_or_cohort_lie(predicted: FinishedStudy) -> None:
    assert files_that_name(predicted.folder / "data", [str(predicted.folder)]) == []


def test_everything_loads_from_a_results_folder_that_was_carried_elsewhere(
    predicted: FinishedStudy, moved: FinishedStudy
) -> None:
    artefacts = stored_artefacts(storage(moved))
    assert {artefact.asset for artefact in artefacts} >= {"study_report", "incoming_prediction", "trained_model"}
    for artefact in artefacts:
        here, there = (made.load(artefact.asset, artefact.partition) for made in (moved, predicted))
        assert content_digest(here) == content_digest(there), artefact
        assert content_digest(here) == storage(moved).require(artefact).data_version, artefact


def test_tiles_are_read_from_the_shards_that_were_carried_along(moved: FinishedStudy) -> None:
    tiles, rows = moved.load("tiles", "liver"), moved.load("training_set")
    assert TileReader([tiles]).read(rows.filter(rows["tissue"] == "liver").head(50))
    assert TileReader([tiles]).read(tiles.index)
    assert TileReader([moved.load("incoming_tiles", "mover")]).read(moved.load("incoming_tiles", "mover").index)
    # The original is still there: a reader that went to it would not notice that the copy loses a shard.
    lost = moved.folder / "data" / "tiny" / "shards" / "tiles" / "liver" / tiles.index["shard"][0]
    lost.unlink()
    with pytest.raises(TilingError, match=f"shard {lost} is missing"):
        TileReader([moved.load("tiles", "liver")]).read(tiles.index)


def test_slides_are_opened_in_the_folder_that_was_carried_along(moved: FinishedStudy) -> None:
    table, folder = moved.load("raw_slides", "liver"), str(moved.slides)
    assert len(thumbnails(table, folder, moved.study.slides, 60, 3)) == 3
    for path in moved.slides.rglob("*.svs"):
        path.unlink()
    assert thumbnails(table, folder, moved.study.slides, 60, 3) == {}


def test_the_same_cohort_in_another_folder_gives_the_same_version_of_its_slides(
    predicted: FinishedStudy, moved: FinishedStudy
) -> None:
    selected = predicted.load("selected_slides", "liver")
    siblings = [name for names in selected["siblings"] for name in names.split(";") if name]
    known = [*selected["slide"], *siblings]
    again = inspect_slides(selected, str(moved.slides), moved.study.slides, known)
    assert content_digest(again) == storage(predicted).require(Artefact("raw_slides", "liver")).data_version


def histo_assets(made: FinishedStudy, *arguments: str) -> str:
    environment = made.environment | {"DAGSTER_HOME": str(made.folder / "home"), "COLUMNS": "400"}
    command = [sys.executable, "-m", "histo_assets", *arguments]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def everything(folder: Path) -> dict[str, Any]:
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in folder.rglob("*") if path.is_file()}


def test_two_lost_pointers_cost_nothing_when_everything_old_is_pruned(moved: FinishedStudy) -> None:
    liver, training = (
        storage(moved).folder(a) / POINTER for a in (Artefact("tiles", "liver"), Artefact("training_set"))
    )
    histo_assets(moved, "prune", "--days", "0", "--yes")  # what other tests left superseded
    os.unlink(liver.path)
    Path(training.path).write_text("{torn")
    before = everything(moved.folder / "data")
    printed = histo_assets(moved, "prune", "--days", "0", "--yes")
    assert everything(moved.folder / "data") == before
    orphans, _, rest = printed.partition("histo-assets prune --orphans --yes` removes them")
    assert "histo-assets materialize` makes the pointer again" in rest
    assert "tiles [liver]: its pointer is missing" in orphans
    assert re.search(r"training_set/all/\S+: its pointer cannot be read", orphans)
    histo_assets(moved, "prune", "--days", "0", "--orphans", "--yes")
    left = everything(moved.folder / "data")
    assert not any(name.startswith(("tiny/tiles/liver/", "tiny/shards/tiles/liver/")) for name in left)
    assert any(name.startswith("tiny/shards/tiles/adipose_subcutaneous/") for name in left)


def test_a_pointer_of_an_older_backup_costs_neither_newer_versions_nor_their_shards(moved: FinishedStudy) -> None:
    histo_assets(moved, "prune", "--days", "0", "--yes")  # what other tests left superseded
    tiles = Artefact("tiles", "liver")
    folder = Path(storage(moved).folder(tiles).path)
    current = storage(moved).require(tiles)
    old = "20200101T000000000000Z-00000000"
    shutil.copytree(folder / current.version, folder / old)
    index = folder / old / "files" / "index.parquet"
    moved.load("tiles", "liver").index.head(0).write_parquet(index)
    restored = current.model_copy(update={"version": old, "superseded": {}})
    restored.files["files/index.parquet"] = index.stat().st_size
    (folder / POINTER).write_text(restored.model_dump_json())
    (Path(storage(moved).folder(Artefact("training_set")).path) / POINTER).unlink()
    before = everything(moved.folder / "data")
    printed = histo_assets(moved, "prune", "--days", "0", "--yes")
    assert "newer than the version that its pointer names" in printed
    assert everything(moved.folder / "data") == before
