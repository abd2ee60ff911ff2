"""One file of a DICOM slide: a level or a part of one, what it states of its size and resolution, its frames."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from histo_assets.core.slides.dicom_frames import Frames, frames_of
from histo_assets.core.slides.dicom_tiles import SYNTAXES, FrameColour
from histo_assets.core.slides.directory import SlideError

_DEFLATED = "1.2.840.10008.1.2.1.99"
_KINDS_BESIDE = {"LABEL", "OVERVIEW", "LOCALIZER", "THUMBNAIL"}
_COLOURS = ("RGB", "YBR_", "MONOCHROME")
_LARGEST_FRAME_PX = 16_384
_MOST_CELLS = 1 << 24
_TAGS = [
    "ImageType",
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "PyramidUID",
    "SpecimenLabelInImage",
    "TotalPixelMatrixColumns",
    "TotalPixelMatrixRows",
    "Columns",
    "Rows",
    "NumberOfFrames",
    "SamplesPerPixel",
    "BitsAllocated",
    "PlanarConfiguration",
    "PhotometricInterpretation",
    "DimensionOrganizationType",
    "TotalPixelMatrixFocalPlanes",
    "NumberOfOpticalPaths",
    "ConcatenationUID",
    "SOPInstanceUIDOfConcatenationSource",
    "InConcatenationNumber",
    "InConcatenationTotalNumber",
    "SharedFunctionalGroupsSequence",
    "PixelSpacing",
    "ImagedVolumeWidth",
    "ImagedVolumeHeight",
    "ExtendedOffsetTable",
]


@dataclass(frozen=True, eq=False)
class DicomFile:
    """One file of a level.

    Attributes
    ----------
    frames
        Those that are whole; `expected` is how many the header promises.
    width, height
        Size of the whole level in pixels, of frames of `frame_width` x `frame_height`.
    spacing
        um/px along x and y, NaN where it names none.
    slide
        Its series, and the pyramid within it where it names one.
    image, number, parts
        What the parts of a concatenation have in common, '' for others; which part of how many, 0 where it says not.
    organisation
        `TILED_FULL` where frames lie in order, `planes` focal planes and `paths` optical paths of them.
    """

    path: Path
    colour: FrameColour
    frames: Frames
    expected: int
    width: int
    height: int
    frame_width: int
    frame_height: int
    spacing: tuple[float, float]
    instance: str
    slide: tuple[str, str]
    image: str
    number: int
    parts: int
    organisation: str
    planes: int
    paths: int
    shows_label: bool


def dicom_files(path: Path) -> list[Path]:
    """Return the DICOM files of a folder, those without a suffix where it has no others; or the file itself."""
    if not path.is_dir():
        return [path]
    files = sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
    return [file for file in files if file.suffix.lower() == ".dcm"] or [file for file in files if _has_preamble(file)]


def read_dicom_file(path: Path) -> DicomFile | None:
    """Return the level, or the part of one, that a file holds; None for what is no level.

    Raises
    ------
    SlideError
        It is no readable DICOM file, or its pixels are of a kind that is not read.
    """
    import pydicom

    with damage_named(path):
        syntax = str(pydicom.filereader.read_file_meta_info(path).TransferSyntaxUID)
        if syntax == _DEFLATED:  # to read its header is to inflate all of it
            raise SlideError(f"{path.name} is a deflated DICOM file, which is not read; take it out or convert it")
        with open(path, "rb") as opened:
            header = pydicom.dcmread(opened, stop_before_pixels=True, specific_tags=list(_TAGS))
            kinds = set(header.get("ImageType") or ())
            if "VOLUME" not in kinds or kinds & _KINDS_BESIDE:
                return None
            _refuse_unread(path, header, syntax)
            expected = _count(header, "NumberOfFrames")
            _refuse_absurd(header, expected)
            frames = frames_of(opened, header, syntax, expected)
            return _described(path, header, syntax, frames)


def _described(path: Path, header: Any, syntax: str, frames: Frames) -> DicomFile:
    image = header.get("SOPInstanceUIDOfConcatenationSource") or header.get("ConcatenationUID")
    return DicomFile(
        path=path,
        colour=FrameColour(
            syntax=syntax,
            photometric=str(header.PhotometricInterpretation),
            samples=int(header.SamplesPerPixel),
            planes_apart=header.get("PlanarConfiguration") == 1,
        ),
        frames=frames,
        expected=_count(header, "NumberOfFrames"),
        width=int(header.TotalPixelMatrixColumns),
        height=int(header.TotalPixelMatrixRows),
        frame_width=int(header.Columns),
        frame_height=int(header.Rows),
        spacing=_spacing(header),
        instance=str(header.get("SOPInstanceUID")),
        slide=(str(header.get("SeriesInstanceUID", "")), str(header.get("PyramidUID", ""))),
        image=str(image or ""),
        number=_count(header, "InConcatenationNumber"),
        parts=int(header.get("InConcatenationTotalNumber") or 0),
        organisation=str(header.get("DimensionOrganizationType", "")),
        planes=_count(header, "TotalPixelMatrixFocalPlanes"),
        paths=_count(header, "NumberOfOpticalPaths"),
        shows_label=header.get("SpecimenLabelInImage") == "YES",
    )


def _count(header: Any, name: str) -> int:
    """Return a number that is 1 where the header has none."""
    return int(header.get(name) or 1)


@contextmanager
def damage_named(path: Path) -> Iterator[None]:
    """Raise a SlideError that names the file for whatever is raised because of its content."""
    try:
        yield
    except (SlideError, OSError):
        raise
    except AttributeError as error:
        raise SlideError(
            f"{path.name} is no readable DICOM file (it lacks {error.name or error}); fetch the slide again"
        ) from None
    except Exception as error:  # pydicom raises errors of many kinds, depending on where the damage is
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise SlideError(f"{path.name} is no readable DICOM file ({reason}); fetch the slide again") from None


def _has_preamble(path: Path) -> bool:
    with open(path, "rb") as opened:
        return opened.read(132)[128:] == b"DICM"


def _refuse_unread(path: Path, header: Any, syntax: str) -> None:
    """Raise a SlideError for pixels of a kind that is not read."""
    from pydicom.uid import UID

    if syntax not in SYNTAXES:
        name = UID(syntax).name
        raise SlideError(f"{path.name} is stored as {name}, which is not read; convert the slide to JPEG baseline")
    photometric, bits = str(header.PhotometricInterpretation), int(header.BitsAllocated)
    samples, paths = int(header.SamplesPerPixel), _count(header, "NumberOfOpticalPaths")
    if bits != 8 or samples not in (1, 3) or not photometric.startswith(_COLOURS):
        raise SlideError(
            f"{path.name} holds pixels of {samples} x {bits} bits in {photometric}, where 8-bit colour is needed; "
            "export the slide as such"
        )
    if samples == 1 and paths > 1:
        raise SlideError(
            f"{path.name} holds {paths} channels in grey, where a stained section in colour is needed; leave it out"
        )


def _refuse_absurd(header: Any, frames: int) -> None:
    width, height = int(header.TotalPixelMatrixColumns), int(header.TotalPixelMatrixRows)
    columns, rows = int(header.Columns), int(header.Rows)
    if min(width, height, columns, rows, frames) < 1:
        raise ValueError(f"{frames} frames of {columns} x {rows} px for a level of {width} x {height} px")
    if max(columns, rows) > _LARGEST_FRAME_PX or math.ceil(width / columns) * math.ceil(height / rows) > _MOST_CELLS:
        raise ValueError(f"a level of {width} x {height} px in frames of {columns} x {rows} px is too large")


def _spacing(header: Any) -> tuple[float, float]:
    """Return um/px along x and y: PixelSpacing, else the size of the imaged volume by its pixels, all in mm."""
    stated = _positive(lambda: _pixel_spacing(header))
    return stated or _positive(lambda: _volume_spacing(header)) or (math.nan, math.nan)


def _pixel_spacing(header: Any) -> tuple[float, float]:
    shared = header.get("SharedFunctionalGroupsSequence")
    measures = shared[0].get("PixelMeasuresSequence") if shared else None
    y, x = (measures[0].get("PixelSpacing") if measures else None) or header.PixelSpacing
    return float(x) * 1000, float(y) * 1000


def _volume_spacing(header: Any) -> tuple[float, float]:
    x = float(header.ImagedVolumeWidth) * 1000 / int(header.TotalPixelMatrixColumns)
    return x, float(header.ImagedVolumeHeight) * 1000 / int(header.TotalPixelMatrixRows)


def _positive(spacing: Any) -> tuple[float, float] | None:
    """Return what `spacing` gives; None where the header has no such numbers."""
    try:
        x, y = spacing()
    except (ValueError, TypeError, AttributeError):
        return None
    return (x, y) if 0 < x < math.inf and 0 < y < math.inf else None
