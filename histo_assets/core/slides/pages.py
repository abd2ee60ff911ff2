"""The pages of a TIFF: which of them are tiled as they should be, and which make up one image."""

from __future__ import annotations

import math
from typing import Any

from histo_assets.core.slides.errors import SlideError
from histo_assets.core.slides.images import Image
from histo_assets.core.slides.resolution import Resolution, aperio_resolution, spacing, tagged_resolution

_REDUCED, _MASK = 1, 4


def refuse_odd(page: Any, name: str) -> None:
    """Raise a SlideError where a tag that lays out a tiled page is no whole number."""
    if not any(code in page.tags for code in (322, 323, 324)):
        return
    sizes = {
        "ImageWidth": page.imagewidth,
        "ImageLength": page.imagelength,
        "TileWidth": page.tilewidth,
        "TileLength": page.tilelength,
    }
    for tag, value in sizes.items():
        if not isinstance(value, int) or value < 1:
            raise SlideError(
                f"{name} has a damaged directory: {tag} is {str(value)[:40]}, where a whole number is needed; copy or "
                "download it again, or have it written anew"
            )


def image_pages(pages: list[Any]) -> list[list[Any]]:
    """Return the tiled pages, each image's with the reduced levels that follow it; finest first.

    Thumbnail, label and macro are mostly stored in strips. Pages of reduced resolution that fit nowhere are left out.
    """
    images: list[list[Any]] = []
    for page in pages:
        if not page.is_tiled or page.subfiletype & _MASK:
            continue
        owner = next((image for image in reversed(images) if _follows(page, image)), None)
        if owner is not None:
            owner.append(page)
        elif not images or not (page.subfiletype & _REDUCED or any(_is_between(page, image) for image in images)):
            images.append([page])
    return images


def _follows(page: Any, image: list[Any]) -> bool:
    """Return whether a page is the next level of an image."""
    if page.imagewidth >= image[-1].imagewidth or not _same_field(page, image[0]):
        return False
    first, own = _um_per_px(image[0]), _um_per_px(page)
    # Two scans of one outline: a level says a resolution of its own, or repeats that of the first, a whole factor away.
    return not abs(own - first) <= 0.02 * first or _is_whole_factor(page, image[0])


def _is_between(page: Any, image: list[Any]) -> bool:
    """Return whether a page is a level of an image that comes out of its order."""
    return page.imagewidth < image[0].imagewidth and _same_field(page, image[0]) and _is_whole_factor(page, image[0])


def _same_field(page: Any, first: Any) -> bool:
    """Return whether a page shows what the first one does, smaller."""
    downsample = first.imagewidth / page.imagewidth
    # A level's height is rounded, by less than one of its own pixels at either end.
    return bool(abs(page.imagelength - first.imagelength / downsample) <= 2 + 0.01 * page.imagelength)


def _is_whole_factor(page: Any, first: Any) -> bool:
    factor = first.imagewidth / page.imagewidth
    return bool(abs(factor - round(factor)) <= 0.02 * factor)


def described(page: Any) -> Image:
    """Return what is known of an image from its first page."""
    description = page.description.strip()
    name = str(page.tags.valueof(285, default="") or "").strip()
    if not name and not description.startswith("<") and "|" not in description and len(description) < 120:
        name = " ".join(description.split())
    aperio = aperio_resolution(description)
    mpp = _um_per_px(page) if math.isnan(aperio.mpp) else aperio.mpp
    return Image(name, page.imagewidth, page.imagelength, mpp)


def _um_per_px(page: Any) -> float:
    return spacing(page.tags.valueof(282), page.tags.valueof(296, default=1))


def tagged(page: Any) -> Resolution:
    """Return the resolution that the tags of a page name."""
    unit = page.tags.valueof(296, default=1)
    return tagged_resolution(page.tags.valueof(282), page.tags.valueof(283), unit)
