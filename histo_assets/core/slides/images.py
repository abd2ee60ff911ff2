"""Which of the images in a file is the scan, and which are overviews, labels or further scans."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from histo_assets.core.slides.errors import SlideError

Choice = str | int | None
"""Which image a study chooses: its name, or its number from 1."""

_NO_SCAN = re.compile(r"(?<![a-z])(label|macro|overview|thumbnail|barcode|preview)(?![a-z])")
_COARSER = 8.0
# How many times fewer pixels than the largest a scan may have: where its resolution is known, and where it is not.
_SMALLER, _SMALLER_UNKNOWN = 100, 4


@dataclass(frozen=True)
class Image:
    """One image of a file: its name ('' for none), size in pixels, and um/px (NaN where unknown)."""

    name: str
    width: int
    height: int
    mpp: float

    @property
    def is_overview(self) -> bool:
        """Whether its name says that it is none of the slide's scans."""
        return bool(_NO_SCAN.search(self.name.lower()))


def scan_of(images: Sequence[Image], choice: Choice, name: str) -> int:
    """Return the index of the one scan among the images of the file `name`, or of the one that the study chooses.

    Overviews and labels are told by their names, by a resolution many times as coarse as the finest image's, or
    by being much smaller than the largest one. A file of one image has no choice.

    Raises
    ------
    SlideError
        There are several scans and none is chosen, or there is no such image.
    """
    if len(images) == 1:
        return 0
    if choice is not None:
        return _chosen(images, choice, name)
    scans = [i for i, image in enumerate(images) if not image.is_overview] or list(range(len(images)))
    finest = min((images[i].mpp for i in scans if images[i].mpp > 0), default=math.nan)
    scans = [i for i in scans if not images[i].mpp >= _COARSER * finest]
    largest = max(images[i].width * images[i].height for i in scans)
    scans = [i for i in scans if images[i].width * images[i].height * _smaller(images[i]) > largest]
    if len(scans) > 1:
        raise SlideError(
            f"{name} holds {len(scans)} scans ({_listed(images, scans)}); choose one by its name or number as "
            "slides.image, for all slides or for this one"
        )
    return scans[0]


def _smaller(image: Image) -> int:
    return _SMALLER if image.mpp > 0 else _SMALLER_UNKNOWN


def _chosen(images: Sequence[Image], choice: str | int, name: str) -> int:
    named = [i for i, image in enumerate(images) if image.name and image.name == choice]
    if len(named) == 1:
        return named[0]
    if str(choice).isdecimal() and 1 <= int(choice) <= len(images):
        return int(choice) - 1
    raise SlideError(
        f"{name} holds no image {choice!r} such as slides.image names; it holds {_listed(images, range(len(images)))}"
    )


def _listed(images: Sequence[Image], indices: Sequence[int]) -> str:
    return ", ".join(
        f"{i + 1}: {images[i].name or 'without a name'}, {images[i].width} x {images[i].height} px" for i in indices
    )
