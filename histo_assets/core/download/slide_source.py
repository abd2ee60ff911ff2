"""Where each slide of a study is published."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from histo_assets.core.cohort.ids import exact_name, own_name, sibling_of
from histo_assets.core.delimited import read_header
from histo_assets.core.download.errors import DownloadError
from histo_assets.core.download.http import RemoteFile
from histo_assets.core.download.settings import PLACEHOLDERS, SourceSettings


@dataclass(frozen=True)
class RemoteSlide:
    """A slide that can be fetched: one file, or the files of a folder, and what it is called here."""

    slide: str
    name: str
    files: tuple[RemoteFile, ...]

    @property
    def bytes(self) -> int | None:
        """Size of the whole slide, where it is known."""
        sizes = [file.bytes for file in self.files]
        return None if not sizes or None in sizes else sum(size for size in sizes if size is not None)

    @property
    def is_folder(self) -> bool:
        """Whether the slide is a folder of files."""
        return Path(self.name).suffix == ""


class SlideSource:
    """The published slides of a study, looked up one by one."""

    def __init__(self, settings: SourceSettings, known: Collection[str] = ()) -> None:
        """Read the listing, if the settings name one; `known` are all slides of the cohort."""
        self.settings = settings
        self._known = set(known)
        self._listed = read_listing(Path(settings.listing)) if settings.listing else {}
        self._series: dict[str, str] | None = None

    def find(self, row: Mapping[str, str]) -> RemoteSlide:
        """Return where the slide of `row` (slide, donor, tissue, sample, original_slide if any) is published.

        Raises
        ------
        DownloadError
            It is not.
        """
        return self._in_idc(row) if self.settings.kind == "idc" else self._at_url(row)

    def _at_url(self, row: Mapping[str, str]) -> RemoteSlide:
        slide, name = row["slide"], _name(row)
        listed = self._listed.get(name) or self._listed.get(slide, {})
        if not listed.get("url") and not self.settings.url:
            raise DownloadError(f"slide {slide} has no url in the listing; add it, or give slides.source.url")
        address = listed.get("url") or str(self.settings.url).format(
            **{key: quote(str({**row, "slide": name}.get(key, "")), safe="") for key in PLACEHOLDERS}
        )
        file_name = f"{slide}{self.settings.suffix}"
        size = listed.get("bytes")
        file = RemoteFile(address, file_name, int(size) if size else None, listed.get("sha256"), listed.get("md5"))
        return RemoteSlide(slide, file_name, (file,))

    def _in_idc(self, row: Mapping[str, str]) -> RemoteSlide:
        from histo_assets.core.download.idc import series_files, series_of_slides

        if self._series is None:
            self._series = series_of_slides(self.settings)
        slide = row["slide"]
        location = self._series.get(_name(row))
        if location is None and (sibling := sibling_of(slide)) not in self._known:
            # Images of GTEx are often named by the sibling aliquot.
            location = self._series.get(sibling)
        if location is None:
            raise DownloadError(
                f"slide {slide} is not in collection {self.settings.collection} of Imaging Data Commons; "
                "leave it out or put its file into the folder"
            )
        return RemoteSlide(slide, slide, series_files(location, self.settings))


def _name(row: Mapping[str, str]) -> str:
    """Return the name under which a slide is published: its own, not the id that was made of it."""
    return own_name(row["slide"], row.get("original_slide", ""))


def read_listing(path: Path) -> dict[str, dict[str, str]]:
    """Return what a table (comma, tab or semicolon) holds on each slide: any of url, bytes, sha256, md5.

    Raises
    ------
    DownloadError
        The file is missing, has no column `slide`, or a size that is no number.
    """
    if not path.is_file():
        raise DownloadError(f"the listing {path} is missing; write it or take slides.source.listing out of the study")
    with open(path, "rb") as table:
        header = read_header(table, "\t" if path.suffix.lower() in (".tsv", ".txt") else ",")
    with open(path, newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file, delimiter=header.separator)
        if "slide" not in (rows.fieldnames or []):
            raise DownloadError(f"{path} has no column 'slide'; it has {', '.join(rows.fieldnames or []) or 'none'}")
        listed = _listed(rows, path)
    return listed


def _listed(rows: Iterable[Mapping[str, str | None]], path: Path) -> dict[str, dict[str, str]]:
    listed: dict[str, dict[str, str]] = {}
    for line, row in enumerate(rows, 2):
        known = {key: value.strip() for key, value in row.items() if isinstance(value, str) and value.strip()}
        slide = exact_name(known.pop("slide", ""))
        if not known.get("bytes", "0").isdigit():
            raise DownloadError(f"{path} line {line}: slide {slide} has {known['bytes']!r} bytes; give a whole number")
        if slide in listed:
            raise DownloadError(f"{path} line {line}: slide {slide} is listed twice; keep one")
        listed[slide] = known
    return listed
