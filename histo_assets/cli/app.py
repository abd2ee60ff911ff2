"""The command `histo-assets`: demo, materialize, ui, plan, predict, tile, calibrate, expression,
fetch-release, fetch-weights, prune, tables.

Belongs here: reading arguments, setting the environment up, printing. Does not: anything that a
Dagster run or a test would need as well.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from histo_assets.cli.environment import (
    bold,
    check_names,
    console,
    dagster_instance,
    driver_of,
    known_partitions,
    left_over,
    live_progress,
    open_study,
    print_any_name,
    quiet_logs,
    report_path,
    say,
    shards_in_use,
    stop,
    storage_of,
    write_missing_cohort,
)
from histo_assets.cli.expression import expression, fetch_release
from histo_assets.cli.printed import print_plan, print_prediction
from histo_assets.cli.servers import serve
from histo_assets.cli.status import reconcile, status
from histo_assets.cli.tables import tables
from histo_assets.cli.tiles import calibrate, tile
from histo_assets.cli.weights import fetch_weights
from histo_assets.core.errors import HistoError
from histo_assets.full_disk import why_it_cannot_write, why_the_storage_is_silent, with_its_place
from histo_assets.interrupts import ended_by_signals

if TYPE_CHECKING:
    import dagster as dg

    from histo_assets.defs.whole_study import Outcome
    from histo_assets.studies.study import Study

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="From slides to predicted genes, as Dagster assets.",
)

StudyOption = Annotated[str | None, typer.Option("--study", help="A packaged study or a YAML file (HISTO_STUDY).")]
SelectOption = Annotated[list[str] | None, typer.Option("--select", help="Only this asset; may be repeated.")]
PartitionOption = Annotated[str | None, typer.Option("--partition", help="Only this partition, e.g. liver.")]


@app.command()
def demo(study: StudyOption = "demo") -> None:
    """Write the demo cohort and materialise the whole graph on it."""
    loaded = open_study(study)
    write_missing_cohort(loaded)
    _materialize(loaded, None, None, force=False)
    say("\nThe study on one page: ", bold(report_path(loaded)), "\nThe Dagster UI: ", bold("make ui"))


@app.command()
def materialize(
    study: StudyOption = None,
    select: SelectOption = None,
    partition: PartitionOption = None,
    force: Annotated[bool, typer.Option(help="Also what is fresh.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what is due, do nothing.")] = False,
) -> None:
    """Make everything that is missing or stale, in order, in one process."""
    loaded = open_study(study)
    write_missing_cohort(loaded)
    if dry_run:
        with dagster_instance() as instance:
            _print_due(loaded, instance, select, partition)
        return
    _materialize(loaded, select, partition, force)


@app.command()
def plan(study: StudyOption = None, as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False) -> None:
    """Say what a study will do before it does it: counts, gigabytes, assets, what is missing."""
    from histo_assets.studies.plan import missing_files, plan_study

    loaded = open_study(study)
    if loaded.synthetic and not as_json:
        write_missing_cohort(loaded)
    elif loaded.synthetic:
        write_missing_cohort(loaded, quiet=True)
    absent = missing_files(loaded)
    if any("manifest" in sentence or "RNA samples" in sentence for sentence in absent):
        stop("; ".join(absent))
    planned = plan_study(loaded)
    with dagster_instance() as instance:
        quiet_logs()
        driver = driver_of(loaded, instance)
        driver.observe_sources()
        stages, due, removed = driver.stages(), driver.plan(), left_over(loaded)
    if not as_json:
        print_plan(planned, stages, len(due), removed)
        return
    content = {
        **asdict(planned),
        "stages": [{"assets": s.assets, "partitions": [key for key in s.partitions if key]} for s in stages],
        "due": [{"assets": work.assets, "partition": work.partition, "why": work.reasons} for work in due],
        "partitions_without_a_study": removed,
    }
    print(json.dumps(content, indent=1, default=str))


@app.command()
def predict(
    slide: Annotated[Path, typer.Argument(help="A whole-slide image, or a folder of DICOM files.")],
    study: StudyOption = None,
) -> None:
    """Predict tissue and expression of a new slide against a finished study, and write a page with pictures."""
    from histo_assets.core.incoming.placing import placed_slide
    from histo_assets.storage.prune import stored_artefacts

    loaded = open_study(study)
    taken = {str(a.partition) for a in stored_artefacts(storage_of(loaded)) if a.asset.startswith("incoming_")}
    key = placed_slide(slide, Path(loaded.resolve(loaded.incoming.folder)), taken)
    if key != slide.stem:
        say(f"{slide} is new slide {key}")
    with dagster_instance() as instance:
        _run_prediction(loaded, instance, key)
    print_prediction(loaded, key)


@app.command()
def prune(
    study: StudyOption = None,
    days: Annotated[float, typer.Option(help="Keep old versions this long.")] = 7,
    yes: Annotated[bool, typer.Option("--yes", help="Remove; without it only say what would go.")] = False,
    orphans: Annotated[bool, typer.Option("--orphans", help="Also what a lost pointer may have meant.")] = False,
) -> None:
    """Remove old versions, and partitions that the study no longer has."""
    from histo_assets.storage.prune import prune as prune_storage
    from histo_assets.storage.prune import prune_shards

    loaded = open_study(study)
    storage, grace = storage_of(loaded), timedelta(days=days)
    used, unsure = shards_in_use(loaded)
    candidates = prune_storage(storage, grace, known_partitions(loaded), dry_run=not yes, orphans=orphans)
    candidates += prune_shards(storage, "tiles", used, grace, dry_run=not yes, unsure=unsure, orphans=orphans)
    removed = [item for item in candidates if orphans or not item.orphan]
    for item in removed:
        say(f"{'removed' if yes else 'would remove'} {item.path}: {item.reason}")
    if kept := [item for item in candidates if item not in removed]:
        say("\nOrphans, kept because a lost pointer may have meant them:")
        for item in kept:
            say(f"{item.path}: {item.reason}")
        say("`histo-assets prune --orphans --yes` removes them; `histo-assets materialize` makes the pointer again\n")
    console.print(f"{len(removed)} {'removed' if yes else 'to remove; add --yes'}")


@app.command()
def ui(
    study: StudyOption = None,
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1.")] = 3000,
    daemon: Annotated[bool, typer.Option(help="Also run the daemon, for schedules, sensors and backfills.")] = True,
) -> None:
    """Open the Dagster UI on 127.0.0.1."""
    loaded = open_study(study)
    with dagster_instance():
        pass
    command = "dev" if daemon else None
    binary = str(Path(sys.executable).parent / ("dagster" if daemon else "dagster-webserver"))
    arguments = [binary, *([command] if command else []), "-h", "127.0.0.1", "-p", str(port)]
    say("Dagster UI of study ", bold(loaded.name), " on ", bold(f"http://127.0.0.1:{port}"), ", Ctrl+C ends it")
    try:
        code = serve([*arguments, "-m", "histo_assets.definitions"])
    finally:
        with dagster_instance():  # ends the runs whose workers went with the servers
            pass
    raise typer.Exit(code)


app.command()(tile)
app.command()(calibrate)
app.command()(expression)
app.command()(fetch_release)
app.command()(fetch_weights)
app.command()(status)
app.command()(reconcile)
app.command()(tables)


def main() -> None:
    """Run the command line; an error of the package's own kinds, or of a full disk, is one sentence."""
    print_any_name()
    with ended_by_signals():
        try:
            app()
        except Exception as error:
            own = str(error) if isinstance(error, HistoError) else None
            sentence = own or why_it_cannot_write(error) or why_the_storage_is_silent(error)
            if sentence is None:
                raise
            print(f"histo-assets: {' '.join(sentence.split())}", file=sys.stderr)
            sys.exit(2)


def _materialize(study: Study, select: list[str] | None, partition: str | None, force: bool) -> None:
    quiet_logs()
    with dagster_instance() as instance:
        driver = driver_of(study, instance)
        check_names(driver, select, partition)
        with live_progress():
            outcome: Outcome = driver.bring_up_to_date(say, select, partition, force)
    if outcome.complete:
        if not outcome.done:
            console.print(f"Study {study.name} is up to date.")
        return
    for work, problem in outcome.failed:
        say(f"failed: {work}: {with_its_place(problem)}")
    for work in outcome.blocked:
        say(f"waiting: {work}")
    for artefact, reason in outcome.incomplete:
        say(f"incomplete: {artefact}: {reason}; the next run tries again")
    raise typer.Exit(1)


def _print_due(study: Study, instance: dg.DagsterInstance, select: list[str] | None, partition: str | None) -> None:
    driver = driver_of(study, instance)
    check_names(driver, select, partition)
    quiet_logs()
    driver.observe_sources()
    work = driver.plan(select, partition)
    for item in work:
        say(f"{item}: {item.reasons[0]}")
    follow = len(driver.following())
    after = f"; {follow} more artefacts are made from them and follow where they come out otherwise" if follow else ""
    console.print(f"{len(work)} runs due now{after}" if work else "up to date")


def _run_prediction(study: Study, instance: dg.DagsterInstance, key: str) -> None:
    from histo_assets.defs.whole_study import failure_of

    quiet_logs()
    driver = driver_of(study, instance)
    instance.add_dynamic_partitions(f"incoming_{study.name}", [key])
    with live_progress():
        ran = driver.run(("incoming_slide", "incoming_tiles", "incoming_embedding", "incoming_prediction"), key, say)
    if not ran.success:
        stop(f"{key}: {failure_of(ran)}", code=1)
