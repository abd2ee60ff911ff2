"""What a study decides about opening slides."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from histo_assets.core.download.settings import SourceSettings
from histo_assets.core.files import Settings
from histo_assets.core.settings import PLACE


class SlideSettings(Settings):
    """Where slide files are and what is assumed of them.

    `folder` is relative to the study file's folder (packaged studies: `HISTO_COHORTS`); `source` says where
    slides come from that are not there yet.
    `assume_mpp` serves slides whose file names no resolution (um/px): one number for all, or a
    number per slide id. A slide that loses more than `max_lost_share` of the storage tiles that
    were read is quarantined, and so is one scanned more than `max_upsampling` times coarser than
    the tiles are cut.
    """

    folder: Annotated[str, PLACE] = "slides"
    source: SourceSettings = SourceSettings()
    assume_mpp: float | dict[str, float] | None = None
    max_lost_share: float = Field(default=0.05, ge=0, le=1)
    max_upsampling: float = Field(default=1.3, ge=1)
