"""What a command needs of this machine: the study, its environment, the Dagster instance, the storage."""

from __future__ import annotations

import io
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import typer
from rich.console import Console
from rich.text import Text

from histo_assets.core.files import file_lock
from histo_assets.machine import prepare_machine

if TYPE_CHECKING:
    import dagster as dg

    from histo_assets.defs.whole_study import StudyDriver
    from histo_assets.storage.layout import Artefact, StudyStorage
    from histo_assets.storage.staleness import Staleness
    from histo_assets.studies.study import Study

# No markup and no emoji: what stands in square brackets or between colons is part of a path or a name.
console = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)


def open_study(name: str | None) -> Study:
    """Return the study, with the environment that everything launched from here needs."""
    from histo_assets.studies.study import StudyError, cohorts_root, load_study

    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ["DAGSTER_HOME"] = str(Path(os.path.expanduser(os.environ.get("DAGSTER_HOME") or ".dagster")).absolute())
    prepare_machine()
    os.environ.setdefault("HISTO_STORAGE", str(Path("data").absolute()))
    os.environ.setdefault("HISTO_COHORTS", str(cohorts_root()))
    try:
        study = load_study(name)
    except StudyError as error:
        stop(str(error))
    os.environ["HISTO_STUDY"] = os.fspath(name) if name else os.environ.get("HISTO_STUDY", study.name)
    return study


@contextmanager
def dagster_instance() -> Iterator[dg.DagsterInstance]:
    """Yield the Dagster instance of DAGSTER_HOME, set up once with telemetry off, without runs of dead processes."""
    home = Path(os.environ["DAGSTER_HOME"])
    _set_up_once(home)
    import dagster as dg

    from histo_assets.defs.runs import end_dead_runs

    with dg.DagsterInstance.get() as instance:
        for dead in end_dead_runs(instance):
            print(f"histo-assets: ended run {dead.run_id[:8]}. {dead.sentence}", file=sys.stderr)
        yield instance


def _set_up_once(home: Path) -> None:
    """Write the instance file and make the databases, one process after the other.

    Two first uses of a new SQLite instance at once corrupt it for good.
    """
    ready = home / ".set_up"
    if ready.exists() and (home / "dagster.yaml").exists():
        return
    home.mkdir(parents=True, exist_ok=True)
    with file_lock(home / ".set_up.lock"):
        if not (home / "dagster.yaml").exists():
            draft = home / "dagster.yaml.draft"
            shutil.copyfile(Path(__file__).parents[1] / "defs" / "instance.yaml", draft)
            draft.replace(home / "dagster.yaml")
        import dagster as dg

        with dg.DagsterInstance.get() as instance:
            instance.get_run_records(limit=1)
            instance.get_asset_keys(limit=1)
            instance.get_dynamic_partitions("none")
        ready.touch()


def write_missing_cohort(study: Study, quiet: bool = False) -> None:
    """Write the study's generated cohort where it is not there yet."""
    if study.synthetic is None:
        return
    from histo_assets.demo.cohort import is_written, write_cohort

    folder = Path(study.resolve(study.cohort.manifest)).parent
    if is_written(study.synthetic, folder):
        return
    progress = (lambda text: None) if quiet else (lambda text: say(Text(text, "dim")))
    if not quiet:
        say("Writing the cohort of study ", bold(study.name), f" to {folder}")
    write_cohort(study.synthetic, folder, progress)


def driver_of(study: Study, instance: dg.DagsterInstance) -> StudyDriver:
    """Return the driver of a study."""
    from histo_assets.definitions import build_definitions
    from histo_assets.defs.whole_study import StudyDriver

    return StudyDriver(build_definitions(study), study, instance)


def check_names(driver: StudyDriver, select: list[str] | None, partition: str | None) -> None:
    """Stop where `select` or `partition` names nothing of the study."""
    stages = driver.stages()
    names = {name for stage in stages for name in stage.assets}
    unknown = sorted(set(select or ()) - names)
    if unknown:
        stop(f"study {driver.study.name} has no asset {', '.join(unknown)}; it has {', '.join(sorted(names))}")
    keys = {key for stage in stages for key in stage.partitions if key}
    if partition is not None and partition not in keys:
        stop(f"study {driver.study.name} has no partition {partition!r}; it has {', '.join(sorted(keys))}")


def storage_of(study: Study) -> StudyStorage:
    """Return the storage of a study."""
    from histo_assets.definitions import storage_root
    from histo_assets.storage.layout import StudyStorage

    return StudyStorage(f"{storage_root()}/{study.name}")


def staleness_of(study: Study) -> Staleness:
    """Return the staleness of a study's artefacts, new slides included."""
    from histo_assets.defs.reconciling import new_slides
    from histo_assets.defs.rooms import study_assets
    from histo_assets.storage.prune import stored_artefacts

    storage = storage_of(study)
    return study_assets(study).staleness(storage, new_slides(stored_artefacts(storage)))


def folder_of(study: Study, asset: str, partition: str | None = None) -> Path:
    """Return the local folder with the files of an asset's current version."""
    from histo_assets.storage.layout import Artefact

    storage = storage_of(study)
    artefact = Artefact(asset, partition)
    return storage.fetch(artefact, storage.require(artefact)) / "files"


def known_partitions(study: Study) -> dict[str, set[str]]:
    """Return asset -> partition keys that the study has."""
    from histo_assets.definitions import build_definitions

    graph = build_definitions(study).resolve_asset_graph()
    return {
        key.path[-1]: set(node.partitions_def.get_partition_keys())
        for key in graph.materializable_asset_keys
        if (node := graph.get(key)).partitions_def is not None and not key.path[-1].startswith("incoming_")
    }


def shards_in_use(study: Study) -> tuple[set[str], dict[str, str]]:
    """Return the shards that tile indexes and the training set name, and the tissues of which others may be in use.

    Shards are `<tissue>/<shard>` without suffix. A tissue comes with the reason for the doubt: the pointer of its
    tiles or of the training set is missing, cannot be read, or is older than what was stored since.
    """
    from histo_assets.storage.layout import Artefact
    from histo_assets.storage.prune import doubt_of

    storage = storage_of(study)
    used: set[str] = set()
    unsure: dict[str, str] = {}
    concerned: dict[Artefact, tuple[str, ...]] = {
        Artefact("tiles", tissue): (tissue,) for tissue in study.selection.tissues
    }
    if study.learning.frozen is None:
        concerned[Artefact("training_set")] = tuple(study.selection.tissues)
    for artefact, tissues in concerned.items():
        doubt = doubt_of(storage, artefact)
        try:
            used |= _shards_named(storage, artefact)
        except (ValueError, OSError) as error:
            doubt = doubt or f"cannot be read ({error})"
        if doubt:
            unsure = {tissue: f"{artefact}: {doubt}" for tissue in tissues} | unsure
    return used, unsure


def _shards_named(storage: StudyStorage, artefact: Artefact) -> set[str]:
    """Return the shards that an index names."""
    from histo_assets.storage.formats import read

    pointer = storage.pointer(artefact)
    if pointer is None:
        return set()
    content = read(pointer.format, storage.fetch(artefact, pointer))
    rows = content.index if artefact.asset == "tiles" else content
    return {f"{tissue}/{Path(shard).stem}" for tissue, shard in rows.select("tissue", "shard").unique().iter_rows()}


def left_over(study: Study) -> list[str]:
    """Return what the storage still holds of partitions that the study no longer has."""
    from histo_assets.storage.prune import stored_artefacts

    known = known_partitions(study)
    return [
        str(artefact)
        for artefact in stored_artefacts(storage_of(study))
        if artefact.asset in known and artefact.partition not in known[artefact.asset]
    ]


def report_path(study: Study) -> Path:
    """Return where the study's page is."""
    return folder_of(study, "study_report") / "report.html"


def quiet_logs() -> None:
    """Keep Dagster's log and warnings out of the command's output."""
    import logging
    import warnings

    logging.getLogger("dagster").setLevel(logging.ERROR)
    logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)  # an interrupt may fall into a connection's end
    warnings.filterwarnings("ignore", module="dagster")


@contextmanager
def live_progress() -> Iterator[None]:
    """Show the progress of the running step in one line that changes; nothing where nobody looks."""
    from histo_assets.defs.progress import listening

    if not console.is_terminal:
        yield
        return
    with console.status("starting") as status, listening(lambda line: status.update(Text(line[: console.width - 4]))):
        yield


def say(*parts: str | Text) -> None:
    """Print a line of parts as they are."""
    console.print(Text.assemble(*parts))


def bold(words: object) -> Text:
    """Return what is printed in bold."""
    return Text(str(words), "bold")


def print_any_name() -> None:
    """Have letters that a terminal cannot show, and bytes of names that are no UTF-8, printed in hexadecimal."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def stop(sentence: str, code: int = 2) -> NoReturn:
    """Say in one sentence why the command ends, and end it."""
    print(f"histo-assets: {sentence}", file=sys.stderr)
    raise typer.Exit(code)
