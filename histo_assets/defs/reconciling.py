"""Dagster's history follows the storage: it is told of whatever is stored that it does not know.

A lost or a second DAGSTER_HOME, or a storage restored from a backup, then costs no work: each artefact gets one
materialisation outside of any run, with the versions by which Dagster takes it for fresh, and its checks' verdicts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import dagster as dg

from histo_assets.defs import unpublished
from histo_assets.defs.metadata import from_stored
from histo_assets.defs.sources import look_metadata, look_version
from histo_assets.storage.io_managers import VERSION
from histo_assets.storage.layout import Artefact, Pointer, StudyStorage
from histo_assets.storage.prune import stored_artefacts
from histo_assets.storage.staleness import Staleness

if TYPE_CHECKING:
    from histo_assets.defs.study_assets import Declaration, StudyAssets

_DATA_VERSION = "dagster/data_version"
_CODE_VERSION = "dagster/code_version"
_BY_USER = "dagster/data_version_is_user_provided"
_INPUT_VERSION = "dagster/input_data_version/"
_INPUT_EVENT = "dagster/input_event_pointer/"


@dataclass
class Reconciliation:
    """Artefacts that Dagster did not know as they are stored, and those that it knows and the storage has lost."""

    unknown: list[Artefact] = field(default_factory=list)
    lost: list[Artefact] = field(default_factory=list)


def reconcile(
    assets: StudyAssets, storage: StudyStorage, instance: dg.DagsterInstance, dry_run: bool = False
) -> Reconciliation:
    """Tell Dagster of every artefact that it does not know as it is stored, and of new slides' partitions.

    With `dry_run` it is told nothing; the artefacts are returned all the same.
    """
    stored = _stored(assets, storage)
    reconciliation = Reconciliation()
    _add_new_slides(assets, instance, stored, dry_run)
    staleness = assets.staleness(storage, new_slides(stored))
    for artefact in staleness.needs:
        pointer = staleness.pointer(artefact)
        known = _known_version(instance, assets, artefact)
        if pointer is None:
            if known is not None:
                reconciliation.lost.append(artefact)
        elif pointer.version != known:
            reconciliation.unknown.append(artefact)
            if not dry_run:
                _tell(instance, assets, staleness, artefact, pointer)
    if not dry_run:
        _tell_of_looks(instance, assets, staleness)
    return reconciliation


def new_slides(stored: Iterable[Artefact]) -> dict[str, list[str]]:
    """Return asset -> the new slides of which something is stored."""
    slides: dict[str, list[str]] = {}
    for artefact in stored:
        if artefact.asset.startswith("incoming_") and artefact.partition:
            slides.setdefault(artefact.asset, []).append(artefact.partition)
    return slides


def stored_versions(assets: StudyAssets, storage: StudyStorage) -> dict[str, str]:
    """Return the version of every stored artefact, by the artefact's name."""
    pointers = storage.pointers(_stored(assets, storage))
    return {artefact.name: p.version for artefact, p in pointers.items() if isinstance(p, Pointer)}


def _stored(assets: StudyAssets, storage: StudyStorage) -> list[Artefact]:
    return [artefact for artefact in stored_artefacts(storage) if artefact.asset in assets.declared]


def _add_new_slides(
    assets: StudyAssets, instance: dg.DagsterInstance, stored: Iterable[Artefact], dry_run: bool
) -> None:
    slides = {slide for keys in new_slides(stored).values() for slide in keys}
    name = str(assets.partitions.incoming.name)
    missing = sorted(slides - set(instance.get_dynamic_partitions(name))) if slides else []
    if missing and not dry_run:
        instance.add_dynamic_partitions(name, missing)


def _known_version(instance: dg.DagsterInstance, assets: StudyAssets, artefact: Artefact) -> str | None:
    """Return the version that Dagster's last materialisation of `artefact` stored; None where it knows none."""
    filters = dg.AssetRecordsFilter(
        asset_key=assets.key(artefact.asset), asset_partitions=[artefact.partition] if artefact.partition else None
    )
    for record in instance.fetch_materializations(filters, limit=1).records:
        event = record.asset_materialization
        if event is None:
            continue
        if VERSION in event.metadata:
            return str(event.metadata[VERSION].value)
        uri = event.metadata.get("dagster/uri")  # of version 0.1.0
        return next((part for part in str(uri.value).split("/") if part.startswith("20")), "") if uri else ""
    return None


def _tell(
    instance: dg.DagsterInstance,
    assets: StudyAssets,
    staleness: Staleness,
    artefact: Artefact,
    pointer: Pointer,
) -> None:
    declaration = assets.declared[artefact.asset]
    key = assets.key(artefact.asset)
    instance.report_runless_asset_event(
        dg.AssetMaterialization(
            asset_key=key,
            partition=artefact.partition,
            description="Found in the storage.",
            metadata={
                **from_stored(staleness.storage.shown(artefact, pointer)),
                "dagster/uri": staleness.storage.location(artefact, pointer),
                "size_bytes": pointer.size,
                VERSION: pointer.version,
                "made_at": pointer.written_at.isoformat(timespec="seconds"),
                "made_by_run": pointer.run_id or "unknown",
            },
            tags=_tags(assets, declaration, staleness, artefact, pointer),
        )
    )
    for name, verdict in pointer.checks.items():
        severity = dg.AssetCheckSeverity.WARN if verdict.warning else dg.AssetCheckSeverity.ERROR
        unpublished.tell_of_check(
            instance,
            dg.AssetCheckEvaluation(
                asset_key=key,
                check_name=name,
                passed=verdict.passed,
                metadata={"found": dg.MetadataValue.text(verdict.evidence)},
                severity=severity,
                blocking=verdict.blocking,
                partition=artefact.partition,
            ),
        )


def _tags(
    assets: StudyAssets, declaration: Declaration, staleness: Staleness, artefact: Artefact, pointer: Pointer
) -> dict[str, str]:
    """Return the tags by which Dagster takes a materialisation for fresh, or for stale where it is."""
    fresh = not any(r.kind in ("code", "setting") for r in staleness.reasons(artefact))
    tags = {
        _DATA_VERSION: pointer.data_version,
        _CODE_VERSION: assets.code_version(declaration) if fresh else (pointer.code_version or "unknown"),
        _BY_USER: "true",
    }
    for name, version in _input_versions(declaration, staleness, pointer).items():
        asset = assets.key(name).to_user_string()
        tags[f"{_INPUT_VERSION}{asset}"] = version
        tags[f"{_INPUT_EVENT}{asset}"] = "NULL"
    return tags


def _input_versions(declaration: Declaration, staleness: Staleness, pointer: Pointer) -> dict[str, str]:
    """Return input -> the data version that was read; of several partitions the last, as Dagster compares one."""
    versions = {Artefact.named(name).asset: version for name, version in pointer.made_from.items()}
    looks = {source: look_version(staleness.sources.last(source)).value for source in declaration.sources}
    return versions | looks


def _tell_of_looks(instance: dg.DagsterInstance, assets: StudyAssets, staleness: Staleness) -> None:
    """Tell Dagster what the sources were at the last look, where it knows otherwise."""
    for name in staleness.sources.names:
        look = staleness.sources.last(name)
        version, key = look_version(look).value, assets.key(name)
        before = instance.fetch_observations(dg.AssetRecordsFilter(asset_key=key), limit=1).records
        event = before[0].asset_observation if before else None
        if event is not None and (event.tags or {}).get(_DATA_VERSION) == version:
            continue
        instance.report_runless_asset_event(
            dg.AssetObservation(asset_key=key, metadata=look_metadata(look), tags={_DATA_VERSION: version})
        )
