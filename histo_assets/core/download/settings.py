"""What a study decides about where its slides come from."""

from __future__ import annotations

import re
import string
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from histo_assets.core.files import Settings
from histo_assets.core.settings import INDIFFERENT, PLACE

PLACEHOLDERS = ("slide", "donor", "tissue", "sample")
_UNITS = {"MB": 10**6, "GB": 10**9, "TB": 10**12}
_KEEP = re.compile(r"(\d+(?:\.\d+)?)\s*(MB|GB|TB)")


class SourceSettings(Settings):
    """Where slides come from that are not in the study's folder yet, and how long they stay there."""

    kind: Literal["folder", "url", "idc"] = Field(
        default="folder",
        description="`folder` fetches nothing; `url` fetches files by `url` or `listing`; "
        "`idc` fetches DICOM slides of NCI Imaging Data Commons (extra `idc`).",
    )
    url: Annotated[str | None, PLACE] = Field(
        default=None,
        description="Template with `{slide}`, `{donor}`, `{tissue}` or `{sample}`; None: `listing` has the URLs.",
    )
    suffix: str = Field(default=".svs", description="End of the names of files that come from a URL.")
    listing: Annotated[str | None, PLACE] = Field(
        default=None,
        description="CSV or TSV with the column `slide` and any of `url`, `bytes`, `sha256`, `md5`; "
        "what is known of a slide is verified. None: nothing is.",
    )
    collection: str = Field(default="gtex", description="Collection of Imaging Data Commons, by its id there.")
    endpoint: Annotated[str, PLACE] = Field(
        default="https://{bucket}.s3.amazonaws.com", description="Address of the archive's buckets."
    )
    slide_index: Annotated[str | None, PLACE] = Field(
        default=None,
        description="Local copy of the archive's table of slides, for a machine without network; None: it is fetched.",
    )
    keep: Annotated[str, INDIFFERENT] = Field(
        default="all",
        description="Fetched slides that stay: `all`; `none` once their tiles are made; or a budget such as `200 GB`, "
        "which drops tiled slides first, those longest unused before others. A slide of one's own is never dropped.",
    )
    parallel: Annotated[int, INDIFFERENT] = Field(default=2, ge=1, le=16, description="Slides fetched at once.")
    attempts: Annotated[int, INDIFFERENT] = Field(
        default=5, ge=1, description="Attempts in a row without progress before a slide is given up."
    )
    timeout_seconds: Annotated[float, INDIFFERENT] = Field(
        default=60, gt=0, description="Seconds that a server may stay silent."
    )

    @field_validator("url")
    @classmethod
    def _url_names_the_slide(cls, url: str | None) -> str | None:
        if url is None:
            return None
        named = {name for _, name, _, _ in string.Formatter().parse(url) if name is not None}
        if unknown := sorted(named - set(PLACEHOLDERS)):
            raise ValueError(
                f"unknown placeholder {{{unknown[0]}}}; allowed are {', '.join(f'{{{name}}}' for name in PLACEHOLDERS)}"
            )
        if not named & {"slide", "sample"}:
            raise ValueError("the template has neither {slide} nor {sample}, so every slide would be the same file")
        return url

    @field_validator("keep")
    @classmethod
    def _keep_is_a_budget(cls, keep: str) -> str:
        if keep not in ("all", "none") and not _KEEP.fullmatch(keep):
            raise ValueError("'keep' is 'all', 'none' or a budget such as '200 GB'")
        return keep

    @model_validator(mode="after")
    def _a_url_source_has_a_url(self) -> SourceSettings:
        if self.kind == "url" and not (self.url or self.listing):
            raise ValueError("a source of kind 'url' needs 'url', a template with {slide}, or a 'listing' with urls")
        return self

    @property
    def keep_bytes(self) -> int | None:
        """Bytes of fetched slides that may stay: None for all, 0 for none."""
        if self.keep in ("all", "none"):
            return None if self.keep == "all" else 0
        match = _KEEP.fullmatch(self.keep)
        assert match is not None
        return round(float(match[1]) * _UNITS[match[2]])
