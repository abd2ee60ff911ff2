"""The TIFF directory of a slide: its levels, where their storage tiles lie, its resolution.

A storage tile is what the file stores (240 or 256 px); it has nothing to do with a study's tiles.
"""

from __future__ import annotations

import hashlib
import logging
import math
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from histo_assets.core.slides.chain import check_directories
from histo_assets.core.slides.colour import looks_like_ycbcr, stream_colours, without_colour_markers
from histo_assets.core.slides.errors import MissingSlideError, SlideError
from histo_assets.core.slides.holes import fills_holes
from histo_assets.core.slides.images import Choice, scan_of
from histo_assets.core.slides.layouts import Decoder, decoder, planes_of, unreadable
from histo_assets.core.slides.pages import described, image_pages, refuse_odd, tagged
from histo_assets.core.slides.resolution import Resolution, aperio_resolution

__all__ = ["JPEG", "TIFF_SUFFIXES", "MissingSlideError", "SlideError", "StoredLevel", "TiffDirectory"]

JPEG = 7
TIFF_SUFFIXES = (".svs", ".tif", ".tiff")
ADOBE = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00"
"""Adobe's marker of a JPEG, but for its last byte: 0 says RGB, 1 YCbCr."""

_LOOKED_AT = 4
_LARGEST_SEGMENT = 64 << 20
_MAGIC = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")


@dataclass(frozen=True)
class StoredLevel:
    """One resolution level of a slide; `offsets` and `lengths` are in bytes, row by row, plane by plane.

    A storage tile of length zero is empty. `ycbcr` is what its JPEG holds. `decode` reads what is no JPEG of 8-bit
    RGB, from `planes` segments each; `unreadable` says what the level holds where nothing here reads it, else ''.
    `factor` is how many level-0 pixels one of its pixels spans, None where the widths of the levels tell.
    """

    width: int
    height: int
    tile_width: int
    tile_height: int
    compression: int
    ycbcr: bool
    plain_rgb: bool
    tables: bytes
    offsets: np.ndarray[Any, Any]
    lengths: np.ndarray[Any, Any]
    planes: int = 1
    decode: Decoder | None = None
    unreadable: str = ""
    factor: float | None = None

    @property
    def columns(self) -> int:
        """Storage tiles in a row."""
        return math.ceil(self.width / self.tile_width)

    @property
    def needed(self) -> int:
        """Segments that make up the level."""
        return self.columns * math.ceil(self.height / self.tile_height) * self.planes


@dataclass(frozen=True)
class TiffDirectory:
    """The content of the directory of a TIFF slide.

    `levels` are the tiled pages of the scan, finest first; `beyond_end` counts the storage tiles and strips of all
    pages that do not lie within the file, of `stored` in all. `digest` is of all pages; where earlier versions read
    other pixels from such a file it ends in a dash and the reason.
    """

    levels: tuple[StoredLevel, ...]
    description: str
    vendor: str
    resolution: Resolution
    stored: int
    beyond_end: int
    complaint: str
    digest: str

    @property
    def mpp(self) -> float:
        """Um/px, NaN where the file names no resolution."""
        return self.resolution.mpp


def is_tiff(path: str | os.PathLike[str]) -> bool:
    """Return whether the file starts as a TIFF does."""
    with open(path, "rb") as file:
        return file.read(4) in _MAGIC


def read_directory(path: str | os.PathLike[str], image: Choice = None) -> TiffDirectory:
    """Return the directory of a TIFF slide; at most a few storage tiles of odd colours are decoded.

    Parameters
    ----------
    path
        The file.
    image
        Which of several scans is meant, by name or number.

    Raises
    ------
    SlideError
        The directory cannot be read: the file is truncated, damaged, or holds several scans.
    """
    import tifffile

    name, size = Path(path).name, os.path.getsize(path)
    check_directories(path)
    try:
        with _complaints() as complaints, tifffile.TiffFile(path) as tiff, open(path, "rb") as file:
            pages = [page for page in tiff.pages if isinstance(page, tifffile.TiffPage)]
            for page in pages:
                refuse_odd(page, name)
            extents = [_extents(page) for page in pages]
            images = image_pages(pages)
            chosen = scan_of([described(pages[0]) for pages in images], image, name) if images else 0
            scan = images[chosen] if images else []
            first = scan[0] if scan else pages[0]
            levels = tuple(_level(page, file) for page in scan)
            description = (first.description or pages[0].description).strip()
            aperio = description.startswith("Aperio")
            return TiffDirectory(
                levels=levels,
                description=description,
                vendor="aperio" if aperio else "generic-tiff",
                resolution=aperio_resolution(description) if aperio else tagged(first),
                stored=sum(len(offsets) for offsets, _ in extents),
                beyond_end=sum(int(((o + n > size) & (n > 0)).sum()) for o, n in extents),
                complaint="; ".join(complaints),
                digest="-".join([_digest(pages, extents), *_mended(levels, scan, pages, file)]),
            )
    except SlideError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise SlideError(f"{name} has no readable TIFF directory ({reason}); copy or download it again") from None


class _ByThread(logging.Filter):
    """Keeps what tifffile logs about a damaged directory, instead of raising, to the thread that reads it.

    Slides arrive several threads at once: one's damage must not be taken for another's. The filter is
    put in place once and stays, for taking one away while another thread logs could lose a message.
    """

    def __init__(self) -> None:
        super().__init__()
        self.local = threading.local()

    def filter(self, record: logging.LogRecord) -> bool:
        messages: list[str] | None = getattr(self.local, "messages", None)
        if messages is None:
            return True
        if record.levelno >= logging.WARNING:
            messages.append(" ".join(record.getMessage().split())[:160])
        return False


_TIFFFILE = _ByThread()


@contextmanager
def _complaints() -> Iterator[list[str]]:
    """Yield the list that fills with the complaints of tifffile in this thread, inside the block."""
    import tifffile

    tifffile.logger().addFilter(_TIFFFILE)
    messages: list[str] = []
    _TIFFFILE.local.messages = messages
    try:
        yield messages
    finally:
        _TIFFFILE.local.messages = None


def _extents(page: Any) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    return np.asarray(page.dataoffsets, dtype=np.int64), np.asarray(page.databytecounts, dtype=np.int64)


def _level(page: Any, file: BinaryIO) -> StoredLevel:
    offsets, lengths = _extents(page)
    photometric = int(page.photometric)
    tables = page.jpegtables or b""
    plain_rgb = (
        photometric in (2, 6)
        and page.samplesperpixel == 3
        and page.bitspersample == 8
        and int(page.planarconfig or 1) == 1
        and page.imagedepth == 1
    )
    level = StoredLevel(
        width=page.imagewidth,
        height=page.imagelength,
        tile_width=page.tilewidth,
        tile_height=page.tilelength,
        compression=int(page.compression),
        ycbcr=photometric == 6,
        plain_rgb=plain_rgb,
        tables=tables,
        offsets=offsets,
        lengths=np.where(offsets > 0, lengths, 0) if len(offsets) == len(lengths) else lengths,
    )
    if level.compression == JPEG and plain_rgb:
        return replace(level, ycbcr=_stored_as_ycbcr(level, file)) if _contradicts(level, file) else level
    unread = unreadable(page)
    return replace(level, planes=planes_of(page), unreadable=unread, decode=None if unread else decoder(page))


def _contradicts(level: StoredLevel, file: BinaryIO) -> bool:
    """Return whether the first stored JPEG of a level says other colours than its tag."""
    first = next(iter(np.flatnonzero(level.lengths)), None)
    return first is not None and stream_colours(level.tables, _segment(level, first, file)).contradicts(level.ycbcr)


def _stored_as_ycbcr(level: StoredLevel, file: BinaryIO) -> bool:
    """Return whether the fullest storage tiles of a level look like YCbCr; the tag's word where none decodes."""
    import simplejpeg

    planes = []
    start = b"\xff\xd8" + ADOBE + b"\x00" + without_colour_markers(level.tables)[2:-2]
    for index in np.argsort(level.lengths, kind="stable")[::-1][:_LOOKED_AT]:
        stored = without_colour_markers(_segment(level, index, file))
        try:
            planes.append(simplejpeg.decode_jpeg(start + stored[2:], colorspace="RGB", strict=True))
        except ValueError:
            continue
    return looks_like_ycbcr(planes) if planes else level.ycbcr


def _segment(level: StoredLevel, index: Any, file: BinaryIO) -> bytes:
    return os.pread(file.fileno(), min(int(level.lengths[index]), _LARGEST_SEGMENT), int(level.offsets[index]))


def _mended(levels: Sequence[StoredLevel], scan: list[Any], pages: list[Any], file: BinaryIO) -> list[str]:
    """Return in what the pixels of a file differ from those that earlier versions read."""
    reasons = []
    if scan and scan[0] is not pages[0]:
        reasons.append(f"image{pages.index(scan[0]) + 1}")
    if fills_holes(levels):
        reasons.append("filled")
    if any(level.decode is not None for level in levels):
        reasons.append("decoded")
    if any(level.decode is None and not level.unreadable and _contradicts(level, file) for level in levels):
        reasons.append("colours")
    return reasons


def _digest(pages: list[Any], extents: list[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]) -> str:
    total = hashlib.sha256()
    for page, (offsets, lengths) in zip(pages, extents, strict=True):
        total.update(f"{page.shape} {page.compression} {page.description}".encode())
        total.update(page.jpegtables or b"")
        total.update(offsets.astype("<i8").tobytes())
        total.update(lengths.astype("<i8").tobytes())
    return total.hexdigest()
