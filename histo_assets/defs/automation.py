"""Jobs, the schedule that backfills tissues, and the sensor for new slides.

A job selects assets of one partition family; `whole_study` drives them all.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg

from histo_assets.core.cohort.folders import names_that_are_no_text
from histo_assets.defs.executor import in_process_executor
from histo_assets.defs.sources import version_of_entry
from histo_assets.defs.study_assets import StudyAssets
from histo_assets.defs.upkeep import dead_runs, history_of, upkeep_sensor
from histo_assets.storage.layout import StudyStorage
from histo_assets.studies.study import Study

JOBS: dict[str, tuple[str, tuple[str, ...]]] = {
    "prepare_cohort": ("Read the manifest and pair slides with RNA.", ("slide_manifest", "slide_pairs")),
    "tile_tissues": (
        "Select, check and tile the slides of tissues; backfill it over all of them.",
        ("selected_slides", "raw_slides", "tiles"),
    ),
    "prepare_expression": (
        "Split the donors, filter the genes, project the expression.",
        ("donor_split", "expression_matrix", "expression_projection"),
    ),
    "freeze_training_set": ("Freeze the training order over all tissues.", ("training_set",)),
    "train_experiments": ("Train experiments; backfill it over all of them.", ("trained_model",)),
    "choose_model": (
        "Compare the experiments, choose one and evaluate it on locked donors.",
        ("experiment_comparison", "selected_model", "model_evaluation"),
    ),
    "embed_tissues": ("Embed the tiles of tissues; backfill it over all of them.", ("tile_embeddings",)),
    "project_embeddings": (
        "Pool slides, project tiles and slides, pair slides with RNA samples.",
        ("slide_embeddings", "tile_projection", "slide_projection", "paired_samples"),
    ),
    "project_epochs": ("Project the slides of every checkpoint epoch.", ("epoch_projection",)),
    "fit_regressors": ("Fit and cross-validate the regressors of every gene.", ("gene_regressors",)),
    "integrate": (
        "Join image and expression, cluster slides, compare the ways to predict genes.",
        (
            "joint_projection",
            "recoverable_genes",
            "expression_clusters",
            "cluster_expression",
            "prediction_comparison",
        ),
    ),
    "predict_incoming": (
        "Predict tissue and expression of a new slide.",
        ("incoming_slide", "incoming_tiles", "incoming_embedding", "incoming_prediction"),
    ),
    "write_report": ("Write the page of the whole study.", ("study_report",)),
}


def build(
    assets: StudyAssets, storage: str, definitions_of: Callable[[Study, str], dg.Definitions]
) -> tuple[list[Any], list[Any], list[Any]]:
    """Return jobs, schedules and sensors of one study whose results lie in `storage`.

    `definitions_of` makes the definitions that the whole-study job drives.
    """
    absent = frozenset(asset for _, every in JOBS.values() for asset in every if asset not in assets.declared)
    jobs = {name: _job(assets, name, absent) for name in JOBS if not set(JOBS[name][1]) <= absent}
    whole = _whole_study(assets, storage, definitions_of)
    chores = [dead_runs, history_of(assets, StudyStorage(f"{storage}/{assets.study.name}"))]
    sensors = [_watch(assets, jobs["predict_incoming"]), upkeep_sensor(assets.study.name, chores)]
    return [*jobs.values(), whole], [_nightly(assets, jobs["tile_tissues"])], sensors


def _job(assets: StudyAssets, name: str, absent: frozenset[str]) -> Any:
    description, every = JOBS[name]
    selected = [asset for asset in every if asset not in absent]
    selection = dg.AssetSelection.assets(*[assets.key(asset) for asset in selected])
    return dg.define_asset_job(f"{assets.study.name}_{name}", selection=selection, description=description)


def _whole_study(
    assets: StudyAssets, storage: str, definitions_of: Callable[[Study, str], dg.Definitions]
) -> dg.JobDefinition:
    study = assets.study

    @dg.op(name=f"{study.name}_bring_up_to_date")
    def bring_up_to_date(context: dg.OpExecutionContext) -> None:
        from histo_assets.defs.runs import end_dead_runs
        from histo_assets.defs.whole_study import StudyDriver
        from histo_assets.interrupts import Interrupted

        end_dead_runs(context.instance)
        driver = StudyDriver(definitions_of(study, storage), study, context.instance)
        try:
            outcome = driver.bring_up_to_date(context.log.info)
        except Interrupted as interrupted:
            raise dg.DagsterExecutionInterruptedError(str(interrupted)) from interrupted
        if not outcome.success:
            problems = "; ".join(f"{work}: {problem}" for work, problem in outcome.failed)
            raise dg.Failure(f"{len(outcome.failed)} runs failed, {len(outcome.blocked)} wait for them. {problems}")

    @dg.job(
        name=f"{study.name}_whole_study",
        description="Bring every asset of the study up to date, room after room.",
        executor_def=in_process_executor,
    )
    def whole_study() -> None:
        bring_up_to_date()

    return whole_study


def _nightly(assets: StudyAssets, job: Any) -> dg.ScheduleDefinition:
    tissues = assets.partitions.tissues

    @dg.schedule(
        name=f"{assets.study.name}_nightly_tissues",
        job=job,
        cron_schedule="0 2 * * *",
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description="Every night, bring slides and tiles of every tissue up to date; whole shards are reused.",
    )
    def nightly(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest]:
        night = context.scheduled_execution_time.strftime("%Y-%m-%d")
        for tissue in tissues.get_partition_keys():
            yield dg.RunRequest(run_key=f"{tissue}-{night}", partition_key=tissue)

    return nightly


def settled_files(folder: Path, cursor: str | None, most: int = 20) -> tuple[list[tuple[str, str]], str]:
    """Return the slides of `folder` that stood still since the last look, and the next cursor.

    A file, or a folder of DICOM files, is ready once its size and time are the same on two looks in a row; it is
    returned once for each content. At most `most` a look. Files that are no slides are left alone.

    Returns
    -------
    ready : list of (partition key, version of the file)
    cursor : str
        What to pass next time.
    """
    from histo_assets.core.slides.found import new_slides

    seen: dict[str, dict[str, Any]] = json.loads(cursor) if cursor else {}
    ready: list[tuple[str, str]] = []
    now: dict[str, dict[str, Any]] = {}
    for key, slide in new_slides(folder).items():
        version = version_of_entry(folder / slide)
        before = seen.get(slide, {})
        still, taken = before.get("version") == version, before.get("taken") == version
        if still and not taken and len(ready) < most:
            ready.append((key, version))
            taken = True
        now[slide] = {"version": version, "taken": version if taken else before.get("taken")}
    return ready, json.dumps(now)


def _watch(assets: StudyAssets, job: Any) -> dg.SensorDefinition:
    study = assets.study

    @dg.sensor(
        name=f"{study.name}_incoming_slides",
        job=job,
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description="Turns a new slide in the study's incoming folder into a prediction.",
    )
    def incoming_slides(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        folder = Path(study.resolve(study.incoming.folder))
        ready, cursor = settled_files(folder, context.cursor)
        strange = names_that_are_no_text(folder)
        alone = f"; left alone, rename it: {strange[0]} (no UTF-8)" if strange else ""
        return dg.SensorResult(
            run_requests=[
                dg.RunRequest(run_key=f"{key}-{version}", partition_key=key, tags={"histo_assets/slide": key[:63]})
                for key, version in ready
            ],
            dynamic_partitions_requests=(
                [assets.partitions.incoming.build_add_request([key for key, _ in ready])] if ready else []
            ),
            cursor=cursor,
            skip_reason=None if ready else f"no new slide stands still in {folder}{alone}",
        )

    return incoming_slides
