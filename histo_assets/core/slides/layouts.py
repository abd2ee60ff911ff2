"""The layouts of a TIFF page beside 8-bit RGB in JPEG: which can be shown as RGB, and how.

tifffile decodes and unpacks a storage tile, whatever its compression; here its samples become RGB. What no rule
turns into 8-bit RGB without guessing (16 bit, floating point, volumes, inks) is refused as what it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Pixels = np.ndarray[Any, Any]
Decoder = Callable[[Sequence[bytes], int], Pixels]
"""Returns (height, width, 3) uint8 RGB of the stored planes of one storage tile, and its index."""

_APERIO_JPEG2000_YCBCR = 33003
_JPEG = (6, 7, 34892, 33007)
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _YCBCR = 0, 1, 2, 3, 6
_PHOTOMETRICS = {4: "a mask", 5: "CMYK inks", 8: "CIELab colours", 9: "ICCLab colours", 10: "ITULab colours"}
_ASSOCIATED, _UNASSOCIATED = 1, 2
_KINDS = {2: "signed integers", 3: "floating point numbers", 5: "complex integers", 6: "complex numbers"}


def planes_of(page: Any) -> int:
    """Return how many segments of the file make up one storage tile: 1, or one a sample where they lie apart."""
    return int(page.samplesperpixel) if int(page.planarconfig or 1) == 2 else 1


def unreadable(page: Any) -> str:
    """Return what a tiled page holds that cannot be shown as 8-bit RGB, as it follows 'holds'; '' where it can be."""
    import tifffile

    photometric, compression = int(page.photometric), int(page.compression)
    if int(page.imagedepth) != 1 or int(page.tiledepth) != 1:
        return "a volume"
    if compression != 1 and not _is_known(compression, tifffile):
        return f"storage tiles of compression {compression}"
    if int(page.sampleformat or 1) in _KINDS:
        return f"{page.bitspersample}-bit {_KINDS[int(page.sampleformat)]}"
    if page.bitspersample != 8:
        return f"{page.bitspersample}-bit samples"
    if photometric not in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _YCBCR):
        return _PHOTOMETRICS.get(photometric, f"colours of photometric interpretation {photometric}")
    if photometric in (_RGB, _YCBCR) and page.samplesperpixel < 3:
        return f"{page.samplesperpixel} samples a pixel that are said to be RGB"
    if photometric == _PALETTE and page.colormap is None:
        return "a palette that is missing"
    if photometric == _YCBCR and page.is_subsampled and (compression not in _JPEG or planes_of(page) > 1):
        return "subsampled YCbCr without JPEG"
    return ""


def decoder(page: Any) -> Decoder:
    """Return what turns the storage tiles of a page into RGB; it raises where one does not decode."""
    decode = page.decode
    tables, header = page.jpegtables, page.jpegheader
    shown = _shown(page)
    number = -(-page.imagewidth // page.tilewidth) * -(-page.imagelength // page.tilelength)

    def decoded(planes: Sequence[bytes], index: int) -> Pixels:
        parts = []
        for plane, stored in enumerate(planes):
            part = decode(stored, index + plane * number, jpegtables=tables, jpegheader=header)[0]
            if part is None:
                raise ValueError("an empty storage tile")
            parts.append(part[0])
        return np.ascontiguousarray(shown(parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)))

    return decoded


def from_ycbcr(stored: Pixels) -> Pixels:
    """Return RGB of Y, Cb and Cr as JPEG defines them (ITU-T T.871)."""
    import cv2

    return np.asarray(cv2.cvtColor(np.ascontiguousarray(stored[..., [0, 2, 1]]), cv2.COLOR_YCrCb2RGB))


def _is_known(compression: int, tifffile: Any) -> bool:
    try:
        return tifffile.TIFF.DECOMPRESSORS[compression] is not None
    except KeyError:
        return False


def _shown(page: Any) -> Callable[[Pixels], Pixels]:
    """Return what makes RGB of a page's samples."""
    photometric, compression = int(page.photometric), int(page.compression)
    if photometric == _PALETTE:
        colours = np.asarray(page.colormap)
        # Sixteen bits a colour; some writers fill eight of them.
        table = (colours >> 8 if colours.max() > 255 else colours).astype(np.uint8).T
        return lambda samples: table[samples[..., 0]]
    if photometric == _BLACK_IS_ZERO:
        return lambda samples: np.repeat(samples[..., :1], 3, axis=-1)
    if photometric == _WHITE_IS_ZERO:
        return lambda samples: 255 - np.repeat(samples[..., :1], 3, axis=-1)
    if compression == _APERIO_JPEG2000_YCBCR or (photometric == _YCBCR and compression not in _JPEG):
        return lambda samples: from_ycbcr(samples[..., :3])
    extra = next((int(kind) for kind in page.extrasamples), 0)
    if page.samplesperpixel > 3 and extra in (_ASSOCIATED, _UNASSOCIATED):
        return lambda samples: _on_white(samples, extra)
    return lambda samples: samples[..., :3]


def _on_white(samples: Pixels, extra: int) -> Pixels:
    """Return RGB and alpha over white; associated alpha has been multiplied in already."""
    colour, alpha = samples[..., :3].astype(np.float32), samples[..., 3:4].astype(np.float32) / 255
    over = colour if extra == _ASSOCIATED else colour * alpha
    return np.clip(over + 255 * (1 - alpha) + 0.5, 0, 255).astype(np.uint8)
