"""Where a new slide lies in a study's incoming folder, and the key of its results."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from histo_assets.core.cohort.folders import files_below, printable
from histo_assets.core.cohort.ids import marked_id, safe_id
from histo_assets.core.errors import HistoError
from histo_assets.core.slides.found import DICOM, name_of_new_slide, new_slides, slides_among
from histo_assets.core.slides.slide import DRIVERS


class IncomingError(HistoError):
    """A new slide cannot be taken."""


def placed_slide(slide: Path, folder: Path, taken: Collection[str] = ()) -> str:
    """Return the key of a new slide, after linking it into the incoming folder, where it does not lie there already.

    A slide has one key, and a key one slide: another slide of the same name gets a key with a mark of its own.

    Parameters
    ----------
    slide
        A slide file, a folder of DICOM files, or a folder that holds one slide.
    folder
        The study's incoming folder; it is made where it is missing.
    taken
        Keys that have results already.

    Raises
    ------
    IncomingError
        There is no such slide, or several.
    """
    slide = _one_slide(slide)
    folder.mkdir(parents=True, exist_ok=True)
    real, present = os.path.realpath(slide), new_slides(folder)
    for key, place in present.items():
        if os.path.realpath(folder / place) == real:
            return key
    name = name_of_new_slide(slide.name)
    suffix = "" if slide.is_dir() else slide.suffix
    key = safe_id(name)
    if not key or key in {*present, *taken} or os.path.lexists(folder / f"{key}{suffix}"):
        key = marked_id(name, of=real)
    link = folder / f"{key}{suffix}"
    if not os.path.lexists(link):
        link.symlink_to(real, target_is_directory=slide.is_dir())
    keys = {place: key for key, place in new_slides(folder).items()}
    if keys.get(link.name) != key:
        raise IncomingError(f"{link} is in the way of {printable(str(slide))}; take it away")
    return key


def _one_slide(slide: Path) -> Path:
    """Return the slide that a path means: the file, the folder of DICOM files, or the only slide below a folder."""
    shown = printable(str(slide))
    if not slide.exists():
        raise IncomingError(f"{shown} does not exist; give the path of a slide")
    if slide.is_file():
        if slide.suffix.lower() not in DRIVERS:
            raise IncomingError(f"{shown} is no slide by its name; known are {', '.join(sorted(DRIVERS))}")
        return slide
    files = files_below(slide)
    if any(Path(file).parent == slide and file.lower().endswith(DICOM) for file in files):
        return slide
    inside = list(slides_among(os.path.relpath(file, slide) for file in files))
    if len(inside) != 1:
        names = f"holds {len(inside)} slides ({', '.join(inside[:3])}...)" if inside else "holds no slide"
        raise IncomingError(f"{shown} {names}; give the path of one slide")
    return slide / inside[0]
