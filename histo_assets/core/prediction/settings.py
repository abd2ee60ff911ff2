"""What a study decides about predicting genes and clusters."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from histo_assets.core.files import Settings
from histo_assets.core.settings import by_partition


class RidgeSettings(Settings):
    """Ridge over the tissue mean: penalties tried per gene, by generalised cross-validation."""

    kind: Literal["ridge"] = "ridge"
    penalties: tuple[float, ...] = (1.0, 10.0, 100.0, 1e3, 1e4, 1e5)


class BoostingSettings(Settings):
    """LightGBM over the tissue mean, on principal components of the slide embedding."""

    kind: Literal["lightgbm"] = "lightgbm"
    components: int = Field(default=40, ge=1)
    leaves: int = Field(default=8, ge=2)
    bins: int = Field(default=63, ge=4)
    trees: int = Field(default=60, ge=1)
    learning_rate: float = Field(default=0.05, gt=0)


class PredictionSettings(Settings):
    """Regressors, clusters, and how sure a figure must be.

    `covariates` are columns of the cohort (numeric or categorical) that are regressed out of both
    sides. `clusters` None: as many as tissues.
    """

    regressors: Annotated[dict[str, RidgeSettings | BoostingSettings], by_partition("regressor")] = Field(
        default={"ridge": RidgeSettings(), "lightgbm": BoostingSettings()}
    )
    covariates: tuple[str, ...] = ()
    clusters: int | None = Field(default=None, ge=2)
    bootstraps: int = Field(default=200, ge=20)
    permutations: int = Field(default=200, ge=20)
    min_r2_within: float = 0.05
    max_q: float = 0.05
    seed: int = 0
