"""Fetched slides around their tiling: fetched again where dropped, let go once their tiles are made."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from histo_assets.core.download.errors import DownloadError
from histo_assets.core.download.fetched import drop_over_budget, fetch_slide, fetched_slide, write_record
from histo_assets.core.slides.arrival import FETCHED
from histo_assets.core.slides.directory import MissingSlideError, SlideError
from histo_assets.core.tiling.job import SlideJob

__all__ = ["FETCHED", "fetch_again", "let_go"]


def fetch_again(job: SlideJob) -> None:
    """Fetch a slide that was dropped, the very same content.

    Raises
    ------
    MissingSlideError
        It cannot be fetched.
    SlideError
        The source has other content than when it was inspected.
    """
    folder, name = Path(job.path).parent, Path(job.path).name
    record = fetched_slide(folder, job.slide)
    if record is None:
        raise MissingSlideError(f"what is known of {name} is gone; {job.inspect_again} --force`")
    try:
        record = fetch_slide(record.remote, folder, job.slides.source)
    except DownloadError as error:
        raise MissingSlideError(str(error)) from None
    except OSError as error:
        raise MissingSlideError(f"{name} could not be fetched ({error.strerror or error}); run again") from None
    if record.sha256 != job.digest:
        raise SlideError(f"{name} has changed since it was inspected; {job.inspect_again} --force`")


def let_go(job: SlideJob) -> list[str]:
    """Note that a fetched slide has its tiles, and drop what the study's budget does not hold; return the dropped."""
    if job.digest_kind != FETCHED:
        return []
    folder = Path(job.path).parent
    record = fetched_slide(folder, job.slide)
    if record is None:
        return []
    if not record.tiled:
        write_record(folder, replace(record, tiled=True, used=time.time()))
    return drop_over_budget(folder, job.slides.source, only_tiled=True)
