"""The slides of a tissue, or one that has come in: found in a folder, inspected, looked at."""

from __future__ import annotations

import os
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from histo_assets.core.cohort.errors import CohortError
from histo_assets.core.cohort.ids import match_slide_files
from histo_assets.core.files import without_folder
from histo_assets.core.slides.directory import SlideError
from histo_assets.core.slides.integrity import SlideRecord, inspect_slide
from histo_assets.core.slides.resolution import believed, number
from histo_assets.core.slides.settings import SlideSettings
from histo_assets.core.slides.slide import DRIVERS, open_slide

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
        Rows with slide, donor, tissue and sample.
    folder
        Where the slide files are, at any depth.
    settings
        What is assumed of slides that name no resolution.
    known
        All slides of the cohort, where `selected` is a part: none of their files is taken for another's.

    Returns
    -------
    pandas.DataFrame
        slide, donor, tissue, sample and the fields of `SlideRecord`; `path` is relative to `folder`, `quarantined`
        the reason why a file cannot be used, or None, `missing` the reason why there is none, or None.
    """
    settings = with_stated_resolutions(settings, selected)
    files, rows = slide_files(folder), selected.to_dict("records")
    cohort = known or list(selected["slide"])
    return slide_table(rows, [_record(str(row["slide"]), files, cohort, folder, settings) for row in rows])


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


def incoming_record(folder: str, slide: str, settings: SlideSettings) -> dict[str, Any]:
    """Return what `inspect_slides` says of one new slide, as a dictionary of JSON values.

    Donor and sample are the slide's own name, the tissue is `incoming`; an unknown resolution is None.
    """
    record = _record(slide, slide_files(folder), (), folder, settings)
    row = {"slide": slide, "donor": slide, "tissue": "incoming", "sample": slide} | asdict(record)
    return {name: None if isinstance(value, float) and np.isnan(value) else value for name, value in row.items()}


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


def thumbnails_of(record: dict[str, Any], folder: str, settings: SlideSettings, max_px: int) -> list[bytes]:
    """Return the JPEG of one slide of `folder` in a list, which is empty where it cannot be shown."""
    return list(thumbnails(pd.DataFrame([record]), folder, settings, max_px, 1).values())


def slide_files(folder: str) -> list[str]:
    """Return the paths of all slide files below `folder`, and of folders of DICOM files, sorted.

    Raises
    ------
    SlideError
        `folder` is not on a local file system.
    """
    if "://" in folder:
        raise SlideError(f"slides.folder is {folder}, but slides are read from a local folder; fetch them first")
    found: list[str] = []
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        if any(name.lower().endswith(".dcm") for name in files):
            found.append(parent)
            folders.clear()
            continue
        found += [os.path.join(parent, name) for name in files if _is_slide_name(name)]
    return sorted(found)


def _is_slide_name(name: str) -> bool:
    return not name.startswith(".") and Path(name).suffix.lower() in DRIVERS


def _record(
    slide: str, files: Sequence[str], known: Collection[str], folder: str, settings: SlideSettings
) -> SlideRecord:
    try:
        path = match_slide_files([slide], files, known).get(slide)
    except CohortError as error:
        return kept_in(folder, SlideRecord("", quarantined=str(error)))
    if path is None:
        return SlideRecord("", missing=f"no file of slide {slide} in the folder of slides; fetch it or leave it out")
    return kept_in(folder, inspect_slide(path, settings, slide))


def _thumbnail(record: dict[Hashable, Any], folder: str, settings: SlideSettings, max_px: int) -> bytes | None:
    import simplejpeg

    try:
        with open_slide(Path(folder) / record["path"], settings, record["slide"]) as slide:
            return bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(slide.thumbnail(max_px)), 85, "RGB", "420"))
    except (SlideError, OSError):
        return None
