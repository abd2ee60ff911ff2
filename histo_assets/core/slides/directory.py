"""The TIFF directory of a slide: its levels, where their storage tiles lie, its resolution.

A storage tile is what the file stores (240 or 256 px); it has nothing to do with a study's tiles.
"""

from __future__ import annotations

import hashlib
import logging
import math
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from histo_assets.core.errors import HistoError

JPEG = 7
TIFF_SUFFIXES = (".svs", ".tif", ".tiff")
_MAGIC = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")


class SlideError(HistoError):
    """A slide that cannot be used: the message names the file and the way out."""


class MissingSlideError(SlideError):
    """A slide that is not there, or cannot be fetched now: no verdict on its file."""


@dataclass(frozen=True)
class StoredLevel:
    """One resolution level of a slide; `offsets` and `lengths` are in bytes, row by row.

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
    factor: float | None = None

    @property
    def columns(self) -> int:
        """Storage tiles in a row."""
        return math.ceil(self.width / self.tile_width)


@dataclass(frozen=True)
class TiffDirectory:
    """The content of the directory of a TIFF slide.

    `levels` are the tiled pages of the slide itself, finest first; `beyond_end` counts the storage
    tiles and strips of all pages that do not lie within the file, of `stored` in all. `mpp` is NaN
    where the file names no resolution.
    """

    levels: tuple[StoredLevel, ...]
    description: str
    vendor: str
    mpp: float
    stored: int
    beyond_end: int
    complaint: str
    digest: str


def is_tiff(path: str | os.PathLike[str]) -> bool:
    """Return whether the file starts as a TIFF does."""
    with open(path, "rb") as file:
        return file.read(4) in _MAGIC


def read_directory(path: str | os.PathLike[str]) -> TiffDirectory:
    """Return the directory of a TIFF slide; no pixel is read.

    Raises
    ------
    SlideError
        The directory cannot be read: the file is truncated or damaged.
    """
    import tifffile

    name, size = Path(path).name, os.path.getsize(path)
    try:
        with _complaints() as complaints, tifffile.TiffFile(path) as tiff:
            pages = [page for page in tiff.pages if isinstance(page, tifffile.TiffPage)]
            extents = [_extents(page) for page in pages]
            description = pages[0].description.strip()
            aperio = description.startswith("Aperio")
            return TiffDirectory(
                levels=_levels(pages),
                description=description,
                vendor="aperio" if aperio else "generic-tiff",
                mpp=_aperio_mpp(description) if aperio else _tagged_mpp(pages[0]),
                stored=sum(len(offsets) for offsets, _ in extents),
                beyond_end=sum(int(((o + n > size) & (n > 0)).sum()) for o, n in extents),
                complaint="; ".join(complaints),
                digest=_digest(pages, extents),
            )
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


def _levels(pages: list[Any]) -> tuple[StoredLevel, ...]:
    """Return the tiled pages that shrink the first one; thumbnail, label and macro are stored in strips."""
    if not pages[0].is_tiled:
        return ()
    levels: list[StoredLevel] = []
    full_width, full_height = pages[0].imagewidth, pages[0].imagelength
    for page in pages:
        width, height = page.imagewidth, page.imagelength
        downsample = full_width / width
        # A level's height is rounded, by less than one of its own pixels at either end.
        same_field = abs(height - full_height / downsample) <= 2 + 0.01 * height
        if page.is_tiled and same_field and (not levels or width < levels[-1].width):
            levels.append(_level(page))
    return tuple(levels)


def _level(page: Any) -> StoredLevel:
    offsets, lengths = _extents(page)
    photometric = int(page.photometric)
    return StoredLevel(
        width=page.imagewidth,
        height=page.imagelength,
        tile_width=page.tilewidth,
        tile_height=page.tilelength,
        compression=int(page.compression),
        ycbcr=photometric == 6,
        plain_rgb=(
            photometric in (2, 6)
            and page.samplesperpixel == 3
            and page.bitspersample == 8
            and int(page.planarconfig or 1) == 1
            and page.imagedepth == 1
        ),
        tables=page.jpegtables or b"",
        offsets=offsets,
        lengths=lengths,
    )


def _aperio_mpp(description: str) -> float:
    match = re.search(r"\|\s*MPP\s*=\s*([0-9.eE+-]+)", description)
    return _positive(match.group(1)) if match else math.nan


def _tagged_mpp(page: Any) -> float:
    """Return um/px from the resolution tag where its unit is inch or centimetre."""
    unit = {2: 25_400.0, 3: 10_000.0}.get(int(page.tags.valueof(296, default=1)))
    numerator, denominator = page.tags.valueof(282, default=(0, 1))
    if unit is None or not numerator:
        return math.nan
    mpp = unit * denominator / numerator
    # 72 or 96 dots per inch is what software writes when it does not know.
    return mpp if mpp < 20 else math.nan


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        return math.nan
    return number if 0 < number < math.inf else math.nan


def _digest(pages: list[Any], extents: list[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]) -> str:
    total = hashlib.sha256()
    for page, (offsets, lengths) in zip(pages, extents, strict=True):
        total.update(f"{page.shape} {page.compression} {page.description}".encode())
        total.update(page.jpegtables or b"")
        total.update(offsets.astype("<i8").tobytes())
        total.update(lengths.astype("<i8").tobytes())
    return total.hexdigest()
