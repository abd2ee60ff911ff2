"""The instance file of the server, on a real PostgreSQL."""

from __future__ import annotations

from pathlib import Path

import dagster as dg


def test_a_run_is_recorded_in_postgresql(postgres_home: Path) -> None:
    @dg.asset
    def slides() -> dg.MaterializeResult[None]:
        return dg.MaterializeResult(metadata={"slides": 3})

    with dg.DagsterInstance.from_config(str(postgres_home)) as instance:
        assert dg.materialize([slides], instance=instance).success
        event = instance.get_latest_materialization_event(dg.AssetKey("slides"))
        assert event is not None and event.asset_materialization is not None
        assert event.asset_materialization.metadata["slides"].value == 3
        assert "postgres" in type(instance.event_log_storage).__module__
