"""A DICOM slide: a folder of files, an image or a part of one each, their frames found without decoding any.

Whole-slide images of DICOM PS3.3, C.8.12.4. Their frames are read like the storage tiles of a TIFF.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from histo_assets.core.slides.dicom_file import DicomFile, dicom_files, read_dicom_file
from histo_assets.core.slides.dicom_level import DicomLevel, dicom_level
from histo_assets.core.slides.directory import SlideError

READING = 2
"""Raised when DICOM slides come to be read otherwise: what earlier versions made of them is looked at again."""

_MOST_PARTS = 10_000
_FINEST_SCAN_UM, _COARSEST_SCAN_UM = 0.02, 20


@dataclass(frozen=True)
class DicomSeries:
    """The levels of a DICOM slide, finest first.

    `mpp` is um/px, NaN where no file names a resolution. `read_otherwise` is whether earlier versions read it in
    another way, by slideio or wrongly.
    """

    levels: tuple[DicomLevel, ...]
    mpp: float
    read_otherwise: bool


def read_dicom(path: Path) -> DicomSeries:
    """Return the levels of the DICOM slide at `path`, a folder or one of its files; no pixel is decoded.

    Labels, overviews and thumbnails beside the slide are left out, and so is a level whose scale neither its resolution
    nor its size tells, or that lacks frames where the finest has some: a finer one shows what it would have shown. Of
    several focal planes the middle one is read, of several optical paths the first.

    Raises
    ------
    SlideError
        No file of it is a whole-slide image, one is no DICOM file or truncated, the folder holds two slides, or the
        pixels are of a kind that is not read.
    """
    found = [file for file in map(read_dicom_file, dicom_files(path)) if file is not None]
    if not found:
        raise SlideError(f"{path.name} holds no DICOM whole-slide image; fetch the slide again")
    files = _of_one_slide(found, path)
    images = _concatenated(files, path)
    _refuse_truncated(files, path)
    images.sort(key=lambda image: (-image[0].width, -image[0].height, image[0].spacing))
    base = images[0][0]
    _refuse_second_scan(base, [image[0] for image in images[1:]], path)
    finest = dicom_level(images[0], base, 1.0)
    scales = [(image, scale(image[0], base)) for image in images[1:]]
    coarser = [dicom_level(image, base, by) for image, by in scales if by is not None]
    levels = [finest, *sorted((level for level in coarser if level.shows_all_of(finest)), key=_factor)]
    return DicomSeries(
        levels=tuple(levels),
        mpp=_mpp(base),
        read_otherwise=len(levels) < len(found) or any(level.read_otherwise for level in levels),
    )


def _factor(level: DicomLevel) -> float:
    return level.stored.factor or 1.0


def scale(level: DicomFile, base: DicomFile) -> float | None:
    """Return how many pixels of `base` a pixel of `level` spans; None where that cannot be told.

    Levels may be padded to whole frames, so that their sizes tell nothing: what they state comes first.
    """
    by_width, by_height = base.width / level.width, base.height / level.height
    alike = abs(level.height * by_width - base.height) <= 2 * by_width
    stated = (level.spacing[0] / base.spacing[0] + level.spacing[1] / base.spacing[1]) / 2
    if _covers(level, base, stated):
        return by_width if alike and abs(level.width * stated - base.width) <= stated else stated
    padded = all(file.width % file.frame_width == 0 for file in (level, base))
    return (
        by_width if _is_whole(level, base) or (alike and abs(by_width / by_height - 1) < 0.01 and not padded) else None
    )


def _is_whole(level: DicomFile, base: DicomFile) -> bool:
    """Return whether a whole factor leads from one size to the other, both ways."""
    whole = round(base.width / level.width)
    return abs(base.width / whole - level.width) < 1 and abs(base.height / whole - level.height) < 1


def _covers(level: DicomFile, base: DicomFile, factor: float) -> bool:
    """Return whether a level that spans `factor` pixels of `base` covers it, up to a frame of padding."""

    def covers(side: int, full: int, frame: int, frame_of_full: int) -> bool:
        return full - frame_of_full <= side * factor <= full + (frame + 1) * factor

    return (
        factor > 1
        and covers(level.width, base.width, level.frame_width, base.frame_width)
        and covers(level.height, base.height, level.frame_height, base.frame_height)
    )


def _mpp(base: DicomFile) -> float:
    """Return um/px of the finest level, NaN where it names none, or one that no scanner has."""
    x, y = base.spacing
    if abs(x / y - 1) > 0.01:
        raise SlideError(
            f"{base.path.name} has pixels of {x:g} x {y:g} um, where square ones are needed; resample the slide"
        )
    return y if _FINEST_SCAN_UM < y < _COARSEST_SCAN_UM else math.nan


def _of_one_slide(found: list[DicomFile], path: Path) -> list[DicomFile]:
    """Return the files without copies and labels; refuse those of several slides."""
    copies = {(file.instance, file.path.stat().st_size): file for file in found[::-1]}
    files = list(copies.values())[::-1]
    files = [file for file in files if not file.shows_label] or files
    slides: dict[tuple[str, str], list[str]] = {}
    for file in files:
        slides.setdefault(file.slide, []).append(file.path.name)
    if len(slides) > 1:
        listed = "; ".join(_some(names) for names in list(slides.values())[:4])
        raise SlideError(
            f"{path.name} holds {len(slides)} whole slides ({listed}); put the files of each into a folder of its own, "
            "named for its slide"
        )
    return files


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _concatenated(files: list[DicomFile], path: Path) -> list[list[DicomFile]]:
    """Return the images, each as its files in order."""
    images: dict[str, list[DicomFile]] = {}
    for file in files:
        images.setdefault(file.image or str(file.path), []).append(file)
    for parts in images.values():
        parts.sort(key=lambda part: part.number)
        numbers = [part.number for part in parts]
        total = min(parts[0].parts or numbers[-1], _MOST_PARTS)
        if numbers != list(range(1, total + 1)):
            raise SlideError(
                f"{path.name} is incomplete: of the {total} files of one level it holds number "
                f"{', '.join(map(str, numbers))} ({_some([part.path.name for part in parts])}); fetch the slide again"
            )
    return list(images.values())


def _refuse_truncated(files: list[DicomFile], path: Path) -> None:
    short = [file for file in files if len(file.frames) < file.expected]
    if short:
        held = "; ".join(f"{file.path.name} holds {len(file.frames)} of {file.expected} frames" for file in short)
        raise SlideError(f"{path.name} is truncated: {held}; copy or download it again")


def _refuse_second_scan(base: DicomFile, others: list[DicomFile], path: Path) -> None:
    """Refuse two images at the finest resolution: scans, focal planes, optical paths, and no telling which is meant."""
    for other in others:
        stated = other.spacing[0] / base.spacing[0]
        same_size = (other.width, other.height) == (base.width, base.height)
        # Some writers state the finest resolution for every level.
        if same_size or (abs(stated - 1) < 0.01 and not _is_whole(other, base)):
            raise SlideError(
                f"{path.name} holds two images at {base.spacing[0]:g} um/px ({base.path.name}, {other.path.name}); "
                "leave in the folder the one that is to be cut"
            )
