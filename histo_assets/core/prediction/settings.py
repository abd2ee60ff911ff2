"""What a study decides about predicting genes and clusters."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from histo_assets.core.files import Settings
from histo_assets.core.settings import by_partition


class RidgeSettings(Settings):
    """Ridge over the tissue mean."""

    kind: Literal["ridge"] = Field(default="ridge", description="Which regressor these settings are of.")
    penalties: tuple[float, ...] = Field(
        default=(1.0, 10.0, 100.0, 1e3, 1e4, 1e5),
        description="Penalties that are tried for each gene, by generalised cross-validation.",
    )


class BoostingSettings(Settings):
    """LightGBM over the tissue mean, on principal components of the slide embedding."""

    kind: Literal["lightgbm"] = Field(default="lightgbm", description="Which regressor these settings are of.")
    components: int = Field(default=40, ge=1, description="Principal components that the trees see.")
    leaves: int = Field(default=8, ge=2, description="Most leaves of a tree.")
    bins: int = Field(default=63, ge=4, description="Most bins of a component's values.")
    trees: int = Field(default=60, ge=1, description="Trees of each gene.")
    learning_rate: float = Field(default=0.05, gt=0, description="Share of each tree that is added.")


class PredictionSettings(Settings):
    """Regressors, clusters, and how sure a figure must be."""

    regressors: Annotated[dict[str, RidgeSettings | BoostingSettings], by_partition("regressor")] = Field(
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
