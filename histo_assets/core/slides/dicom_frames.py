"""Where the frames of a DICOM file lie: by its tables of offsets, else by what its fragments begin and end with.

A frame may be stored in several fragments (DICOM PS3.5, A.4), so fragments are no measure of frames. No frame is
decoded here.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
RLE = "1.2.840.10008.1.2.5"

_PIXEL_DATA = b"\xe0\x7f\x10\x00"
_ITEM, _END = 0xE000FFFE, 0xE0DDFFFE
_UNDEFINED = 0xFFFFFFFF
_STREAM_STARTS = (b"\xff\xd8\xff", b"\xff\x4f\xff", b"\x00\x00\x00\x0c")
"""How a JPEG or JPEG-LS, a JPEG 2000 codestream and a JP2 file begin."""

Places = NDArray[np.int64]


@dataclass(frozen=True)
class Frames:
    """The frames of one file: frame `i` is the fragments `first[i]` up to `first[i + 1]`, joined.

    `offsets` and `lengths` are those of the fragments, in bytes from the start of the file. Only whole frames are here.
    """

    offsets: Places
    lengths: Places
    first: Places

    def __len__(self) -> int:
        return len(self.first) - 1


def frames_of(file: BinaryIO, header: Any, syntax: str, frames: int) -> Frames:
    """Return where the frames of an open DICOM file lie, which stands where its pixel data begin.

    Parameters
    ----------
    file
        Just read up to its pixel data by pydicom.
    header
        What pydicom read.
    syntax
        UID of the transfer syntax.
    frames
        How many frames the header promises; a truncated file has fewer.

    Raises
    ------
    ValueError
        The fragments do not make up frames, or the pixel data are not what the transfer syntax says.
    """
    place = file.tell()
    size = os.fstat(file.fileno()).st_size
    long_form = 8 if syntax == IMPLICIT else 12
    start = os.pread(file.fileno(), long_form, place)
    if len(start) < long_form:
        return _single([], [])
    if start[:4] != _PIXEL_DATA:
        raise ValueError("its pixel data are no frames of 8 or 16 bits")
    length = struct.unpack("<L", start[-4:])[0]
    if syntax in (IMPLICIT, EXPLICIT):
        return _uncompressed(place + long_form, size, header, frames, length)
    if length != _UNDEFINED:
        raise ValueError("its compressed pixel data are not in fragments")
    return _encapsulated(_Items(file.fileno(), place + long_form, size), header, syntax, frames)


def _uncompressed(place: int, size: int, header: Any, frames: int, length: int) -> Frames:
    if length == _UNDEFINED:
        raise ValueError("its pixel data are in fragments, which its transfer syntax excludes")
    bits = int(header.Rows) * int(header.Columns) * int(header.SamplesPerPixel) * int(header.BitsAllocated)
    frame_bytes = bits // 8
    if frame_bytes < 1:
        raise ValueError("its frames are empty")
    whole = min(frames, length // frame_bytes, max(0, size - place) // frame_bytes)
    return _single(place + frame_bytes * np.arange(whole, dtype=np.int64), [frame_bytes] * whole)


class _Items:
    """The items of encapsulated pixel data that lie within the file: the table of offsets, then the fragments."""

    def __init__(self, descriptor: int, place: int, size: int) -> None:
        offsets, lengths, starts = [], [], []
        self.ended = False
        while place + 8 <= size:
            content = os.pread(descriptor, 12, place)
            tag, length = struct.unpack("<LL", content[:8])
            self.ended = tag == _END
            if tag != _ITEM or length == _UNDEFINED or place + 8 + length > size:
                break
            offsets.append(place + 8)
            lengths.append(length)
            starts.append(content[8:].startswith(_STREAM_STARTS))
            place += 8 + length
        table = os.pread(descriptor, lengths[0], offsets[0]) if offsets else b""
        self._descriptor = descriptor
        self.basic_table = np.frombuffer(table[: len(table) // 4 * 4], dtype="<u4").astype(np.int64)
        self.offsets = np.array(offsets[1:], dtype=np.int64)
        self.lengths = np.array(lengths[1:], dtype=np.int64)
        self.begin_stream = np.array(starts[1:], dtype=bool)

    def __len__(self) -> int:
        return len(self.offsets)

    def ends_stream(self, fragment: int) -> bool:
        """Return whether a fragment ends as JPEG, JPEG-LS and JPEG 2000 do, but for padding."""
        length = int(min(10, self.lengths[fragment]))
        tail = os.pread(self._descriptor, length, int(self.offsets[fragment] + self.lengths[fragment]) - length)
        return b"\xff\xd9" in tail


def _encapsulated(items: _Items, header: Any, syntax: str, frames: int) -> Frames:
    table = header.get("ExtendedOffsetTable") or b""
    extended = np.frombuffer(table[: len(table) // 8 * 8], dtype="<u8").astype(np.int64)
    streams = syntax != RLE
    for table in (extended, items.basic_table):
        first = _by_table(items, table, frames, streams)
        if first is not None:
            return _grouped(items, first, frames)
    # Run-length coding marks neither start nor end, and allows one fragment a frame only.
    return _grouped(items, _by_streams(items, frames) if streams else np.arange(len(items)), frames)


def _by_table(items: _Items, table: Places, frames: int, streams: bool) -> Places | None:
    """Return the first fragment of each frame by a table of offsets; None where it does not fit the fragments.

    A basic table is too short for slides of more than 4 GB, where writers let it overflow or fill it with zeros.
    """
    if len(table) != frames or not len(items) or table[0] != 0 or (np.diff(table) <= 0).any():
        return None
    begin = items.offsets - items.offsets[0]
    within = table[table <= begin[-1]]
    first = np.searchsorted(begin, within)
    if not np.array_equal(begin[first], within):
        return None
    # A damaged frame does not begin as one, but where most do not, the table is wrong.
    if streams and items.begin_stream[first].sum() < items.begin_stream.sum() / 2:
        return None
    return np.asarray(first, dtype=np.int64)


def _by_streams(items: _Items, frames: int) -> Places:
    """Return the first fragment of each frame by how the fragments begin and end."""
    begins = items.begin_stream.copy()
    for fragment in np.flatnonzero(~begins):  # the rest of a frame, or a damaged one
        begins[fragment] = fragment == 0 or items.ends_stream(int(fragment) - 1)
    if begins.sum() > frames:  # a picture within a frame begins as a frame does
        begins[1:] &= [items.ends_stream(fragment) for fragment in range(len(items) - 1)]
    return np.flatnonzero(begins)


def _grouped(items: _Items, first: Places, frames: int) -> Frames:
    """Return the frames that begin at the fragments `first`, the last one only if it is whole."""
    if len(first) > frames:
        raise ValueError(f"its fragments make {len(first)} frames where its header says {frames}")
    edges = np.append(first, len(items)).astype(np.int64)
    one_each = len(first) == frames == len(items)
    if len(first) and not (items.ended or one_each or items.ends_stream(len(items) - 1)):
        edges = edges[:-1]
    return Frames(items.offsets, items.lengths, edges)


def _single(offsets: Any, lengths: Any) -> Frames:
    """Return frames of one fragment each."""
    count = np.arange(len(offsets) + 1, dtype=np.int64)
    return Frames(np.asarray(offsets, dtype=np.int64), np.asarray(lengths, dtype=np.int64), count)
