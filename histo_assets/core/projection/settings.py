"""What a study decides about projections."""

from __future__ import annotations

from pydantic import Field

from histo_assets.core.files import Settings


class ProjectionSettings(Settings):
    """PCA, fitted on training donors, then UMAP and t-SNE of the components as pictures of all points."""

    components: int = Field(default=40, ge=2, description="Principal components; fewer where there are few rows.")
    neighbors: int = Field(default=15, ge=2, description="Neighbours of UMAP; fewer where there are few points.")
    min_dist: float = Field(default=0.1, ge=0, description="Least distance of points in UMAP's picture.")
    perplexity: float = Field(default=30.0, gt=0, description="Perplexity of t-SNE; less where there are few points.")
    max_points: int = Field(
        default=20_000, ge=10, description="Points of a picture; of more an evenly spread sample is drawn."
    )
    seed: int = Field(default=0, description="Decides sample, UMAP and t-SNE.")
