"""What it costs to say what of `gtex_post` is fresh: from the storage, and by Dagster's own resolver.

    .venv/bin/python -m histo_assets_tests.benchmarks.staleness [--json]

Every artefact of the study is stored as a small file with a pointer of the size that it really has; the cohort's
slides are 25,713 empty files. No asset is computed. CPU seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg

SLIDES = 25_713


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measured(Path(folder))
    if options.json:
        print(json.dumps(figures, indent=1))
        return
    for name, value in figures.items():
        print(f"{name:<55} {value:,.3f}" if isinstance(value, float) else f"{name:<55} {value:,}")


def measured(folder: Path) -> dict[str, Any]:
    """Return the figures of a study that is stored whole below `folder`."""
    os.environ["HISTO_COHORTS"] = str(folder / "cohorts")
    from histo_assets.defs.reconciling import reconcile
    from histo_assets.defs.rooms import study_assets
    from histo_assets.storage.layout import StudyStorage
    from histo_assets.studies.study import load_study

    study = load_study("gtex_post")
    slides = Path(study.resolve(study.slides.folder))
    slides.mkdir(parents=True)
    for number in range(SLIDES):
        (slides / f"GTEX-{number:05d}-0126.svs").touch()
    storage = StudyStorage(folder / "data" / study.name)
    assets = study_assets(study)
    staleness = assets.staleness(storage)
    look_seconds, _ = cpu(lambda: staleness.sources.look("slide_files"))
    for need in staleness.needs.values():
        store(storage, need, staleness)
    seconds, statuses = cpu(lambda: study_assets(study).staleness(storage).statuses())
    assert all(status.state == "fresh" for status in statuses), next(s for s in statuses if s.state != "fresh")
    (folder / "home").mkdir()
    with dg.DagsterInstance.local_temp(str(folder / "home")) as instance:
        telling, _ = cpu(lambda: reconcile(assets, storage, instance))
        nothing, _ = cpu(lambda: reconcile(assets, storage, instance))
        resolver, by_dagster = cpu(lambda: fresh_by_dagster(study, folder / "data", instance))
    return {
        "artefacts": len(statuses),
        "slides in the folder": SLIDES,
        "status, from the storage": seconds,
        "the same by Dagster's resolver": resolver,
        "ratio": seconds / resolver,
        "artefacts that Dagster takes for fresh": by_dagster,
        "a look at the folder of slides": look_seconds,
        "telling a new instance of all": telling,
        "finding that there is nothing to tell": nothing,
    }


def store(storage: Any, need: Any, staleness: Any) -> None:
    """Store an artefact of one small file as a step would that was asked for `need`."""
    from histo_assets.defs.sources import SIBLINGS
    from histo_assets.storage.layout import Origin, Record

    parts = {}
    for source in need.sources:
        look = dict(staleness.sources.last(source).parts)
        some = dict(list(look.items())[:50])
        slides = {Path(name).stem: f"{name} {version}" for name, version in some.items()} | {SIBLINGS: ""}
        parts[source] = slides if source == "slide_files" else look
    wanted = {s: {p: v for p, v in parts[s].items() if not need.sources[s] or p in need.sources[s]} for s in parts}
    made_from = {parent.name: storage.require(parent).data_version for parent in need.parents}
    storage.publish(
        need.artefact,
        lambda folder: (folder / "content.json").write_text("{}"),
        format="json",
        data_version=need.artefact.name,
        origin=Origin(made_from=made_from),
        record=Record(settings=dict(need.settings), revision=need.revision, sources=wanted),
    )


def fresh_by_dagster(study: Any, data: Path, instance: dg.DagsterInstance) -> int:
    """Return how many artefacts Dagster's resolver takes for fresh."""
    from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
    from dagster._core.loader import LoadingContextForTest

    from histo_assets.definitions import build_definitions
    from histo_assets.defs.whole_study import StudyDriver

    driver = StudyDriver(build_definitions(study, str(data)), study, instance)
    resolver = CachingStaleStatusResolver(instance, driver.graph, loading_context=LoadingContextForTest(instance))
    return sum(
        resolver.get_status(driver.assets.key(name), key) == StaleStatus.FRESH
        for stage in driver.stages()
        for name in stage.assets
        for key in stage.partitions
    )


def cpu(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return the CPU seconds that `work` took in this process, and what it returned."""
    began = time.process_time()
    done = work()
    return time.process_time() - began, done


if __name__ == "__main__":
    main()
