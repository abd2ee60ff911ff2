"""Pictures that need pixels: contact sheets, and slides with their mask and chosen tiles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    import polars as pl

MAX_BYTES = 190_000
MASK_COLOUR = (0, 150, 60)
TILE_COLOUR = (20, 60, 200)


class ReadsTiles(Protocol):
    """Whatever gives the JPEGs of tiles: a `TileReader`."""

    def read(self, rows: pl.DataFrame) -> list[bytes]:
        """Return the JPEG of every row."""


def contact_sheet(reader: ReadsTiles, rows: pl.DataFrame, columns: int = 8, px: int = 96) -> bytes:
    """Return one JPEG of the tiles of `rows`, `columns` beside each other, each `px` wide.

    The JPEG stays under 190 kB: tiles shrink where they are too many for it.
    """
    tiles = [shrunk(decoded(jpeg), px) for jpeg in reader.read(rows)]
    columns = max(1, min(columns, len(tiles)))
    lines = -(-len(tiles) // columns) if tiles else 1
    cell = px + 4
    sheet = np.full((lines * cell, columns * cell, 3), 255, dtype=np.uint8)
    for place, tile in enumerate(tiles):
        top, left = place // columns * cell + 2, place % columns * cell + 2
        sheet[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    return fitting_jpeg(sheet)


def overlay(
    thumbnail: np.ndarray[Any, Any], mask: np.ndarray[Any, Any] | None, tiles: pl.DataFrame, scale: float
) -> bytes:
    """Return a JPEG of a slide with the contour of its tissue mask (green) and its tiles outlined (blue).

    Parameters
    ----------
    thumbnail
        (h, w, 3) uint8 RGB.
    mask
        bool of any size, stretched over the thumbnail; None draws no contour.
    tiles
        Rows with x, y and size, in level-0 pixels.
    scale
        Thumbnail pixels per level-0 pixel.
    """
    import cv2

    picture = np.ascontiguousarray(thumbnail).copy()
    if mask is not None:
        fitted = cv2.resize(mask.astype(np.uint8), picture.shape[1::-1], interpolation=cv2.INTER_NEAREST)
        contours, _ = cv2.findContours(fitted, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(picture, contours, -1, MASK_COLOUR, 1)
    for x, y, size in tiles.select("x", "y", "size").iter_rows():
        corner, opposite = ((round((x + reach) * scale), round((y + reach) * scale)) for reach in (0, size))
        cv2.rectangle(picture, corner, (opposite[0] - 1, opposite[1] - 1), TILE_COLOUR, 1)
    return fitting_jpeg(picture)


def fitting_jpeg(pixels: np.ndarray[Any, Any], max_bytes: int = MAX_BYTES) -> bytes:
    """Return `pixels` as JPEG of at most `max_bytes`, at lower quality and then smaller where need be."""
    for quality in (88, 75, 60):
        jpeg = encoded(pixels, quality)
        if len(jpeg) <= max_bytes:
            return jpeg
    return fitting_jpeg(shrunk(pixels, max(pixels.shape) * 3 // 4), max_bytes)


def shrunk(pixels: np.ndarray[Any, Any], px: int) -> np.ndarray[Any, Any]:
    """Return (h, w, 3) pixels with their longer side `px`, by area resampling; never enlarged."""
    import cv2

    factor = px / max(pixels.shape[:2])
    if factor >= 1:
        return pixels
    size = tuple(max(1, round(side * factor)) for side in pixels.shape[1::-1])
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA))


def encoded(pixels: np.ndarray[Any, Any], quality: int) -> bytes:
    """Return (h, w, 3) uint8 RGB pixels as JPEG, chroma halved."""
    import simplejpeg

    return bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality, "RGB", "420"))


def decoded(jpeg: bytes) -> np.ndarray[Any, Any]:
    """Return the (h, w, 3) uint8 RGB pixels of a JPEG."""
    import simplejpeg

    return np.asarray(simplejpeg.decode_jpeg(jpeg, "RGB"))


def png_of(mask: np.ndarray[Any, Any]) -> bytes:
    """Return a bool mask as a PNG of one bit a pixel."""
    import cv2

    return bytes(cv2.imencode(".png", mask.astype(np.uint8) * 255, [cv2.IMWRITE_PNG_BILEVEL, 1])[1])


def mask_of(png: bytes) -> np.ndarray[Any, Any]:
    """Return the bool mask that `png_of` wrote."""
    import cv2

    return np.asarray(cv2.imdecode(np.frombuffer(png, dtype=np.uint8), cv2.IMREAD_GRAYSCALE)) > 0
