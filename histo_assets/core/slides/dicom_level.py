"""A level of a DICOM slide: which bytes of which file are the frame of each cell of its grid."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histo_assets.core.slides.dicom_file import DicomFile, damage_named
from histo_assets.core.slides.dicom_frames import Frames
from histo_assets.core.slides.dicom_grid import frame_of_each_cell
from histo_assets.core.slides.dicom_tiles import DicomTiles, Fragments, FrameColour, Stream, means_ycbcr, stream_of
from histo_assets.core.slides.directory import JPEG, SlideError, StoredLevel

_JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
_HEADER_BYTES = 1 << 16


@dataclass(frozen=True)
class DicomLevel:
    """One level of a DICOM slide.

    Attributes
    ----------
    files
        Its files, one but for a concatenation.
    stored
        Its grid of frames; length 0 where none is stored, as sparse tiling does with glass.
    colour
        What its header says of the frames.
    fragments
        (file, offset, length) of every fragment of the frames that are not one fragment of the first file.
    read_otherwise
        Whether earlier versions read it in another way.
    """

    files: tuple[Path, ...]
    stored: StoredLevel
    colour: FrameColour
    fragments: Fragments
    read_otherwise: bool

    def shows_all_of(self, finest: DicomLevel) -> bool:
        """Return whether it stores a frame wherever the finest level does."""
        if (self.stored.lengths > 0).all():
            return True
        own, other = self.stored, finest.stored
        factor = own.factor or 1.0
        stored = np.flatnonzero(other.lengths > 0)
        rows = len(own.lengths) // own.columns
        corners = [(x, y) for x in (0.01, 0.99) for y in (0.01, 0.99)]
        cells = []
        for right, down in corners:
            column = (stored % other.columns + right) * other.tile_width / (factor * own.tile_width)
            row = (stored // other.columns + down) * other.tile_height / (factor * own.tile_height)
            cells.append(
                np.minimum(row.astype(int), rows - 1) * own.columns + np.minimum(column.astype(int), own.columns - 1)
            )
        return bool((own.lengths[np.concatenate(cells)] > 0).all())

    def opened(self, descriptors: list[int]) -> DicomTiles:
        """Return its frames as storage tiles, read from its open files."""
        return DicomTiles(descriptors, self.stored, self.colour, self.fragments)


def dicom_level(parts: list[DicomFile], base: DicomFile, factor: float) -> DicomLevel:
    """Return the level of which `parts` are the files, a pixel of which spans `factor` pixels of the finest.

    Raises
    ------
    SlideError
        Its frames do not fit its grid, or are of a kind that is not read.
    """
    first = parts[0]
    colour = first.colour
    with damage_named(first.path):
        order = frame_of_each_cell(parts)
        offsets, lengths, fragments = _places([part.frames for part in parts], order)
    stored = StoredLevel(
        width=first.width,
        height=first.height,
        tile_width=first.frame_width,
        tile_height=first.frame_height,
        compression=JPEG if colour.syntax == _JPEG_BASELINE else 0,
        ycbcr=colour.photometric != "RGB",
        plain_rgb=colour.samples == 3,
        tables=b"",
        offsets=offsets,
        lengths=lengths,
        factor=factor,
    )
    stream = _first_stream(first)
    if stream is not None:
        _refuse_unread(first.path, stream)
    as_before = (
        stored.compression == JPEG
        and colour.samples == 3
        and not fragments
        and first.organisation == "TILED_FULL"
        and not first.image
        and len(order) == len(first.frames)
        and factor in (1.0, base.width / first.width)
        and (stream is None or stream.has_marker or means_ycbcr(stream, colour) == stored.ycbcr)
    )
    return DicomLevel(tuple(part.path for part in parts), stored, colour, fragments, not as_before)


def _first_stream(file: DicomFile) -> Stream | None:
    """Return what the first frame of a file says of itself, None where that cannot be read."""
    frames, start = file.frames, b""
    with open(file.path, "rb") as opened:
        for fragment in range(*frames.first[:2]):
            length = min(int(frames.lengths[fragment]), _HEADER_BYTES - len(start))
            start += os.pread(opened.fileno(), length, int(frames.offsets[fragment]))
    return stream_of(start)


def _refuse_unread(path: Path, stream: Stream) -> None:
    uneven = stream.subsampled and stream.coding != "JPEG"
    if stream.bits != 8 or stream.components not in (1, 3) or uneven:
        size = " of uneven size" if uneven else ""
        raise SlideError(
            f"{path.name} holds {stream.coding} frames of {stream.components} components{size} of {stream.bits} bits, "
            "where 8-bit colour is needed; export the slide as such"
        )


def _places(frames: list[Frames], order: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[Any], Fragments]:
    """Return offset and length of the frame of each cell, and the fragments where they are not one of the first file.

    A cell without a frame has length 0; a frame of no bytes has length 1, so that it is lost and not glass.
    """
    before = np.cumsum([0, *(len(part.offsets) for part in frames)])
    offsets = np.concatenate([part.offsets for part in frames])
    lengths = np.concatenate([part.lengths for part in frames])
    file = np.repeat(np.arange(len(frames)), np.diff(before))
    frame = np.maximum(order, 0)
    first = np.concatenate([part.first[:-1] + at for part, at in zip(frames, before[:-1], strict=True)])[frame]
    last = np.concatenate([part.first[1:] + at for part, at in zip(frames, before[:-1], strict=True)])[frame]
    total = np.cumsum(np.append(0, lengths))
    has_frame = order >= 0
    apart = has_frame & ((last - first != 1) | (file[first] != 0))
    fragments: Mapping[int, Any] = {
        int(cell): tuple((int(file[i]), int(offsets[i]), int(lengths[i])) for i in range(first[cell], last[cell]))
        for cell in np.flatnonzero(apart)
    }
    return (
        np.where(has_frame, offsets[first], 0),
        np.where(has_frame, np.maximum(total[last] - total[first], 1), 0),
        fragments,
    )
