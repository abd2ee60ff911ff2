"""The exception of this room."""

from __future__ import annotations


class ExpressionError(ValueError):
    """An expression file that cannot be used: the message names the file, the line, gene or sample, and the way out."""
