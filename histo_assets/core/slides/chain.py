"""The chain of directories of a TIFF, followed within bounds before a library reads it.

A library may follow a chain that bites its tail for ever, or load the billion offsets that one flipped bit
promises. What is checked here costs a few reads a directory, whatever the file says.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from histo_assets.core.slides.errors import SlideError

MOST_DIRECTORIES = 4096
MOST_TAGS = 4096
MOST_TILES = 1 << 22
MOST_BYTES = 64 << 20

# Bytes of a value, by the type that its tag names (TIFF 6.0, BigTIFF).
_SIZES = dict(enumerate((1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4), start=1)) | {16: 8, 17: 8, 18: 8}
_TILE_TAGS = {273: "StripOffsets", 279: "StripByteCounts", 324: "TileOffsets", 325: "TileByteCounts"}
_SUB_DIRECTORIES = 330


@dataclass(frozen=True)
class _Form:
    """How a TIFF writes its numbers: byte order, and the sizes of a classic TIFF or a BigTIFF."""

    order: str
    big: bool

    @property
    def count(self) -> str:
        """The format of the number of tags."""
        return self.order + ("Q" if self.big else "H")

    @property
    def offset(self) -> str:
        """The format of an offset."""
        return self.order + ("Q" if self.big else "L")

    @property
    def tag(self) -> str:
        """The format of a tag: code, type, number of values, value or offset."""
        return self.order + ("HHQQ" if self.big else "HHLL")


def check_directories(path: str | os.PathLike[str]) -> None:
    """Return where the directories of a TIFF can be read in bounded time and memory.

    Raises
    ------
    SlideError
        A directory names itself or an earlier one as the next, or there are more directories, tags, storage tiles
        or bytes of a tag than a slide has.
    """
    name, size = Path(path).name, os.path.getsize(path)
    with open(path, "rb") as file:
        start = file.read(16)
        form = _Form("<" if start[:2] == b"II" else ">", start[2:3] == b"+" or start[3:4] == b"+")
        first = struct.unpack_from(form.offset, start.ljust(16, b"\0"), 8 if form.big else 4)[0]
        waiting, seen = [first], set[int]()
        while waiting:
            place = waiting.pop()
            if not 0 < place < size:
                continue  # the reader says so: the file ends early
            if place in seen:
                raise SlideError(
                    f"{name} has directories that lead back to one another, so it has no end; copy or download it "
                    "again, or have it written anew"
                )
            seen.add(place)
            if len(seen) > MOST_DIRECTORIES:
                raise SlideError(
                    f"{name} has more than {MOST_DIRECTORIES} directories, so it is no slide; leave it out"
                )
            waiting += _checked(file, place, form, size, name)


def _checked(file: BinaryIO, place: int, form: _Form, size: int, name: str) -> list[int]:
    """Return where the directories are that the one at `place` leads to."""
    file.seek(place)
    number = _unpacked(form.count, file)
    if number > MOST_TAGS:
        raise SlideError(f"{name} has a damaged directory of {number} tags; copy or download it again")
    width = struct.calcsize(form.tag)
    tags = file.read(width * number)
    further = [_unpacked(form.offset, file)]
    for code, kind, count, value in struct.iter_unpack(form.tag, tags[: len(tags) // width * width]):
        _refuse_absurd(code, kind, count, size, name)
        if code == _SUB_DIRECTORIES and kind in (4, 13, 16, 18):
            further += _values(file, form, kind, count, value)
    return [offset for offset in further if offset]


def _refuse_absurd(code: int, kind: int, count: int, size: int, name: str) -> None:
    needed = count * _SIZES.get(kind, 1)
    if code in _TILE_TAGS and (count > MOST_TILES or needed > size):
        raise SlideError(
            f"{name} has a damaged directory: {_TILE_TAGS[code]} has {count} values in a file of {size} bytes; copy or "
            "download it again"
        )
    if code in (270, 320, 347) and needed > min(size, MOST_BYTES):
        raise SlideError(
            f"{name} has a damaged directory: tag {code} takes {needed} bytes in a file of {size}; copy or download it "
            "again"
        )


def _values(file: BinaryIO, form: _Form, kind: int, count: int, value: int) -> Iterator[int]:
    """Yield the offsets that a tag of sub-directories holds, as many as a slide can have."""
    letter = form.order + ("Q" if _SIZES[kind] == 8 else "L")
    if count == 1:
        yield value
        return
    file.seek(value)
    for _ in range(min(count, MOST_DIRECTORIES + 1)):
        yield _unpacked(letter, file)


def _unpacked(form: str, file: BinaryIO) -> int:
    """Return the number that comes next, 0 where the file ends."""
    found = file.read(struct.calcsize(form))
    return int(struct.unpack(form, found)[0]) if len(found) == struct.calcsize(form) else 0
