"""What a run does where its artefact is fresh already: nothing, and it says so."""

from __future__ import annotations

from typing import Any

import dagster as dg

from histo_assets.defs.metadata import from_stored, within_budget
from histo_assets.storage.io_managers import VERSION, StoredOutput
from histo_assets.storage.layout import Artefact, Pointer, StudyStorage, Verdict

FORCE = "histo_assets/force"
"""Tag of a run that makes again what is fresh: `histo_assets/force: true`."""


def is_forced(context: dg.AssetExecutionContext) -> bool:
    """Return whether the run is to make again what is fresh."""
    return context.run.tags.get(FORCE, "").lower() == "true"


def reused(context: dg.AssetExecutionContext, storage: StudyStorage, artefact: Artefact) -> dg.MaterializeResult:
    """Return the materialisation of what is stored already, with the checks' verdicts as they stand."""
    pointer = storage.require(artefact)
    sentence = (
        f"{artefact} is fresh: made {pointer.written_at:%Y-%m-%d %H:%M} UTC by run {pointer.run_id[:8] or 'unknown'}, "
        f"reused. Tag the run {FORCE}: true to make it again"
    )
    context.log.info(sentence)
    return dg.MaterializeResult(
        value=StoredOutput(pointer),
        metadata={**_shown(context, storage, artefact, pointer), "re_used": sentence},
        check_results=verdicts(context.assets_def, pointer),
        data_version=dg.DataVersion(pointer.data_version),
    )


def verdicts(asset: dg.AssetsDefinition, pointer: Pointer) -> list[dg.AssetCheckResult]:
    """Return a result for every check of the asset, as its pointer recorded them.

    A check that has come since was not judged, which is a warning. Version 0.1.0 recorded no verdicts, and what failed
    a blocking check stopped there.
    """
    unrecorded = (
        Verdict(passed=False, warning=True, evidence="not judged when this was made; --force makes it again")
        if pointer.checks
        else Verdict(passed=True, evidence="passed when it was made by version 0.1.0")
    )
    results = []
    for spec in asset.check_specs:
        stored = pointer.checks.get(spec.name, unrecorded)
        results.append(
            dg.AssetCheckResult(
                check_name=spec.name,
                passed=stored.passed,
                severity=dg.AssetCheckSeverity.WARN if stored.warning else dg.AssetCheckSeverity.ERROR,
                metadata={"found": stored.evidence},
            )
        )
    return results


def _shown(
    context: dg.AssetExecutionContext, storage: StudyStorage, artefact: Artefact, pointer: Pointer
) -> dict[str, Any]:
    """Return what the asset showed when this version was made, so that its page goes on showing it."""
    return from_stored(storage.shown(artefact, pointer)) or _shown_before(context, artefact, pointer)


def _shown_before(context: dg.AssetExecutionContext, artefact: Artefact, pointer: Pointer) -> dict[str, Any]:
    """Return what Dagster's last event showed of a version; those of version 0.1.0 have nothing stored beside them."""
    partitions = [artefact.partition] if artefact.partition else None
    filters = dg.AssetRecordsFilter(asset_key=context.asset_key, asset_partitions=partitions)
    for record in context.instance.fetch_materializations(filters, limit=1).records:
        event = record.asset_materialization
        if event is not None and pointer.version in str(event.metadata.get("dagster/uri")):
            ours = ("dagster/uri", "size_bytes", VERSION, "re_used")
            return within_budget({name: value for name, value in event.metadata.items() if name not in ours})
    return {}
