"""Results of version 0.1.0 are adopted: nothing of them is made again, and a change still makes stale."""

from __future__ import annotations

import json
import os
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anndata
import dagster as dg
import numpy as np
import pytest

from histo_assets.definitions import build_definitions
from histo_assets.defs.whole_study import StudyDriver
from histo_assets.demo.cohort import write_cohort
from histo_assets.storage.io_managers import StorageResource
from histo_assets.studies.study import Study, load_study

DATA = Path(__file__).parents[1] / "stored"
LONG_AGO = 1_700_000_000
NEW = ("paired_samples",)
"""Assets that have come since; what is made of them was made of their parents then."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the study's file, its cohort (older than the results) and the results."""
    folder = tmp_path_factory.mktemp("version_0_1_0")
    shutil.copy(DATA / "results-0.1.0.yaml", folder / "stored.yaml")
    synthetic = load_study("tiny").synthetic
    assert synthetic is not None
    write_cohort(synthetic, folder / "cohort")
    for path in (folder / "cohort").rglob("*"):
        os.utime(path, (LONG_AGO, LONG_AGO))
    with tarfile.open(DATA / "results-0.1.0.tar.xz") as archive:
        archive.extractall(folder / "results", filter="data")
    return folder


@pytest.fixture
def study(folder: Path) -> Study:
    return load_study(folder / "stored.yaml")


@pytest.fixture
def driver(folder: Path, study: Study, tmp_path: Path) -> Iterator[StudyDriver]:
    """Yield a driver over a copy of the results, in an instance that knows nothing of them."""
    shutil.copytree(folder / "results", tmp_path / "results")
    with dg.DagsterInstance.ephemeral(tempdir=str(tmp_path)) as instance:
        yield StudyDriver(build_definitions(study, str(tmp_path / "results")), study, instance)


def versions(results: Path) -> dict[str, str]:
    pointers = sorted(results.glob("*/*/*/current.json"))
    return {str(path.parent.relative_to(results)): json.loads(path.read_text())["version"] for path in pointers}


def test_nothing_is_made_again(driver: StudyDriver, tmp_path: Path) -> None:
    before = versions(tmp_path / "results")
    assert len(before) == 30
    assert [(work.assets, work.partition) for work in driver.plan()] == [(NEW, None)]
    outcome = driver.bring_up_to_date(lambda line: None)
    assert outcome.failed == []
    after = versions(tmp_path / "results")
    assert {name: version for name, version in after.items() if name in before} == before
    assert {name for name in after if name not in before} == {f"stored/{name}/all" for name in NEW}
    assert driver.plan() == []
    assert all(status.state == "fresh" for status in driver.staleness.statuses())
    assert all(status.pointer and status.pointer.settings is not None for status in driver.staleness.statuses())


def test_dagster_is_told_of_all_of_it(driver: StudyDriver, tmp_path: Path) -> None:
    driver.bring_up_to_date(lambda line: None)
    known = driver.instance.get_materialized_partitions(dg.AssetKey(["stored", "tiles"]))
    assert known == {"brain_cortex", "liver"}
    event = driver.instance.get_latest_materialization_event(dg.AssetKey(["stored", "study_report"]))
    report = json.loads((tmp_path / "results" / "stored" / "study_report" / "all" / "current.json").read_text())
    assert event is not None and event.asset_materialization is not None
    assert (event.asset_materialization.tags or {})["dagster/data_version"] == report["data_version"]


def test_its_tables_tiles_and_matrices_are_read(driver: StudyDriver, tmp_path: Path) -> None:
    stored = tmp_path / "results" / "stored"
    resource = StorageResource(root=str(stored))
    tiles: Any = resource.load("tiles", "liver")
    packed: dict[str, bytes] = {}
    for shard in (stored / "shards" / "tiles" / "liver").glob("*.tar"):
        with tarfile.open(shard) as tar:
            packed |= {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    jpegs = dict(zip(tiles.index["tile"], tiles.jpeg_bytes(tiles.index), strict=True))
    assert jpegs == {name: packed[f"{name}.jpg"] for name in jpegs} and set(tiles.index["slide"]) == set(tiles.previews)
    [matrix] = stored.glob("expression_matrix/all/*/matrix.h5ad")
    assert np.array_equal(resource.load("expression_matrix").X, anndata.read_h5ad(matrix).X)
    assert set(resource.load("raw_slides", "liver")["tissue"]) == {"liver"}
    assert resource.load("gene_regressors", "ridge").figures["gene"].is_unique


def test_a_lost_shard_of_it_is_noticed_once_it_is_adopted(driver: StudyDriver, tmp_path: Path) -> None:
    driver.bring_up_to_date(lambda line: None)
    shard = next((tmp_path / "results" / "stored" / "shards" / "tiles" / "liver").glob("*.tar"))
    shard.unlink()
    assert list(driver.due(["tiles"], "liver")) == ["tiles"]


def test_a_changed_setting_makes_stale_what_reads_it(study: Study, folder: Path, tmp_path: Path) -> None:
    edited = study.model_copy(update={"tiling": study.tiling.model_copy(update={"tile_px": 72})})
    edited._base = study._base
    shutil.copytree(folder / "results", tmp_path / "results")
    with dg.DagsterInstance.ephemeral(tempdir=str(tmp_path)) as instance:
        driver = StudyDriver(build_definitions(edited, str(tmp_path / "results")), edited, instance)
        due = {asset for work in driver.plan() for asset in work.assets}
        assert due == {*NEW, "tiles", "study_report"}  # that version's page was made of the whole study
        states = {str(status.artefact): status.state for status in driver.staleness.statuses()}
    assert states["training_set"] == states["study_report"] == "stale"
    assert states["raw_slides [liver]"] == states["expression_projection"] == "fresh"


def test_a_slide_that_changed_since_makes_its_tissue_stale(driver: StudyDriver, study: Study, folder: Path) -> None:
    selected = driver.staleness.storage  # the results are a copy, the cohort is shared: put it back
    table = StorageResource(root=str(selected.root)).load("raw_slides", "liver")
    slide = folder / "cohort" / "slides" / Path(table["path"].iloc[0]).name
    os.utime(slide)
    try:
        assert driver.due(["raw_slides"], "liver")
        assert not driver.due(["raw_slides"], "brain_cortex")
    finally:
        os.utime(slide, (LONG_AGO, LONG_AGO))
