"""INT and TERM end a process and all that descends from it, whatever its main thread is at.

Python runs a signal's handler only between two of its own steps, so a long call into a library, or
Dagster's own loops, may sit on it. The number of every signal therefore also arrives in a pipe that a
thread reads: it gives the main thread some seconds to end by itself, then ends the process.
Imports no Dagster: the command line installs this before anything else.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any, NoReturn

from histo_assets.processes import kill_descendants

PATIENCE = 6.0  # seconds in which a step may end by itself
ONE_KEYPRESS = 0.5  # seconds within which a second signal is an echo of the first (a group and its leader)
ENDING_RUNS = 2.5  # seconds for what has to be written before the end
ENDS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(BaseException):
    """INT or TERM arrived: nothing new is to begin. Like KeyboardInterrupt, no kind of Exception."""


@dataclass
class _Received:
    number: int | None = None
    at: float = 0.0
    patience: float = PATIENCE


_received = _Received()
_before_the_end: list[Callable[[], None]] = []
_watching = False


def received() -> int | None:
    """Return the number of the signal that asked this process to end, or None."""
    return _received.number


def stop_if_interrupted() -> None:
    """Raise `Interrupted` where a signal has arrived. Called before anything new begins."""
    if _received.number is not None:
        raise Interrupted(_received.number)


def be_patient(seconds: float) -> None:
    """Let the main thread have that long, from the signal on, to end by itself."""
    _received.patience = seconds


def before_the_end(callback: Callable[[], None]) -> None:
    """Have `callback` called before the process is ended from outside its main thread."""
    if callback not in _before_the_end:
        _before_the_end.append(callback)


@contextmanager
def watched(handlers: bool = False) -> Iterator[None]:
    """Watch for INT and TERM as long as the block lasts.

    Does nothing inside another such block, or off the main thread.

    Parameters
    ----------
    handlers
        Whether the signals raise `Interrupted` in the main thread; otherwise the handlers of
        whoever runs this process (Dagster, in a run's worker) stay as they are.
    """
    global _watching
    if _watching or threading.current_thread() is not threading.main_thread():
        yield
        return
    _watching = True
    out, into = os.pipe()
    os.set_blocking(into, False)
    before = signal.set_wakeup_fd(into, warn_on_full_buffer=False)
    former = [(number, signal.signal(number, _raise)) for number in ENDS] if handlers else []
    threading.Thread(target=_read_signals, args=(out,), name="histo-assets-signals", daemon=True).start()
    try:
        yield
    finally:
        for number, handler in former:
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        signal.set_wakeup_fd(before)
        os.close(into)
        _watching = False
        if _received.number is None or not handlers:
            _received.number = None


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Run a command: after INT or TERM it leaves nothing running and exits with 130 or 143."""
    try:
        with watched(handlers=True):
            yield
    finally:
        if _received.number is not None:
            _leave(_received.number)


def end_now() -> NoReturn:
    """End this process from any thread: what it runs is written off, its descendants are killed."""
    writing = threading.Thread(target=_call_all, args=(tuple(_before_the_end),), daemon=True)
    writing.start()
    writing.join(ENDING_RUNS)
    kill_descendants()
    _last_words()
    os._exit(128 + (_received.number or signal.SIGTERM))


def _leave(number: int) -> NoReturn:
    kill_descendants()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            pass
    _last_words()
    os._exit(128 + number)


def _last_words() -> None:
    """Write past Python's streams, whose locks the main thread may hold; give a terminal its cursor back."""
    name = signal.Signals(_received.number).name if _received.number else "a signal"
    cursor = "\x1b[?25h\n" if os.isatty(2) else ""
    try:
        os.write(2, f"{cursor}histo-assets: ended by {name}; the next run goes on from here\n".encode())
    except OSError:
        pass


def _raise(number: int, frame: FrameType | None) -> None:
    _note(number)
    raise Interrupted(number)


def _note(number: int) -> bool:
    """Keep the first signal, and start the clock; return whether this one is a second."""
    now = time.monotonic()
    if _received.number is None:
        _received.number, _received.at = number, now
        return False
    return now - _received.at > ONE_KEYPRESS


def _read_signals(out: int) -> None:
    """Wait for signals until the pipe is closed; end the process on a second one, or after `PATIENCE`."""
    with os.fdopen(out, "rb", buffering=0) as pipe:
        while numbers := pipe.read(1):
            if numbers[0] not in ENDS:
                continue
            if _note(numbers[0]):
                end_now()
            threading.Thread(target=_end_after_patience, name="histo-assets-end", daemon=True).start()


def _end_after_patience() -> None:
    while _received.number is not None and time.monotonic() - _received.at < _received.patience:
        time.sleep(0.1)
    if _received.number is not None:
        end_now()


def _call_all(callbacks: tuple[Callable[[], Any], ...]) -> None:
    for callback in callbacks:
        try:
            callback()
        except Exception as error:  # the others still have to be called
            print(f"histo-assets: {error}", file=sys.stderr)


def _forget_in_child() -> None:
    """A forked child has neither the thread nor the right to write into its parent's pipe."""
    global _watching
    if not _watching:
        return
    _watching = False
    _received.number = None
    signal.set_wakeup_fd(-1)
    for number in ENDS:
        if signal.getsignal(number) is _raise:
            signal.signal(number, signal.SIG_DFL)


os.register_at_fork(after_in_child=_forget_in_child)
