"""What the assets of one study share: key prefix, partitions, versions, owner, checks.

Nothing of any room belongs here. A room's module calls `StudyAssets.asset` and writes the body.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import dagster as dg

from histo_assets.defs.metadata import within_budget
from histo_assets.defs.partitions import StudyPartitions
from histo_assets.defs.versions import code_version, data_version
from histo_assets.studies.study import Study

OWNER = "team:histo_assets"


class StudyAssets:
    """The maker of one study's assets."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.partitions = StudyPartitions(study)

    def key(self, name: str) -> dg.AssetKey:
        """Return the key of the study's asset `name`."""
        return dg.AssetKey([self.study.name, name])

    def one(self, name: str) -> dg.AssetIn:
        """Return the input that reads an unpartitioned asset, or the same partition of a partitioned one."""
        return dg.AssetIn(key=self.key(name))

    def every(self, name: str) -> dg.AssetIn:
        """Return the input that reads all partitions, as a dict by partition key."""
        return dg.AssetIn(key=self.key(name), partition_mapping=dg.AllPartitionMapping())

    def only(self, name: str, *partitions: str) -> dg.AssetIn:
        """Return the input that reads the named partitions, as a dict by partition key."""
        return dg.AssetIn(key=self.key(name), partition_mapping=dg.SpecificPartitionsPartitionMapping(list(partitions)))

    def asset(
        self,
        room: str,
        io: str,
        *,
        kinds: set[str],
        settings: Sequence[Any] = (),
        revision: int = 1,
        ins: Mapping[str, dg.AssetIn] | None = None,
        deps: Sequence[str] = (),
        partitions: dg.PartitionsDefinition | None = None,
        checks: Mapping[str, str] | None = None,
        blocking: Sequence[str] = (),
        pool: str | None = None,
    ) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
        """Return the decorator that makes an asset of a function.

        `settings` are what the function reads of the study; they, the `revision` and the partition
        keys of inputs that read all partitions make up the code version. `checks` are name ->
        description of the checks whose results the function returns; those in `blocking` stop
        what comes after.
        """

        def decorate(function: Callable[..., Any]) -> dg.AssetsDefinition:
            key = self.key(function.__name__)
            function.__annotations__.pop("return", None)  # Dagster reads MaterializeResult as "returns no value"
            return dg.asset(
                key=key,
                group_name=room,
                io_manager_key=io,
                kinds=kinds,
                owners=[OWNER],
                code_version=code_version(revision, *settings, self._partition_keys_read(ins)),
                ins=dict(ins or {}),
                deps=[dg.AssetDep(self.key(name)) for name in deps],
                partitions_def=partitions,
                pool=pool,
                check_specs=[
                    dg.AssetCheckSpec(
                        name, asset=key, description=description, blocking=name in blocking, partitions_def=partitions
                    )
                    for name, description in (checks or {}).items()
                ],
            )(function)

        return decorate

    def _partition_keys_read(self, ins: Mapping[str, dg.AssetIn] | None) -> list[str]:
        """Return the sorted partition keys that feed an asset which reads all partitions of another."""
        reads_all = [n for n, i in (ins or {}).items() if isinstance(i.partition_mapping, dg.AllPartitionMapping)]
        keys: set[str] = set()
        for name in reads_all:
            if name == "trained_model":
                keys.update(self.study.learning.experiments)
            elif name == "gene_regressors":
                keys.update(self.study.prediction.regressors)
            else:
                keys.update(self.study.selection.tissues)
        return sorted(keys)


def result(
    value: Any,
    metadata: Mapping[str, Any],
    checks: Sequence[dg.AssetCheckResult] = (),
    incomplete: Mapping[str, str] | None = None,
) -> dg.MaterializeResult:
    """Return a materialisation whose data version is the digest of its content.

    `incomplete` gives, by name, why something could not be had this time: the next run tries again.
    """
    return dg.MaterializeResult(
        value=value, metadata=within_budget(metadata), check_results=list(checks), data_version=data_version(value)
    )


def worker_count(study: Study) -> int:
    """Return how many processes a step may use: `HISTO_WORKERS`, else the study's number, else the cores, at most 4."""
    given = os.environ.get("HISTO_WORKERS") or study.resources.workers
    return int(given or min(4, os.cpu_count() or 1))


def verdict(name: str, passed: bool, found: str, *, warn: bool = False) -> dg.AssetCheckResult:
    """Return a check's result: whether it passed, and one sentence on what was found."""
    severity = dg.AssetCheckSeverity.WARN if warn else dg.AssetCheckSeverity.ERROR
    return dg.AssetCheckResult(check_name=name, passed=bool(passed), severity=severity, metadata={"found": found})
