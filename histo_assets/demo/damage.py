"""What spoils slides: ink, dust, blur and gaps in the picture; cuts, pages and lost tiles in the file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from histo_assets.demo.fields import smooth_noise

if TYPE_CHECKING:
    from numpy.typing import NDArray

Region = tuple[int, int, int, int]
INKS = ((28, 60, 150), (20, 120, 60), (25, 25, 35))
HTML = (
    "<!DOCTYPE html>\n<html><head><title>Image not available</title></head>\n"
    "<body><h1>502 Bad Gateway</h1><p>The requested image could not be delivered.</p></body></html>\n"
)


def with_dirt(pixels: NDArray[np.uint8], kind: str, seed: int) -> tuple[NDArray[np.uint8], list[Region]]:
    """Return the picture with one kind of dirt on it, and the regions x, y, w, h (level-0 pixels) it covers.

    Kinds: pen, dust, blur, half_empty.
    """
    rng = np.random.default_rng([seed, 9])
    spoiled = pixels.copy()
    regions = SPOILERS[kind](spoiled, rng)
    side = pixels.shape[0]
    clipped = [
        (max(0, x), max(0, y), min(side, x + w) - max(0, x), min(side, y + h) - max(0, y)) for x, y, w, h in regions
    ]
    return spoiled, [region for region in clipped if region[2] > 0 and region[3] > 0]


def _pen(pixels: NDArray[np.uint8], rng: np.random.Generator) -> list[Region]:
    side = pixels.shape[0]
    ink = np.array(INKS[int(rng.integers(len(INKS)))], np.float32)
    start = rng.uniform(0.15, 0.85, 2) * side
    heading = rng.uniform(0, 2 * np.pi)
    points = [start]
    for _ in range(14):
        heading += rng.normal(0, 0.25)
        points.append(points[-1] + side / 28 * np.array([np.cos(heading), np.sin(heading)]))
    line = np.rint(points).astype(np.int32)
    width = max(6, int(side * rng.uniform(0.035, 0.055)))
    cover = np.zeros(pixels.shape[:2], np.uint8)
    cv2.polylines(cover, [line.reshape(-1, 1, 2)], False, 255, width, cv2.LINE_AA)
    x, y, w, h = cv2.boundingRect(cover)
    part = pixels[y : y + h, x : x + w]
    streaks = cv2.GaussianBlur(rng.random(part.shape[:2], dtype=np.float32), (0, 0), 3)
    share = cv2.GaussianBlur(cover[y : y + h, x : x + w], (0, 0), 1.5).astype(np.float32) / 255
    share *= np.clip(0.80 + 1.2 * (streaks - 0.5), 0.5, 0.97)
    inked = part * (1 - share[..., None]) + (0.12 * part + 0.88 * ink) * share[..., None]
    pixels[y : y + h, x : x + w] = inked.astype(np.uint8)
    boxes = [cv2.boundingRect(line[k : k + 3]) for k in range(0, len(line) - 1, 2)]
    half = width // 2
    return [(x - half, y - half, w + width, h + width) for x, y, w, h in boxes]


def _dust(pixels: NDArray[np.uint8], rng: np.random.Generator) -> list[Region]:
    side = pixels.shape[0]
    regions = []
    for _ in range(14):
        x, y = (int(v) for v in rng.uniform(0.05, 0.95, 2) * side)
        radius = max(3, int(side * rng.uniform(0.004, 0.016)))
        angles = np.sort(rng.uniform(0, 2 * np.pi, 9))
        reach = radius * rng.uniform(0.5, 1.2, 9)
        corners = np.stack([x + reach * np.cos(angles), y + reach * np.sin(angles)], axis=1).astype(np.int32)
        cv2.fillPoly(pixels, [corners], (46, 42, 38), cv2.LINE_AA)
        regions.append((x - radius, y - radius, 2 * radius, 2 * radius))
    return regions


def _blur(pixels: NDArray[np.uint8], rng: np.random.Generator) -> list[Region]:
    side = pixels.shape[0]
    size = int(side * 0.42)
    x, y = (int(v) for v in rng.uniform(0.15, 0.43, 2) * side)
    part = pixels[y : y + size, x : x + size]
    blurred = cv2.GaussianBlur(part, (0, 0), 5)
    inside = np.zeros(part.shape[:2], np.float32)
    margin = size // 10
    inside[margin:-margin, margin:-margin] = 1
    fade = np.asarray(cv2.GaussianBlur(inside, (0, 0), margin / 3))[..., None]
    part[:] = (part * (1 - fade) + blurred * fade).astype(np.uint8)
    return [(x + margin, y + margin, size - 2 * margin, size - 2 * margin)]


def _half_empty(pixels: NDArray[np.uint8], rng: np.random.Generator) -> list[Region]:
    side = pixels.shape[0]
    edge = side * rng.uniform(0.55, 0.66) + 0.012 * side * smooth_noise(rng, side, side / 12)[0]
    glass = np.arange(side)[None, :] > edge[:, None]
    pixels[glass] = (243, 242, 244)
    if rng.random() < 0.5:
        pixels[:] = pixels[:, ::-1].copy()
        return [(0, 0, int(side - edge.min()), side)]
    return [(int(edge.min()), 0, side - int(edge.min()), side)]


SPOILERS: dict[str, Callable[[NDArray[np.uint8], np.random.Generator], list[Region]]] = {
    "pen": _pen,
    "dust": _dust,
    "blur": _blur,
    "half_empty": _half_empty,
}


def blank_glass(side: int, seed: int) -> NDArray[np.uint8]:
    """Return the (side, side, 3) picture of a glass with nothing on it but grain and a few specks."""
    rng = np.random.default_rng([seed, 10])
    grain = rng.integers(-2, 3, (side // 2, side // 2, 1)).repeat(2, axis=0).repeat(2, axis=1)
    glass = np.full((side, side, 3), (243, 242, 244), np.int16)
    glass[: grain.shape[0], : grain.shape[1]] += grain.astype(np.int16)
    return glass.clip(0, 255).astype(np.uint8)


def write_html(path: Path) -> None:
    """Write the page that a server sends instead of a slide."""
    path.write_text(HTML)


def truncate(path: Path, share: float) -> None:
    """Cut the file off at `share` of its length."""
    with open(path, "rb+") as file:
        file.truncate(int(path.stat().st_size * share))


def empty_storage_tiles(path: Path, count: int) -> list[Region]:
    """Set the byte count of `count` storage tiles of the base level to zero, as Aperio does; return their regions."""
    return _change_tiles(path, count, lambda file, place: _zero_count(file, place))


def overwrite_storage_tiles(path: Path, count: int) -> list[Region]:
    """Overwrite `count` storage tiles of the base level with noise; return their regions."""
    return _change_tiles(path, count, lambda file, place: _scramble(file, place))


class _Tile:
    """A storage tile of the base level: where its bytes are and where its byte count is written."""

    def __init__(self, offset: int, length: int, count_at: int, count_size: int) -> None:
        self.offset, self.length, self.count_at, self.count_size = offset, length, count_at, count_size


def _zero_count(path: Path, tile: _Tile) -> None:
    with open(path, "rb+") as file:
        file.seek(tile.count_at)
        file.write(bytes(tile.count_size))


def _scramble(path: Path, tile: _Tile) -> None:
    noise = np.random.default_rng(tile.offset).integers(0, 256, tile.length, dtype=np.uint8)
    with open(path, "rb+") as file:
        file.seek(tile.offset)
        file.write(noise.tobytes())


def _change_tiles(path: Path, count: int, change: Callable[[Path, _Tile], None]) -> list[Region]:
    """Change `count` storage tiles around the middle of the base level and return their regions."""
    from tifffile import TiffFile

    with TiffFile(path) as tiff:
        page = tiff.pages.first
        tag = page.tags["TileByteCounts"]
        size = tag.dtype.itemsize if hasattr(tag.dtype, "itemsize") else {3: 2, 4: 4, 16: 8}[int(tag.dtype)]
        offsets, lengths, side = page.dataoffsets, page.databytecounts, page.tilewidth
        columns = -(-page.imagewidth // side)
        rows = -(-page.imagelength // side)
    middle = sorted(
        range(columns * rows),
        key=lambda place: (place % columns - columns / 2 + 0.6) ** 2 + (place // columns - rows / 2 + 0.6) ** 2,
    )
    regions = []
    for place in middle[:count]:
        change(path, _Tile(offsets[place], lengths[place], tag.valueoffset + place * size, size))
        regions.append((place % columns * side, place // columns * side, side, side))
    return regions
