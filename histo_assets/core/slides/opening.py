"""General readers in child processes, within limits of time and memory, for some files end or hang who reads them.

A child serves one file at a time and many after each other. It is replaced when it dies or does not answer, and ends
with the process that started it.
"""

from __future__ import annotations

import atexit
import json
import math
import os
import resource
import select
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from histo_assets.core.slides.errors import SlideError
from histo_assets.core.slides.images import Choice
from histo_assets.core.slides.readers import GeneralReader, Pixels, general_reader
from histo_assets.core.slides.resolution import Resolution

SECONDS = 120
"""What a child may take to open a file, or to read a region of one."""

MEGABYTES = 2000
"""What a child may allocate, where the process that starts it has no limit of its own."""

_LOOKED_AT_PX = 64
_MOST_IDLE = 2


@dataclass(frozen=True)
class SlideDescription:
    """What a general reader says of a slide that it has opened.

    Attributes
    ----------
    levels
        (width, height) of every level, finest first.
    resolution
        Um/px, or why it is not known.
    vendor
        Whose format it is.
    image
        Name of the chosen image where it is not the first one, so that no earlier version read it; else ''.
    """

    levels: list[tuple[int, int]]
    resolution: Resolution
    vendor: str
    image: str

    @classmethod
    def of(cls, reader: GeneralReader) -> SlideDescription:
        """Return what an open reader says."""
        return cls(reader.levels, reader.resolution, reader.vendor, reader.image)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> SlideDescription:
        """Return what `asdict` wrote."""
        levels = [(int(width), int(height)) for width, height in content["levels"]]
        return cls(levels, Resolution(**content["resolution"]), content["vendor"], content["image"])


class ReaderApart:
    """A file that a general reader has open in a child process; see `GeneralReader`."""

    def __init__(self, path: Path, driver: str, image: Choice = None, look: bool = False) -> None:
        self._path = path
        self._child: _Child | None = _taken()
        answer = self._ask({"path": str(path), "driver": driver, "image": image, "look": look})[0]
        described = SlideDescription.from_json(answer)
        self.levels, self.vendor, self.image = described.levels, described.vendor, described.image
        self.resolution = described.resolution

    def read(self, x: int, y: int, w: int, h: int, size: tuple[int, int]) -> Pixels:
        """Return a region in level-0 pixels, resampled to `size` (width, height), as (height, width, 3) uint8 RGB."""
        pixels = self._ask({"read": [x, y, w, h, *size]}, size[0] * size[1] * 3)[1]
        return np.frombuffer(pixels, dtype=np.uint8).reshape(size[1], size[0], 3)

    def close(self) -> None:
        """Close the file; the child serves another."""
        if self._child is not None:
            _given_back(self._child)
        self._child = None

    def _ask(self, request: dict[str, Any], expected: int = 0) -> tuple[dict[str, Any], bytes]:
        """Return the child's answer and the pixels that follow it; a child that does not answer is ended."""
        if self._child is None:
            raise SlideError(f"{self._path.name} is closed; open it again")
        try:
            answer, pixels = self._child.answer(request, expected, self._path.name)
        except BaseException:
            self._child.end()
            self._child = None
            raise
        if "error" in answer:
            if "path" in request:
                self.close()
            raise MemoryError(answer["error"]) if answer.get("memory") else SlideError(answer["error"])
        return answer, pixels


def asked(path: Path, driver: str, image: Choice = None) -> SlideDescription:
    """Return what a general reader says of the slide at `path`, after reading a little of it.

    Raises
    ------
    SlideError
        The file does not open, or ends the child, or keeps it busy for too long; the next file has another.
    """
    with _ASKING:
        try:
            reader = ReaderApart(path, driver, image, look=True)
        except MemoryError:
            raise SlideError(f"{path.name} takes more than {MEGABYTES} MB to open; leave it out") from None
        reader.close()
        return SlideDescription.of(reader)


class _Child:
    """A child process that has one file open at a time."""

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

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    def answer(self, request: dict[str, Any], expected: int, name: str) -> tuple[dict[str, Any], bytes]:
        """Return the child's answer to a request about the file `name`, and the `expected` bytes after it."""
        assert self._process.stdin is not None
        until = time.monotonic() + SECONDS
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise SlideError(f"{name} could not be tried, its reader had ended; run again") from None
        line = bytearray()
        while not line.endswith(b"\n"):
            line += self._received(1, until, name)
        content: dict[str, Any] = json.loads(line)
        if "error" in content or not expected:
            return content, b""
        pixels = bytearray()
        while len(pixels) < expected:
            pixels += self._received(expected - len(pixels), until, name)
        return content, bytes(pixels)

    def _received(self, most: int, until: float, name: str) -> bytes:
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, until - time.monotonic()))
        if not ready:
            raise SlideError(f"{name} keeps its reader busy for more than {SECONDS} s; replace it or leave it out")
        part = os.read(self._process.stdout.fileno(), min(most, 1 << 20))
        if not part:
            raise SlideError(f"{name} ends the process that reads it ({self._cause()}); replace it or leave it out")
        return part

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


_IDLE: list[_Child] = []
_LOCK, _ASKING = threading.Lock(), threading.Lock()


def _taken() -> _Child:
    """Return a child that waits, or a new one."""
    with _LOCK:
        while _IDLE:
            child = _IDLE.pop()
            if child.is_mine:
                return child
    return _Child()


def _given_back(child: _Child) -> None:
    with _LOCK:
        if len(_IDLE) < _MOST_IDLE:
            _IDLE.append(child)
            return
    child.end()


def _serve() -> None:
    """Answer every request on standard input with a line of JSON, and pixels after it, until there are no more."""
    # Native libraries print where they like: the answers have a channel of their own.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    threading.Thread(target=_follow, args=(os.getppid(),), daemon=True).start()
    _limit_memory()
    reader: GeneralReader | None = None
    for line in sys.stdin:
        request, pixels = json.loads(line), b""
        try:
            if "read" in request:
                assert reader is not None
                x, y, w, h, *size = request["read"]
                pixels = np.ascontiguousarray(reader.read(x, y, w, h, (size[0], size[1])), dtype=np.uint8).tobytes()
                answer: dict[str, Any] = {}
            else:
                if reader is not None:
                    reader.close()
                reader = None
                reader = general_reader(Path(request["path"]), request["driver"], request["image"])
                answer = asdict(SlideDescription.of(reader))
                if request["look"]:
                    _look_at(reader)
        except (SlideError, OSError) as error:
            answer = {"error": str(error)}
        except MemoryError as error:
            answer = {"error": str(error), "memory": True}
        answers.write(json.dumps(answer).encode() + b"\n" + pixels)
        answers.flush()


def _look_at(reader: GeneralReader) -> None:
    """Read a small picture of the whole slide, as a file may open and not be readable."""
    width, height = reader.levels[0]
    shrink = max(1.0, max(width, height) / _LOOKED_AT_PX)
    reader.read(0, 0, width, height, (max(1, math.floor(width / shrink)), max(1, math.floor(height / shrink))))


def _limit_memory() -> None:
    """Bound what this process may allocate; what starts it may have set a bound already."""
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if soft == resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_DATA, (MEGABYTES << 20, hard))


def _follow(parent: int) -> None:
    """End this process when its parent is gone, even while a file keeps it busy."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(0)


if __name__ == "__main__":
    _serve()
