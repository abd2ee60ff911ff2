"""What the assets of one study share: key prefix, partitions, declared settings, versions, owner, checks.

Nothing of any room belongs here. A room's module calls `StudyAssets.asset` and writes the body. A body's first
parameter, `study`, is the study with only those settings that the asset declares; any other raises.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, wraps
from typing import Any

import dagster as dg

from histo_assets.core.settings import Partition, masked, recorded, settings_version
from histo_assets.defs.metadata import as_stored, declared_metadata, within_budget
from histo_assets.defs.partitions import StudyPartitions
from histo_assets.defs.reuse import is_forced, reused
from histo_assets.defs.sources import study_sources
from histo_assets.storage.io_managers import AssetOutput, StorageResource
from histo_assets.storage.layout import Artefact, Record, StudyStorage, Verdict
from histo_assets.storage.staleness import Need, Staleness
from histo_assets.studies.study import Study

OWNER = "team:histo_assets"


@dataclass(frozen=True)
class Declaration:
    """The declaration of one asset, and all that its staleness follows from.

    Attributes
    ----------
    reads
        Dotted names of the settings (or rooms of settings) that its body gets.
    derived
        Further settings by name that follow from others, which are not read themselves.
    ins
        Input -> `same` partition, `every` one, or the named ones.
    sources
        Source -> the parts of it that are read; an empty tuple where all are.
    table
        What declares its table, or the rows of its matrix: `<room of core>.<class>`.
    stored_as
        Its IO manager.
    formerly
        Input -> the asset that earlier versions read in its place.
    """

    name: str
    revision: int
    reads: tuple[str, ...]
    derived: Mapping[str, Any]
    ins: Mapping[str, str | tuple[str, ...]]
    sources: Mapping[str, tuple[str, ...]]
    partitions: dg.PartitionsDefinition | None
    blocking: frozenset[str] = field(default_factory=frozenset)
    table: str = ""
    stored_as: str = ""
    formerly: Mapping[str, str] = field(default_factory=dict)


class StudyAssets:
    """The maker of one study's assets, and of what is known of them."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.partitions = StudyPartitions(study)
        self.declared: dict[str, Declaration] = {}
        self.sources = study_sources(study)

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

    def asset(  # noqa: PLR0913 - a property of the declared asset each
        self,
        room: str,
        io: str,
        *,
        kinds: set[str],
        reads: Sequence[str] = (),
        derived: Mapping[str, Any] | None = None,
        revision: int = 1,
        ins: Mapping[str, dg.AssetIn] | None = None,
        sources: Mapping[str, tuple[str, ...]] | None = None,
        observed: Callable[[Mapping[str, str], Mapping[str, Any], str], Mapping[str, str]] | None = None,
        partitions: dg.PartitionsDefinition | None = None,
        checks: Mapping[str, str] | None = None,
        blocking: Sequence[str] = (),
        pool: str | None = None,
        table: str = "",
        formerly: Mapping[str, str] | None = None,
    ) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
        """Return the decorator that makes an asset of a function.

        Parameters
        ----------
        reads, derived
            What the function reads of the study: dotted names, and values that follow from other settings.
        revision
            Raised when the same settings come to mean another result.
        sources, observed
            The sources that it reads, with the parts that concern it (an empty tuple: all); and, where its
            inputs decide which parts, what returns them of a look, the inputs and the partition key.
        checks, blocking
            Name -> description of the checks whose results the function returns; those in `blocking` stop what
            comes after.
        table
            What declares the table, or the rows of the matrix, that the function returns: `<room of core>.<class>`.
            It is judged when it is stored and when it is loaded, and shown with its columns.
        formerly
            Input -> the asset that earlier versions read in its place: what they made of that is not made again.
        """
        named = dict(ins or {})

        def decorate(function: Callable[..., Any]) -> dg.AssetsDefinition:
            key = self.key(function.__name__)
            declaration = Declaration(
                function.__name__,
                revision,
                tuple(reads),
                dict(derived or {}),
                {name: _mapping_of(asset_in) for name, asset_in in named.items()},
                dict(sources or {}),
                partitions,
                frozenset(blocking),
                table,
                io,
                dict(formerly or {}),
            )
            self.declared[declaration.name] = declaration
            return dg.asset(
                key=key,
                group_name=room,
                io_manager_key=io,
                kinds=kinds,
                owners=[OWNER],
                code_version=self.code_version(declaration),
                ins=named,
                deps=[dg.AssetDep(self.key(name)) for name in sources or {}],
                partitions_def=partitions,
                pool=pool,
                check_specs=[
                    dg.AssetCheckSpec(
                        name, asset=key, description=description, blocking=name in blocking, partitions_def=partitions
                    )
                    for name, description in (checks or {}).items()
                ],
            )(self._running(declaration, function, observed))

        return decorate

    def partition(self, declaration: Declaration, key: str | None) -> Partition:
        """Return the partition of an asset with its family's name, for settings that are kept by partition."""
        if key is None or declaration.partitions is None:
            return Partition()
        return Partition(self.partitions.family(declaration.partitions), key)

    def settings(self, declaration: Declaration, key: str | None) -> dict[str, Any]:
        """Return dotted name -> value of the settings that an asset reads in one partition."""
        own = recorded(self.study, declaration.reads, self.partition(declaration, key))
        return {**own, **recorded_values(declaration.derived)}

    def code_version(self, declaration: Declaration) -> str:
        """Return what Dagster is told: the revision, and a digest of the settings that all partitions share."""
        shared = self.settings(declaration, "" if declaration.partitions else None)
        return f"{declaration.revision}.{settings_version({**shared, 'parents': self._parents_all(declaration)})}"

    def needs(self, dynamic: Mapping[str, Sequence[str]] | None = None) -> list[Need]:
        """Return what the study asks of every artefact, parents first; `dynamic` names the incoming slides by asset."""
        return [
            self.need(declaration, key)
            for declaration in self._ordered()
            for key in self._keys(declaration, (dynamic or {}).get(declaration.name, ()))
        ]

    def need(self, declaration: Declaration, key: str | None) -> Need:
        """Return what the study asks of one artefact."""
        return Need(
            Artefact(declaration.name, key),
            declaration.revision,
            self.settings(declaration, key),
            tuple(self._parents(declaration, key)),
            declaration.sources,
            self._adopted_code.get(declaration.name),
            declaration.formerly,
        )

    @cached_property
    def _adopted_code(self) -> dict[str, str]:
        from histo_assets.defs.adoption import adopted_code_versions

        return adopted_code_versions(self.study)

    def staleness(self, storage: StudyStorage, dynamic: Mapping[str, Sequence[str]] | None = None) -> Staleness:
        """Return the staleness of the study's artefacts at `storage`."""
        return Staleness(storage, self.needs(dynamic), self.sources)

    def _ordered(self) -> list[Declaration]:
        """Return the declarations, parents first."""
        done: dict[str, Declaration] = {}

        def place(declaration: Declaration) -> None:
            for name in declaration.ins:
                if name not in done:
                    place(self.declared[name])
            done.setdefault(declaration.name, declaration)

        for declaration in self.declared.values():
            place(declaration)
        return list(done.values())

    def _keys(self, declaration: Declaration, dynamic: Sequence[str]) -> Sequence[str | None]:
        if declaration.partitions is None:
            return [None]
        if isinstance(declaration.partitions, dg.DynamicPartitionsDefinition):
            return list(dynamic)
        return declaration.partitions.get_partition_keys()

    def _parents(self, declaration: Declaration, key: str | None) -> list[Artefact]:
        parents: list[Artefact] = []
        for name, mapping in declaration.ins.items():
            parent = self.declared[name]
            if parent.partitions is None:
                parents.append(Artefact(name))
            elif mapping == "same":
                parents.append(Artefact(name, key))
            else:
                keys = self._keys(parent, ()) if mapping == "every" else list(mapping)
                parents += [Artefact(name, key) for key in keys]
        return parents

    def _parents_all(self, declaration: Declaration) -> list[str]:
        """Return the sorted partition keys that feed an asset which reads all partitions of another."""
        every = [self.declared[name] for name, mapping in declaration.ins.items() if mapping == "every"]
        return sorted({str(key) for parent in every for key in self._keys(parent, ())})

    def _running(
        self,
        declaration: Declaration,
        body: Callable[..., Any],
        observed: Callable[[Mapping[str, str], Mapping[str, Any], str], Mapping[str, str]] | None,
    ) -> Callable[..., dg.MaterializeResult]:
        """Return the function that Dagster calls: it reuses what is fresh, else runs the body and records inputs."""
        parameters = inspect.signature(body).parameters

        @wraps(body)
        def run(context: dg.AssetExecutionContext, storage: StorageResource, **inputs: Any) -> dg.MaterializeResult:
            key = context.partition_key if context.has_partition_key else None
            need = self.need(declaration, key)
            staleness = Staleness(storage.storage, [need], self.sources)
            looks = {source: staleness.sources.look(source).parts for source in declaration.sources}
            if not is_forced(context) and not staleness.reasons(need.artefact):
                return reused(context, storage.storage, need.artefact)
            passed = {"context": context, "storage": storage, **inputs}
            arguments = {name: value for name, value in passed.items() if name in parameters or name in inputs}
            view = masked(self.study, declaration.reads, self.partition(declaration, key), declaration.name)
            output = body(view, **arguments)
            parts = {
                source: dict(observed(look, inputs, str(key)))
                if observed
                else _parts(look, declaration.sources[source])
                for source, look in looks.items()
            }
            return _with_record(output, need, parts, declaration)

        run.__signature__ = inspect.Signature(_parameters(parameters))  # type: ignore[attr-defined]
        run.__annotations__ = {
            "context": dg.AssetExecutionContext,
            "storage": StorageResource,
            **{name: hint for name, hint in body.__annotations__.items() if name != "study"},
        }
        return run


def recorded_values(derived: Mapping[str, Any]) -> dict[str, Any]:
    """Return derived settings as JSON holds them."""
    import json

    values: dict[str, Any] = json.loads(json.dumps(dict(derived)))
    return values


def _mapping_of(asset_in: dg.AssetIn) -> str | tuple[str, ...]:
    mapping = asset_in.partition_mapping
    if isinstance(mapping, dg.AllPartitionMapping):
        return "every"
    if isinstance(mapping, dg.SpecificPartitionsPartitionMapping):
        return tuple(mapping.partition_keys)
    return "same"


def _parameters(body: Mapping[str, inspect.Parameter]) -> list[inspect.Parameter]:
    """Return the parameters that Dagster sees: context and storage always, the study never."""
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    own = [p for name, p in body.items() if name not in ("study", "context", "storage")]
    return [
        inspect.Parameter("context", kind, annotation=dg.AssetExecutionContext),
        inspect.Parameter("storage", kind, annotation=StorageResource),
        *own,
    ]


def _parts(look: Mapping[str, str], wanted: tuple[str, ...]) -> dict[str, str]:
    return {part: version for part, version in look.items() if not wanted or part in wanted}


def _with_record(
    output: dg.MaterializeResult, need: Need, sources: Mapping[str, Mapping[str, str]], declaration: Declaration
) -> dg.MaterializeResult:
    """Return a body's result with what its pointer records."""
    value: AssetOutput = output.value
    record = value.record.model_copy(
        update={
            "settings": dict(need.settings),
            "revision": need.revision,
            "sources": {source: dict(parts) for source, parts in sources.items()},
            "checks": {
                str(check.check_name): _verdict(check, declaration.blocking) for check in output.check_results or ()
            },
            "table": declaration.table,
        }
    )
    metadata = dict(output.metadata or {})
    if declaration.table:
        metadata |= within_budget(declared_metadata(value.value, declaration.table))
    return output._replace(value=replace(value, record=record, shown=as_stored(metadata)), metadata=metadata)


def _verdict(check: dg.AssetCheckResult, blocking: frozenset[str]) -> Verdict:
    return Verdict(
        passed=check.passed,
        blocking=str(check.check_name) in blocking,
        evidence=str(check.metadata["found"].value),
        warning=check.severity == dg.AssetCheckSeverity.WARN,
    )


def result(
    value: Any,
    metadata: Mapping[str, Any],
    checks: Sequence[dg.AssetCheckResult] = (),
    incomplete: Mapping[str, str] | None = None,
) -> dg.MaterializeResult:
    """Return a materialisation whose data version is the digest of its content.

    `incomplete` names what could not be had this time, such as a slide, with the reason.
    """
    from histo_assets.storage.digests import content_digest

    version = content_digest(value)
    return dg.MaterializeResult(
        value=AssetOutput(value, version, Record(incomplete=dict(incomplete or {}))),
        metadata=within_budget(metadata),
        check_results=list(checks),
        data_version=dg.DataVersion(version),
    )


def worker_count(study: Study) -> int:
    """Return how many processes a step may use: `HISTO_WORKERS`, else the study's number, else the cores, at most 4."""
    count = os.environ.get("HISTO_WORKERS") or study.resources.workers
    return int(count or min(4, os.cpu_count() or 1))


def verdict(name: str, passed: bool, evidence: str, *, warn: bool = False) -> dg.AssetCheckResult:
    """Return a check's result: whether it passed, and the evidence in one sentence."""
    severity = dg.AssetCheckSeverity.WARN if warn else dg.AssetCheckSeverity.ERROR
    return dg.AssetCheckResult(check_name=name, passed=bool(passed), severity=severity, metadata={"found": evidence})
