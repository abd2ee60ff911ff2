"""What a study decides about tiles."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from histo_assets.core.files import Settings
from histo_assets.core.settings import by_partition


class QualitySettings(Settings):
    """Thresholds of the tile filters, each for every tissue or, by key, for one.

    `min_jpeg_bytes_per_pixel` is the post's file-size filter (bytes of the tile's JPEG over its
    pixels); `min_piece_sd` its half-empty filter: the standard deviation (grey levels) that a
    quarter of the 4 x 4 pieces of the tile do not exceed (a piece or two can lie within one fat
    cell); `min_channel_sd` its dirt filter: the smallest standard deviation of the three colour
    channels. `min_sharpness` is the variance of the Laplacian below which a third of what the tile
    shows counts as blurred, `max_pen_share` the share of ink and of dust.
    `per_tissue` overrides any of them: `{adipose_subcutaneous: {min_jpeg_bytes_per_pixel: 0.05}}`.
    """

    min_jpeg_bytes_per_pixel: float = 0.06
    min_piece_sd: float = 2.0
    min_channel_sd: float = 5.0
    min_sharpness: float = 20.0
    max_pen_share: float = 0.01
    per_tissue: Annotated[dict[str, dict[str, float]], by_partition("tissue")] = Field(default_factory=dict)

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
    """Size, resolution, number and quality of tiles.

    A tile is `tile_px` square at `mpp` micrometres per pixel whatever the scan. A tissue aims at
    `tiles_per_tissue` tiles in all (None: `tiles_per_slide` for each slide), spread evenly; where
    slides are few or poor the others give more.
    """

    tile_px: int = Field(default=448, ge=16)
    mpp: float = Field(default=0.5, gt=0)
    tiles_per_slide: int = Field(default=100, ge=1)
    tiles_per_tissue: int | None = Field(default=5000, ge=1)
    mask_mpp: float = Field(default=8.0, gt=0)
    min_tissue_share: float = Field(default=0.5, ge=0, le=1)
    jpeg_quality: int = Field(default=90, ge=50, le=100)
    quality: QualitySettings = QualitySettings()
    seed: int = 0

    def without_overrides(self) -> TilingSettings:
        """Return the settings that all tissues share: without the thresholds of single ones."""
        return self.model_copy(update={"quality": self.quality.model_copy(update={"per_tissue": {}})})
