"""One file over HTTP, whole or not at all: resumed, retried, verified.

What has arrived lies in `.<name>.part` beside the target, and `.<name>.part.json` says of which
content it is a part, so that a later process goes on where a killed one stopped.
"""

from __future__ import annotations

import errno
import hashlib
import html
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from histo_assets.core.download.errors import DownloadError
from histo_assets.core.files import cache_root, file_digest, file_lock
from histo_assets.core.progress import ByteProgress

if TYPE_CHECKING:
    import requests
    from urllib3.util.retry import Retry


_CHUNK = 1 << 18
_TRANSIENT = {408, 425, 429, 500, 502, 503, 504}
_SHORTEST_WAIT, _LONGEST_WAIT = 0.5, 60.0  # seconds between attempts
_BETWEEN_TRIES = 0.5  # seconds; who waits for another's transfer may wait for hours, and the cache may be a network's
_DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO, errno.EFBIG}


@dataclass(frozen=True)
class RemoteFile:
    """A file on a server, its name here, and what is known of its content."""

    url: str
    name: str
    bytes: int | None = None
    sha256: str | None = None
    md5: str | None = None


@dataclass(frozen=True)
class Fetched:
    """A file that has arrived whole."""

    path: Path
    bytes: int
    sha256: str


class _Interrupted(Exception):
    """The transfer stopped for a reason that may pass; `wait` is what the server asked for, in seconds."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


def fetch_file(
    remote: RemoteFile,
    target: Path,
    *,
    attempts: int = 5,
    timeout_seconds: float = 60,
    progress: ByteProgress | None = None,
    refuse_html: bool = True,
    wait: Callable[[float], None] = time.sleep,
) -> Fetched:
    """Return the file at `target`, fetched whole and verified.

    A transfer that stops is resumed where it stopped, in this call or a later one, as long as the
    server still has the same content. Two processes that want one file share the transfer.

    Parameters
    ----------
    remote
        Where it is; size and digests are verified where they are known.
    attempts
        How often in a row the transfer may fail without a byte arriving.
    progress
        Called with the bytes that are here and all bytes (None where the server does not say).
    refuse_html
        Whether a page in the file's place is an error.
    wait
        Waits between attempts, in seconds.

    Raises
    ------
    DownloadError
        The server refuses, sends something else, or the disk is too small.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    before = _stamp(target)
    with _alone(target):
        if _stamp(target) != before and target.exists():
            return Fetched(target, target.stat().st_size, file_digest(target))
        part = _Part(remote, target)
        for last in (False, True):
            _transfer(part, attempts, timeout_seconds, progress, refuse_html, wait)
            sha256 = file_digest(part.path)
            problem = part.mismatch(sha256)
            if problem is None:
                return part.published(sha256)
            part.discard()
            if last:
                raise DownloadError(f"{remote.name} from {remote.url} {problem}, twice; see to the source")
        raise AssertionError("unreachable")


def _transfer(
    part: _Part,
    attempts: int,
    timeout_seconds: float,
    progress: ByteProgress | None,
    refuse_html: bool,
    wait: Callable[[float], None],
) -> None:
    """Append to the part until it is whole."""
    fresh = retry = _retry(attempts)
    while True:
        had = part.size
        try:
            _receive(part, timeout_seconds, progress, refuse_html, fresh)
            return
        except _Interrupted as error:
            retry = fresh if part.size > had else retry
            if not retry.total:
                raise DownloadError(
                    f"{part.remote.name} could not be fetched from {part.remote.url} in {attempts} attempts ({error}); "
                    "what has arrived is kept, try again later"
                ) from None
            retry = retry.increment(error=error)
            # urllib3 would ask a second time at once, and so a server that drops every connection without a pause.
            pause = max(_SHORTEST_WAIT, retry.get_backoff_time())
            wait(pause if error.wait is None else error.wait)


def _retry(attempts: int) -> Retry:
    """Return which answers are asked for again, how often in a row, and after how long."""
    from urllib3.util.retry import Retry

    return Retry(
        attempts - 1, status_forcelist=_TRANSIENT, backoff_factor=1, backoff_jitter=1, backoff_max=_LONGEST_WAIT
    )


def _receive(
    part: _Part, timeout_seconds: float, progress: ByteProgress | None, refuse_html: bool, retry: Retry
) -> None:
    """Ask for what is missing and append what comes."""
    import requests
    import urllib3

    try:
        with requests.get(
            part.remote.url, headers=part.request_headers(), stream=True, timeout=timeout_seconds
        ) as answer:
            start = _start_of(answer, part, retry)
            if start is None:
                return
            # What has come so far, not whole chunks: nothing that arrived before a drop is lost.
            chunks = iter(lambda: answer.raw.read1(_CHUNK), b"")
            first = next(chunks, b"")
            if refuse_html and start == 0:
                _refuse_page(answer, first, part.remote)
            part.begin(answer, start)
            part.append(first, chunks, progress)
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise _Interrupted(_line(error)) from None
    if part.length is not None and part.size < part.length:
        raise _Interrupted(f"the connection ended after {part.size:,} of {part.length:,} bytes")


def _start_of(answer: requests.Response, part: _Part, retry: Retry) -> int | None:
    """Return at which byte the answer's body begins; None where nothing is missing."""
    status = answer.status_code
    if status == 200:
        return 0
    if status == 206:
        found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", answer.headers.get("Content-Range", ""))
        if found is None or int(found[1]) != part.size or not part.continues(answer, found[3]):
            part.discard()
            raise _Interrupted("the server has other content than before")
        return part.size
    if status == 416:
        if part.length is not None and part.size == part.length:
            return None
        part.discard()
        raise _Interrupted("the server has less than had arrived")
    if retry.is_retry("GET", status, "Retry-After" in answer.headers):
        raise _Interrupted(f"the server answered {status}", _retry_after(answer, retry))
    raise DownloadError(
        f"{part.remote.name}: the server answered {status} {answer.reason} to {part.remote.url}; "
        "correct the address or ask for access"
    )


@dataclass(frozen=True)
class _PartNote:
    """Of which content a part is, as the file beside it says.

    Attributes
    ----------
    url
        Where it is fetched from; empty where nothing is known.
    validator
        What tells it from later content under that address, if the server names anything.
    length
        Bytes of the whole, where the server says.
    """

    url: str = ""
    validator: str | None = None
    length: int | None = None

    @classmethod
    def read(cls, path: Path) -> _PartNote:
        """Return the note in a file; an empty one where it holds none."""
        try:
            return cls(**json.loads(path.read_text()))
        except (ValueError, TypeError):
            return cls()


class _Part:
    """What has arrived of a file, and of which content it is a part."""

    def __init__(self, remote: RemoteFile, target: Path) -> None:
        self.remote, self.target = remote, target
        self.path = target.with_name(f".{target.name}.part")
        self._note_path = target.with_name(f".{target.name}.part.json")
        self._note = _PartNote()
        if self.path.exists() and self._note_path.exists():
            self._note = _PartNote.read(self._note_path)
        if self._note.url != remote.url:
            self.discard()

    @property
    def size(self) -> int:
        """Bytes that have arrived."""
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def length(self) -> int | None:
        """Bytes of the whole file, where anyone knows."""
        return self.remote.bytes if self._note.length is None else self._note.length

    def request_headers(self) -> dict[str, str]:
        """Return the headers that ask for the rest, if it is still the same content."""
        headers = {"Accept-Encoding": "identity", "User-Agent": "histo-assets"}
        if self.size and not (self._note.validator or self.remote.sha256 or self.remote.md5):
            self.discard()  # two versions could be glued together, and nobody would know
        if self.size:
            headers["Range"] = f"bytes={self.size}-"
            if self._note.validator:
                headers["If-Range"] = self._note.validator
        return headers

    def continues(self, answer: requests.Response, total: str) -> bool:
        """Return whether a partial answer is of the content that the part is of."""
        before, now = self._note.validator, _validator(answer)
        same = not (before and now) or before == now
        return same and (total == "*" or self.length in (None, int(total)))

    def begin(self, answer: requests.Response, start: int) -> None:
        """Get ready for a body that begins at byte `start`."""
        if start:
            return
        stated = answer.headers.get("Content-Length")
        length = int(stated) if stated is not None and stated.isdigit() else None
        if length is not None and self.remote.bytes not in (None, length):
            raise DownloadError(
                f"{self.remote.name} has {self.remote.bytes:,} bytes, but {self.remote.url} offers {length:,}; "
                "correct the listing or the address"
            )
        self.discard()
        self._refuse_small_disk(length or self.remote.bytes or 0)
        self._note = _PartNote(self.remote.url, _validator(answer), length)
        self._note_path.write_text(json.dumps(asdict(self._note)))
        self.path.touch()

    def append(self, first: bytes, rest: Iterator[bytes], progress: ByteProgress | None) -> None:
        """Write the body to the end of what is there."""
        try:
            with open(self.path, "ab") as file:
                file.write(first)
                for chunk in rest:
                    file.write(chunk)
                    if progress is not None:
                        progress(file.tell(), self.length)
                if progress is not None:
                    progress(file.tell(), self.length)
        except OSError as error:
            if error.errno not in _DISK_ERRORS:
                raise _Interrupted(_line(error)) from None
            raise DownloadError(
                f"{self.remote.name} cannot be written to {self.target.parent} ({_line(error)}); "
                "make room and run again"
            ) from None

    def mismatch(self, sha256: str) -> str | None:
        """Return how the content differs from what is known of it, or None."""
        if self.remote.bytes not in (None, self.size):
            return f"has {self.size:,} bytes, {self.remote.bytes:,} are expected"
        if self.remote.sha256 and self.remote.sha256.lower() != sha256:
            return f"has sha256 {sha256}, {self.remote.sha256} is expected"
        if self.remote.md5:
            with open(self.path, "rb") as file:
                md5 = hashlib.file_digest(file, "md5").hexdigest()
            if md5 != self.remote.md5.lower():
                return f"has md5 {md5}, {self.remote.md5} is expected"
        return None

    def published(self, sha256: str) -> Fetched:
        """Return the file at its target."""
        with open(self.path, "rb+") as file:
            os.fsync(file.fileno())
        size = self.size
        os.replace(self.path, self.target)
        self._note_path.unlink(missing_ok=True)
        return Fetched(self.target, size, sha256)

    def discard(self) -> None:
        """Forget what has arrived."""
        self._note = _PartNote()
        self.path.unlink(missing_ok=True)
        self._note_path.unlink(missing_ok=True)

    def _refuse_small_disk(self, needed: int) -> None:
        free = shutil.disk_usage(self.target.parent).free
        if needed > free:
            raise DownloadError(
                f"{self.remote.name} has {needed / 1e9:.2f} GB, and {self.target.parent} has {free / 1e9:.2f} GB left; "
                "make room, or set slides.source.keep"
            )


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Hold the lock on a target, so that one process of this machine at a time fetches it."""
    name = hashlib.sha256(str(target.absolute()).encode()).hexdigest()[:32]
    with file_lock(cache_root() / "locks" / name, _BETWEEN_TRIES):
        yield


def _stamp(path: Path) -> tuple[int, int] | None:
    return (path.stat().st_size, path.stat().st_mtime_ns) if path.exists() else None


def _validator(answer: requests.Response) -> str | None:
    """Return what tells the content from later content under the same address."""
    etag = answer.headers.get("ETag")
    return etag if etag and not etag.startswith("W/") else answer.headers.get("Last-Modified")


def _retry_after(answer: requests.Response, retry: Retry) -> float | None:
    """Return the seconds to wait that the server asks for, by number or date; None where it asks for none."""
    from urllib3.exceptions import InvalidHeader

    try:
        return min(_LONGEST_WAIT, retry.parse_retry_after(answer.headers.get("Retry-After", "")))
    except (InvalidHeader, ValueError, OverflowError):
        return None


def _refuse_page(answer: requests.Response, body: bytes, remote: RemoteFile) -> None:
    start = body[:4096].lstrip(b"\xef\xbb\xbf \t\r\n")
    is_page = start[:15].lower().startswith((b"<!doctype html", b"<html", b"<head", b"<body"))
    if not is_page and not answer.headers.get("Content-Type", "").startswith("text/html"):
        return
    found = re.search(rb"<title[^>]*>(.*?)</title>", body, re.IGNORECASE | re.DOTALL)
    title = html.unescape(" ".join(found[1].decode(errors="replace").split()))[:100] if found else "no title"
    raise DownloadError(f"{remote.url} sent an HTML page ({title}) in place of {remote.name}; correct the address")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
