"""The commands on how a study stands: `status` and `reconcile`.

Belongs here: reading arguments, printing. The answers come from `storage.staleness` and `defs.reconciling`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from histo_assets.cli.environment import console, dagster_instance, open_study, quiet_logs, say, staleness_of

if TYPE_CHECKING:
    from histo_assets.storage.staleness import Staleness, Status

MOST_NAMED = 4

StudyOption = Annotated[str | None, typer.Option("--study", help="A packaged study or a YAML file (HISTO_STUDY).")]
JsonOption = Annotated[bool, typer.Option("--json", help="As JSON.")]


def status(
    study: StudyOption = None,
    look: Annotated[bool, typer.Option("--look", help="Look at the cohort's files anew.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Say what of a study is fresh, missing, stale or failed, and why. Exit 1: something is not fresh."""
    staleness = staleness_of(open_study(study))
    if look:
        for name in staleness.sources.names:
            staleness.sources.look(name)
    statuses = staleness.statuses()
    if as_json:
        print(_json(staleness, statuses))
    else:
        _print(staleness, statuses)
    if any(item.state != "fresh" for item in statuses):
        raise typer.Exit(1)


def reconcile(
    study: StudyOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what Dagster would be told, tell it nothing.")
    ] = False,
) -> None:
    """Tell Dagster of what the storage holds and its history does not, after a lost or with a second DAGSTER_HOME."""
    from histo_assets.cli.environment import storage_of
    from histo_assets.defs.reconciling import reconcile as reconciled
    from histo_assets.defs.rooms import study_assets

    loaded = open_study(study)
    quiet_logs()
    with dagster_instance() as instance:
        changes = reconciled(study_assets(loaded), storage_of(loaded), instance, dry_run)
    for artefact in changes.unknown:
        say(f"{'would tell' if dry_run else 'told'} Dagster of {artefact}")
    for artefact in changes.lost:
        say(f"Dagster knows {artefact}, which the storage lacks; `histo-assets materialize` makes it")
    say(f"{len(changes.unknown)} artefacts that Dagster did not know, {len(changes.lost)} that the storage lacks")


def _json(staleness: Staleness, statuses: Sequence[Status]) -> str:
    content = {
        "study": staleness.storage.study,
        "storage": str(staleness.storage.root),
        "looked_at": {name: _looked_at(staleness, name).isoformat() for name in staleness.sources.names},
        "counts": dict(Counter(item.state for item in statuses)),
        "artefacts": [
            {
                "asset": item.artefact.asset,
                "partition": item.artefact.partition,
                "state": item.state,
                "reasons": item.sentences(),
                "due": bool(item.reasons),
                "data_version": item.pointer.data_version if item.pointer else None,
                "made_at": item.pointer.written_at.isoformat() if item.pointer else None,
            }
            for item in statuses
        ],
    }
    return json.dumps(content, indent=1)


def _print(staleness: Staleness, statuses: Sequence[Status]) -> None:
    counts = Counter(item.state for item in statuses)
    words = ", ".join(f"{counts[state]} {state}" for state in ("fresh", "missing", "stale", "failed") if counts[state])
    say(f"{staleness.storage.study} at {staleness.storage.root}: {words}")
    for line in status_lines(statuses):
        say(f"  {line}")
    oldest = min((_looked_at(staleness, name) for name in staleness.sources.names), default=datetime.now(UTC))
    say(f"The cohort's files were looked at {_ago(oldest)}; --look looks anew.")
    if counts["fresh"] < len(statuses):
        console.print("`histo-assets materialize` makes what is missing or stale.")


def status_lines(statuses: Sequence[Status]) -> list[str]:
    """Return a line for every asset that is not fresh; partitions that are so for the same reasons share one."""
    grouped: dict[tuple[str, str, str], list[str]] = {}
    for item in statuses:
        if item.state != "fresh":
            reasons = "; ".join(sentence for sentence in item.sentences() if sentence != item.state)
            keys = grouped.setdefault((item.artefact.asset, item.state, reasons), [])
            keys += [item.artefact.partition] if item.artefact.partition else []
    return [
        f"{asset}{_partitions(keys)} {state}" + (f": {reasons}" if reasons else "")
        for (asset, state, reasons), keys in grouped.items()
    ]


def _partitions(keys: Sequence[str]) -> str:
    if not keys:
        return ""
    more = f" and {len(keys) - MOST_NAMED} more" if len(keys) > MOST_NAMED else ""
    return f" [{', '.join(keys[:MOST_NAMED])}{more}]"


def _looked_at(staleness: Staleness, name: str) -> datetime:
    return staleness.sources.last(name).observed_at


def _ago(moment: datetime) -> str:
    """Return how long ago a moment was, in words.

    >>> _ago(datetime.now(UTC))
    'just now'
    """
    seconds = (datetime.now(UTC) - moment).total_seconds()
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if (count := int(seconds // length)) > 0:
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"
