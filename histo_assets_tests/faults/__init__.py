"""Faults: kills, interrupts, full disks, lost storage, outages, and what each of them costs.

`python -m histo_assets_tests.faults` breaks a finished `tiny` study from outside, through the command
line alone, and compares what the next run makes of it with the undisturbed study.
"""

from histo_assets_tests.faults import (
    clocks,
    disks,
    instances,
    interrupts,
    kills,
    object_store,
    servers,
    storages,
    together,
)
from histo_assets_tests.faults.campaign import Scenario

# The longest first, so that lanes beside one another end together.
SCENARIOS: dict[str, Scenario] = {
    "kills": kills.kills,
    "object_store": object_store.object_store,
    "kills_of_prediction": kills.kills_of_prediction,
    "interrupts": interrupts.interrupts,
    "interrupted_ui": interrupts.interrupted_ui,
    "full_disks": disks.full_disks,
    "lost_parts": storages.lost_parts,
    "lost_storage": storages.lost_storage,
    "older_storage": storages.older_storage,
    "prune_after_loss": storages.prune_after_loss,
    "lost_instance": instances.lost_instance,
    "second_instance": instances.second_instance,
    "first_uses": instances.first_uses,
    "postgres_restarted": servers.postgres_restarted,
    "code_server_killed": servers.code_server_killed,
    "two_runs": together.two_runs,
    "two_backfills": together.two_backfills,
    "runs_beside_prune": together.runs_beside_prune,
    "clock": clocks.clock,
}

SHORT = ["kills", "interrupts", "full_disks", "lost_parts", "lost_instance", "first_uses"]
