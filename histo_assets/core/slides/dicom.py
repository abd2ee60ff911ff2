"""A DICOM slide: a folder of files, one a level, their frames located without decoding any.

Whole-slide images of DICOM PS3.3, C.8.12.4. Frames of JPEG baseline in a full grid are read like the storage
tiles of a TIFF; other series are left to slideio.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from histo_assets.core.slides.directory import JPEG, SlideError, StoredLevel

_JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
_ITEM, _END = 0xE000FFFE, 0xE0DDFFFE
_UNDEFINED = 0xFFFFFFFF


@dataclass(frozen=True)
class DicomSeries:
    """The levels of a DICOM slide, finest first, each with its file.

    `mpp` is um/px, NaN where no file names a resolution. `truncated` says which file ends early, '' for none.
    `tiles_can_be_read` is whether every level is a full grid of frames in JPEG baseline.
    """

    files: tuple[Path, ...]
    levels: tuple[StoredLevel, ...]
    mpp: float
    truncated: str
    tiles_can_be_read: bool


def read_dicom(path: Path) -> DicomSeries:
    """Return the levels of the DICOM slide at `path`, a folder or one of its files; no pixel is decoded.

    Raises
    ------
    SlideError
        No file of it is a whole-slide image, or one is no DICOM file.
    """
    files = sorted(path.glob("*.dcm")) if path.is_dir() else [path]
    read = [_read_level(file) for file in files]
    levels = sorted((level for level in read if level is not None), key=lambda level: -level.stored.width)
    if not levels:
        raise SlideError(f"{path.name} holds no DICOM whole-slide image; fetch the slide again")
    short = [level for level in levels if level.frames_found < level.frames]
    truncated = "; ".join(f"{level.file.name} holds {level.frames_found} of {level.frames} frames" for level in short)
    return DicomSeries(
        files=tuple(level.file for level in levels),
        levels=tuple(level.stored for level in levels),
        mpp=levels[0].mpp,
        truncated=truncated,
        tiles_can_be_read=all(level.is_full_grid for level in levels),
    )


@dataclass(frozen=True)
class _Level:
    file: Path
    stored: StoredLevel
    mpp: float
    frames: int
    frames_found: int
    is_full_grid: bool


def _read_level(file: Path) -> _Level | None:
    """Return the level that a file holds; None for a label, an overview, a thumbnail, or no image."""
    import pydicom
    from pydicom.errors import InvalidDicomError

    try:
        with open(file, "rb") as opened:
            header = pydicom.dcmread(opened, stop_before_pixels=True)
            kinds = set(header.get("ImageType", ()))
            if "VOLUME" not in kinds:
                return None
            syntax = str(header.file_meta.TransferSyntaxUID)
            frames = int(header.NumberOfFrames)
            extents = _frame_extents(opened) if syntax == _JPEG_BASELINE else []
            return _level(file, header, frames, extents, syntax)
    except (InvalidDicomError, AttributeError, ValueError, KeyError, EOFError, struct.error) as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise SlideError(f"{file.name} is no readable DICOM file ({reason}); fetch the slide again") from None


def _level(file: Path, header: Any, frames: int, extents: list[tuple[int, int]], syntax: str) -> _Level:
    width, height = int(header.TotalPixelMatrixColumns), int(header.TotalPixelMatrixRows)
    columns, rows = int(header.Columns), int(header.Rows)
    if min(width, height, columns, rows) < 1:
        raise ValueError(f"a level of {width} x {height} px in frames of {columns} x {rows}")
    cells = math.ceil(width / columns) * math.ceil(height / rows)
    jpeg = syntax == _JPEG_BASELINE
    stored = StoredLevel(
        width=width,
        height=height,
        tile_width=columns,
        tile_height=rows,
        compression=JPEG if jpeg else 0,
        ycbcr=str(header.PhotometricInterpretation) != "RGB",
        plain_rgb=int(header.SamplesPerPixel) == 3 and int(header.BitsAllocated) == 8,
        tables=b"",
        offsets=np.array([offset for offset, _ in extents], dtype=np.int64),
        lengths=np.array([length for _, length in extents], dtype=np.int64),
    )
    in_order = header.get("DimensionOrganizationType") == "TILED_FULL"
    one_plane = int(header.get("TotalPixelMatrixFocalPlanes", 1)) == 1 == int(header.get("NumberOfOpticalPaths", 1))
    return _Level(
        file=file,
        stored=stored,
        mpp=_mpp(header),
        frames=frames,
        frames_found=len(extents) if jpeg else frames,
        is_full_grid=jpeg and in_order and one_plane and frames == cells and "ConcatenationUID" not in header,
    )


def _mpp(header: Any) -> float:
    """Return um/px: PixelSpacing of the shared functional groups, else of the image itself, in mm."""
    shared = header.get("SharedFunctionalGroupsSequence")
    measures = shared[0].get("PixelMeasuresSequence") if shared else None
    spacing = measures[0].get("PixelSpacing") if measures else header.get("PixelSpacing")
    mpp = float(spacing[0]) * 1000 if spacing else math.nan
    return mpp if 0 < mpp < math.inf else math.nan


def _frame_extents(file: BinaryIO) -> list[tuple[int, int]]:
    """Return offset and length of every whole fragment, from where the pixel data element begins."""
    size = os.fstat(file.fileno()).st_size
    start = file.read(12)
    if len(start) < 12 or struct.unpack("<L", start[8:])[0] != _UNDEFINED:
        return []
    items = _items(file, size)
    next(items, None)  # the table of offsets, which may be empty
    return list(items)


def _items(file: BinaryIO, size: int) -> Iterator[tuple[int, int]]:
    """Yield offset and length of the items that lie within the file, up to the delimiter."""
    place = file.tell()
    while place + 8 <= size:
        tag, length = struct.unpack("<LL", os.pread(file.fileno(), 8, place))
        if tag != _ITEM or length == _UNDEFINED or place + 8 + length > size:
            return
        yield place + 8, length
        place += 8 + length
