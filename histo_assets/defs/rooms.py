"""The rooms of a study in order, and its assets with what each declares."""

from __future__ import annotations

import warnings
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType
from typing import Any

import dagster as dg

from histo_assets import defs
from histo_assets.defs.study_assets import StudyAssets
from histo_assets.studies.study import Study

ROOMS = ("cohort", "slides", "tiles", "expression", "model", "embeddings", "integration", "incoming", "report")
"""The rooms in order; one that is not named here comes after them."""


def rooms(study: Study) -> tuple[ModuleType, ...]:
    """Return the modules of this folder that hold assets of a study, room by room.

    Such a module names its `ROOM` and has a function `build`; one that serves only some studies says so in a
    function `serves`.
    """
    modules = [import_module(f"{__package__}.{module.name}") for module in iter_modules(defs.__path__)]
    holding = [module for module in modules if hasattr(module, "ROOM") and hasattr(module, "build")]
    serving = [module for module in holding if not hasattr(module, "serves") or module.serves(study)]
    return tuple(sorted(serving, key=_place))


def _place(module: ModuleType) -> tuple[int, bool, str]:
    """Return where a module comes: by its room, the module that is called as its room first, then by name."""
    room = module.ROOM
    name = module.__name__.rsplit(".", 1)[-1]
    return ROOMS.index(room) if room in ROOMS else len(ROOMS), name != room, name


def build_rooms(assets: StudyAssets) -> list[Any]:
    """Return the asset definitions of every room of the study."""
    return [asset for room in rooms(assets.study) for asset in room.build(assets)]


def study_assets(study: Study) -> StudyAssets:
    """Return a study's assets, each declared."""
    assets = StudyAssets(study)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", category=dg.PreviewWarning)
        warnings.simplefilter("ignore", category=dg.BetaWarning)
        build_rooms(assets)
    return assets
