"""The progress of running steps, for whoever started them in this process.

Dagster keeps every line of `context.log` in its event log. A driver that runs steps in its own
process listens here as well, so that an hour of training is not an hour of silence.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from histo_assets.core.progress import Progress

_listeners: list[Progress] = []


class _ToListeners(logging.Handler):
    """Hands the line that a step logged, without Dagster's prefix, to every listener."""

    def emit(self, record: logging.LogRecord) -> None:
        announce(getattr(record, "dagster_meta", {}).get("orig_message") or record.getMessage())


def announce(line: str) -> None:
    """Hand a line to every listener of this process."""
    for listener in _listeners:
        listener(line)


@dg.logger
def progress_logger(init_context: dg.InitLoggerContext) -> logging.Logger:
    """Return a logger whose lines, from INFO on, go to the listeners of this process."""
    logger = logging.Logger("histo_assets.progress", level=logging.INFO)
    logger.addHandler(_ToListeners())
    return logger


@contextmanager
def listening(progress: Progress) -> Iterator[None]:
    """Call `progress` with every line that steps of this process log, as long as the block lasts."""
    _listeners.append(progress)
    try:
        yield
    finally:
        _listeners.remove(progress)
