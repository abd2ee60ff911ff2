"""What a study decides about tiles."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from histo_assets.core.files import Settings
from histo_assets.core.settings import by_partition


class QualitySettings(Settings):
    """Thresholds of the tile filters, each for every tissue or, by key, for one."""

    min_jpeg_bytes_per_pixel: float = Field(
        default=0.06, description="The post's file-size filter: least bytes of the tile's JPEG over its pixels."
    )
    min_piece_sd: float = Field(
        default=2.0,
        description="The post's half-empty filter, in grey levels: least standard deviation that a quarter of the "
        "4 x 4 pieces of the tile do not exceed (a piece or two can lie within one fat cell).",
    )
    min_channel_sd: float = Field(
        default=5.0,
        description="The post's dirt filter, in grey levels: least standard deviation of the flattest colour channel.",
    )
    min_sharpness: float = Field(
        default=20.0,
        description="The blur filter, in squared grey levels: least variance of the Laplacian that a third of the "
        "pieces that show anything do not exceed.",
    )
    max_pen_share: float = Field(default=0.01, description="Largest share of the tile that may be ink or dust.")
    per_tissue: Annotated[dict[str, dict[str, float]], by_partition("tissue")] = Field(
        default_factory=dict,
        description="Tissue -> thresholds of its own: `{adipose_subcutaneous: {min_jpeg_bytes_per_pixel: 0.05}}`.",
    )

    @field_validator("per_tissue")
    @classmethod
    def _overrides_are_thresholds(cls, per_tissue: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
        allowed = set(cls.model_fields) - {"per_tissue"}
        for tissue, overrides in per_tissue.items():
            if unknown := sorted(set(overrides) - allowed):
                raise ValueError(
                    f"{tissue}: unknown threshold {unknown[0]!r}; allowed are {', '.join(sorted(allowed))}"
                )
        return per_tissue

    def for_tissue(self, tissue: str) -> QualitySettings:
        """Return the thresholds of one tissue, without further overrides."""
        return QualitySettings(**{**self.model_dump(exclude={"per_tissue"}), **self.per_tissue.get(tissue, {})})


class TilingSettings(Settings):
    """Size, resolution, number and quality of tiles."""

    tile_px: int = Field(default=448, ge=16, description="Side of a tile, in its own pixels.")
    mpp: float = Field(default=0.5, gt=0, description="Resolution of a tile in um/px, whatever the scan's.")
    tiles_per_slide: int = Field(default=100, ge=1, description="Tiles of a slide where `tiles_per_tissue` is None.")
    tiles_per_tissue: int | None = Field(
        default=5000,
        ge=1,
        description="Tiles of a tissue in all, spread evenly; where slides are few or poor the others give more. "
        "None: `tiles_per_slide` of each slide.",
    )
    mask_mpp: float = Field(
        default=8.0, gt=0, description="Resolution of the tissue mask in um/px; never finer than the scan."
    )
    min_tissue_share: float = Field(
        default=0.5, ge=0, le=1, description="Least share of a tile that the tissue mask covers."
    )
    jpeg_quality: int = Field(default=90, ge=50, le=100, description="Quality of the tiles' JPEG, at most 100.")
    quality: QualitySettings = Field(default=QualitySettings(), description="Which tiles are good.")
    seed: int = Field(default=0, description="Decides the order in which a slide's candidates are tried.")

    def without_overrides(self) -> TilingSettings:
        """Return the settings that all tissues share: without the thresholds of single ones."""
        return self.model_copy(update={"quality": self.quality.model_copy(update={"per_tissue": {}})})
