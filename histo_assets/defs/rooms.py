"""The rooms of a study in order, and its assets with what each declares."""

from __future__ import annotations

import warnings
from types import ModuleType
from typing import Any

import dagster as dg

from histo_assets.defs import (
    cohort,
    embeddings,
    evaluation,
    expression,
    frozen,
    incoming,
    integration,
    model,
    report,
    slides,
)
from histo_assets.defs import tiles as tiling
from histo_assets.defs.study_assets import StudyAssets
from histo_assets.studies.study import Study


def rooms(study: Study) -> tuple[ModuleType, ...]:
    """Return the rooms of a study in order; one that trains nothing has none that trains or judges."""
    models = (frozen,) if study.learning.frozen else (model, evaluation)
    return (cohort, slides, tiling, expression, *models, embeddings, integration, incoming, report)


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
