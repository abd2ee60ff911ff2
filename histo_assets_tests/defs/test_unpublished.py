"""What is used of Dagster without being published still exists and means what it meant (1.13)."""

from __future__ import annotations

import os
import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dagster as dg
import pytest

from histo_assets.defs import unpublished
from histo_assets_tests.defs.sleeping import KEY, definitions

PACKAGE = Path(unpublished.__file__).parents[1]
RUN, OTHER = "00000000-0000-4000-8000-00000000000a", "00000000-0000-4000-8000-00000000000b"


def started(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRun:
    job = definitions().resolve_implicit_global_asset_job_def()
    return instance.create_run_for_job(job, run_id=run_id, tags={"kept": "yes"}, status=dg.DagsterRunStatus.STARTED)


def claim(instance: dg.DagsterInstance, run_id: str) -> None:
    if not instance.event_log_storage.get_concurrency_keys():  # on PostgreSQL a second time is an error
        instance.event_log_storage.initialize_concurrency_limit_to_default("gpu")
    instance.event_log_storage.claim_concurrency_slot("gpu", run_id, "step")


def test_a_pool_knows_its_limit_who_holds_it_and_who_waits(instance: dg.DagsterInstance) -> None:
    claim(instance, RUN)
    claim(instance, OTHER)
    (pool,) = unpublished.pools(instance)
    assert pool == unpublished.Pool("gpu", 1, (RUN,), (OTHER,))
    assert pool.full
    assert unpublished.runs_in_pools(instance) == {RUN, OTHER}


def test_a_pool_that_no_step_has_used_has_room(instance: dg.DagsterInstance) -> None:
    (pool,) = unpublished.pools(instance, ["gpu"])
    assert (pool.holders, pool.waiting, pool.full) == ((), (), False)


def test_freed_slots_go_to_the_next_in_line(instance: dg.DagsterInstance) -> None:
    claim(instance, RUN)
    claim(instance, OTHER)
    unpublished.free_slots(instance, RUN)
    assert instance.event_log_storage.claim_concurrency_slot("gpu", OTHER, "step").is_claimed
    assert unpublished.pools(instance)[0].holders == (OTHER,)


@pytest.mark.parametrize("partition", ["liver", None])
def test_a_later_verdict_outside_of_runs_takes_the_place_of_an_earlier_one(
    instance: dg.DagsterInstance, partition: str | None
) -> None:
    check = dg.AssetCheckKey(KEY, "sound")
    for passed in (True, False):
        evaluation = dg.AssetCheckEvaluation(asset_key=KEY, check_name="sound", passed=passed, partition=partition)
        unpublished.tell_of_check(instance, evaluation)
    latest = instance.event_log_storage.get_latest_asset_check_execution_by_key([check])
    event = latest[check].event
    assert event is not None and event.asset_check_evaluation is not None
    assert not event.asset_check_evaluation.passed


def test_two_who_record_a_verdict_at_once_do_not_fail(instance: dg.DagsterInstance) -> None:
    evaluation = dg.AssetCheckEvaluation(asset_key=KEY, check_name="sound", passed=True, partition="liver")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: unpublished.tell_of_check(instance, evaluation), range(12)))


@pytest.mark.parametrize("canceled", [False, True])
def test_a_run_is_ended_with_a_sentence_and_without_its_slots(instance: dg.DagsterInstance, canceled: bool) -> None:
    run = started(instance, RUN)
    claim(instance, RUN)
    unpublished.end_run(instance, run, "the machine is gone", canceled=canceled)
    ended = instance.get_run_by_id(RUN)
    assert ended is not None and ended.is_finished
    assert ended.status == (dg.DagsterRunStatus.CANCELED if canceled else dg.DagsterRunStatus.FAILURE)
    assert any("the machine is gone" in str(entry.message) for entry in instance.all_logs(RUN))
    assert unpublished.pools(instance)[0].holders == ()


def test_a_tag_is_added_and_renewed_and_leaves_the_others(instance: dg.DagsterInstance) -> None:
    started(instance, RUN)
    unpublished.tag_run(instance, RUN, {"pulse": "1"})
    unpublished.tag_run(instance, RUN, {"pulse": "2"})
    run = instance.get_run_by_id(RUN)
    assert run is not None and run.tags == {"kept": "yes", "pulse": "2"}


def test_a_run_names_its_process_in_its_events(instance: dg.DagsterInstance) -> None:
    job = definitions().resolve_implicit_global_asset_job_def()
    ran = job.execute_in_process(instance=instance, asset_selection=[KEY])
    named = unpublished.process_of_run(instance, ran.run_id)
    assert named is not None and named[0] == os.getpid()
    assert abs(named[1] - time.time()) < 600


def test_sqlite_is_on_this_machine_and_postgresql_is_not_known_to_be(instance: dg.DagsterInstance, home: Path) -> None:
    assert unpublished.is_on_this_machine(instance) == ("postgres" not in (home / "dagster.yaml").read_text())


def test_an_interrupted_run_is_told_from_a_failed_one(sqlite_home: Path) -> None:
    @dg.asset
    def interrupted() -> None:
        raise KeyboardInterrupt

    @dg.asset
    def failed() -> None:
        raise ValueError("no")

    with dg.DagsterInstance.from_config(str(sqlite_home)) as instance:
        verdicts = [
            unpublished.was_interrupted(
                dg.Definitions([asset])
                .resolve_implicit_global_asset_job_def()
                .execute_in_process(instance=instance, raise_on_error=False)
            )
            for asset in (interrupted, failed)
        ]
    assert verdicts == [True, False]


def test_a_waiting_run_sleeps_between_its_looks() -> None:
    """Fails with a Dagster that has other names there, or that no longer needs the help."""
    from dagster._core.execution.plan.instance_concurrency_context import InstanceConcurrencyContext

    assert {"_pending_claims", "_pending_timeouts"} <= set(InstanceConcurrencyContext.__init__.__code__.co_names)
    unpublished.rest_while_waiting()
    waiting = InstanceConcurrencyContext.__new__(InstanceConcurrencyContext)
    waiting._pending_claims, waiting._pending_timeouts = {"step"}, {"step": time.time() + 60}  # type: ignore[assignment]
    assert waiting.interval_to_next_pending_claim_check() == 1.0


def test_the_rest_of_the_package_uses_nothing_that_is_not_published() -> None:
    private = re.compile(r"dagster\._|event_log_storage|report_run_(failed|canceled)|\.add_run_tags|\.all_logs")
    users = {path.name for path in PACKAGE.rglob("*.py") if private.search(path.read_text())}
    assert users <= {"unpublished.py"}
