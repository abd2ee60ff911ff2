"""An open slide: regions at any resolution, whatever the scan."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np

from histo_assets.core.slides.dicom import read_dicom
from histo_assets.core.slides.directory import TIFF_SUFFIXES, TiffDirectory, is_tiff, read_directory
from histo_assets.core.slides.errors import MissingSlideError, SlideError
from histo_assets.core.slides.fast import StorageTiles
from histo_assets.core.slides.images import Choice
from histo_assets.core.slides.opening import ReaderApart
from histo_assets.core.slides.readers import OPENSLIDE, GeneralReader, one_line, resized
from histo_assets.core.slides.settings import SlideSettings

DRIVERS = {
    ".svs": "SVS",
    ".tif": "SVS",
    ".tiff": "SVS",
    ".afi": "AFI",
    ".czi": "CZI",
    ".dcm": "DCM",
    ".ndpi": "NDPI",
    ".qptiff": "QPTIFF",
    ".scn": "SCN",
    ".vsi": "VSI",
    ".zvi": "ZVI",
    ".jpg": "GDAL",
    ".jpeg": "GDAL",
    ".png": "GDAL",
    ".bif": OPENSLIDE,
    ".mrxs": OPENSLIDE,
    ".svslide": OPENSLIDE,
    ".vms": OPENSLIDE,
    ".vmu": OPENSLIDE,
}
"""slideio's drivers by suffix, openslide where slideio has none; a folder is DICOM, `.ome.tif(f)` OME-TIFF."""

_BLOCK = 2048


class Slide:
    """An open slide, read through its storage tiles where that is possible, else through a general reader.

    Attributes
    ----------
    path
        Where the slide is.
    mpp
        Micrometres per pixel at level 0; NaN where neither file nor settings tell.
    dimensions
        (width, height) of level 0.
    levels
        (width, height) of every level, finest first.
    vendor
        `aperio`, `generic-tiff`, `dicom`, or the general reader's driver in lower case.
    checked
        Whether every storage tile that is read is decoded strictly; slideio hides damage.
    """

    def __init__(
        self,
        path: Path,
        mpp: float,
        levels: list[tuple[int, int]],
        vendor: str,
        storage: list[StorageTiles] | None = None,
        reader: GeneralReader | None = None,
    ) -> None:
        self.path = path
        self.mpp = mpp
        self.levels = levels
        self.dimensions = levels[0]
        self.vendor = vendor
        self.checked = storage is not None
        self._storage = storage or []
        self._reader = reader

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; reading is over."""
        for descriptor in {descriptor for level in self._storage for descriptor in level.descriptors}:
            os.close(descriptor)
        if self._reader is not None:
            self._reader.close()
        self._reader, self._storage = None, []

    @property
    def read_storage_tiles(self) -> int:
        """Storage tiles asked for so far, over all levels (0 where a general reader reads)."""
        return sum(len(level.read_tiles) for level in self._storage)

    @property
    def lost_storage_tiles(self) -> int:
        """Storage tiles that did not decode so far."""
        return sum(len(level.lost_tiles) for level in self._storage)

    @property
    def blank_storage_tiles(self) -> int:
        """Storage tiles of length zero among those asked for so far."""
        return sum(len(level.blank_tiles) for level in self._storage)

    def lost_areas(self) -> list[tuple[float, float, float, float]]:
        """Return x, y, width, height in level-0 pixels of every storage tile lost so far."""
        areas = []
        for storage in self._storage:
            factor = self._factor(storage)
            areas += [(x * factor, y * factor, w * factor, h * factor) for x, y, w, h in storage.lost_areas()]
        return areas

    def read_region(self, x: int, y: int, w: int, h: int, mpp: float) -> np.ndarray[Any, Any]:
        """Return a region of the slide at `mpp`.

        Parameters
        ----------
        x, y
            Upper left corner, level-0 pixels.
        w, h
            Size in pixels at `mpp`.
        mpp
            Micrometres per pixel of the result. Read from the coarsest level that is at least as
            fine, and brought to `mpp` by area resampling.

        Returns
        -------
        numpy.ndarray
            (h, w, 3) uint8, RGB; white outside the slide and where a storage tile was lost.
        """
        return self.read_with_losses(x, y, w, h, mpp)[0]

    def read_with_losses(self, x: int, y: int, w: int, h: int, mpp: float) -> tuple[np.ndarray[Any, Any], int]:
        """Return `read_region`'s pixels and how many lost storage tiles the region touches."""
        return self._read(x, y, w, h, mpp / self.mpp)

    def thumbnail(self, max_px: int) -> np.ndarray[Any, Any]:
        """Return the whole slide, its longer side `max_px` (never enlarged): (h, w, 3) uint8, RGB."""
        downsample = max(1.0, max(self.dimensions) / max_px)
        width, height = (max(1, round(side / downsample)) for side in self.dimensions)
        return self._read(0, 0, width, height, downsample)[0]

    def _factor(self, storage: StorageTiles) -> float:
        """Return how many level-0 pixels a pixel of a level spans."""
        return storage.level.factor or self.dimensions[0] / storage.level.width

    def _read(self, x: int, y: int, w: int, h: int, downsample: float) -> tuple[np.ndarray[Any, Any], int]:
        """Return (h, w, 3) pixels at `downsample` of level 0, block by block so that memory stays bounded."""
        if self._storage:
            # Half a per cent: levels are rounded to whole pixels.
            fine = [s for s in self._storage if self._factor(s) <= downsample * 1.005]
            storage = fine[-1] if fine else self._storage[0]
            level_factor = self._factor(storage)
        else:
            storage, level_factor = None, 1.0
        scale = downsample / level_factor
        left, top = round(x / level_factor), round(y / level_factor)
        pixels = np.empty((h, w, 3), dtype=np.uint8)
        lost = 0
        for (y0, y1), (x0, x1) in _blocks(h, w, max(1, int(_BLOCK / scale))):
            sx0, sx1, sy0, sy1 = (round(edge * scale) for edge in (x0, x1, y0, y1))
            sx1, sy1 = max(sx1, sx0 + 1), max(sy1, sy0 + 1)
            size = (x1 - x0, y1 - y0)
            if storage is None:
                assert self._reader is not None
                pixels[y0:y1, x0:x1] = self._reader.read(left + sx0, top + sy0, sx1 - sx0, sy1 - sy0, size)
                continue
            block, lost_here = storage.read(left + sx0, top + sy0, sx1 - sx0, sy1 - sy0)
            pixels[y0:y1, x0:x1] = resized(block, size)
            lost += lost_here
        return pixels, lost


def open_slide(path: str | os.PathLike[str], settings: SlideSettings | None = None, slide_id: str = "") -> Slide:
    """Return the open slide at `path`.

    TIFF and DICOM are read through their storage tiles, everything else through slideio or openslide.
    A TIFF that is not tiled is refused.

    Parameters
    ----------
    path
        A slide file, or a folder of DICOM files.
    settings
        Where they give `assume_mpp`, it stands in for a resolution that the file does not name.
    slide_id
        Key into `assume_mpp` and `image` where those are given slide by slide.

    Raises
    ------
    SlideError
        The file cannot be opened as a slide.
    """
    path = Path(path)
    if not path.exists():
        raise MissingSlideError(f"{path} is missing; fetch the slide or take it out of the manifest")
    assumed = assumed_mpp(settings, slide_id)
    image = chosen_image(settings, slide_id)
    driver = slide_driver(path)
    if path.suffix.lower() in TIFF_SUFFIXES and driver == "SVS":
        return _open_tiff(path, assumed, image)
    if driver == "DCM":
        return _open_dicom(path, assumed)
    return _open_general(ReaderApart(path, driver, image), path, assumed)


def slide_driver(path: Path) -> str:
    """Return slideio's driver for `path`, by suffix.

    Raises
    ------
    SlideError
        The suffix is of no known slide format.
    """
    if path.is_dir():
        return "DCM"
    if path.name.lower().endswith((".ome.tif", ".ome.tiff")):
        return "OMETIFF"
    driver = DRIVERS.get(path.suffix.lower())
    if driver is None:
        raise SlideError(f"{path.name} has no suffix of a slide format; known are {', '.join(DRIVERS)}")
    return driver


def assumed_mpp(settings: SlideSettings | None, slide_id: str) -> float:
    """Return the resolution (um/px) that the settings assume for a slide; NaN where they assume none."""
    assumed = settings.assume_mpp if settings else None
    if isinstance(assumed, dict):
        assumed = assumed.get(slide_id)
    return math.nan if assumed is None else assumed


def chosen_image(settings: SlideSettings | None, slide_id: str) -> Choice:
    """Return which image of its file the settings choose for a slide; None where they choose none."""
    image = settings.image if settings else None
    return image.get(slide_id) if isinstance(image, dict) else image


def refuse_unreadable(path: Path, directory: TiffDirectory) -> None:
    """Raise a SlideError where a TIFF is no tiled one, or holds what is not shown as 8-bit RGB."""
    if not directory.levels:
        raise SlideError(f"{path.name} is a TIFF without storage tiles, so no slide; convert it to a tiled pyramid")
    for level in directory.levels:
        if not StorageTiles.can_read(level):
            what = level.unreadable or "what nothing here reads"
            raise SlideError(f"{path.name} holds {what}, where 8-bit RGB is needed; convert it")


def _open_tiff(path: Path, assumed: float, image: Choice) -> Slide:
    if not is_tiff(path):
        raise SlideError(f"{path.name} is no TIFF file, so no slide; fetch it again")
    directory = read_directory(path, image)
    refuse_unreadable(path, directory)
    levels = [(level.width, level.height) for level in directory.levels]
    mpp = assumed if math.isnan(directory.mpp) else directory.mpp
    descriptor = _opened(path)
    storage: list[StorageTiles] = []
    for level in directory.levels:
        storage.append(StorageTiles(descriptor, level, finer=storage[-1] if storage else None))
    return Slide(path, mpp, levels, directory.vendor, storage)


def _open_dicom(path: Path, assumed: float) -> Slide:
    series = read_dicom(path)
    mpp = assumed if math.isnan(series.mpp) else series.mpp
    levels = [(level.stored.width, level.stored.height) for level in series.levels]
    storage = [level.opened([_opened(file) for file in level.files]) for level in series.levels]
    return Slide(path, mpp, levels, "dicom", list[StorageTiles](storage))


def _open_general(reader: GeneralReader, path: Path, assumed: float) -> Slide:
    mpp = assumed if math.isnan(reader.resolution.mpp) else reader.resolution.mpp
    return Slide(path, mpp, reader.levels, reader.vendor, reader=reader)


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY)
    except OSError as error:
        raise SlideError(f"{path.name} cannot be opened ({one_line(error)}); make it readable") from None


def _blocks(height: int, width: int, side: int) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    for top in range(0, height, side):
        for left in range(0, width, side):
            yield (top, min(top + side, height)), (left, min(left + side, width))
