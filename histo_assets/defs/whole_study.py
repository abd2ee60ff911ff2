"""The driver that brings a study up to date, room after room.

Shared by the command line (`histo-assets materialize`) and the job `<study>_whole_study`. An asset
job cannot span different partitions, so the driver launches one in-process run after another and asks
the storage again after each what is due. A failed run costs what depends on it; other work goes on.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import dagster as dg

from histo_assets.core.progress import Progress
from histo_assets.defs import unpublished
from histo_assets.defs.heartbeats import new_run_in_this_process
from histo_assets.defs.progress import announce
from histo_assets.defs.reconciling import reconcile
from histo_assets.defs.reuse import FORCE
from histo_assets.defs.rooms import study_assets
from histo_assets.defs.waiting import explained
from histo_assets.interrupts import Interrupted, stop_if_interrupted
from histo_assets.storage.io_managers import StorageResource
from histo_assets.storage.layout import Artefact
from histo_assets.storage.staleness import Reason, Staleness
from histo_assets.studies.study import Study

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
LISTENED_TO = {"loggers": {**QUIET["loggers"], "progress": {}}}


@dataclass(frozen=True)
class Work:
    """One run: some assets of one partition (None: unpartitioned), and why each is due."""

    assets: tuple[str, ...]
    partition: str | None
    reasons: tuple[str, ...]

    def __str__(self) -> str:
        where = f" [{self.partition}]" if self.partition else ""
        return f"{', '.join(self.assets)}{where}"


@dataclass
class Outcome:
    """Result of the driver: finished work, failures with their message, what waits for them, what is incomplete."""

    done: list[Work] = field(default_factory=list)
    failed: list[tuple[Work, str]] = field(default_factory=list)
    blocked: list[Work] = field(default_factory=list)
    incomplete: list[tuple[Artefact, str]] = field(default_factory=list)

    @property
    def success(self) -> bool:
        """Whether nothing failed and nothing waits."""
        return not self.failed and not self.blocked

    @property
    def complete(self) -> bool:
        """Whether nothing is left to do, and nothing was left out that a later run may have."""
        return self.success and not self.incomplete


@dataclass(frozen=True)
class Stage:
    """Neighbouring assets of one partition family, run together."""

    assets: tuple[str, ...]
    partitions: tuple[str | None, ...]


class StudyDriver:
    """Finds what of a study is missing or stale, and makes it."""

    def __init__(self, definitions: dg.Definitions, study: Study, instance: dg.DagsterInstance) -> None:
        self.study = study
        self.instance = instance
        self.assets = study_assets(study)
        self._resources = definitions.resources or {}
        self.job = definitions.resolve_implicit_global_asset_job_def()
        self.graph = definitions.resolve_asset_graph()

    @cached_property
    def staleness(self) -> Staleness:
        """The staleness of the study's artefacts, at the storage of the definitions."""
        resource = self._resources["storage"]
        assert isinstance(resource, StorageResource)
        return self.assets.staleness(resource.storage)

    def observe_sources(self) -> None:
        """Look at the cohort's files anew, so that a changed file makes stale what was made from it."""
        for name in self.assets.sources:
            self.staleness.sources.look(name)

    def settle(self) -> None:
        """Adopt what version 0.1.0 made, and tell Dagster of what the storage holds and it does not know."""
        self.staleness.adopt()
        reconcile(self.assets, self.staleness.storage, self.instance)

    def stages(self, select: Sequence[str] | None = None) -> list[Stage]:
        """Return the stages of the study in order; `select` keeps the named assets (incoming slides apart)."""
        stages: list[Stage] = []
        placed: dict[str, int] = {}
        for key in self.graph.toposorted_asset_keys:
            node, name = self.graph.get(key), key.path[-1]
            if not node.is_materializable or name.startswith("incoming_"):
                continue
            partitions = tuple(node.partitions_def.get_partition_keys()) if node.partitions_def else (None,)
            earliest = max(
                (placed[parent.path[-1]] for parent in node.parent_keys if parent.path[-1] in placed), default=0
            )
            home = next((i for i in range(earliest, len(stages)) if stages[i].partitions == partitions), None)
            if home is None:
                stages.append(Stage((name,), partitions))
                home = len(stages) - 1
            else:
                stages[home] = Stage((*stages[home].assets, name), partitions)
            placed[name] = home
        return [
            Stage(kept, stage.partitions)
            for stage in stages
            if (kept := tuple(a for a in stage.assets if not select or a in select))
        ]

    def due(self, assets: Sequence[str], partition: str | None) -> dict[str, str]:
        """Return asset -> reason for those of `assets` that are missing, stale or failed a blocking check."""
        reasons_of = {name: self._reasons(name, partition) for name in assets}
        return {name: "; ".join(map(str, reasons)) for name, reasons in reasons_of.items() if reasons}

    def plan(self, select: Sequence[str] | None = None, partition: str | None = None) -> list[Work]:
        """Return what is due now. What only turns stale by that work is not foreseen."""
        return [
            Work(tuple(reasons), key, tuple(reasons.values()))
            for stage in _up_to(self.stages(select), partition)
            for key in _wanted(stage, partition)
            if (reasons := self.due(stage.assets, key))
        ]

    def following(self) -> list[Artefact]:
        """Return what is fresh by itself and made from something that is not: it may have to follow."""
        return [s.artefact for s in self.staleness.statuses() if s.state == "stale" and not s.reasons]

    def bring_up_to_date(
        self,
        progress: Progress,
        select: Sequence[str] | None = None,
        partition: str | None = None,
        force: bool = False,
    ) -> Outcome:
        """Make everything that is missing or stale, in order; `force` makes the selected even when fresh.

        `progress` gets a line for every run that ended. What runs say meanwhile reaches whoever listens
        (`progress.listening`), first of all the line that the run begins.
        """
        outcome = Outcome()
        self.observe_sources()
        self.settle()
        stages = _up_to(self.stages(select), partition)
        for number, stage in enumerate(stages, 1):
            for key in _wanted(stage, partition):
                self._finish(stage, key, f"[{number}/{len(stages)}]", outcome, progress, force)
        outcome.incomplete = [
            (Artefact(name, key), reason.sentence)
            for stage in stages
            for key in _wanted(stage, partition)
            for name in stage.assets
            for reason in self._reasons(name, key)
            if reason.kind == "incomplete"
        ]
        return outcome

    def _finish(
        self, stage: Stage, key: str | None, label: str, outcome: Outcome, progress: Progress, force: bool
    ) -> None:
        """Run what is due of one stage and partition, again where that made more of it stale."""
        for attempt in range(len(stage.assets) + 1):
            reasons = self.due(stage.assets, key)
            for name in self._tried(stage.assets, key, outcome):
                del reasons[name]
            if force and attempt == 0:
                reasons = {name: reasons.get(name, "asked for") for name in stage.assets}
            if not reasons:
                return
            free = self._free_to_run([n for n in stage.assets if n in reasons], key, outcome, progress, label)
            if not free:
                return
            work = Work(tuple(free), key, tuple(reasons[name] for name in free))
            announce(f"{label} {work}")
            before = {name: self._version(name, key) for name in free}
            started = time.monotonic()
            problem, made = self._run(work, progress, force)
            took = f"{time.monotonic() - started:.1f} s"
            left = [n for n in free if n not in made or self._failed_check(n, key)]
            elsewhere = all(self._version(name, key) != before[name] for name in left)
            if problem and left and elsewhere and not self.due(left, key):
                progress(f"{label} {work} was made by another run meanwhile, {took}: {problem}")
                continue
            if problem:
                failed = Work(tuple(left), key, tuple(reasons[name] for name in left))
                outcome.failed.append((failed, problem))
                progress(f"{label} {failed} failed after {took}: {problem}")
                return
            outcome.done.append(work)
            progress(f"{label} {work} ({work.reasons[0]}) {took}")

    def run(
        self, assets: Sequence[str], partition: str | None, progress: Progress = announce, force: bool = False
    ) -> dg.ExecuteInProcessResult:
        """Run the named assets of one partition in this process; a failure is in the result, not raised.

        `progress` gets a line where the run has to wait for a pool. Raises `Interrupted` after INT, TERM or
        "Terminate": nothing is to follow.
        """
        stop_if_interrupted()
        unpublished.rest_while_waiting()
        with new_run_in_this_process(self.instance) as (run_id, tags), explained(self.instance, run_id, progress):
            ran = self.job.execute_in_process(
                asset_selection=[self._key(name) for name in assets],
                partition_key=partition,
                instance=self.instance,
                run_config=LISTENED_TO,
                raise_on_error=False,
                run_id=run_id,
                tags={**tags, "histo_assets/driver": "whole_study", **({FORCE: "true"} if force else {})},
            )
        stop_if_interrupted()
        if unpublished.was_interrupted(ran):
            raise Interrupted(f"{', '.join(assets)} was interrupted")
        return ran

    def _run(self, work: Work, progress: Progress, force: bool) -> tuple[str | None, set[str]]:
        """Run `work` in this process; return the reason of its failure (or None) and what it made all the same."""
        ran = self.run(work.assets, work.partition, progress, force)
        made = {event.asset_key.path[-1] for event in ran.get_asset_materialization_events() if event.asset_key}
        return None if ran.success else failure_of(ran), made

    def _free_to_run(
        self, names: list[str], key: str | None, outcome: Outcome, progress: Progress, label: str
    ) -> list[str]:
        """Return those of `names`, in order, that wait for no failed work; note the others and report them."""
        free = []
        for name in names:
            culprit = self._culprit(name, key, outcome)
            if culprit is None:
                free.append(name)
            elif not any(name in work.assets and work.partition == key for work in outcome.blocked):
                waiting = Work((name,), key, (f"waits for {culprit}",))
                outcome.blocked.append(waiting)
                progress(f"{label} {waiting} waits for {culprit}")
        return free

    def _culprit(self, name: str, key: str | None, outcome: Outcome) -> Work | None:
        """Return the failed or waiting work that asset `name` of partition `key` needs, or None."""
        parents = {parent.path[-1] for parent in self.graph.get_ancestor_asset_keys(self._key(name))} - {name}
        own = self._partitions(name)
        for other in [*(work for work, _ in outcome.failed), *outcome.blocked]:
            elsewhere = other.partition in own and other.partition != key
            if parents & set(other.assets) and not elsewhere:
                return other
        return None

    def _partitions(self, name: str) -> Sequence[str]:
        definition = self.graph.get(self._key(name)).partitions_def
        return definition.get_partition_keys() if definition else ()

    def _reasons(self, name: str, partition: str | None) -> tuple[Reason, ...]:
        return self.staleness.reasons(Artefact(name, partition))

    def _version(self, name: str, partition: str | None) -> str | None:
        """Return the version that is stored now, None where there is none."""
        pointer = self.staleness.storage.pointer_or_none(Artefact(name, partition))
        return pointer.version if pointer else None

    def _failed_check(self, name: str, partition: str | None) -> bool:
        """Return whether what is stored of this partition failed a blocking check."""
        return any(reason.kind == "check" for reason in self._reasons(name, partition))

    def _tried(self, names: Sequence[str], key: str | None, outcome: Outcome) -> list[str]:
        """Return those of `names` that were made earlier in this run and are incomplete."""
        done = {name for work in outcome.done if work.partition == key for name in work.assets}
        kinds = {name: {reason.kind for reason in self._reasons(name, key)} for name in names if name in done}
        return [name for name, kind in kinds.items() if kind == {"incomplete"}]

    def _key(self, name: str) -> dg.AssetKey:
        return dg.AssetKey([self.study.name, name])


def failure_of(ran: dg.ExecuteInProcessResult) -> str:
    """Return why an in-process run failed: the evidence of its blocking checks, else the innermost message."""
    failed = [e for e in ran.get_asset_check_evaluations() if not e.passed and e.blocking]
    if failed:
        return "; ".join(f"{e.check_name}: {e.metadata['found'].value}" for e in failed)
    for event in ran.all_events:
        if event.is_step_failure and event.step_failure_data.error is not None:
            error = event.step_failure_data.error
            while error.cause is not None:
                error = error.cause
            return " ".join(error.message.split())[:600]
    return "the run failed; see its page in the UI"


def _up_to(stages: list[Stage], partition: str | None) -> list[Stage]:
    """Return the stages that have `partition`, and unpartitioned ones that come before the first of them."""
    if partition is None:
        return stages
    first = next((place for place, stage in enumerate(stages) if partition in stage.partitions), 0)
    unpartitioned = (None,)
    return [
        stage
        for place, stage in enumerate(stages)
        if partition in stage.partitions or (stage.partitions == unpartitioned and place < first)
    ]


def _wanted(stage: Stage, partition: str | None) -> Iterator[str | None]:
    for key in stage.partitions:
        if partition is None or key is None or key == partition:
            yield key
