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
    """Regressors, clusters, and how sure a figure must be.

    `covariates` are columns of the cohort (numeric or categorical) that are regressed out of both
    sides. `clusters` None: as many as tissues.
    """

    regressors: Annotated[dict[str, AnyRegressor], by_partition("regressor")] = Field(
        default={"ridge": RidgeSettings(), "lightgbm": BoostingSettings()}
    )
    covariates: tuple[str, ...] = ()
    clusters: int | None = Field(default=None, ge=2)
    bootstraps: int = Field(default=200, ge=20)
    permutations: int = Field(default=200, ge=20)
    min_r2_within: float = 0.05
    max_q: float = 0.05
    seed: int = 0
