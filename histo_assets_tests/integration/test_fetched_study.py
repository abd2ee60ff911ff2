"""A study whose slides are fetched, through Dagster: nothing turns stale by dropping a slide."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from histo_assets.core.cohort.ids import canonical_slide
from histo_assets.definitions import build_definitions
from histo_assets.defs.whole_study import StudyDriver
from histo_assets.storage.io_managers import StorageResource
from histo_assets.studies.plan import plan_study
from histo_assets.studies.study import Study, load_study
from histo_assets_tests.conftest import FinishedStudy
from histo_assets_tests.unit.lying_server import Server, serving

pytestmark = pytest.mark.study

TILED = ["slide_manifest", "slide_pairs", "selected_slides", "raw_slides", "tiles"]


def fetched_study(tiny: FinishedStudy, folder: Path, server: Server, **source: Any) -> Study:
    """Return the tiny study in `folder`, its slides published by `server` and by nobody else."""
    shutil.copytree(tiny.cohort, folder / "cohort", ignore=shutil.ignore_patterns("slides", "incoming"))
    content = {
        "extends": "tiny",
        "name": "fetched",
        "cohort": {"manifest": "cohort/portal.csv", "rna_samples": "cohort/sample_attributes.txt"},
        "slides": {"folder": "slides", "source": {"kind": "url", "url": server.address + "/{slide}", **source}},
    }
    (folder / "fetched.yaml").write_text(yaml.safe_dump(content))
    return load_study(folder / "fetched.yaml")


def published(tiny: FinishedStudy) -> dict[str, bytes]:
    """Return what a server publishes, by the manifest's names; some of the cohort's files bear their sibling's."""
    files = {path.stem: path.read_bytes() for path in tiny.slides.rglob("*.svs")}
    contents = {f"/{canonical_slide(name)}": content for name, content in files.items()}
    return contents | {f"/{name}": content for name, content in files.items()}


def test_slides_are_fetched_tiled_dropped_and_stay_fresh(
    tiny: FinishedStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HISTO_CACHE", str(tmp_path / "cache"))
    with serving(published(tiny)) as server:
        study = fetched_study(tiny, tmp_path, server, keep="none")
        plan = plan_study(study)
        assert plan.slides_to_fetch == plan.slides > 0
        assert not any("slides are not in" in sentence for sentence in plan.missing)
        with dg.DagsterInstance.ephemeral(tempdir=str(tmp_path / "dagster")) as instance:
            driver = StudyDriver(build_definitions(study, str(tmp_path / "storage")), study, instance)
            lines: list[str] = []
            outcome = driver.bring_up_to_date(lines.append, TILED)
            assert outcome.success, lines
            assert list((tmp_path / "slides").glob("*.svs")) == []
            asked = len(server.asked)
            assert asked == plan.slides
            driver.observe_sources()
            assert driver.plan(TILED) == []
            assert driver.bring_up_to_date(lines.append, ["raw_slides", "tiles"], force=True).success
            assert len(server.asked) == asked
    assert plan_study(study).slides_to_fetch == 0
    records = [json.loads(path.read_text()) for path in (tmp_path / "slides").glob(".*.fetched.json")]
    assert len(records) == plan.slides
    assert all(record["tiled"] for record in records)


def test_after_one_bad_minute_of_the_server_the_next_run_has_all_slides(
    tiny: FinishedStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HISTO_CACHE", str(tmp_path / "cache"))
    selected = tiny.load("selected_slides", "liver")["slide"]
    with serving(published(tiny)) as server:
        study = fetched_study(tiny, tmp_path, server, attempts=1)
        out_of_reach = {f"/{slide}": server.contents.pop(f"/{slide}") for slide in selected[:2]}
        with dg.DagsterInstance.ephemeral(tempdir=str(tmp_path / "dagster")) as instance:
            driver = StudyDriver(build_definitions(study, str(tmp_path / "storage")), study, instance)
            storage = StorageResource(root=str(tmp_path / "storage" / "fetched"))
            lines: list[str] = []
            assert driver.bring_up_to_date(lines.append, [*TILED, "donor_split", "training_set"]).success, lines
            slides = storage.load("raw_slides", "liver")
            assert set(slides.loc[slides["missing"].notna(), "slide"]) == set(selected[:2])
            assert slides["quarantined"].isna().all()
            assert set(storage.load("tiles", "liver").missing) == set(selected[:2])
            assert not passed(instance, "raw_slides", "no_slide_is_missing", "liver")
            assert passed(instance, "raw_slides", "every_slide_is_sound", "liver")
            assert not passed(instance, "training_set", "no_slide_is_left_out")
            event = instance.get_latest_materialization_event(dg.AssetKey(["fetched", "training_set"]))
            assert event is not None and event.asset_materialization is not None
            metadata = event.asset_materialization.metadata
            assert (metadata["slides_missing"].value, metadata["slides_quarantined"].value) == (2, 0)
            assert "answered 404" in str(metadata["left_out"].value)

            server.contents |= out_of_reach
            asked = len(server.asked)
            assert driver.bring_up_to_date(lines.append, [*TILED, "training_set"]).success, lines
            assert sorted(path for path, _ in server.asked[asked:]) == sorted(out_of_reach)
            assert storage.load("raw_slides", "liver")["missing"].isna().all()
            tiles = storage.load("tiles", "liver")
            assert set(selected) == set(tiles.index["slide"])
            assert tiles.left_out == {}
            assert set(selected) <= set(storage.load("training_set")["slide"])
            for asset, check in (("raw_slides", "no_slide_is_missing"), ("training_set", "no_slide_is_left_out")):
                assert passed(instance, asset, check, "liver" if asset == "raw_slides" else None)


def passed(instance: dg.DagsterInstance, asset: str, check: str, partition: str | None = None) -> bool:
    """Return the last verdict of a check."""
    key = dg.AssetCheckKey(dg.AssetKey(["fetched", asset]), check)
    records = instance.event_log_storage.get_asset_check_execution_history(key, limit=50)
    evaluations = [each for record in records if record.event and (each := record.event.asset_check_evaluation)]
    return next(bool(each.passed) for each in evaluations if partition in (None, each.partition))
