"""The resolution of a DICOM slide, which slideio reads as 0."""

from __future__ import annotations

import math
import mmap
import re
from pathlib import Path

# Tag (0028,0030) PixelSpacing, explicit little endian: VR `DS`, two bytes of length, then two numbers in mm.
_PIXEL_SPACING = re.compile(rb"\x28\x00\x30\x00DS..([0-9.eE+-]+) *\\ *[0-9.eE+-]+", re.DOTALL)


def dicom_mpp(path: Path) -> float:
    """Return the resolution (um/px) of the finest image in a DICOM file or folder; NaN where none names any."""
    files = sorted(path.glob("*.dcm")) if path.is_dir() else [path]
    return min((mpp for file in files if not math.isnan(mpp := _file_mpp(file))), default=math.nan)


def _file_mpp(file: Path) -> float:
    if file.stat().st_size == 0:
        return math.nan
    with open(file, "rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        found = _PIXEL_SPACING.search(mapped)
        return float(found.group(1)) * 1000 if found else math.nan
