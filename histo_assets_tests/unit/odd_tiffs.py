"""Tiled TIFFs of every sort, and ways to write into their directories, for the tests of slides."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

Pixels = np.ndarray[Any, Any]

SIDE = 128


def write_tiff(path: Path, levels: Sequence[Pixels], mpp: float = 0.5, **options: Any) -> Path:
    """Write the levels of a pyramid as a tiled TIFF, deflated RGB unless told otherwise, and return its path."""
    with tifffile.TiffWriter(path, bigtiff=options.pop("bigtiff", False)) as tiff:
        for level in levels:
            here = mpp * levels[0].shape[1] / level.shape[1]
            common: dict[str, Any] = {"tile": (SIDE, SIDE), "compression": "deflate", "photometric": "rgb"}
            tiff.write(
                np.ascontiguousarray(level),
                resolution=(1e4 / here, 1e4 / here),
                resolutionunit="CENTIMETER",
                metadata=None,
                **{**common, **options},
            )
    return path


def write_ome_tiff(path: Path, pixels: Pixels, mpp: float = 0.5) -> Path:
    """Write an OME-TIFF of one image."""
    metadata = {"axes": "YXS", "PhysicalSizeX": mpp, "PhysicalSizeY": mpp}
    tifffile.imwrite(path, pixels, photometric="rgb", tile=(SIDE, SIDE), metadata=metadata, ome=True)
    return path


def write_encoded(
    path: Path, levels: Sequence[Pixels], encode: Callable[[Pixels], bytes], compression: int, **options: Any
) -> Path:
    """Write the levels of a pyramid with storage tiles that `encode` makes, as they are."""
    return write_tiles(path, [(level, map(encode, cut(level))) for level in levels], compression, **options)


def write_tiles(path: Path, levels: Sequence[tuple[Pixels, Iterator[bytes]]], compression: int, **options: Any) -> Path:
    """Write the levels of a pyramid, of each its pixels and its encoded storage tiles."""
    with tifffile.TiffWriter(path) as tiff:
        for level, tiles in levels:
            tiff.write(
                tiles,
                shape=level.shape,
                dtype=np.uint8,
                tile=(SIDE, SIDE),
                compression=compression,
                metadata=None,
                **{"photometric": "rgb", "resolution": (20000, 20000), "resolutionunit": "CENTIMETER", **options},
            )
    return path


def cut(level: Pixels) -> Iterator[Pixels]:
    """Yield the storage tiles of a level, row by row, padded at its edges."""
    height, width = level.shape[:2]
    padded = np.pad(level, ((0, -height % SIDE), (0, -width % SIDE), (0, 0)), mode="edge")
    for top in range(0, height, SIDE):
        for left in range(0, width, SIDE):
            yield np.ascontiguousarray(padded[top : top + SIDE, left : left + SIDE])


def entry_of(content: bytes | bytearray, code: int, directory: int = 0) -> tuple[int, int]:
    """Return where the tag `code` of a directory of a little-endian TIFF stands, and where its next offset does."""
    place = struct.unpack_from("<L", content, 4)[0]
    for _ in range(directory):
        place = struct.unpack_from("<L", content, place + 2 + 12 * struct.unpack_from("<H", content, place)[0])[0]
    number = struct.unpack_from("<H", content, place)[0]
    entries = [place + 2 + 12 * i for i in range(number)]
    found = [entry for entry in entries if struct.unpack_from("<H", content, entry)[0] == code]
    return (found or [place])[0], place + 2 + 12 * number


def with_tag(source: Path, target: Path, code: int, kind: int, count: int, value: bytes) -> Path:
    """Copy a little-endian TIFF with another type, count and four bytes of value of one tag."""
    content = bytearray(source.read_bytes())
    entry, _ = entry_of(content, code)
    struct.pack_into("<HL", content, entry + 2, kind, count)
    content[entry + 8 : entry + 12] = value
    target.write_bytes(content)
    return target


def with_next(source: Path, target: Path, directory: int, next_directory: int) -> Path:
    """Copy a little-endian TIFF in which one directory names another one as the next."""
    content = bytearray(source.read_bytes())
    place = struct.unpack_from("<L", content, 4)[0]
    starts = [place]
    while place := struct.unpack_from("<L", content, place + 2 + 12 * struct.unpack_from("<H", content, place)[0])[0]:
        starts.append(place)
    _, after = entry_of(content, 0, directory)
    struct.pack_into("<L", content, after, starts[next_directory])
    target.write_bytes(content)
    return target
