"""The frames of a level of a DICOM slide as pixels, whatever their coding, and in the colours that they hold.

Header and frame both say which colours a frame holds, and may disagree. What a frame says of itself is obeyed; where
it says nothing, the header is.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from histo_assets.core.slides.dicom_frames import EXPLICIT, IMPLICIT, RLE
from histo_assets.core.slides.directory import SlideError, StoredLevel
from histo_assets.core.slides.fast import StorageTiles

_JPEG, _JPEG_LS, _LOSSLESS_JPEG, _JPEG_2000 = "JPEG", "JPEG-LS", "lossless JPEG", "JPEG 2000"
_CODING = {0xC0: _JPEG, 0xC1: _JPEG, 0xC2: _JPEG, 0xC3: _LOSSLESS_JPEG, 0xF7: _JPEG_LS}
_CONTENT = (0xDA, 0x90)  # of a JPEG and of a JPEG 2000 codestream
_YCBCR_TAGS = ("YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_420", "YBR_PARTIAL_422")

SYNTAXES = {
    IMPLICIT: "uncompressed",
    EXPLICIT: "uncompressed",
    RLE: "RLE",
    "1.2.840.10008.1.2.4.50": _JPEG,
    "1.2.840.10008.1.2.4.51": _JPEG,
    "1.2.840.10008.1.2.4.57": _LOSSLESS_JPEG,
    "1.2.840.10008.1.2.4.70": _LOSSLESS_JPEG,
    "1.2.840.10008.1.2.4.80": _JPEG_LS,
    "1.2.840.10008.1.2.4.81": _JPEG_LS,
    "1.2.840.10008.1.2.4.90": _JPEG_2000,
    "1.2.840.10008.1.2.4.91": _JPEG_2000,
    "1.2.840.10008.1.2.4.201": _JPEG_2000,
    "1.2.840.10008.1.2.4.202": _JPEG_2000,
    "1.2.840.10008.1.2.4.203": _JPEG_2000,
}
"""The transfer syntaxes whose frames can be decoded, and what they are called."""


@dataclass(frozen=True)
class Stream:
    """What a compressed frame says of itself.

    `ycbcr` is whether it holds YCbCr that the decoder leaves as it is or has to be told of; None where it does not say.
    `subsampled` is whether its components differ in size.
    """

    coding: str
    width: int
    height: int
    components: int
    bits: int
    ycbcr: bool | None
    subsampled: bool
    has_marker: bool


Fragments = Mapping[int, tuple[tuple[int, int, int], ...]]
"""(file, offset, length) of the fragments of frames."""


@dataclass(frozen=True)
class FrameColour:
    """What the header of a level says of its frames."""

    syntax: str
    photometric: str
    samples: int
    planes_apart: bool


class DicomTiles(StorageTiles):
    """The storage tiles of one level of an open DICOM slide.

    Parameters
    ----------
    descriptors
        The open files of the level, one but for concatenations.
    level
        Its `lengths` are 0 where a level stores no frame; `offsets` are those of a frame's first fragment.
    colour
        What the header says of the frames.
    fragments
        (file, offset, length) of every fragment of the frames that are not one fragment of the first file.
    """

    def __init__(
        self,
        descriptors: list[int],
        level: StoredLevel,
        colour: FrameColour,
        fragments: Fragments,
    ) -> None:
        super().__init__(descriptors[0], level)
        self.descriptors = descriptors
        self._colour = colour
        self._fragments = fragments

    def _decoded(self, index: int) -> np.ndarray[Any, Any] | None:
        stored = self._stored(index)
        if stored is None:
            return None
        rows, columns = self.level.tile_height, self.level.tile_width
        try:
            tile = decoded_frame(stored, self._colour, rows, columns)
        except (ValueError, RuntimeError, struct.error, IndexError):  # imagecodecs' errors are RuntimeErrors
            return None
        return None if tile is None or tile.shape[0] < rows or tile.shape[1] < columns else tile

    def _stored(self, index: int) -> bytes | None:
        """Return the bytes of a frame, None where the file ends before them."""
        whole = ((0, int(self.level.offsets[index]), int(self.level.lengths[index])),)
        parts = self._fragments.get(index, whole)
        try:
            stored = b"".join(os.pread(self.descriptors[file], length, offset) for file, offset, length in parts)
        except OSError as error:
            raise SlideError(f"a slide cannot be read any more ({error}); see to its disk and run again") from None
        return stored if len(stored) == sum(length for _, _, length in parts) else None


def decoded_frame(stored: bytes, colour: FrameColour, rows: int, columns: int) -> np.ndarray[Any, Any] | None:
    """Return a frame as (h, w, 3) uint8 RGB; None, or an error of its decoder, where it does not decode."""
    if SYNTAXES[colour.syntax] in ("RLE", "uncompressed"):
        return _as_rgb(_raw_samples(stored, colour, rows, columns), colour, _tag_means_ycbcr(colour))
    stream = stream_of(stored)
    # A frame's own size is asked before any memory is: a few bytes may claim 65,535 x 65,535 px.
    if stream is None or stream.bits != 8 or stream.width > columns + 16 or stream.height > rows + 16:
        return None
    ycbcr = means_ycbcr(stream, colour)
    if stream.coding == _JPEG:
        import simplejpeg

        plain = stored if stream.has_marker or stream.components != 3 else _with_adobe_marker(stored, ycbcr)
        return _as_rgb(np.asarray(simplejpeg.decode_jpeg(plain, colorspace="RGB", strict=True)), colour, False)
    import imagecodecs

    decode = {
        _LOSSLESS_JPEG: imagecodecs.jpegsof3_decode,
        _JPEG_LS: imagecodecs.jpegls_decode,
        _JPEG_2000: imagecodecs.jpeg2k_decode,
    }[stream.coding]
    return _as_rgb(np.asarray(decode(stored)), colour, ycbcr)


def means_ycbcr(stream: Stream, colour: FrameColour) -> bool:
    """Return whether the samples of a frame are YCbCr, by the frame where it says so, else by the header."""
    if stream.ycbcr is not None:
        return stream.ycbcr
    # Nobody stores green and blue at half the size of red.
    return _tag_means_ycbcr(colour) or (stream.coding == _JPEG and stream.subsampled)


def _tag_means_ycbcr(colour: FrameColour) -> bool:
    return colour.photometric in _YCBCR_TAGS


def _raw_samples(stored: bytes, colour: FrameColour, rows: int, columns: int) -> np.ndarray[Any, Any]:
    samples = colour.samples
    if SYNTAXES[colour.syntax] == "RLE":
        import imagecodecs

        # Run-length segments are whole planes.
        stored = bytes(imagecodecs.dicomrle_decode(stored, np.dtype(np.uint8)))
    planes_apart = colour.planes_apart or SYNTAXES[colour.syntax] == "RLE"
    pixels = np.frombuffer(stored, dtype=np.uint8, count=rows * columns * samples)
    if planes_apart:
        return np.moveaxis(pixels.reshape(samples, rows, columns), 0, 2)
    return pixels.reshape(rows, columns, samples)


def _as_rgb(pixels: np.ndarray[Any, Any], colour: FrameColour, ycbcr: bool) -> np.ndarray[Any, Any] | None:
    if pixels.dtype != np.uint8:
        return None
    if pixels.ndim == 2 or pixels.shape[2] == 1:
        pixels = np.repeat(pixels.reshape(*pixels.shape[:2], 1), 3, axis=2)
    if pixels.shape[2] != 3:
        return None
    if colour.photometric == "MONOCHROME1":
        pixels = 255 - pixels
    if ycbcr:
        import cv2

        pixels = cv2.cvtColor(np.ascontiguousarray(pixels[:, :, [0, 2, 1]]), cv2.COLOR_YCrCb2RGB)
    return np.ascontiguousarray(pixels)


def stream_of(frame: bytes) -> Stream | None:
    """Return what a frame in JPEG, JPEG-LS or JPEG 2000 says of itself; None where it is none of these."""
    try:
        if frame[:2] == b"\xff\xd8":
            return _jpeg_stream(frame)
        start = 0 if frame[:4] == b"\xff\x4f\xff\x51" else frame.find(b"\xff\x4f\xff\x51", 0, 4096)
        return _jpeg_2000_stream(frame, start) if start >= 0 else None
    except (struct.error, IndexError, ValueError):
        return None


def _jpeg_stream(frame: bytes) -> Stream | None:
    jfif, adobe = False, None
    for marker, place, length in _segments(frame):
        if marker == 0xE0 and frame[place : place + 4] == b"JFIF":
            jfif = True
        elif marker == 0xEE and frame[place : place + 5] == b"Adobe" and length >= 12:
            adobe = frame[place + 11] != 0
        elif marker in _CODING:
            bits, height, width, components = struct.unpack(">BHHB", frame[place : place + 6])
            described = [frame[place + 6 + 3 * i : place + 9 + 3 * i] for i in range(components)]
            ids = bytes(part[0] for part in described)
            contradiction = jfif and adobe is False
            marked = None if contradiction else True if jfif else adobe
            by_ids = False if ids == b"RGB" and not jfif else None
            return Stream(
                coding=_CODING[marker],
                width=width,
                height=height,
                components=components,
                bits=bits,
                ycbcr=by_ids if marked is None else marked,
                subsampled=len({part[1] for part in described}) > 1,
                has_marker=marked is not None,
            )
    return None


def _segments(jpeg: bytes) -> Any:
    """Yield marker, place and length of the content of the segments of a JPEG up to its scan."""
    place = 2
    while place + 4 <= len(jpeg) and jpeg[place] == 0xFF:
        marker = jpeg[place + 1]
        if marker == 0xFF:  # fill
            place += 1
            continue
        if marker in _CONTENT:
            return
        length = int.from_bytes(jpeg[place + 2 : place + 4], "big")
        if length < 2:
            return
        yield marker, place + 4, length - 2
        place += 2 + length


def _with_adobe_marker(jpeg: bytes, ycbcr: bool) -> bytes:
    """Return a JPEG whose only word on its colours is an Adobe marker: a decoder guesses otherwise."""
    kept, end = [], 2
    for marker, place, length in _segments(jpeg):
        if marker not in (0xE0, 0xEE):
            kept.append(jpeg[place - 4 : place + length])
        end = place + length
    adobe = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00" + (b"\x01" if ycbcr else b"\x00")
    return b"".join([b"\xff\xd8", adobe, *kept, jpeg[end:]])


def _jpeg_2000_stream(frame: bytes, start: int) -> Stream | None:
    _, x1, y1, x0, y0, _, _, _, _, components = struct.unpack(">H8IH", frame[start + 6 : start + 42])
    sizes = [frame[start + 42 + 3 * i : start + 45 + 3 * i] for i in range(components)]
    transformed = False
    for marker, place, _ in _segments(frame[start:]):
        if marker == 0x52:
            transformed = frame[start + place + 4] == 1
    return Stream(
        coding=_JPEG_2000,
        width=x1 - x0,
        height=y1 - y0,
        components=components,
        bits=max((size[0] & 0x7F) + 1 for size in sizes),
        # The decoder undoes the codestream's own transform.
        ycbcr=False if transformed else None,
        subsampled=len({size[1:] for size in sizes}) > 1,
        has_marker=transformed,
    )
