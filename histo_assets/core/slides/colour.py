"""Which colours the JPEG of a storage tile holds, where container and stream do not say the same.

The container says so in a tag, the stream in its markers (JFIF: YCbCr; Adobe: either), in the names of its
components, or by storing some of them at lower resolution, which only YCbCr is. Where they agree, or the stream is
silent, the tag rules, as in libtiff and openslide. Where they contradict each other the picture decides: what was
stored as YCbCr lies within the colours that RGB can show, and the R, G and B of a picture taken for YCbCr do not.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

_START, _SCAN = 0xD8, 0xDA
_JFIF, _ADOBE = 0xE0, 0xEE
_FRAMES = {0xC0, 0xC1, 0xC2}
_RGB_NAMES = (b"RGB", b"rgb")

# Grey levels that JPEG's loss may carry a colour beyond the gamut, and the share of pixels that may lie further.
_LOSS = 12
_FEW = 0.05


@dataclass(frozen=True)
class StreamColours:
    """What the markers of a JPEG say: `adobe` is its transform (0 RGB, 1 YCbCr), or None."""

    jfif: bool
    adobe: int | None
    names: bytes
    subsampled: bool

    def contradicts(self, ycbcr: bool) -> bool:
        """Return whether the stream says something else than a tag of YCbCr, or of RGB."""
        if len(self.names) != 3:
            return False
        if ycbcr:
            return self.adobe == 0 or self.names in _RGB_NAMES
        return self.jfif or self.subsampled or self.adobe in (1, 2)


def stream_colours(*parts: bytes) -> StreamColours:
    """Return what the JPEG tables of a page and a storage tile, or a whole JPEG, say of their colours."""
    jfif, adobe, names, subsampled = False, None, b"", False
    for part in parts:
        for marker, content in _segments(part):
            if marker == _JFIF and content.startswith(b"JFIF"):
                jfif = True
            elif marker == _ADOBE and content.startswith(b"Adobe") and len(content) >= 12:
                adobe = content[11]
            elif marker in _FRAMES and len(content) >= 6 + 3 * content[5]:
                components = [content[i : i + 2] for i in range(6, 6 + 3 * content[5], 3)]
                names = bytes(component[0] for component in components)
                subsampled = len({component[1] for component in components}) > 1
    return StreamColours(jfif, adobe, names, subsampled)


def without_colour_markers(jpeg: bytes) -> bytes:
    """Return a JPEG, or tables, without its JFIF and Adobe markers; a decoder believes those rather than a tag."""
    if b"JFIF\0" not in jpeg and b"Adobe\0" not in jpeg:
        return jpeg
    kept = bytearray(jpeg[:2])
    end = 2
    for marker, content in _segments(jpeg):
        after = end + 4 + len(content)
        if marker not in (_JFIF, _ADOBE):
            kept += jpeg[end:after]
        end = after
    return bytes(kept + jpeg[end:])


def looks_like_ycbcr(planes: Sequence[np.ndarray[Any, Any]]) -> bool:
    """Return whether stored components, (height, width, 3) uint8, are Y, Cb and Cr rather than R, G and B."""
    beyond = total = 0
    for stored in planes:
        y, cb, cr = (stored[..., i].astype(np.float32) - (128 if i else 0) for i in range(3))
        shown = np.stack([y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb])
        beyond += int(((shown < -_LOSS) | (shown > 255 + _LOSS)).any(axis=0).sum())
        total += y.size
    return beyond <= _FEW * total


def _segments(jpeg: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield marker and content of the segments of a JPEG up to its first scan, as long as they follow each other."""
    place = 2 if jpeg[:2] == bytes((0xFF, _START)) else 0
    while place + 4 <= len(jpeg) and jpeg[place] == 0xFF:
        marker, length = jpeg[place + 1], struct.unpack_from(">H", jpeg, place + 2)[0]
        if marker == _SCAN or length < 2:
            return
        yield marker, jpeg[place + 4 : place + 2 + length]
        place += 2 + length
