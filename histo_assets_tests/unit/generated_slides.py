"""Slide files of other formats than Aperio's, written for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import UID, JPEGBaseline8Bit, VLWholeSlideMicroscopyImageStorage, generate_uid

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
    folder.mkdir(parents=True, exist_ok=True)
    series = generate_uid()
    for factor in levels:
        level = np.ascontiguousarray(pixels[::factor, ::factor])
        spacing = None if mpp is None else mpp * factor
        _write_level(folder / f"level{factor}.dcm", level, spacing, frame_px, series, "VOLUME", tags)
    _write_level(folder / "label.dcm", np.ascontiguousarray(pixels[:64, :64]), 20.0, 64, series, "LABEL", {})
    return folder


def _write_level(
    path: Path, pixels: Pixels, mpp: float | None, frame_px: int, series: UID, kind: str, tags: dict[str, Any]
) -> None:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = VLWholeSlideMicroscopyImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = JPEGBaseline8Bit
    image = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    image.SOPClassUID, image.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    image.SeriesInstanceUID, image.Modality = series, "SM"
    image.ImageType = ["ORIGINAL", "PRIMARY", kind, "NONE"]
    image.TotalPixelMatrixRows, image.TotalPixelMatrixColumns = pixels.shape[:2]
    image.Rows = image.Columns = frame_px
    image.SamplesPerPixel, image.BitsAllocated, image.BitsStored, image.HighBit = 3, 8, 8, 7
    image.PixelRepresentation = image.PlanarConfiguration = 0
    image.PhotometricInterpretation = "YBR_FULL_422"
    image.DimensionOrganizationType = "TILED_FULL"
    if mpp is not None:
        measures, shared = Dataset(), Dataset()
        measures.PixelSpacing = [mpp / 1000, mpp / 1000]
        shared.PixelMeasuresSequence = Sequence([measures])
        image.SharedFunctionalGroupsSequence = Sequence([shared])
    frames = [simplejpeg.encode_jpeg(frame, 90, "RGB", "422") for frame in _frames(pixels, frame_px)]
    image.NumberOfFrames = len(frames)
    image.PixelData = encapsulate(frames)
    image["PixelData"].is_undefined_length = True
    for name, value in tags.items():
        setattr(image, name, value)
    image.save_as(path, enforce_file_format=True)


def _frames(pixels: Pixels, side: int) -> list[Pixels]:
    height, width = pixels.shape[:2]
    padded = np.pad(pixels, ((0, -height % side), (0, -width % side), (0, 0)), mode="edge")
    return [
        np.ascontiguousarray(padded[top : top + side, left : left + side])
        for top in range(0, height, side)
        for left in range(0, width, side)
    ]
