"""The resolution that a file names: of both axes, in um/px, believed only where a scanner could have it."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

FINEST, COARSEST = 0.02, 20.0
"""Um/px between which a resolution is believed: light resolves no finer, and 72 dpi is what software writes that
does not know."""

_SQUARE_WITHIN = 0.02
_MICROMETRES = {2: 25_400.0, 3: 10_000.0}
_NO_RESOLUTION = "names no resolution"


@dataclass(frozen=True)
class Resolution:
    """What a file says of its resolution.

    Attributes
    ----------
    mpp
        Um/px of both axes; NaN where the file does not say, or nothing that can be believed.
    complaint
        Why `mpp` is NaN, as it follows the file's name in a sentence; '' where it is known.
    is_square
        False where the axes differ, which no assumed resolution mends.
    """

    mpp: float
    complaint: str = ""
    is_square: bool = True


def believed(x: float, y: float) -> Resolution:
    """Return the resolution of a file that names `x` and `y` um/px (NaN where it names none)."""
    known = [axis for axis in (x, y) if not math.isnan(axis)]
    if not known:
        return Resolution(math.nan, _NO_RESOLUTION)
    if len(known) == 1:
        return Resolution(math.nan, f"names a resolution for one axis only ({known[0]:g} um/px)")
    if not all(FINEST <= axis <= COARSEST for axis in known):
        unlikely = next(axis for axis in known if not FINEST <= axis <= COARSEST)
        return Resolution(math.nan, f"names a resolution that no scanner has ({unlikely:g} um/px)")
    if abs(x - y) > _SQUARE_WITHIN * min(x, y):
        return Resolution(math.nan, f"has pixels that are not square ({x:g} x {y:g} um)", is_square=False)
    return Resolution(x)


def aperio_resolution(description: str) -> Resolution:
    """Return the resolution that the description of an Aperio slide names, with a point or a comma."""
    found = re.search(r"\|\s*MPP\s*=\s*([^|\s]+)", description)
    mpp = number(found.group(1)) if found else math.nan
    return believed(mpp, mpp)


def tagged_resolution(x: Any, y: Any, unit: Any) -> Resolution:
    """Return what the tags XResolution, YResolution (pixels per unit) and ResolutionUnit say; None where one lacks."""
    return believed(spacing(x, unit), spacing(y, unit))


def spacing(tag: Any, unit: Any) -> float:
    """Return the um/px that a tag in pixels per unit says, a fraction or a number, believable or not; else NaN."""
    micrometres = _MICROMETRES.get(unit, math.nan) if isinstance(unit, int) else math.nan
    try:
        top, bottom = (*tag, 1)[:2] if isinstance(tag, tuple) else (tag, 1)
        mpp = micrometres * float(bottom) / float(top)
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return math.nan
    # Nothing per unit, or infinitely much: the tag says nothing.
    return mpp if 0 < mpp < math.inf else math.nan


def number(text: str) -> float:
    """Return the positive number that a text begins with, its decimals after a point or a comma; else NaN."""
    found = re.match(r"[+]?(?:\d+(?:[.,]\d*)?|[.,]\d+)(?:[eE][+-]?\d+)?(?![\d.,])", text.strip())
    value = float(found.group(0).replace(",", ".")) if found else math.nan
    return value if 0 < value < math.inf else math.nan
