"""The slides that lie in a folder: files, and folders of DICOM files."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path, PurePath

from histo_assets.core.cohort.folders import files_below
from histo_assets.core.cohort.ids import exact_name, marked_id, own_id
from histo_assets.core.cohort.slide_files import SlideFiles, without_pictures
from histo_assets.core.slides.directory import SlideError
from histo_assets.core.slides.settings import SlideSettings
from histo_assets.core.slides.slide import DRIVERS

DICOM = ".dcm"


def slides_among(files: Iterable[str]) -> dict[str, list[str]]:
    """Return slide -> its files, of files below a folder, all paths relative to that.

    A folder below it that holds DICOM files and no other slides is one slide. What is no slide by its suffix is left
    out.
    """
    by_folder: dict[PurePath, list[str]] = {}
    for file in files:
        if PurePath(file).suffix.lower() in DRIVERS:
            by_folder.setdefault(PurePath(file).parent, []).append(file)
    slides: dict[str, list[str]] = {}
    for folder, inside in by_folder.items():
        if folder != PurePath() and all(file.lower().endswith(DICOM) for file in inside):
            slides[folder.as_posix()] = sorted(inside)
        else:
            slides.update({file: [file] for file in inside})
    return dict(sorted(slides.items()))


def slide_files(folder: str) -> list[str]:
    """Return the paths of all slide files below `folder`, and of folders of DICOM files, sorted.

    Raises
    ------
    SlideError
        `folder` is not on a local file system.
    """
    if "://" in folder:
        raise SlideError(f"slides.folder is {folder}, but slides are read from a local folder; fetch them first")
    relative = slides_among(os.path.relpath(file, folder) for file in files_below(folder))
    return sorted(os.path.join(folder, slide) for slide in relative)


def found_slides(folder: str, settings: SlideSettings) -> SlideFiles:
    """Return the slides of a folder by the names that they go by."""
    files = slide_files(folder)
    return SlideFiles(files, settings.file_name, [file for file in files if os.path.isdir(file)])


def why_there_is_none(name: str, files: SlideFiles, strange: Sequence[str]) -> str:
    """Return why the slide of a name has no file, and what lies there in its place.

    Parameters
    ----------
    strange
        Names of files there that are no UTF-8, as they can be printed.
    """
    reason = f"no file of slide {name} in the folder of slides"
    if near := [Path(file).name for file in files.like(name)]:
        others = f" and {len(near) - 1} more" if len(near) > 1 else ""
        template = f"{{slide}}{near[0][len(name)]}*{Path(near[0]).suffix}"
        return (
            f"{reason}, but {near[0]}{others}; where that is the slide's, say how names of files go on after the "
            f'slide\'s, such as `slides.file_name: "{template}"`'
        )
    if strange:
        return f"{reason}, but {strange[0]}, whose name is no UTF-8; rename it where it is the slide's"
    return f"{reason}; fetch it or leave it out"


def new_slides(folder: str | os.PathLike[str]) -> dict[str, str]:
    """Return key -> slide of the new slides below the incoming folder, relative to it."""
    return keys_of_new_slides(slides_among(os.path.relpath(file, folder) for file in files_below(folder)))


def keys_of_new_slides(slides: Collection[str]) -> dict[str, str]:
    """Return key -> slide of what `slides_among` found in the incoming folder.

    A slide's key is its name without suffix; the whole name where two slides share it, its path where they share
    that too. What is no safe file name gets a mark of its own, so that no two slides have one key. A picture beside
    a slide of its name is none.
    """
    by_name: dict[str, list[str]] = {}
    for slide in sorted(slides):
        by_name.setdefault(name_of_new_slide(slide), []).append(slide)
    labels: dict[str, str] = {}
    for name, sharing in by_name.items():
        apart = without_pictures([slide for slide in sharing if not _is_picture_of(slide, slides)])
        whole = {slide: PurePath(slide).name for slide in apart}
        unlike = len(set(whole.values())) == len(apart)
        labels.update({slide: name if len(apart) == 1 else whole[slide] if unlike else slide for slide in apart})
    often = Counter(labels.values())
    return {
        own_id(label) if often[label] == 1 else marked_id(label, of=slide): slide for slide, label in labels.items()
    }


def name_of_new_slide(slide: str) -> str:
    """Return the name of a new slide: that of its file without suffix, or of its folder."""
    path = PurePath(slide)
    return exact_name(path.stem if path.suffix.lower() in DRIVERS else path.name)


def _is_picture_of(file: str, slides: Collection[str]) -> bool:
    """Return whether a file is a picture called like the whole name of a slide beside it, such as `A1.svs.png`."""
    path = PurePath(file)
    return without_pictures([file, "a scan"]) == ["a scan"] and path.with_suffix("").as_posix() in slides
