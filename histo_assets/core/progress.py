"""The progress of long work: lines for whoever looks on, one every few seconds at most."""

from __future__ import annotations

import time
from collections.abc import Callable

Progress = Callable[[str], None]
"""Called with a line on how far something is."""

ByteProgress = Callable[[int, int | None], None]
"""Called with the bytes that are here and those of the whole, None where nobody knows."""

SECONDS = 5.0
"""Between two lines."""


def silent(line: str) -> None:
    """Let nobody know."""


class EveryFewSeconds:
    """Hands lines on to `progress`, but not the next one before `SECONDS` have passed.

    The first comes as late after the beginning, or with `at_once` when there is one.
    """

    def __init__(self, progress: Progress, at_once: bool = False) -> None:
        self._progress = progress
        self._begun = time.monotonic()
        self._last = self._begun - SECONDS if at_once else self._begun

    def __call__(self, line: Callable[[float], str]) -> None:
        """Hand on what `line` makes of the seconds since the beginning, if it is time for one."""
        now = time.monotonic()
        if now - self._last >= SECONDS:
            self._last = now
            self._progress(line(now - self._begun))

    def pass_on(self, line: str) -> None:
        """Hand `line` on, if it is time for one."""
        self(lambda seconds: line)


def minutes(seconds: float) -> str:
    """Return a time as minutes and seconds.

    >>> minutes(65.7)
    '1:05'
    """
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
