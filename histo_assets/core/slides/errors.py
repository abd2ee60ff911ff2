"""The errors of slides."""

from __future__ import annotations

from histo_assets.core.errors import HistoError


class SlideError(HistoError):
    """A slide that cannot be used: the message names the file and the way out."""


class MissingSlideError(SlideError):
    """A slide that is not there, or cannot be fetched now: no verdict on its file."""
