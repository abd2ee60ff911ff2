"""Aperio SVS files as scanners write them: pyramid, thumbnail, label and macro pages.

Belongs here: turning pixels into a slide file. Knows nothing of cohorts, so that real image crops
can be written as slides too.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

HEADER = "Aperio Image Library v11.2.1 \r\n"
Compression = Literal["jpeg", "jpeg2000", "lzw", "deflate", "none"]


@dataclass(frozen=True)
class Scan:
    """A scan as the header of its file describes it.

    Attributes
    ----------
    mpp
        Micrometres per pixel; None writes a slide that names no resolution.
    app_mag
        Apparent magnification; None means 10 / `mpp`, rounded.
    name
        What the slide is called; None means the file's stem.
    """

    mpp: float | None = 0.5
    app_mag: float | None = None
    name: str | None = None


@dataclass(frozen=True)
class Encoding:
    """How the pyramid's storage tiles are written.

    Attributes
    ----------
    compression
        `jpeg2000` is Aperio's RGB variant (33005).
    photometric
        Colour space inside JPEG tiles; `ycbcr` halves the chroma.
    quality
        JPEG quality, 1 to 100.
    storage_px
        Side of the storage tiles.
    """

    compression: Compression = "jpeg"
    photometric: Literal["rgb", "ycbcr"] = "rgb"
    quality: int = 85
    storage_px: int = 240


def write_svs(
    path: str | os.PathLike[str],
    pixels: NDArray[np.uint8],
    scan: Scan = Scan(),
    encoding: Encoding = Encoding(),
    *,
    levels: Sequence[int] = (4,),
    associated: bool = True,
) -> Path:
    """Write `pixels` as a pyramidal Aperio slide that openslide and slideio both open, and return its path.

    Parameters
    ----------
    path
        Where to write; the file appears there as it grows, so callers publish it themselves.
    pixels
        (h, w, 3) uint8 RGB, an array or a memory map.
    levels
        Downsampling factors of the reduced levels, rising; those that would be under 64 px are left out.
    associated
        Whether thumbnail, label and macro pages are written.

    Raises
    ------
    ValueError
        The pixels are not (h, w, 3) uint8.
    """
    from tifffile import TiffWriter

    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise ValueError(f"slide {path}: pixels are {pixels.dtype} {pixels.shape}, (h, w, 3) uint8 is needed")
    path = Path(path)
    height, width = pixels.shape[:2]
    compression, quality, storage_px = encoding.compression, encoding.quality, encoding.storage_px
    mpp, name = scan.mpp, scan.name or path.stem
    properties = _properties(mpp, scan.app_mag, name)
    codec = "JPEG/RGB" if compression == "jpeg" else {"jpeg2000": "J2K/KDU"}.get(compression, compression.upper())
    whole = f"{width}x{height} [0,0 {width}x{height}] ({storage_px}x{storage_px})"
    tiled: dict[str, Any] = {
        "tile": (storage_px, storage_px),
        "maxworkers": 1,
        **_codec(compression, quality, encoding.photometric),
    }
    strips: dict[str, Any] = {"maxworkers": 1, **_codec("jpeg", quality, encoding.photometric)}

    with TiffWriter(path, bigtiff=pixels.nbytes > 1 << 31) as tiff:

        def page(image: NDArray[np.uint8], description: str, factor: float, options: dict[str, Any], kind: int) -> None:
            if mpp is not None and factor:
                side = 1e4 / (mpp * factor)
                options = {**options, "resolution": (side, side), "resolutionunit": "CENTIMETER"}
            # tifffile repairs a subfiletype of 0 only where it knows better; Aperio marks 0, 1 and 9.
            tiff.write(
                np.ascontiguousarray(image),
                description=HEADER + description,
                subfiletype=kind,
                software=False,
                metadata=None,
                **options,
            )

        page(pixels, f"{whole} {codec} Q={quality}{properties}", 1, tiled, 0)
        if associated:
            thumbnail = _shrunk(pixels, max(1.0, max(height, width) / 768))
            small = f"{width}x{height} -> {thumbnail.shape[1]}x{thumbnail.shape[0]} - "
            page(thumbnail, small + properties, width / thumbnail.shape[1], {**strips, "rowsperstrip": 16}, 0)
        for factor in levels:
            if min(height, width) // factor < 64:
                continue
            reduced = _shrunk(pixels, factor)
            size = f"{reduced.shape[1]}x{reduced.shape[0]}"
            page(reduced, f"{whole} -> {size} {codec} Q={quality}{properties}", factor, tiled, 0)
        if associated:
            label = _label(name)
            page(label, f"label {label.shape[1]}x{label.shape[0]}", 0, _lzw_strips(), 1)
            macro = _macro(pixels, label)
            page(macro, f"macro {macro.shape[1]}x{macro.shape[0]}", 0, {**strips, "rowsperstrip": 16}, 9)
    return path


def _properties(mpp: float | None, app_mag: float | None, name: str) -> str:
    """Return the `|Key = value` part of an Aperio description."""
    if app_mag is None and mpp is not None:
        app_mag = round(10 / mpp) or 10 / mpp
    parts = [] if app_mag is None else [f"AppMag = {app_mag:g}"]
    parts += ["StripeWidth = 2040", "ScanScope ID = SYNTHETIC", f"Filename = {name}"]
    if mpp is not None:
        parts.append(f"MPP = {mpp:.6g}")
    return "".join(f"|{part}" for part in parts)


def _codec(compression: Compression, quality: int, photometric: str) -> dict[str, Any]:
    """Return tifffile's options for a compression."""
    if compression == "jpeg" and photometric == "rgb":
        # Without outcolorspace tifffile converts to YCbCr and says so in the file.
        return {
            "photometric": "rgb",
            "compression": "jpeg",
            "compressionargs": {"level": quality, "outcolorspace": "rgb"},
        }
    if compression == "jpeg":
        return {
            "photometric": "rgb",
            "compression": "jpeg",
            "compressionargs": {"level": quality},
            "subsampling": (2, 2),
        }
    if compression == "jpeg2000":
        return {
            "photometric": "rgb",
            "compression": "aperio_jp2000_rgb",
            "compressionargs": {"level": quality, "codecformat": "j2k"},
        }
    if compression == "none":
        return {"photometric": "rgb"}
    return {"photometric": "rgb", "compression": compression}


def _lzw_strips() -> dict[str, Any]:
    return {"photometric": "rgb", "compression": "lzw", "predictor": True, "rowsperstrip": 7, "maxworkers": 1}


def _shrunk(pixels: NDArray[np.uint8], factor: float) -> NDArray[np.uint8]:
    """Return `pixels` reduced by `factor` through area averaging."""
    import cv2

    height, width = (max(1, int(side / factor)) for side in pixels.shape[:2])
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _label(name: str) -> NDArray[np.uint8]:
    """Return a (180, 180, 3) slide label with `name` and bars on it."""
    import cv2

    label = np.full((180, 180, 3), 232, np.uint8)
    for line in range(0, min(len(name), 48), 16):
        where = (8, 40 + 22 * (line // 16))
        cv2.putText(label, name[line : line + 16], where, cv2.FONT_HERSHEY_SIMPLEX, 0.42, (20, 20, 20), 1)
    bars = np.frombuffer(name.encode().ljust(20, b"x")[:20], np.uint8)
    for bar, byte in enumerate(bars):
        label[120:165, 10 + 8 * bar : 10 + 8 * bar + 1 + int(byte) % 6] = 20
    return label


def _macro(pixels: NDArray[np.uint8], label: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a (180, 512, 3) picture of the whole glass: label on the left, specimen on the right."""
    macro = np.full((180, 512, 3), 214, np.uint8)
    macro[:, :180] = label
    specimen = _shrunk(pixels, max(pixels.shape[0] / 150, pixels.shape[1] / 300))
    top, left = (180 - specimen.shape[0]) // 2, 190 + (312 - specimen.shape[1]) // 2
    macro[top : top + specimen.shape[0], left : left + specimen.shape[1]] = specimen
    return macro
