"""Opens slides and says what they are, in a child process, in case a file ends the process that reads it.

One child serves many files. It is started for the first, replaced when it dies or does not answer, and
ends with the process that started it.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from histo_assets.core.slides.directory import SlideError
from histo_assets.core.slides.slide import open_slide

SECONDS = 120


@dataclass(frozen=True)
class SlideDescription:
    """What a reader says of a slide that it has opened.

    Attributes
    ----------
    width, height
        Size of the finest level, level-0 pixels.
    levels
        Number of levels.
    mpp
        um/px, NaN where the file names none.
    vendor
        Whose format it is.
    """

    width: int
    height: int
    levels: int
    mpp: float
    vendor: str


def asked(path: Path) -> SlideDescription:
    """Return what the child says of the slide at `path`, after reading a little of it.

    Raises
    ------
    SlideError
        The file does not open, or ends the child or keeps it busy for too long; then the next file has another.
    """
    with _LOCK:
        if _Child.current is None or not _Child.current.is_mine:
            _Child.current = _Child()
        child = _Child.current
        try:
            answer = json.loads(child.answer(path))
        except SlideError:
            child.end()
            _Child.current = None
            raise
    if "error" in answer:
        raise SlideError(answer["error"])
    return SlideDescription(**answer)


def _answer_to(path: str) -> str:
    """Return the description of the slide at `path` as JSON, or `error` alone, with the reason."""
    try:
        with open_slide(path) as slide:
            width, height = slide.dimensions
            slide.thumbnail(64)
            return json.dumps(asdict(SlideDescription(width, height, len(slide.levels), slide.mpp, slide.vendor)))
    except (SlideError, OSError) as error:
        return json.dumps({"error": str(error)})


class _Child:
    """A child process that is asked one file at a time."""

    current: _Child | None = None

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "histo_assets.core.slides.opening"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._owner = os.getpid()
        atexit.register(self.end)

    @property
    def is_mine(self) -> bool:
        """Whether this very process started the child; a forked one must not share its pipes."""
        return self._owner == os.getpid()

    def answer(self, path: Path) -> bytes:
        """Return the child's answer to one file, a line of JSON."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(str(path)).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise SlideError(f"{path.name} could not be tried, its reader had ended; run again") from None
        answer, until = b"", time.monotonic() + SECONDS
        while not answer.endswith(b"\n"):
            ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                raise SlideError(f"{path.name} did not open within {SECONDS} s; replace it")
            part = os.read(self._process.stdout.fileno(), 1 << 16)
            if not part:
                raise SlideError(f"{path.name} ends the process that reads it ({self._cause()}); replace it")
            answer += part
        return answer

    def end(self) -> None:
        """End the child, whatever it does."""
        if self.is_mine:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    pipe.close()
            atexit.unregister(self.end)

    def _cause(self) -> str:
        code = self._process.wait()
        return f"signal {-code}" if code < 0 else f"exit status {code}"


_LOCK = threading.Lock()


def _serve() -> None:
    """Answer every path on standard input with a line of JSON, until there are no more."""
    # Native libraries print where they like: the answers have a channel of their own.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    threading.Thread(target=_follow, args=(os.getppid(),), daemon=True).start()
    for line in sys.stdin:
        print(_answer_to(json.loads(line)), file=answers, flush=True)


def _follow(parent: int) -> None:
    """End this process when its parent is gone, even while a file keeps it busy."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(0)


if __name__ == "__main__":
    _serve()
