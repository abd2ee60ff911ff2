"""What Dagster loads: `defs`, the definitions of the study that `HISTO_STUDY` names.

Belongs here: putting a study's assets, jobs and resources together. Does not: anything an asset
computes, or any choice that changes a result.
"""

from __future__ import annotations

import os
import warnings

import dagster as dg

from histo_assets.defs import automation
from histo_assets.defs.executor import in_process_executor
from histo_assets.defs.progress import progress_logger
from histo_assets.defs.rooms import build_rooms
from histo_assets.defs.study_assets import StudyAssets
from histo_assets.machine import prepare_machine
from histo_assets.storage.io_managers import StorageResource, build_io_managers
from histo_assets.studies.study import Study, load_study


def storage_root() -> str:
    """Return where the studies' results are kept (`HISTO_STORAGE`: a path or fsspec URL, default `data`)."""
    root = os.environ.get("HISTO_STORAGE") or "data"
    return root if "://" in root else os.path.abspath(root)


def build_definitions(study: Study, storage: str | None = None) -> dg.Definitions:
    """Return assets, checks, jobs, schedules, sensors and resources of one study.

    Parameters
    ----------
    study
        The protocol.
    storage
        Path or fsspec URL below which the study has its folder; None means `HISTO_STORAGE`.
    """
    storage = storage or storage_root()
    root = f"{storage}/{study.name}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", category=dg.PreviewWarning)
        warnings.simplefilter("ignore", category=dg.BetaWarning)
        assets = StudyAssets(study)
        asset_definitions = build_rooms(assets)
        jobs, schedules, sensors = automation.build(assets, storage, build_definitions)
        return dg.Definitions(
            assets=asset_definitions,
            jobs=jobs,
            schedules=schedules,
            sensors=sensors,
            resources={**build_io_managers(root), "storage": StorageResource(root=root)},
            executor=in_process_executor,
            loggers={"console": dg.colored_console_logger, "progress": progress_logger},
        )


prepare_machine()
defs = build_definitions(load_study())
