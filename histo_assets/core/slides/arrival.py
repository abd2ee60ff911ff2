"""The slides of a tissue, fetched where they are not in the folder yet, inspected, kept within the budget."""

from __future__ import annotations

import base64
import threading
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from histo_assets.core.cohort.errors import CohortError
from histo_assets.core.cohort.slide_files import SlideFiles
from histo_assets.core.download.errors import DownloadError
from histo_assets.core.download.fetched import (
    FetchedSlide,
    drop_over_budget,
    fetch_slide,
    fetched_slide,
    user_files,
    write_record,
)
from histo_assets.core.download.slide_source import RemoteSlide, SlideSource
from histo_assets.core.progress import Progress, silent
from histo_assets.core.slides.found import slides_among
from histo_assets.core.slides.inspection import (
    inspect_slides,
    kept_in,
    name_of_row,
    names_of_slides,
    slide_table,
    thumbnails,
    with_stated_resolutions,
)
from histo_assets.core.slides.integrity import SlideRecord, inspect_slide
from histo_assets.core.slides.settings import SlideSettings
from histo_assets.core.slides.slide import assumed_mpp

FETCHED = "fetched"
"""The kind of digest of a slide that was fetched: the sha256 of its content."""

_THUMBNAIL_PX = 160


def arrived_slides(
    selected: pd.DataFrame,
    folder: str,
    settings: SlideSettings,
    known: Collection[str] = (),
    progress: Progress = silent,
) -> tuple[pd.DataFrame, dict[str, bytes]]:
    """Return `inspect_slides`' table of the selected slides, and small JPEGs of dropped ones by slide.

    What is in `folder` is taken as it is. Other slides are fetched from the study's source, a few at a time; one
    that was fetched before and dropped since is described by its record. A slide that cannot be fetched is
    missing with the reason, the others go on.

    Parameters
    ----------
    selected, folder, settings, known
        As for `inspect_slides`.
    progress
        Told how fetching goes.
    """
    source = settings.source
    if source.kind == "folder":
        return inspect_slides(selected, folder, settings, known), {}
    settings = with_stated_resolutions(settings, selected)
    Path(folder).mkdir(parents=True, exist_ok=True)
    cohort = {*known, *names_of_slides(selected).values()}
    arrivals = _Arrivals(Path(folder), settings, SlideSource(source, cohort), cohort, progress)
    rows = selected.to_dict("records")
    with ThreadPoolExecutor(source.parallel) as pool:
        records = list(pool.map(arrivals.record, rows))
    return slide_table(rows, records), arrivals.thumbnails


def outages(slides: pd.DataFrame, settings: SlideSettings) -> dict[str, str]:
    """Return slide -> reason of the slides that could not be fetched or read, which the next run shall try again.

    A slide that is not in a folder which nothing is fetched into is none of them: its file is seen when it comes.
    """
    missing = slides[slides["missing"].notna()]
    if settings.source.kind == "folder":
        missing = missing[missing["path"] != ""]
    return dict(zip(missing["slide"], missing["missing"], strict=True))


@dataclass(frozen=True)
class _Inspection:
    """What a slide is described by once it is dropped.

    Attributes
    ----------
    record
        What is known of its file.
    assumed
        The resolution that the settings assumed of it (um/px, NaN for none), as text.
    thumbnail
        A small JPEG in base64; empty where it cannot be shown.
    """

    record: SlideRecord
    assumed: str
    thumbnail: str

    @classmethod
    def of(cls, fetched: FetchedSlide) -> _Inspection | None:
        """Return the inspection that lies in the record of a fetched slide; None where there is none."""
        stored = fetched.inspected
        return cls(SlideRecord(**stored["record"]), stored["assumed"], stored["thumbnail"]) if stored else None


class _Arrivals:
    """Slides as they arrive, several threads at once."""

    def __init__(
        self,
        folder: Path,
        settings: SlideSettings,
        source: SlideSource,
        known: Collection[str],
        progress: Progress,
    ) -> None:
        self.thumbnails: dict[str, bytes] = {}
        self._folder, self._settings, self._source = folder, settings, source
        self._known, self._progress = set(known), progress
        own = slides_among(path.relative_to(folder).as_posix() for path in user_files(folder))
        folders = [str(folder / slide) for slide, files in own.items() if files != [slide]]
        self._own = SlideFiles([str(folder / slide) for slide in own], settings.file_name, folders)
        self._in_hand: set[str] = set()
        self._lock = threading.Lock()

    def record(self, row: Mapping[Any, Any]) -> SlideRecord:
        """Return what is known of one slide, after fetching it where need be."""
        slide = str(row["slide"])
        try:
            own = self._own.of(name_of_row(row), self._known)
            if own is not None:
                return kept_in(self._folder, inspect_slide(own, self._settings, slide))
            before = fetched_slide(self._folder, slide)
            if before is not None and not before.is_there(self._folder):
                inspection = _Inspection.of(before)
                if inspection is not None and inspection.assumed == self._assumed(slide):
                    return self._remembered(before, inspection)
            return self._fetched({str(name): str(value) for name, value in row.items()}, before)
        except CohortError as error:
            return kept_in(self._folder, SlideRecord("", quarantined=str(error)))
        except DownloadError as error:
            return kept_in(self._folder, SlideRecord("", missing=str(error)))
        except OSError as error:
            reason = f"slide {slide} could not be fetched ({error.strerror or type(error).__name__}); run again"
            return SlideRecord("", missing=reason)

    def _fetched(self, row: Mapping[str, str], before: FetchedSlide | None) -> SlideRecord:
        slide = row["slide"]
        with self._lock:
            self._in_hand.add(slide)
        try:
            here = before is not None and before.is_there(self._folder)
            remote = before.remote if before is not None and here else self._find(row)
            fetched = fetch_slide(remote, self._folder, self._settings.source, self._progress)
            if not here:
                self._progress(f"{slide}: fetched, {fetched.bytes / 1e6:,.1f} MB")
            found = inspect_slide(self._folder / fetched.name, self._settings, slide)
            found = kept_in(self._folder, replace(found, digest=_digest_of(fetched, found), digest_kind=FETCHED))
            write_record(self._folder, replace(fetched, inspected=asdict(self._inspection(slide, found))))
        finally:
            with self._lock:
                self._in_hand.discard(slide)
                drop_over_budget(self._folder, self._settings.source, sparing=self._in_hand)
        return found

    def _find(self, row: Mapping[str, str]) -> RemoteSlide:
        with self._lock:
            return self._source.find(row)

    def _inspection(self, slide: str, found: SlideRecord) -> _Inspection:
        pictures = thumbnails(
            pd.DataFrame([{"slide": slide} | asdict(found)]), str(self._folder), self._settings, _THUMBNAIL_PX, most=1
        )
        return _Inspection(found, self._assumed(slide), base64.b64encode(pictures.get(slide, b"")).decode())

    def _assumed(self, slide: str) -> str:
        return str(assumed_mpp(self._settings, slide))

    def _remembered(self, before: FetchedSlide, inspection: _Inspection) -> SlideRecord:
        self.thumbnails[before.slide] = base64.b64decode(inspection.thumbnail)
        return kept_in(self._folder, replace(inspection.record, path=str(self._folder / before.name)))


def _digest_of(fetched: FetchedSlide, found: SlideRecord) -> str:
    """Return the sha256 of a fetched slide and, after a dash each, in what it is read otherwise than it used to be."""
    return "-".join([fetched.sha256, *found.digest.split("-")[1:]])
