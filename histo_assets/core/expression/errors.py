"""The exception of this room."""

from __future__ import annotations

from histo_assets.core.errors import HistoError


class ExpressionError(HistoError):
    """An expression file that cannot be used: the message names the file, the line, gene or sample, and the way out."""
