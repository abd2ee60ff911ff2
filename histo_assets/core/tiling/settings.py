"""What a study decides about tiles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, create_model, field_validator

from histo_assets.core.files import Settings
from histo_assets.core.settings import by_partition
from histo_assets.core.tiling.filters.registry import FILTERS

_FIELDS: dict[str, Any] = {
    each.setting: (float, Field(default=each.default, description=each.description)) for each in FILTERS
}
_Thresholds: Any = create_model("_Thresholds", __base__=Settings, **_FIELDS)


class QualitySettings(_Thresholds):  # type: ignore[misc]
    """Thresholds of the tile filters, each for every tissue or, by key, for one: one of each filter's `setting`."""

    per_tissue: Annotated[dict[str, dict[str, float]], by_partition("tissue")] = Field(
        default_factory=dict,
        description="Tissue -> thresholds of its own: `{adipose_subcutaneous: {min_jpeg_bytes_per_pixel: 0.05}}`.",
    )

    if TYPE_CHECKING:  # a checker does not see fields that come from a registry

        def __init__(self, **thresholds: Any) -> None: ...
        def __getattr__(self, name: str) -> float: ...

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

    def threshold(self, setting: str) -> float:
        """Return a filter's threshold by its name."""
        return float(getattr(self, setting))

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
