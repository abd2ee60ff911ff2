"""What a study decides about opening slides."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from histo_assets.core.cohort.slide_files import checked_template
from histo_assets.core.download.settings import SourceSettings
from histo_assets.core.files import Settings
from histo_assets.core.settings import INDIFFERENT, PLACE


def _template(template: str | None) -> str | None:
    return None if template is None else checked_template(template)


class SlideSettings(Settings):
    """Where slide files are and what is assumed of them."""

    folder: Annotated[str, PLACE] = Field(
        default="slides",
        description="Folder of slide files, relative to the study file's (packaged studies: `HISTO_COHORTS`).",
    )
    file_name: Annotated[str | None, AfterValidator(_template), PLACE] = Field(
        default=None,
        description="How files are named whose names hold more than the slide's, such as `{slide}.*.svs` (TCGA's end "
        "in a UUID); `*` is anything, `?` one letter. None: a file is named like its slide.",
    )
    source: SourceSettings = Field(
        default=SourceSettings(), description="Where slides come from that are not in the folder yet."
    )
    assume_mpp: float | dict[str, float] | None = Field(
        default=None,
        description="Resolution (um/px) of slides whose file names none: one number for all, or one per slide id. "
        "None: such a slide is quarantined.",
    )
    image: Annotated[int | str | dict[str, int | str] | None, INDIFFERENT] = Field(
        default=None,
        description="Which image of a file that holds several scans: its name or its number from 1, one for all or one "
        "per slide id. None: a slide whose file holds several is quarantined, with their names and numbers.",
    )
    max_lost_share: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="A slide that loses a larger share of the storage tiles that were read is quarantined.",
    )
    max_upsampling: float = Field(
        default=1.3, ge=1, description="A slide scanned more times coarser than the tiles are cut is quarantined."
    )
