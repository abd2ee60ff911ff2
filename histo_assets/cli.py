"""The command `histo-assets`: demo, materialize, ui, plan, predict, prune.

Belongs here: reading arguments, setting the environment up, printing. Does not: anything that a
Dagster run or a test would need as well.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    import dagster as dg

    from histo_assets.defs.whole_study import Outcome, StudyDriver
    from histo_assets.storage.layout import StudyStorage
    from histo_assets.studies.study import Study

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="From slides to predicted genes, as Dagster assets.",
)
console = Console(highlight=False, soft_wrap=True)

StudyOption = Annotated[str | None, typer.Option("--study", help="A packaged study or a YAML file (HISTO_STUDY).")]
SelectOption = Annotated[list[str] | None, typer.Option("--select", help="Only this asset; may be repeated.")]
PartitionOption = Annotated[str | None, typer.Option("--partition", help="Only this partition, e.g. liver.")]


@app.command()
def demo(study: StudyOption = "demo") -> None:
    """Write the demo cohort and materialise the whole graph on it."""
    loaded = _study(study)
    _write_cohort(loaded)
    _materialize(loaded, None, None, force=False)
    console.print(f"\nThe study on one page: [bold]{_report_path(loaded)}[/]\nThe Dagster UI: [bold]make ui[/]")


@app.command()
def materialize(
    study: StudyOption = None,
    select: SelectOption = None,
    partition: PartitionOption = None,
    force: Annotated[bool, typer.Option(help="Also what is fresh.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what is due, do nothing.")] = False,
) -> None:
    """Make everything that is missing or stale, in order, in one process."""
    loaded = _study(study)
    _write_cohort(loaded)
    if dry_run:
        with _instance() as instance:
            _print_due(loaded, instance, select, partition)
        return
    _materialize(loaded, select, partition, force)


@app.command()
def plan(study: StudyOption = None, as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False) -> None:
    """Say what a study will do before it does it: counts, gigabytes, assets, what is missing."""
    from histo_assets.studies.plan import missing_files, plan_study

    loaded = _study(study)
    if loaded.synthetic and not as_json:
        _write_cohort(loaded)
    elif loaded.synthetic:
        _write_cohort(loaded, quiet=True)
    absent = missing_files(loaded)
    if any("manifest" in sentence or "RNA samples" in sentence for sentence in absent):
        _stop("; ".join(absent))
    planned = plan_study(loaded)
    with _instance() as instance:
        _quiet_logs()
        driver = _driver(loaded, instance)
        driver.observe_sources()
        stages = [{"assets": list(s.assets), "partitions": [p for p in s.partitions if p]} for s in driver.stages()]
        due = [{"assets": list(w.assets), "partition": w.partition, "why": list(w.reasons)} for w in driver.plan()]
        removed = _left_over(loaded)
    content = {**planned.as_json(), "stages": stages, "due": due, "partitions_without_a_study": removed}
    if as_json:
        print(json.dumps(content, indent=1, default=str))
        return
    _print_plan(content)


@app.command()
def predict(slide: Annotated[Path, typer.Argument(help="A whole-slide image.")], study: StudyOption = None) -> None:
    """Predict tissue and expression of a new slide against a finished study, and write a page with pictures."""
    from histo_assets.core.cohort.ids import safe_id
    from histo_assets.core.slides.slide import DRIVERS

    loaded = _study(study)
    if not slide.exists():
        _stop(f"{slide} does not exist")
    if slide.suffix.lower() not in DRIVERS:
        _stop(f"{slide} is no slide by its name; known are {', '.join(sorted(DRIVERS))}")
    key = safe_id(slide.stem)
    if not key:
        _stop(f"{slide.name} leaves no usable name; rename it")
    folder = Path(loaded.resolve(loaded.incoming.folder))
    folder.mkdir(parents=True, exist_ok=True)
    placed = folder / f"{key}{slide.suffix}"
    if slide.absolute() != placed.absolute() and not (placed.exists() and placed.resolve() == slide.resolve()):
        if placed.exists() or placed.is_symlink():
            if not placed.is_symlink():
                _stop(f"{placed} is another slide of that name; rename {slide.name} or take that one away")
            placed.unlink()
        placed.symlink_to(slide.absolute())
    with _instance() as instance:
        _run_prediction(loaded, instance, key)
    _print_prediction(loaded, key)


@app.command()
def prune(
    study: StudyOption = None,
    days: Annotated[float, typer.Option(help="Keep old versions this long.")] = 7,
    yes: Annotated[bool, typer.Option("--yes", help="Remove; without it only say what would go.")] = False,
) -> None:
    """Remove old versions, and partitions that the study no longer has."""
    from histo_assets.storage.prune import prune as prune_storage
    from histo_assets.storage.prune import prune_shards

    loaded = _study(study)
    storage, grace = _storage(loaded), timedelta(days=days)
    removed = prune_storage(storage, grace, keep_partitions=_known_partitions(loaded), dry_run=not yes)
    removed += prune_shards(storage, "tiles", _shards_in_use(loaded), grace, dry_run=not yes)
    for item in removed:
        _say(f"{'removed' if yes else 'would remove'} {item.path}: {item.reason}")
    console.print(f"{len(removed)} {'removed' if yes else 'to remove; add --yes'}")


@app.command()
def ui(
    study: StudyOption = None,
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1.")] = 3000,
    daemon: Annotated[bool, typer.Option(help="Also run the daemon, for schedules, sensors and backfills.")] = True,
) -> None:
    """Open the Dagster UI on 127.0.0.1."""
    loaded = _study(study)
    with _instance():
        pass
    command = "dev" if daemon else None
    binary = str(Path(sys.executable).parent / ("dagster" if daemon else "dagster-webserver"))
    arguments = [binary, *([command] if command else []), "-h", "127.0.0.1", "-p", str(port)]
    console.print(f"Dagster UI of study [bold]{loaded.name}[/] on [bold]http://127.0.0.1:{port}[/], Ctrl+C ends it")
    raise typer.Exit(subprocess.call([*arguments, "-m", "histo_assets.definitions"]))


def main() -> None:
    """Run the command line; an error of the package's own kinds is one sentence, not a traceback."""
    try:
        app()
    except ValueError as error:
        if not type(error).__module__.startswith("histo_assets."):
            raise
        print(f"histo-assets: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)


def _study(name: str | None) -> Study:
    """Return the study, with the environment that everything launched from here needs."""
    from histo_assets.studies.study import StudyError, cohorts_root, load_study

    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("DAGSTER_HOME", str(Path(".dagster").absolute()))
    os.environ.setdefault("HISTO_STORAGE", str(Path("data").absolute()))
    os.environ.setdefault("HISTO_COHORTS", str(cohorts_root()))
    try:
        study = load_study(name)
    except StudyError as error:
        _stop(str(error))
    os.environ["HISTO_STUDY"] = os.fspath(name) if name else os.environ.get("HISTO_STUDY", study.name)
    return study


@contextmanager
def _instance() -> Iterator[dg.DagsterInstance]:
    """Yield the Dagster instance of DAGSTER_HOME, set up once with telemetry off."""
    home = Path(os.environ["DAGSTER_HOME"])
    if not (home / "dagster.yaml").exists():
        home.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(Path(__file__).parent / "defs" / "instance.yaml", home / "dagster.yaml")
    import dagster as dg

    with dg.DagsterInstance.get() as instance:
        yield instance


def _write_cohort(study: Study, quiet: bool = False) -> None:
    """Write the study's generated cohort where it is not there yet."""
    if study.synthetic is None:
        return
    from histo_assets.demo.cohort import is_written, write_cohort

    folder = Path(study.resolve(study.cohort.manifest)).parent
    if is_written(study.synthetic, folder):
        return
    say = (lambda text: None) if quiet else (lambda text: console.print(f"[dim]{text}[/]"))
    if not quiet:
        console.print(f"Writing the cohort of study [bold]{study.name}[/] to {folder}")
    write_cohort(study.synthetic, folder, say)


def _driver(study: Study, instance: dg.DagsterInstance) -> StudyDriver:
    from histo_assets.definitions import build_definitions
    from histo_assets.defs.whole_study import StudyDriver

    return StudyDriver(build_definitions(study), study, instance)


def _materialize(study: Study, select: list[str] | None, partition: str | None, force: bool) -> None:
    _quiet_logs()
    with _instance() as instance:
        driver = _driver(study, instance)
        _check_names(driver, select, partition)
        outcome: Outcome = driver.bring_up_to_date(_say, select, partition, force)
    if not outcome.done and outcome.success:
        console.print(f"Study {study.name} is up to date.")
    if outcome.success:
        return
    for work, problem in outcome.failed:
        _say(f"failed: {work}: {problem}")
    for work in outcome.blocked:
        _say(f"waiting: {work}")
    raise typer.Exit(1)


def _check_names(driver: StudyDriver, select: list[str] | None, partition: str | None) -> None:
    """Stop where `select` or `partition` names nothing of the study."""
    stages = driver.stages()
    names = {name for stage in stages for name in stage.assets}
    unknown = sorted(set(select or ()) - names)
    if unknown:
        _stop(f"study {driver.study.name} has no asset {', '.join(unknown)}; it has {', '.join(sorted(names))}")
    keys = {key for stage in stages for key in stage.partitions if key}
    if partition is not None and partition not in keys:
        _stop(f"study {driver.study.name} has no partition {partition!r}; it has {', '.join(sorted(keys))}")


def _print_due(study: Study, instance: dg.DagsterInstance, select: list[str] | None, partition: str | None) -> None:
    driver = _driver(study, instance)
    _check_names(driver, select, partition)
    _quiet_logs()
    driver.observe_sources()
    work = driver.plan(select, partition)
    for item in work:
        _say(f"{item}: {item.reasons[0]}")
    console.print(f"{len(work)} runs due now; what turns stale by them comes after" if work else "up to date")


def _run_prediction(study: Study, instance: dg.DagsterInstance, key: str) -> None:
    from histo_assets.defs.whole_study import failure_of

    _quiet_logs()
    driver = _driver(study, instance)
    instance.add_dynamic_partitions(f"incoming_{study.name}", [key])
    ran = driver.run(("incoming_slide", "incoming_tiles", "incoming_embedding", "incoming_prediction"), key)
    if not ran.success:
        failed = [e for e in ran.get_asset_check_evaluations() if not e.passed and e.blocking]
        reason = str(failed[0].metadata["found"].value) if failed else failure_of(ran)
        _stop(f"{key}: {reason}", code=1)


def _print_prediction(study: Study, key: str) -> None:
    folder = _folder_of(study, "incoming_prediction", key)
    summary = json.loads((folder / "summary.json").read_text())
    table = Table(title=f"{key}: {summary['tissue']} ({summary['probability']:.0%})")
    for column in ("gene", "log2(1+TPM)", "over the tissue mean", "r2 within tissue", "cluster average"):
        table.add_column(column, justify="left" if column == "gene" else "right")
    for row in summary["top_genes"]:
        table.add_row(
            row["gene"],
            f"{row['predicted']:.2f}",
            f"{row['over_tissue_mean']:+.2f}",
            f"{row['r2_within']:.2f}",
            f"{row['cluster_average']:.2f}",
        )
    console.print(table)
    if summary["unlike_training"]:
        console.print(f"[yellow]Unlike the training slides[/]: {summary['novelty_sentence']}")
    console.print(f"Page: [bold]{folder / 'page.html'}[/]")


def _print_plan(content: dict[str, Any]) -> None:
    console.print(f"[bold]{content['study']}[/]: {content['title']}")
    regime = content["regime"]
    detectable = regime["detectable_out_of_fold"]
    rows = {
        "slides in the manifest": f"{content['manifest_slides']:,}",
        "pairs with RNA": f"{content['pairs']:,} of {content['pair_donors']:,} donors",
        "selected": f"{content['slides']:,} slides of {content['donors']:,} donors, {content['tissues']} tissues",
        "tiles": f"{content['tiles']:,}, about {content['tile_gigabytes']} GB",
        "slide files": f"{content['slides_found']:,} found, {content['slide_gigabytes']} GB;"
        f" missing about {content['slide_gigabytes_missing']} GB",
        "training": f"{content['epochs']} epochs in {len(content['experiments'])} experiments",
        "evidence": f"{regime['regime']}, {regime['locked_donors']} locked donors; smallest r2 within tissue"
        f" found with 80 % power: {'none' if detectable is None else f'{detectable:.2f}'}",
        "due now": f"{len(content['due'])} runs",
    }
    table = Table(show_header=False, box=None)
    for name, value in rows.items():
        table.add_row(name, value)
    console.print(table)
    for stage in content["stages"]:
        many = f" x {len(stage['partitions'])}" if stage["partitions"] else ""
        _say(f"  {', '.join(stage['assets'])}{many}")
    for sentence in content["missing"]:
        _say(f"missing: {sentence}")
    for name in content["partitions_without_a_study"]:
        _say(f"left over: {name}; `histo-assets prune` removes it")


def _storage(study: Study) -> StudyStorage:
    from histo_assets.definitions import storage_root
    from histo_assets.storage.layout import StudyStorage

    return StudyStorage(f"{storage_root()}/{study.name}")


def _folder_of(study: Study, asset: str, partition: str | None = None) -> Path:
    """Return the local folder with the files of an asset's current version."""
    from histo_assets.storage.layout import Artefact

    storage = _storage(study)
    artefact = Artefact(asset, partition)
    return storage.fetch(artefact, storage.require(artefact)) / "files"


def _known_partitions(study: Study) -> dict[str, set[str]]:
    """Return asset -> partition keys that the study has."""
    from histo_assets.definitions import build_definitions

    graph = build_definitions(study).resolve_asset_graph()
    return {
        key.path[-1]: set(node.partitions_def.get_partition_keys())
        for key in graph.materializable_asset_keys
        if (node := graph.get(key)).partitions_def is not None and not key.path[-1].startswith("incoming_")
    }


def _shards_in_use(study: Study) -> set[str]:
    """Return the shards that tile indexes and the training set name, as `<tissue>/<shard>` without suffix."""
    from histo_assets.storage.formats import read
    from histo_assets.storage.layout import Artefact

    storage = _storage(study)
    used: set[str] = set()
    for artefact in [Artefact("training_set"), *[Artefact("tiles", tissue) for tissue in study.selection.tissues]]:
        pointer = storage.pointer(artefact)
        if pointer is None:
            continue
        content = read(pointer.format, storage.fetch(artefact, pointer))
        rows = content.index if artefact.asset == "tiles" else content
        named = rows.select("tissue", "shard").unique().iter_rows()
        used |= {f"{tissue}/{Path(shard).stem}" for tissue, shard in named}
    return used


def _left_over(study: Study) -> list[str]:
    """Return what the storage still holds of partitions that the study no longer has."""
    from histo_assets.storage.prune import stored_artefacts

    known = _known_partitions(study)
    return [
        str(artefact)
        for artefact in stored_artefacts(_storage(study))
        if artefact.asset in known and artefact.partition not in known[artefact.asset]
    ]


def _report_path(study: Study) -> Path:
    return _folder_of(study, "study_report") / "report.html"


def _quiet_logs() -> None:
    import logging
    import warnings

    logging.getLogger("dagster").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="dagster")


def _say(text: str) -> None:
    console.print(text, markup=False)


def _stop(sentence: str, code: int = 2) -> Any:
    print(f"histo-assets: {sentence}", file=sys.stderr)
    raise typer.Exit(code)
