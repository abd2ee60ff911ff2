"""Which frame of a DICOM level lies in which cell of its grid: by their order, or by the place that each states."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histo_assets.core.slides.dicom_file import DicomFile


def frame_of_each_cell(parts: list[DicomFile]) -> NDArray[np.int64]:
    """Return the frame of each cell of a level, row by row, -1 where none is stored.

    Of several focal planes the middle one is taken, of several optical paths the first.

    Parameters
    ----------
    parts
        The files of the level, whose frames are counted on from one to the next.

    Raises
    ------
    ValueError
        The frames do not fit the grid.
    """
    file, frames = parts[0], sum(len(part.frames) for part in parts)
    across, down = math.ceil(file.width / file.frame_width), math.ceil(file.height / file.frame_height)
    if file.organisation != "TILED_FULL":
        groups = [group for part in parts for group in _functional_groups(part.path)]
        if groups and all("PlanePositionSlideSequence" in group for group in groups):
            return _by_position(groups, file, frames, (across, down))
    if frames != across * down * file.planes * file.paths:
        apart = file.planes * file.paths > 1
        layers = f", {file.planes} focal planes and {file.paths} optical paths" if apart else ""
        raise ValueError(
            f"{frames} frames of {file.frame_width} x {file.frame_height} px are no full grid of {file.width} x "
            f"{file.height} px{layers}"
        )
    return np.arange(across * down, dtype=np.int64) + across * down * ((file.planes - 1) // 2)


def _functional_groups(file: Path) -> list[Any]:
    import pydicom

    with open(file, "rb") as opened:
        header = pydicom.dcmread(opened, stop_before_pixels=True, specific_tags=["PerFrameFunctionalGroupsSequence"])
        return list(header.get("PerFrameFunctionalGroupsSequence") or ())


def _by_position(groups: list[Any], file: DicomFile, frames: int, grid: tuple[int, int]) -> NDArray[np.int64]:
    if len(groups) != frames:
        raise ValueError(f"it states the places of {len(groups)} frames and holds {frames}")
    positions = [group.PlanePositionSlideSequence[0] for group in groups]
    x = np.array([int(each.ColumnPositionInTotalImagePixelMatrix) - 1 for each in positions], dtype=np.int64)
    y = np.array([int(each.RowPositionInTotalImagePixelMatrix) - 1 for each in positions], dtype=np.int64)
    z = np.array([float(each.get("ZOffsetInSlideCoordinateSystem") or 0) for each in positions])
    path = np.array([_optical_path(group) for group in groups])
    taken = path == path[0]
    planes = np.unique(z[taken])
    taken &= z == planes[(len(planes) - 1) // 2]
    if (x[taken] % file.frame_width).any() or (y[taken] % file.frame_height).any():
        raise ValueError("its frames overlap, or lie on no common grid")
    column, row = x // file.frame_width, y // file.frame_height
    across, down = grid
    outside = (column < 0) | (column >= across) | (row < 0) | (row >= down)
    if (outside & taken).any():
        raise ValueError("it states places of frames outside its image")
    cell = (row * across + column)[taken]
    if len(cell) != len(np.unique(cell)):
        raise ValueError(f"it states one place for {max(Counter(cell.tolist()).values())} frames")
    order = np.full(across * down, -1, dtype=np.int64)
    order[cell] = np.flatnonzero(taken)
    return order


def _optical_path(group: Any) -> str:
    sequence = group.get("OpticalPathIdentificationSequence")
    return str(sequence[0].get("OpticalPathIdentifier", "")) if sequence else ""
