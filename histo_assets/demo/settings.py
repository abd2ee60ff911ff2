"""What a study decides about a generated cohort."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from histo_assets.core.files import Settings


class SyntheticSettings(Settings):
    """Size and seed of a generated cohort.

    `flavour` `gtex` writes a portal manifest, an RNA sample list and a GCT; `diseases` writes a
    CSV of slides and a CSV of counts of five diseases of one organ, with no GTEx name in it.
    """

    flavour: Literal["gtex", "diseases"] = "gtex"
    tissues: int = Field(default=10, ge=2, le=10)
    donors: int = Field(default=30, ge=4)
    slides: int = Field(default=120, ge=4)
    genes: int = Field(default=400, ge=40)
    slide_px: int = Field(default=1792, ge=256)
    dirt: bool = True
    seed: int = 7
