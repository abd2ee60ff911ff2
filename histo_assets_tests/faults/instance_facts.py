"""What a Dagster instance holds, as JSON on standard output: `python -m ...instance_facts STUDY`.

Run in a process of its own, in the environment that names the instance, so that the suite itself
never has one open.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import dagster as dg
from dagster._core.storage.dagster_run import IN_PROGRESS_RUN_STATUSES


def facts(instance: dg.DagsterInstance, study: str) -> dict[str, Any]:
    """Return unfinished runs, claimed pool slots, the number of runs, and the partitions that are materialised."""
    events = instance.event_log_storage
    records = instance.get_run_records()
    unfinished = [r for r in records if r.dagster_run.status in IN_PROGRESS_RUN_STATUSES]
    pools = {key: events.get_concurrency_info(key) for key in events.get_concurrency_keys()}
    assets = [key for key in instance.all_asset_keys() if key.path[0] == study]
    return {
        "runs": len(records),
        "latest_run": max((r.create_timestamp.timestamp() for r in records), default=0.0),
        "unfinished": {r.dagster_run.run_id: r.dagster_run.status.value for r in unfinished},
        "slots": {key: pool.active_slot_count for key, pool in pools.items() if pool.active_slot_count},
        "pending": {key: pool.pending_step_count for key, pool in pools.items() if pool.pending_step_count},
        "materialized": {
            key.path[-1]: sorted(instance.get_materialized_partitions(key))
            for key in assets
            if instance.get_latest_materialization_event(key) is not None
        },
        "data_versions": {key.path[-1]: _data_version(instance, key) for key in assets},
    }


def _data_version(instance: dg.DagsterInstance, key: dg.AssetKey) -> str | None:
    event = instance.get_latest_materialization_event(key)
    tags = event.asset_materialization.tags if event and event.asset_materialization else None
    return (tags or {}).get("dagster/data_version")


if __name__ == "__main__":
    with dg.DagsterInstance.from_config(os.environ["DAGSTER_HOME"]) as opened:
        json.dump(facts(opened, sys.argv[1]), sys.stdout)
