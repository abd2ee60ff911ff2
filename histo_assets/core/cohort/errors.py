"""The exception of this room."""

from __future__ import annotations


class CohortError(ValueError):
    """A table of the cohort that cannot be used: the message names the file, the row or key, and the way out."""
