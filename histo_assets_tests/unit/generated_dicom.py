"""Files of DICOM slides as scanners and converters write them: any coding, order, fragmentation and header."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    VLWholeSlideMicroscopyImageStorage,
    generate_uid,
)

Pixels = np.ndarray[Any, Any]
_END = b"\xfe\xff\xdd\xe0" + bytes(4)


def jpeg_422(frame: Pixels) -> bytes:
    """Return a frame as JPEG in YCbCr with a JFIF header, its colour at half width."""
    return bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(frame), 90, "RGB", "422"))


@dataclass(frozen=True)
class Coding:
    """How frames are stored.

    Attributes
    ----------
    table
        Of offsets: `basic`, `extended`, `none`, or `zeros` as a writer leaves it that cannot count beyond 4 GB.
    split
        Frames that are stored as three fragments.
    order
        Which cells are stored, in this order, each with its place in the header; None for all, row by row.
    """

    encode: Callable[[Pixels], bytes] = jpeg_422
    syntax: str = JPEGBaseline8Bit
    photometric: str = "YBR_FULL_422"
    table: str = "basic"
    split: frozenset[int] = frozenset()
    order: Sequence[int] | None = None


@dataclass(frozen=True)
class Header:
    """What the header of a file says; `tags` are set last, None takes one away."""

    mpp: float | Sequence[float] | None = 0.5
    kind: str = "VOLUME"
    series: str = "1.2.3"
    tags: dict[str, Any] = field(default_factory=dict)


def write_image(
    path: Path,
    pixels: Pixels,
    frame_px: int = 128,
    header: Header = Header(),
    coding: Coding = Coding(),
    part: slice = slice(None),
) -> Path:
    """Write one file of a DICOM slide, or the `part` of its frames that one file of a concatenation holds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = VLWholeSlideMicroscopyImageStorage, generate_uid()
    meta.TransferSyntaxUID = UID(coding.syntax)
    image = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    image.SOPClassUID, image.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    image.SeriesInstanceUID, image.Modality = header.series, "SM"
    image.ImageType = ["ORIGINAL", "PRIMARY", header.kind, "NONE"]
    image.TotalPixelMatrixRows, image.TotalPixelMatrixColumns = pixels.shape[:2]
    image.Rows = image.Columns = frame_px
    image.SamplesPerPixel, image.BitsAllocated, image.BitsStored, image.HighBit = 3, 8, 8, 7
    image.PixelRepresentation = image.PlanarConfiguration = 0
    image.PhotometricInterpretation = coding.photometric
    _set_spacing(image, header.mpp)
    cells = range(_across(pixels, frame_px) * math.ceil(pixels.shape[0] / frame_px))
    order = list(cells if coding.order is None else coding.order)[part]
    image.DimensionOrganizationType = "TILED_FULL" if coding.order is None else "TILED_SPARSE"
    if coding.order is not None:
        image.PerFrameFunctionalGroupsSequence = Items(
            [_place(cell, frame_px, _across(pixels, frame_px)) for cell in order]
        )
    grid = _frames(pixels, frame_px)
    frames = [coding.encode(grid[cell]) for cell in order]
    image.NumberOfFrames = len(frames)
    if coding.syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian):
        image.PixelData = b"".join(frames) + bytes(sum(map(len, frames)) % 2)
    else:
        image.PixelData, offsets = _encapsulated(frames, coding)
        image["PixelData"].is_undefined_length = True
        if coding.table == "extended":
            image.ExtendedOffsetTable = struct.pack(f"<{len(offsets)}Q", *offsets)
            image.ExtendedOffsetTableLengths = struct.pack(f"<{len(frames)}Q", *(len(frame) for frame in frames))
    for name, value in header.tags.items():
        if value is None:
            delattr(image, name)
        else:
            setattr(image, name, value)
    image.save_as(path, enforce_file_format=True)
    return path


def write_pyramid(folder: Path, pixels: Pixels, coding: Coding = Coding(), **tags: Any) -> Path:
    """Write a slide of two levels, the second at a quarter, and return its folder."""
    for factor in (1, 4):
        level = np.ascontiguousarray(pixels[::factor, ::factor])
        order = (
            None if coding.order is None or factor == 1 else range(_across(level, 128) * math.ceil(len(level) / 128))
        )
        chosen = coding if factor == 1 else Coding(coding.encode, coding.syntax, coding.photometric, order=order)
        write_image(folder / f"level{factor}.dcm", level, 128, Header(0.5 * factor, tags=tags), chosen)
    return folder


def _frames(pixels: Pixels, px: int) -> list[Pixels]:
    """Return the frames of the grid, row by row, white where they reach beyond the picture."""
    height, width = pixels.shape[:2]
    full = np.pad(pixels, ((0, -height % px), (0, -width % px), (0, 0)), constant_values=255)
    return [
        np.ascontiguousarray(full[y : y + px, x : x + px]) for y in range(0, height, px) for x in range(0, width, px)
    ]


def _across(pixels: Pixels, px: int) -> int:
    return math.ceil(pixels.shape[1] / px)


def _set_spacing(image: FileDataset, mpp: float | Sequence[float] | None) -> None:
    if mpp is None:
        return
    x, y = (mpp, mpp) if isinstance(mpp, float | int) else mpp
    measures, shared = Dataset(), Dataset()
    measures.PixelSpacing = [y / 1000, x / 1000]
    shared.PixelMeasuresSequence = Items([measures])
    image.SharedFunctionalGroupsSequence = Items([shared])


def _place(cell: int, px: int, across: int) -> Dataset:
    position, group = Dataset(), Dataset()
    position.ColumnPositionInTotalImagePixelMatrix = cell % across * px + 1
    position.RowPositionInTotalImagePixelMatrix = cell // across * px + 1
    group.PlanePositionSlideSequence = Items([position])
    return group


def _encapsulated(frames: list[bytes], coding: Coding) -> tuple[bytes, list[int]]:
    items, offsets, at = [], [], 0
    for index, frame in enumerate(frames):
        offsets.append(at)
        third = len(frame) // 6 * 2
        parts = (frame[:third], frame[third : 2 * third], frame[2 * third :]) if index in coding.split else (frame,)
        for part in parts:
            padded = part + bytes(len(part) % 2)
            items.append(b"\xfe\xff\x00\xe0" + len(padded).to_bytes(4, "little") + padded)
            at += len(items[-1])
    tables = {"basic": offsets, "zeros": [0] * len(offsets), "none": [], "extended": []}
    table = b"".join(offset.to_bytes(4, "little") for offset in tables[coding.table])
    return b"\xfe\xff\x00\xe0" + len(table).to_bytes(4, "little") + table + b"".join(items), offsets
