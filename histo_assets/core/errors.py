"""The base of every error that the package raises on purpose.

It imports nothing, so that every room can derive its own error from it.
"""

from __future__ import annotations


class HistoError(ValueError):
    """An error of the package's own: one sentence that names what is wrong and the way out."""
