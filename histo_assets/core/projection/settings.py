"""What a study decides about projections."""

from __future__ import annotations

from pydantic import Field

from histo_assets.core.files import Settings


class ProjectionSettings(Settings):
    """PCA, then UMAP and t-SNE of the components.

    PCA is fitted on training donors; UMAP and t-SNE are pictures of all points. Of more than
    `max_points` points an evenly spread sample (seeded) is drawn. Numbers of neighbours and
    perplexity shrink by themselves where there are few points.
    """

    components: int = Field(default=40, ge=2)
    neighbors: int = Field(default=15, ge=2)
    min_dist: float = Field(default=0.1, ge=0)
    perplexity: float = Field(default=30.0, gt=0)
    max_points: int = Field(default=20_000, ge=10)
    seed: int = 0
