"""The exception of this room."""

from __future__ import annotations

from histo_assets.core.errors import HistoError


class CohortError(HistoError):
    """A table of the cohort that cannot be used: the message names the file, the row or key, and the way out."""
