"""What a study decides about a generated cohort."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from histo_assets.core.files import Settings


class SyntheticSettings(Settings):
    """Size and seed of a generated cohort."""

    flavour: Literal["gtex", "diseases"] = Field(
        default="gtex",
        description="`gtex` writes a portal manifest, an RNA sample list and a GCT; `diseases` writes a CSV of slides "
        "and a CSV of counts of five diseases of one organ, with no GTEx name in it.",
    )
    tissues: int = Field(default=10, ge=2, le=10, description="Tissues (or diseases, of which there are five).")
    donors: int = Field(default=30, ge=4, description="Donors.")
    slides: int = Field(default=120, ge=4, description="Good slides with RNA, of all tissues together.")
    genes: int = Field(default=400, ge=40, description="Genes whose truth is known; files have a few more rows.")
    slide_px: int = Field(default=1792, ge=256, description="Side of a slide, in level-0 pixels.")
    dirt: bool = Field(default=True, description="Add pen, dust, blur, half-empty pictures and damaged files.")
    seed: int = Field(default=7, description="Decides everything that is drawn.")
