"""Whether a slide file is whole, and what identifies its content.

slideio opens a truncated file and shows what is missing as white, so the file itself is looked at:
its first bytes, its TIFF directory or DICOM header, and whether every storage tile lies within it.
Formats that only a general reader knows are tried in a child process, because some files end the
process that reads them.
"""

from __future__ import annotations

import errno
import hashlib
import math
import os
from dataclasses import dataclass, replace
from pathlib import Path

from histo_assets.core.slides.dicom import READING, read_dicom
from histo_assets.core.slides.directory import TIFF_SUFFIXES, StoredLevel, TiffDirectory, is_tiff, read_directory
from histo_assets.core.slides.errors import SlideError
from histo_assets.core.slides.images import Choice
from histo_assets.core.slides.opening import asked
from histo_assets.core.slides.resolution import Resolution
from histo_assets.core.slides.settings import SlideSettings
from histo_assets.core.slides.slide import assumed_mpp, chosen_image, refuse_unreadable, slide_driver

LARGEST_STORAGE_TILE = 16_384

# What a disk or a server that fails for a while answers: no verdict on the file.
_OUT_OF_REACH = {errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.EACCES, errno.ENOENT}


@dataclass(frozen=True)
class SlideRecord:
    """What is known of one slide file.

    `width` and `height` are level-0 pixels (0 where unknown), `mpp` um/px (NaN where unknown).
    `digest_kind` is `directory` (size, mtime and TIFF directory), `ends` (size, mtime and both ends of
    the file), `folder`, or `fetched` (the sha256 taken when it was fetched). `integrity` is `checked`
    where every storage tile lies within the file and is decoded strictly when it is read, `unverified`
    where a general reader alone reads the format, '' for a slide that cannot be used. `quarantined` is the
    verdict on a file that is there, or None; `missing` the reason why no file is there, or None. A record that
    is stored has its `path` relative to the folder of slides.
    """

    path: str
    bytes: int = 0
    width: int = 0
    height: int = 0
    mpp: float = math.nan
    levels: int = 0
    vendor: str = ""
    digest: str = ""
    digest_kind: str = ""
    integrity: str = ""
    quarantined: str | None = None
    missing: str | None = None


def inspect_slide(
    path: str | os.PathLike[str] | None, settings: SlideSettings | None = None, slide_id: str = ""
) -> SlideRecord:
    """Return the record of the slide at `path`; a bad file is described, never raised.

    Parameters
    ----------
    path
        The slide file, or a folder of DICOM files; empty or None where none was found.
    settings
        Where they give `assume_mpp`, it stands in for a resolution that the file does not name.
    slide_id
        Key into `assume_mpp`, and the name used where there is no path.
    """
    if not path or not Path(path).exists():
        name = str(path) if path else f"the file of slide {slide_id}"
        return SlideRecord(str(path or ""), missing=f"{name} is missing; fetch it or take it out of the manifest")
    record = SlideRecord(str(path))
    try:
        record = replace(record, bytes=_bytes(Path(path)))
        return _inspected(record, Path(path), settings, slide_id)
    except SlideError as error:
        return replace(record, quarantined=str(error))
    except OSError as error:
        reason = f"{Path(path).name} cannot be read ({error.strerror or error})"
        if error.errno in _OUT_OF_REACH:
            return replace(record, missing=f"{reason}; see to the disk or the file's permissions")
        return replace(record, quarantined=f"{reason}; copy or download it again")


def slide_digest(path: str | os.PathLike[str], image: Choice = None) -> tuple[str, str]:
    """Return what identifies the content of a local slide, or of one image of it, and of what kind that is.

    A slide may hold gigabytes, so its bytes are not hashed: `directory` is the sha256 over size,
    modification time (ns) and TIFF directory (the place and length of every storage tile, all
    descriptions); `ends` takes the first and last 64 KiB instead, for other formats; `folder`
    does so for every file of a folder.

    Raises
    ------
    SlideError
        The TIFF directory cannot be read.
    """
    path = Path(path)
    if path.is_file() and path.suffix.lower() in TIFF_SUFFIXES and is_tiff(path):
        return _directory_digest(path, read_directory(path, image))
    return _ends_digest(path)


def _inspected(record: SlideRecord, path: Path, settings: SlideSettings | None, slide_id: str) -> SlideRecord:
    if record.bytes == 0:
        raise SlideError(f"{path.name} is empty (0 bytes); fetch it again")
    if path.is_file() and _is_html(path):
        raise SlideError(f"{path.name} is an HTML page that a server sent in the slide's place; fetch it again")
    image = chosen_image(settings, slide_id)
    if slide_driver(path) == "SVS":
        record, resolution = _inspected_tiff(record, path, image)
    elif slide_driver(path) == "DCM":
        record = _inspected_dicom(record, path)
        resolution = Resolution(record.mpp, "" if record.mpp > 0 else "names no resolution")
    else:
        digest, kind = _ends_digest(path)
        record, resolution = _probed(replace(record, digest=digest, digest_kind=kind), path, image)
    return _with_resolution(record, resolution, path, assumed_mpp(settings, slide_id), slide_id)


def _with_resolution(
    record: SlideRecord, resolution: Resolution, path: Path, assumed: float, slide_id: str
) -> SlideRecord:
    """Return the record with the resolution that the file names, else the assumed one."""
    if not resolution.is_square:
        raise SlideError(f"{path.name} {resolution.complaint}; resample it to square ones")
    mpp = assumed if math.isnan(resolution.mpp) else resolution.mpp
    if math.isnan(mpp):
        raise SlideError(
            f"{path.name} {resolution.complaint}; give it as slides.assume_mpp, for all slides or for "
            f"{slide_id or 'this one'}"
        )
    return replace(record, mpp=mpp)


def _inspected_tiff(record: SlideRecord, path: Path, image: Choice) -> tuple[SlideRecord, Resolution]:
    if not is_tiff(path):
        raise SlideError(f"{path.name} is no TIFF file, so no Aperio slide; fetch it again")
    directory = read_directory(path, image)
    if path.suffix.lower() == ".svs" and directory.vendor != "aperio":
        raise SlideError(
            f"{path.name} is not an Aperio slide (its description does not begin with 'Aperio'); "
            "convert it, or name it .tif if it is a tiled pyramid"
        )
    if directory.beyond_end:
        raise SlideError(
            f"{path.name} is truncated: {directory.beyond_end} of its {directory.stored} storage tiles lie beyond "
            f"its end at {record.bytes} bytes; copy or download it again"
        )
    if directory.complaint:
        raise SlideError(f"{path.name} is truncated or damaged ({directory.complaint}); copy or download it again")
    refuse_unreadable(path, directory)
    for level in directory.levels:
        _refuse_impossible(level, path.name)
    full = directory.levels[0]
    digest, kind = _directory_digest(path, directory)
    record = replace(
        record,
        width=full.width,
        height=full.height,
        levels=len(directory.levels),
        vendor=directory.vendor,
        digest=digest,
        digest_kind=kind,
        integrity="checked",
    )
    return record, directory.resolution


def _refuse_impossible(level: StoredLevel, name: str) -> None:
    """Raise a SlideError where a level's storage tiles do not make up its size, or no memory would hold one."""
    needed, stored = level.needed, min(len(level.offsets), len(level.lengths))
    if stored != needed or max(level.tile_width, level.tile_height) > LARGEST_STORAGE_TILE:
        raise SlideError(
            f"{name} has a damaged directory: a level of {level.width} x {level.height} px has {stored} storage tiles "
            f"of {level.tile_width} x {level.tile_height} px, {needed} are needed; copy or download it again"
        )


def _inspected_dicom(record: SlideRecord, path: Path) -> SlideRecord:
    series = read_dicom(path)
    digest, kind = _ends_digest(path)
    if series.read_otherwise:  # no tile that an earlier version cut is taken for one of this slide
        digest = f"{digest}-reading{READING}"
    full = series.levels[0].stored
    return replace(
        record,
        width=full.width,
        height=full.height,
        mpp=series.mpp,
        levels=len(series.levels),
        vendor="dicom",
        digest=digest,
        digest_kind=kind,
        integrity="checked",
    )


def _probed(record: SlideRecord, path: Path, image: Choice) -> tuple[SlideRecord, Resolution]:
    """Return the record with what a general reader says of the file, asked in a child process."""
    described = asked(path, slide_driver(path), image)
    width, height = described.levels[0]
    record = replace(
        record,
        width=width,
        height=height,
        levels=len(described.levels),
        vendor=described.vendor,
        digest="-".join(filter(None, [record.digest, described.image])),
        integrity="unverified",
    )
    return record, described.resolution


def _is_html(path: Path) -> bool:
    with open(path, "rb") as file:
        start = file.read(512).lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return start.startswith((b"<!doctype html", b"<html", b"<?xml", b"<head", b"<body"))


def _bytes(path: Path) -> int:
    return sum(p.stat().st_size for p in _files(path))


def _files(path: Path) -> list[Path]:
    return [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())


def _directory_digest(path: Path, directory: TiffDirectory) -> tuple[str, str]:
    status = path.stat()
    digest, *mended = directory.digest.split("-")
    text = f"{status.st_size} {status.st_mtime_ns} {digest}"
    return "-".join([hashlib.sha256(text.encode()).hexdigest(), *mended]), "directory"


def _ends_digest(path: Path) -> tuple[str, str]:
    total = hashlib.sha256()
    for part in _files(path):
        status = part.stat()
        total.update(f"{part.name} {status.st_size} {status.st_mtime_ns}".encode())
        with open(part, "rb") as file:
            total.update(file.read(1 << 16))
            file.seek(max(0, status.st_size - (1 << 16)))
            total.update(file.read())
    return total.hexdigest(), "ends" if path.is_file() else "folder"
