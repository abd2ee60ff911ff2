"""What a study decides about predicting genes and clusters."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from histo_assets.core.files import Settings
from histo_assets.core.prediction.regressors.lightgbm import BoostingSettings
from histo_assets.core.prediction.regressors.registry import AnyRegressor
from histo_assets.core.prediction.regressors.ridge import RidgeSettings
from histo_assets.core.settings import by_partition


class PredictionSettings(Settings):
    """Regressors, clusters, and how sure a figure must be."""

    regressors: Annotated[dict[str, AnyRegressor], by_partition("regressor")] = Field(
        default={"ridge": RidgeSettings(), "lightgbm": BoostingSettings()},
        description="Name -> regressor; the first one reports where too few donors are locked to choose.",
    )
    covariates: tuple[str, ...] = Field(
        default=(),
        description="Columns of the cohort, numeric or categorical, that are regressed out of features and expression.",
    )
    clusters: int | None = Field(default=None, ge=2, description="Clusters of slides; None: as many as tissues.")
    bootstraps: int = Field(default=200, ge=20, description="Draws of donors behind an interval.")
    permutations: int = Field(default=200, ge=20, description="Draws of donors' signs behind a q.")
    min_r2_within: float = Field(default=0.05, description="Least r2 within tissues of a recoverable gene.")
    max_q: float = Field(default=0.05, description="A recoverable gene's q lies below this false discovery rate.")
    seed: int = Field(default=0, description="Decides bootstraps, permutations, trees and clusters.")
