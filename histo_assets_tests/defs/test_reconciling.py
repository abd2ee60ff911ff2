"""Dagster's history follows the storage, and fresh work is used again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from histo_assets.defs.reconciling import reconcile
from histo_assets.defs.reuse import FORCE
from histo_assets.defs.whole_study import StudyDriver
from histo_assets.storage.layout import Artefact
from histo_assets_tests.conftest import FinishedStudy

pytestmark = pytest.mark.study
READ_CLUSTERS = {"expression_clusters", "prediction_comparison"}
"""The assets that read `prediction.clusters`."""


@pytest.fixture
def empty_instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral(tempdir=str(tmp_path / "dagster")) as instance:
        yield instance


@pytest.fixture
def copied(tiny: FinishedStudy, tmp_path: Path, empty_instance: dg.DagsterInstance) -> FinishedStudy:
    """Return the finished study with a copy of its storage, and an instance that knows nothing of it."""
    shutil.copytree(tiny.folder / "data", tmp_path / "study" / "data")
    return FinishedStudy(tiny.study, tmp_path / "study", empty_instance, tiny.outcome, [])


def not_fresh(driver: StudyDriver, instance: dg.DagsterInstance) -> dict[str, Any]:
    """Return what Dagster itself does not take for fresh, with its reasons; the oracle is Dagster's own resolver."""
    from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
    from dagster._core.loader import LoadingContextForTest

    resolver = CachingStaleStatusResolver(instance, driver.graph, loading_context=LoadingContextForTest(instance))
    causes = {}
    for stage in driver.stages():
        for name in stage.assets:
            for key in stage.partitions:
                asset = driver.assets.key(name)
                if resolver.get_status(asset, key) != StaleStatus.FRESH:
                    causes[f"{name} {key}"] = [cause.reason for cause in resolver.get_stale_causes(asset, key)]
    return causes


def test_an_instance_that_knows_nothing_is_told_of_everything_and_takes_it_for_fresh(copied: FinishedStudy) -> None:
    driver = copied.driver()
    done = reconcile(driver.assets, driver.staleness.storage, copied.instance)
    assert len(done.unknown) == len(driver.staleness.needs)
    assert done.lost == []
    assert not_fresh(driver, copied.instance) == {}


def test_what_is_stale_is_told_as_what_it_was_made_by_so_that_dagster_calls_it_stale_too(
    copied: FinishedStudy,
) -> None:
    prediction = copied.study.prediction.model_copy(update={"clusters": 3})
    edited = copied.study.model_copy(update={"prediction": prediction})
    driver = FinishedStudy(edited, copied.folder, copied.instance, copied.outcome, []).driver()
    reconcile(driver.assets, driver.staleness.storage, copied.instance)
    assert {name.split()[0] for name in not_fresh(driver, copied.instance)} == READ_CLUSTERS


def test_the_second_time_there_is_nothing_to_tell(copied: FinishedStudy) -> None:
    driver = copied.driver()
    reconcile(driver.assets, driver.staleness.storage, copied.instance)
    assert reconcile(driver.assets, driver.staleness.storage, copied.instance).unknown == []
    for source in driver.staleness.sources.names:
        assert len(copied.instance.fetch_observations(driver.assets.key(source), limit=5).records) == 1


def test_what_another_instance_made_since_is_told_again_with_its_verdicts(copied: FinishedStudy) -> None:
    driver = copied.driver()
    storage = driver.staleness.storage
    reconcile(driver.assets, storage, copied.instance)
    liver = Artefact("tiles", "liver")
    with dg.DagsterInstance.ephemeral() as another:
        elsewhere = FinishedStudy(copied.study, copied.folder, another, copied.outcome, [])
        run_partition(elsewhere, {FORCE: "true"})
    assert reconcile(driver.assets, storage, copied.instance).unknown == [liver]
    assert reconcile(driver.assets, storage, copied.instance).unknown == []


def test_a_dry_run_tells_nothing(copied: FinishedStudy) -> None:
    driver = copied.driver()
    done = reconcile(driver.assets, driver.staleness.storage, copied.instance, dry_run=True)
    assert done.unknown
    assert copied.instance.get_latest_materialization_event(driver.assets.key("slide_manifest")) is None


def test_the_verdicts_of_checks_are_told_too(copied: FinishedStudy) -> None:
    driver = copied.driver()
    reconcile(driver.assets, driver.staleness.storage, copied.instance)
    records = copied.instance.fetch_materializations(driver.assets.key("tiles"), limit=10).records
    assert {record.partition_key for record in records} == set(copied.study.selection.tissues)
    pointer = driver.staleness.storage.require(Artefact("tiles", "liver"))
    assert set(pointer.checks) == {"tissue_has_tiles", "tiles_are_balanced", "no_image_under_two_donors"}
    assert pointer.checks["tissue_has_tiles"].blocking
    latest = copied.instance.event_log_storage.get_latest_asset_check_execution_by_key(
        [dg.AssetCheckKey(driver.assets.key("tiles"), "tissue_has_tiles")]
    )
    [record] = latest.values()
    assert record.event is not None and record.event.asset_check_evaluation is not None
    assert record.event.asset_check_evaluation.passed


def test_a_check_that_failed_is_told_as_failed(copied: FinishedStudy) -> None:
    driver = copied.driver()
    storage, liver = driver.staleness.storage, Artefact("tiles", "liver")
    pointer = storage.require(liver)
    failed = {name: verdict.model_copy(update={"passed": False}) for name, verdict in pointer.checks.items()}
    storage.rewrite(liver, pointer.model_copy(update={"checks": failed}))
    reconcile(driver.assets, storage, copied.instance)
    key = dg.AssetCheckKey(driver.assets.key("tiles"), "tissue_has_tiles")
    passed = {}
    for record in copied.instance.event_log_storage.get_asset_check_execution_history(key, limit=20):
        assert record.event is not None and record.event.asset_check_evaluation is not None
        passed[record.event.asset_check_evaluation.partition] = record.event.asset_check_evaluation.passed
    assert passed == {tissue: tissue != "liver" for tissue in copied.study.selection.tissues}


def test_the_partitions_of_new_slides_come_back(copied: FinishedStudy) -> None:
    data = copied.folder / "data" / "tiny"
    shutil.copytree(data / "raw_slides" / "liver", data / "incoming_slide" / "new_slide")
    driver = copied.driver()
    reconcile(driver.assets, driver.staleness.storage, copied.instance)
    assert copied.instance.get_dynamic_partitions("incoming_tiny") == ["new_slide"]


def test_what_the_storage_lost_is_reported_and_due(copied: FinishedStudy) -> None:
    driver = copied.driver()
    reconcile(driver.assets, driver.staleness.storage, copied.instance)
    shutil.rmtree(copied.folder / "data" / "tiny" / "tiles" / "liver")
    lost = Artefact("tiles", "liver")
    assert reconcile(driver.assets, driver.staleness.storage, copied.instance).lost == [lost]
    assert driver.due(["tiles"], "liver") == {"tiles": "missing"}


def test_a_lost_instance_costs_no_work(copied: FinishedStudy) -> None:
    outcome = copied.driver().bring_up_to_date(lambda line: None)
    assert (outcome.done, outcome.failed, outcome.blocked) == ([], [], [])
    assert copied.instance.get_runs_count() == 0


def run_partition(copied: FinishedStudy, tags: dict[str, str]) -> tuple[dg.ExecuteInProcessResult, str]:
    """Run the tiles of one tissue as a backfill does; return what came of it and the version that counts then."""
    driver = copied.driver()
    ran = driver.job.execute_in_process(
        asset_selection=[driver.assets.key("tiles")], partition_key="liver", instance=copied.instance, tags=tags
    )
    pointer = copied.folder / "data" / "tiny" / "tiles" / "liver" / "current.json"
    return ran, str(json.loads(pointer.read_text())["version"])


def test_a_run_of_a_fresh_partition_uses_what_is_there_and_says_so(copied: FinishedStudy) -> None:
    before = copied.driver().staleness.storage.require(Artefact("tiles", "liver"))
    ran, version = run_partition(copied, {})
    assert ran.success
    assert version == before.version
    [event] = ran.get_asset_materialization_events()
    sentence = str(event.materialization.metadata["re_used"].value)
    assert sentence.startswith("tiles [liver] is fresh: made ")
    assert (event.materialization.tags or {})["dagster/data_version"] == before.data_version
    assert {evaluation.check_name for evaluation in ran.get_asset_check_evaluations()} == set(before.checks)


def test_a_check_that_has_come_since_was_not_judged(copied: FinishedStudy) -> None:
    storage, liver = copied.driver().staleness.storage, Artefact("tiles", "liver")
    pointer = storage.require(liver)
    known = {name: verdict for name, verdict in pointer.checks.items() if name != "tiles_are_balanced"}
    storage.rewrite(liver, pointer.model_copy(update={"checks": known}))
    ran, _ = run_partition(copied, {})
    new = next(e for e in ran.get_asset_check_evaluations() if e.check_name == "tiles_are_balanced")
    assert not new.passed and new.severity == dg.AssetCheckSeverity.WARN
    assert "not judged when this was made" in str(new.metadata["found"].value)


def test_a_warning_stands_when_its_partition_is_re_used(copied: FinishedStudy) -> None:
    storage, liver = copied.driver().staleness.storage, Artefact("tiles", "liver")
    pointer = storage.require(liver)
    warned = pointer.checks["tiles_are_balanced"].model_copy(update={"passed": False})
    storage.rewrite(liver, pointer.model_copy(update={"checks": pointer.checks | {"tiles_are_balanced": warned}}))
    ran, version = run_partition(copied, {})
    assert version == pointer.version
    passed = {evaluation.check_name: evaluation.passed for evaluation in ran.get_asset_check_evaluations()}
    assert passed == {"tissue_has_tiles": True, "tiles_are_balanced": False, "no_image_under_two_donors": True}


def test_a_run_that_is_forced_makes_it_again(copied: FinishedStudy) -> None:
    before = copied.driver().staleness.storage.require(Artefact("tiles", "liver"))
    ran, version = run_partition(copied, {FORCE: "true"})
    assert ran.success
    assert version != before.version
    now = copied.driver().staleness.storage.require(Artefact("tiles", "liver"))
    assert now.data_version == before.data_version


def test_what_artefacts_show_is_told_too_pictures_and_columns(tiny: FinishedStudy, copied: FinishedStudy) -> None:
    """A lost instance loses no picture: they are stored beside what they show."""
    driver = copied.driver()
    reconcile(driver.assets, driver.staleness.storage, copied.instance)
    key = driver.assets.key("slide_manifest")
    before, after = (i.get_latest_materialization_event(key) for i in (tiny.instance, copied.instance))
    assert before is not None and after is not None and before.asset_materialization and after.asset_materialization
    shown = dict(before.asset_materialization.metadata)
    assert {"preview", "dagster/column_schema", "slides"} <= set(shown)
    metadata = dict(after.asset_materialization.metadata)
    assert {name: metadata[name] for name in ("preview", "dagster/column_schema", "slides", "rows")} == {
        name: shown[name] for name in ("preview", "dagster/column_schema", "slides", "rows")
    }


def test_what_a_finished_partition_showed_is_shown_again_when_it_is_re_used(copied: FinishedStudy) -> None:
    run_partition(copied, {FORCE: "true"})
    ran, _ = run_partition(copied, {})
    [event] = ran.get_asset_materialization_events()
    assert "preview" in event.materialization.metadata
