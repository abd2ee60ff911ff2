"""Fetched slides around their use: fetched again where dropped, let go once nothing needs their pixels any more."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

from histo_assets.core.download.errors import DownloadError
from histo_assets.core.download.fetched import drop_over_budget, fetch_slide, fetched_slide, write_record
from histo_assets.core.download.settings import SourceSettings
from histo_assets.core.slides.directory import MissingSlideError, SlideError


@dataclass(frozen=True)
class FetchedCopy:
    """The local copy of a slide that was fetched.

    Attributes
    ----------
    path
        Where it is, or was.
    sha256
        Of its content when it was inspected; what follows a dash says how it is read.
    source
        Where its study's slides come from, and how many bytes of them may stay.
    inspect_again
        The advice to inspect the slide again, up to where options may follow and a backtick must.
    """

    slide: str
    path: Path
    sha256: str
    source: SourceSettings
    inspect_again: str

    def fetch_again(self) -> None:
        """Fetch the slide, if it was dropped: the very same content.

        Raises
        ------
        MissingSlideError
            It cannot be fetched.
        SlideError
            The source has other content than when it was inspected.
        """
        record = fetched_slide(self.path.parent, self.slide)
        if record is None:
            raise MissingSlideError(f"what is known of {self.path.name} is gone; {self.inspect_again} --force`")
        try:
            record = fetch_slide(record.remote, self.path.parent, self.source)
        except DownloadError as error:
            raise MissingSlideError(str(error)) from None
        except OSError as error:
            why = error.strerror or error
            raise MissingSlideError(f"{self.path.name} could not be fetched ({why}); run again") from None
        if record.sha256 != self.sha256.split("-")[0]:
            raise SlideError(f"{self.path.name} has changed since it was inspected; {self.inspect_again} --force`")

    def let_go(self) -> list[str]:
        """Note that the slide has its tiles, and drop what the study's budget does not hold; return the dropped."""
        record = fetched_slide(self.path.parent, self.slide)
        if record is None:
            return []
        if not record.tiled:
            write_record(self.path.parent, replace(record, tiled=True, used=time.time()))
        return drop_over_budget(self.path.parent, self.source, only_tiled=True)
