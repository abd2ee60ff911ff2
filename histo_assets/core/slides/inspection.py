"""The slides of a tissue, or one that has come in: found in a folder, inspected, looked at."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from histo_assets.core.cohort.errors import CohortError
from histo_assets.core.cohort.folders import names_that_are_no_text
from histo_assets.core.cohort.ids import own_name
from histo_assets.core.cohort.slide_files import SlideFiles
from histo_assets.core.files import without_folder
from histo_assets.core.slides.directory import SlideError
from histo_assets.core.slides.found import found_slides, new_slides, slide_files, why_there_is_none
from histo_assets.core.slides.integrity import SlideRecord, inspect_slide
from histo_assets.core.slides.resolution import believed, number
from histo_assets.core.slides.settings import SlideSettings
from histo_assets.core.slides.slide import open_slide

__all__ = ["slide_files"]

_IDENTITY = ("slide", "donor", "tissue", "sample")
LEFT_OUT = ("quarantined", "missing")

RESOLUTION_COLUMNS = ("mpp", "um_per_px", "um_per_pixel", "microns_per_pixel", "microns_per_px")
"""Columns of a study's table of slides, in any case, that say how fine each was scanned, in um/px."""


def inspect_slides(
    selected: pd.DataFrame, folder: str, settings: SlideSettings, known: Collection[str] = ()
) -> pd.DataFrame:
    """Return where each selected slide is and whether it is whole, one row a slide.

    Parameters
    ----------
    selected
        Rows with slide, donor, tissue and sample; `original_slide` where the file's name is not the id.
    folder
        Where the slide files are, at any depth.
    settings
        What is assumed of slides that name no resolution.
    known
        The names of all slides of the cohort, where `selected` is a part: none of their files is taken for another's.

    Returns
    -------
    pandas.DataFrame
        slide, donor, tissue, sample and the fields of `SlideRecord`; `path` is relative to `folder`, `quarantined`
        the reason why a file cannot be used, or None, `missing` the reason why there is none, or None.
    """
    settings = with_stated_resolutions(settings, selected)
    files, rows = found_slides(folder, settings), selected.to_dict("records")
    cohort = {*known, *names_of_slides(selected).values()}
    records = [_record(row, files, cohort, folder, settings) for row in rows]
    strange = names_that_are_no_text(folder) if any(record is None for record in records) else []
    found = [
        record or SlideRecord("", missing=why_there_is_none(name_of_row(row), files, strange))
        for row, record in zip(rows, records, strict=True)
    ]
    return slide_table(rows, found)


def names_of_slides(selected: pd.DataFrame) -> dict[str, str]:
    """Return slide -> the name that its file goes by."""
    originals = selected["original_slide"] if "original_slide" in selected else selected["slide"]
    pairs = zip(selected["slide"].astype(str), originals.astype(str), strict=True)
    return {slide: own_name(slide, original) for slide, original in pairs}


def name_of_row(row: Mapping[Any, Any]) -> str:
    """Return the name that a slide's file goes by, of the slide's row."""
    return own_name(str(row["slide"]), str(row.get("original_slide") or ""))


def slide_table(rows: Sequence[Mapping[Hashable, Any]], records: Sequence[SlideRecord]) -> pd.DataFrame:
    """Return slide, donor, tissue and sample of `rows` beside the fields of their records."""
    described = [{name: row[name] for name in _IDENTITY} | asdict(r) for row, r in zip(rows, records, strict=True)]
    columns = [*_IDENTITY, *asdict(SlideRecord(""))]
    table = pd.DataFrame(described, columns=columns)
    return table.assign(**{name: reasons(table, name) for name in LEFT_OUT})


def reasons(slides: pd.DataFrame, column: str) -> pd.Series[Any]:
    """Return the reasons of column `quarantined` or `missing`, None where there is none; old tables lack `missing`."""
    if column not in slides.columns:
        return pd.Series([None] * len(slides), index=slides.index, dtype=object)
    return slides[column].astype(object).where(slides[column].notna(), None)


def usable(slides: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of slides that are there and sound."""
    return slides[reasons(slides, "quarantined").isna() & reasons(slides, "missing").isna()]


def kept_in(folder: str | os.PathLike[str], record: SlideRecord) -> SlideRecord:
    """Return the record as it is stored: its path and what its reasons name relative to the folder of slides."""

    def plain(reason: str | None) -> str | None:
        return None if reason is None else without_folder(reason, folder)

    path = os.path.relpath(record.path, folder) if record.path else ""
    return replace(record, path=path, quarantined=plain(record.quarantined), missing=plain(record.missing))


@dataclass(frozen=True)
class IncomingSlide:
    """A slide that has come in.

    Attributes
    ----------
    slide
        Its name, which stands for its donor and its sample too.
    record
        What is known of its file, its path relative to the folder of incoming slides.
    """

    slide: str
    record: SlideRecord

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> IncomingSlide:
        """Return the slide that `as_json` described; what an earlier version did not store is as for any record."""
        known = {field.name: content[field.name] for field in fields(SlideRecord) if field.name in content}
        record = SlideRecord(**known)
        return cls(content["slide"], replace(record, mpp=math.nan) if record.mpp is None else record)

    def as_json(self) -> dict[str, Any]:
        """Return the row of `table` as JSON holds it: the tissue is `incoming`, an unknown resolution None."""
        identity = {"slide": self.slide, "donor": self.slide, "tissue": "incoming", "sample": self.slide}
        mpp = None if math.isnan(self.record.mpp) else self.record.mpp
        return identity | asdict(self.record) | {"mpp": mpp}

    def table(self) -> pd.DataFrame:
        """Return what `inspect_slides` returns, of this slide alone."""
        return pd.DataFrame([self.as_json()])


def inspect_incoming(folder: str, slide: str, settings: SlideSettings) -> IncomingSlide:
    """Return what `inspect_slides` says of one new slide."""
    keys = new_slides(folder)
    if slide in keys:
        record = kept_in(folder, inspect_slide(Path(folder) / keys[slide], settings, slide))
    else:
        record = SlideRecord("", missing=f"no new slide {slide} in the incoming folder{_instead(slide, keys)}")
    return IncomingSlide(slide, record)


def with_stated_resolutions(settings: SlideSettings, selected: pd.DataFrame) -> SlideSettings:
    """Return `settings` that assume of every slide what its row says in a column `mpp` (um/px), where there is one.

    What the settings say of that very slide goes first; what they say of all slides holds where the row says nothing.
    """
    column = next((name for name in selected.columns if str(name).lower() in RESOLUTION_COLUMNS), None)
    if column is None:
        return settings
    stated = {}
    for slide, text in zip(selected["slide"], selected[column], strict=True):
        mpp = number(str(text))
        if believed(mpp, mpp).mpp > 0:
            stated[slide] = mpp
    own = settings.assume_mpp
    if not isinstance(own, dict):
        own = {slide: own for slide in selected["slide"] if own is not None and slide not in stated}
    return settings.model_copy(update={"assume_mpp": {**stated, **own}})


def with_resolutions(settings: SlideSettings, slides: pd.DataFrame) -> SlideSettings:
    """Return `settings` that assume of every inspected slide the resolution that was found or assumed then."""
    known = slides.dropna(subset=["mpp"])
    assumed = dict(zip(known["slide"], known["mpp"].astype(float), strict=True))
    return settings.model_copy(update={"assume_mpp": assumed})


def thumbnails(slides: pd.DataFrame, folder: str, settings: SlideSettings, max_px: int, most: int) -> dict[str, bytes]:
    """Return the first `most` sound slides as JPEGs, their longer side `max_px`, by slide.

    Their paths are relative to `folder`. Only slides whose every storage tile is checked are opened; slideio's
    other readers may end the process.
    """
    sound = usable(slides)
    checked = sound[sound["integrity"] == "checked"].head(most)
    found = {row["slide"]: _thumbnail(row, folder, settings, max_px) for row in checked.to_dict("records")}
    return {slide: jpeg for slide, jpeg in found.items() if jpeg is not None}


def thumbnail_of(incoming: IncomingSlide, folder: str, settings: SlideSettings, max_px: int) -> bytes | None:
    """Return the JPEG of one slide of `folder`, or None where it cannot be shown."""
    return thumbnails(incoming.table(), folder, settings, max_px, 1).get(incoming.slide)


def _record(
    row: Mapping[Hashable, Any], files: SlideFiles, known: Collection[str], folder: str, settings: SlideSettings
) -> SlideRecord | None:
    """Return what is known of a slide; None where it has no file."""
    try:
        path = files.of(name_of_row(row), known)
    except CohortError as error:
        return kept_in(folder, SlideRecord("", quarantined=str(error)))
    if path is None:
        return None
    return kept_in(folder, inspect_slide(path, settings, str(row["slide"])))


def _instead(slide: str, keys: Collection[str]) -> str:
    """Return what new slides of that name are called by now, if any, and the way out."""
    like = sorted(key for key in keys if key.startswith(slide))
    return f"; it holds {' and '.join(like)}" if like else "; put its file there"


def _thumbnail(record: dict[Hashable, Any], folder: str, settings: SlideSettings, max_px: int) -> bytes | None:
    import simplejpeg

    try:
        with open_slide(Path(folder) / record["path"], settings, record["slide"]) as slide:
            return bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(slide.thumbnail(max_px)), 85, "RGB", "420"))
    except (SlideError, OSError):
        return None
