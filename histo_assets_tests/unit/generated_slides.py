"""Slide files of other formats than Aperio's, written for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pydicom.uid import generate_uid

from histo_assets_tests.unit.generated_dicom import Header, write_image

Pixels = np.ndarray[Any, Any]


def write_dicom(
    folder: Path,
    pixels: Pixels,
    mpp: float | None = 0.5,
    frame_px: int = 128,
    levels: tuple[int, ...] = (1, 4),
    **tags: Any,
) -> Path:
    """Write a DICOM whole-slide image into `folder`, a file a level and a label, and return the folder."""
    series = generate_uid()
    for factor in levels:
        header = Header(None if mpp is None else mpp * factor, series=series, tags=tags)
        write_image(folder / f"level{factor}.dcm", np.ascontiguousarray(pixels[::factor, ::factor]), frame_px, header)
    write_image(
        folder / "label.dcm", np.ascontiguousarray(pixels[:64, :64]), 64, Header(20.0, kind="LABEL", series=series)
    )
    return folder
