"""The general readers: slideio, and openslide for what slideio does not know.

Neither tells a lost block from glass, so what they alone read is marked `unverified`.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from histo_assets.core.slides.errors import SlideError
from histo_assets.core.slides.images import Choice, Image, scan_of
from histo_assets.core.slides.ome import ome_pixels
from histo_assets.core.slides.resolution import Resolution, believed, number

OPENSLIDE = "OPENSLIDE"

Pixels = np.ndarray[Any, Any]


class GeneralReader(Protocol):
    """An open file: `levels` as (width, height), finest first; `resolution`; `vendor`; `image`.

    `image` is the name or number of the image that is read, '' where it is the file's first.
    """

    levels: list[tuple[int, int]]
    resolution: Resolution
    vendor: str
    image: str

    def read(self, x: int, y: int, w: int, h: int, size: tuple[int, int]) -> Pixels:
        """Return a region in level-0 pixels, resampled to `size` (width, height), as (height, width, 3) uint8 RGB."""

    def close(self) -> None:
        """Close the file."""


class SlideioReader:
    """A file read by one of slideio's drivers."""

    def __init__(self, path: Path, driver: str, image: Choice = None) -> None:
        import slideio

        self._path = path
        try:
            opened = slideio.open_slide(str(path), driver)
            scenes = [opened.get_scene(index) for index in range(opened.num_scenes)]
            spacings = _spacings(path, driver, scenes)
            images = [_image(scene, spacing) for scene, spacing in zip(scenes, spacings, strict=True)]
        except RuntimeError as error:
            raise SlideError(
                f"{path.name} does not open as a {driver} slide ({one_line(error)}); fetch it again"
            ) from None
        if not scenes:
            raise SlideError(f"{path.name} holds no image, so no slide; leave it out")
        chosen = scan_of(images, image, path.name)
        self._scene = scenes[chosen]
        self.image = f"image{chosen + 1}" if chosen else ""
        self.resolution = believed(*spacings[chosen])
        self.vendor = driver.lower()
        self.levels = [(int(self._scene.rect[2]), int(self._scene.rect[3]))]
        for index in range(1, self._scene.num_zoom_levels):
            size = self._scene.get_zoom_level_info(index).size
            self.levels.append((int(size.width), int(size.height)))

    def read(self, x: int, y: int, w: int, h: int, size: tuple[int, int]) -> Pixels:
        """Return a region in level-0 pixels, resampled to `size`."""
        try:
            block = np.asarray(self._scene.read_block((x, y, w, h), size=size))
        except RuntimeError as error:
            raise SlideError(f"{self._path.name} cannot be read at ({x}, {y}): {one_line(error)}; replace it") from None
        if block.dtype != np.uint8:
            raise SlideError(f"{self._path.name} holds {block.dtype} pixels, where 8-bit RGB is needed; convert it")
        if block.ndim == 2 or block.shape[2] == 1:
            return np.repeat(block.reshape(size[1], size[0], 1), 3, axis=2)
        return block[:, :, :3]

    def close(self) -> None:
        """Let go of the scene."""
        self._scene = None


class OpenslideReader:
    """A file read by openslide (extra `openslide`)."""

    def __init__(self, path: Path) -> None:
        try:
            import openslide
        except ImportError:
            raise SlideError(f"{path.name} is read by openslide only: pip install 'histo_assets[openslide]'") from None
        self._path = path
        self._errors = (openslide.OpenSlideError, OSError)
        try:
            self._slide = openslide.OpenSlide(str(path))
        except self._errors as error:
            raise SlideError(f"{path.name} does not open with openslide ({one_line(error)}); fetch it again") from None
        properties = self._slide.properties
        self.resolution = believed(*(number(properties.get(f"openslide.mpp-{axis}", "")) for axis in "xy"))
        self.image = ""
        self.vendor = str(self._slide.properties.get("openslide.vendor", "openslide"))
        self.levels = [(int(width), int(height)) for width, height in self._slide.level_dimensions]

    def read(self, x: int, y: int, w: int, h: int, size: tuple[int, int]) -> Pixels:
        """Return a region in level-0 pixels, resampled to `size`; where the scanner saw nothing it is white."""
        downsample = max(1.0, w / size[0])
        level = self._slide.get_best_level_for_downsample(downsample * 1.005)
        factor = self._slide.level_downsamples[level]
        try:
            region = self._slide.read_region((x, y), level, (max(1, round(w / factor)), max(1, round(h / factor))))
        except self._errors as error:
            raise SlideError(f"{self._path.name} cannot be read at ({x}, {y}): {one_line(error)}; replace it") from None
        premultiplied = np.asarray(region)
        alpha = premultiplied[:, :, 3:].astype(np.float32) / 255
        pixels = premultiplied[:, :, :3] * alpha + 255 * (1 - alpha) if (alpha < 1).any() else premultiplied[:, :, :3]
        return resized(np.ascontiguousarray(pixels.astype(np.uint8)), size)

    def close(self) -> None:
        """Close the file."""
        self._slide.close()


def general_reader(path: Path, driver: str, image: Choice = None) -> GeneralReader:
    """Return the file at `path` as the general reader of `driver` opens it, in this very process.

    Raises
    ------
    SlideError
        The file does not open, or holds several scans of which `image` chooses none.
    """
    return OpenslideReader(path) if driver == OPENSLIDE else SlideioReader(path, driver, image)


def _spacings(path: Path, driver: str, scenes: list[Any]) -> list[tuple[float, float]]:
    """Return um/px of both axes of every scene; slideio says a metre where the XML of an OME-TIFF names no unit."""
    named = ome_pixels(path) if driver == "OMETIFF" else []
    if [(image.width, image.height) for image in named] == [tuple(scene.rect[2:4]) for scene in scenes]:
        return [(image.x, image.y) for image in named]
    return [(_micrometres(scene.resolution[0]), _micrometres(scene.resolution[1])) for scene in scenes]


def _image(scene: Any, spacing: tuple[float, float]) -> Image:
    _, _, width, height = scene.rect
    return Image(str(scene.name or ""), int(width), int(height), spacing[0])


def _micrometres(metres: Any) -> float:
    micrometres = float(metres) * 1e6
    # A metre is what slideio says that does not know.
    return micrometres if 0 < micrometres < 1e6 else math.nan


def resized(block: Pixels, size: tuple[int, int]) -> Pixels:
    """Return `block` at `size` (width, height): area resampling, bilinear where it is enlarged."""
    if (block.shape[1], block.shape[0]) == size:
        return block
    import cv2

    enlarge = size[0] > block.shape[1] or size[1] > block.shape[0]
    return np.asarray(cv2.resize(block, size, interpolation=cv2.INTER_LINEAR if enlarge else cv2.INTER_AREA))


def one_line(error: Exception) -> str:
    """Return an error's message on one line."""
    return " ".join(str(error).split())[:160]
