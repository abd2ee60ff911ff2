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
from histo_assets.core.slides.directory import SlideError
from histo_assets.core.slides.integrity import SlideRecord, inspect_slide
from histo_assets.core.slides.settings import SlideSettings
from histo_assets.core.slides.slide import DRIVERS, open_slide

_IDENTITY = ("slide", "donor", "tissue", "sample")


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
        slide, donor, tissue, sample and the fields of `SlideRecord`; `quarantined` is the reason why
        a slide cannot be used, or None.
    """
    files, rows = slide_files(folder), selected.to_dict("records")
    cohort = known or list(selected["slide"])
    return slide_table(rows, [_record(str(row["slide"]), files, cohort, folder, settings) for row in rows])


def slide_table(rows: Sequence[Mapping[Hashable, Any]], records: Sequence[SlideRecord]) -> pd.DataFrame:
    """Return slide, donor, tissue and sample of `rows` beside the fields of their records."""
    described = [{name: row[name] for name in _IDENTITY} | asdict(r) for row, r in zip(rows, records, strict=True)]
    columns = [*_IDENTITY, *asdict(SlideRecord(""))]
    table = pd.DataFrame(described, columns=columns)
    table["quarantined"] = table["quarantined"].astype(object).where(table["quarantined"].notna(), None)
    return table


def incoming_record(folder: str, slide: str, settings: SlideSettings) -> dict[str, Any]:
    """Return what `inspect_slides` says of one new slide, as a dictionary of JSON values.

    Donor and sample are the slide's own name, the tissue is `incoming`; an unknown resolution is None.
    """
    record = _record(slide, slide_files(folder), (), folder, settings)
    row = {"slide": slide, "donor": slide, "tissue": "incoming", "sample": slide} | asdict(record)
    return {name: None if isinstance(value, float) and np.isnan(value) else value for name, value in row.items()}


def with_resolutions(settings: SlideSettings, slides: pd.DataFrame) -> SlideSettings:
    """Return `settings` that assume of every inspected slide the resolution that was found or assumed then."""
    known = slides.dropna(subset=["mpp"])
    assumed = dict(zip(known["slide"], known["mpp"].astype(float), strict=True))
    return settings.model_copy(update={"assume_mpp": assumed})


def thumbnails(slides: pd.DataFrame, settings: SlideSettings, max_px: int, most: int) -> dict[str, bytes]:
    """Return the first `most` sound slides as JPEGs, their longer side `max_px`, by slide.

    Only slides whose every storage tile is checked are opened; slideio's other readers may end the process.
    """
    checked = slides[(slides["integrity"] == "checked") & slides["quarantined"].isna()].head(most)
    found = {row["slide"]: _thumbnail(row, settings, max_px) for row in checked.to_dict("records")}
    return {slide: jpeg for slide, jpeg in found.items() if jpeg is not None}


def thumbnails_of(record: dict[str, Any], settings: SlideSettings, max_px: int) -> list[bytes]:
    """Return the JPEG of one slide in a list, which is empty where it cannot be shown."""
    return list(thumbnails(pd.DataFrame([record]), settings, max_px, 1).values())


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
        return SlideRecord("", quarantined=str(error))
    if path is None:
        missing = inspect_slide(None, settings, slide)
        return replace(missing, quarantined=f"no file of slide {slide} in {folder}; fetch it or leave the slide out")
    return inspect_slide(path, settings, slide)


def _thumbnail(record: dict[Hashable, Any], settings: SlideSettings, max_px: int) -> bytes | None:
    import simplejpeg

    try:
        with open_slide(record["path"], settings, record["slide"]) as slide:
            return bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(slide.thumbnail(max_px)), 85, "RGB", "420"))
    except (SlideError, OSError):
        return None
