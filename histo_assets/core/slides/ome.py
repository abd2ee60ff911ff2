"""The resolution that the XML of an OME-TIFF names, in any unit, or in the one that the standard implies.

https://docs.openmicroscopy.org/ome-model/: PhysicalSizeX and PhysicalSizeY of an image's Pixels are in micrometres
where no unit is given.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from histo_assets.core.slides.chain import check_directories
from histo_assets.core.slides.resolution import number

_MICROMETRES = {"µm": 1.0, "μm": 1.0, "um": 1.0, "nm": 1e-3, "mm": 1e3, "cm": 1e4, "m": 1e6, "in": 25_400.0, "Å": 1e-4}


@dataclass(frozen=True)
class OmePixels:
    """Size of an image in pixels, and of a pixel in um (NaN where unknown)."""

    width: int
    height: int
    x: float
    y: float


def ome_pixels(path: Path) -> list[OmePixels]:
    """Return what the XML of an OME-TIFF says of its images, in their order; nothing where there is none."""
    import tifffile

    check_directories(path)
    try:
        with tifffile.TiffFile(path) as tiff:
            return _pixels(tiff.ome_metadata or "")
    except Exception:  # whatever is wrong with it, the file names no resolution
        return []


def _pixels(xml: str) -> list[OmePixels]:
    from xml.etree import ElementTree

    found = [element for element in ElementTree.fromstring(xml).iter() if element.tag.rpartition("}")[2] == "Pixels"]
    return [
        OmePixels(
            int(element.get("SizeX", "0")),
            int(element.get("SizeY", "0")),
            *(
                number(element.get(f"PhysicalSize{axis}", ""))
                * _MICROMETRES.get(element.get(f"PhysicalSize{axis}Unit", "µm"), math.nan)
                for axis in "XY"
            ),
        )
        for element in found
    ]
