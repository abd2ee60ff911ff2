"""The bytes of a text file as UTF-8 lines, whatever packed and wrote them; what is no text is named as what it is."""

from __future__ import annotations

import codecs
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, cast

from isal import igzip, isal_zlib

from histo_assets.core.expression.errors import ExpressionError

# The longest lines of real tables, a gene over hundreds of thousands of samples, have a few MB.
MOST_BYTES_OF_A_LINE = 1 << 24
# Tables of numbers shrink to a tenth by gzip, those of little but zeros to a fiftieth.
MOST_TIMES_PACKED = 200
_SURELY_BOUNDED = 1 << 26
_PIECE = 1 << 16
_HEAD_LINES, _HEAD_BYTES = 200, 1 << 18

_DAMAGE: Any = (igzip.BadGzipFile, isal_zlib.error)
_GZIP = b"\x1f\x8b"
_NO_TEXT = {
    b"PK\x03\x04": "a ZIP archive or an Excel workbook (.xlsx); unpack it, or save the sheet as tab-separated text",
    b"\xd0\xcf\x11\xe0": "an Excel workbook (.xls); save the sheet as tab-separated text",
    b"BZh": "packed by bzip2; unpack it, or pack it by gzip",
    b"\xfd7zXZ": "packed by xz; unpack it, or pack it by gzip",
    b"(\xb5/\xfd": "packed by zstd; unpack it, or pack it by gzip",
    b"\x89HDF": "an HDF5 file; if it is h5ad, say so as `expression.format`",
    b"PAR1": "a parquet file; say so as `expression.format`",
    b"%PDF": "a PDF; give the table itself",
    b"<!DOCTYPE": "a web page; what was fetched is no table, fetch it again",
    b"<html": "a web page; what was fetched is no table, fetch it again",
    _GZIP: "packed by gzip twice; unpack it once",
}
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    codecs.BOM_UTF8: None,
}


@contextmanager
def opened(path: str) -> Iterator[BinaryIO]:
    """Yield the lines of a local text file, plain or gzipped: UTF-8, each ended by a line feed.

    UTF-16, UTF-32, other one-byte text (read as Windows-1252) and lines ended by a carriage return alone are
    rewritten as they pass; UTF-8 passes as it is, its carriage returns before line feeds too.

    Raises
    ------
    ExpressionError
        The file is missing, damaged, or no text; the sentence names what it is.
    """
    try:
        with _unpacked(path) as stream:
            encoding, rewritten = _way(stream, path)
        with _unpacked(path) as stream:
            yield cast(BinaryIO, io.BufferedReader(_Rewritten(stream, encoding, path))) if rewritten else stream
    except FileNotFoundError:
        raise ExpressionError(f"{path} does not exist; put it there or correct `expression.file`") from None
    except EOFError:
        raise ExpressionError(f"{path} is cut off: its gzip stream has no end; fetch the file again") from None
    except _DAMAGE as error:
        raise ExpressionError(f"{path} is damaged gzip ({error}); fetch the file again") from None
    except OSError as error:
        raise ExpressionError(f"{path} cannot be read ({error}); correct `expression.file`") from None


def bounded_line(stream: BinaryIO, path: str, number: int) -> bytes:
    """Return the next line of a stream, or raise an ExpressionError if it is no line of any table."""
    line = stream.readline(MOST_BYTES_OF_A_LINE + 1)
    if len(line) > MOST_BYTES_OF_A_LINE:
        raise ExpressionError(endless(path, number))
    if b"\0" in line:
        raise ExpressionError(holds_nul(path, number))
    return line


def endless(path: str, number: int) -> str:
    """Return the sentence on a line that is longer than any of a table."""
    return (
        f"{path}, line {number} is longer than {MOST_BYTES_OF_A_LINE >> 20} MB, so this is no table of expression; "
        f"write a row on a line of its own, or give the right file"
    )


def holds_nul(path: str, number: int) -> str:
    """Return the sentence on a line with NUL bytes."""
    return f"{path}, line {number} holds NUL bytes, which no text has; the file is damaged, write or fetch it again"


def first_lines(path: str, at_least: int = 1) -> list[str]:
    """Return the first lines of a text file without their ends: some hundreds, fewer where they are long.

    Raises
    ------
    ExpressionError
        The file is no text, a line is longer than any of a table, or the file breaks off within `at_least` lines.
    """
    lines: list[str] = []
    size = 0
    with opened(path) as stream:
        while len(lines) < _HEAD_LINES and (size < _HEAD_BYTES or len(lines) <= at_least):
            try:
                line = bounded_line(stream, path, len(lines) + 1)
            except (EOFError, *_DAMAGE):
                if len(lines) < at_least:
                    raise
                break
            if not line:
                break
            size += len(line)
            lines.append(line.decode("utf-8-sig" if not lines else "utf-8", errors="replace").rstrip("\r\n"))
    return lines


def whole_content(path: str) -> bytes:
    """Return the text of a file that is read whole.

    Raises
    ------
    ExpressionError
        It is no text, or unpacks to more than any table does.
    """
    most = max(_SURELY_BOUNDED, MOST_TIMES_PACKED * os.path.getsize(path)) if os.path.exists(path) else _SURELY_BOUNDED
    content = bytearray()
    with opened(path) as stream:
        while piece := stream.read1(_PIECE * 16):  # type: ignore[attr-defined]
            content += piece
            if len(content) > most:
                raise ExpressionError(
                    f"{path} unpacks to more than {MOST_TIMES_PACKED} times its size, which no table does; "
                    f"give the right file"
                )
    if (place := content.find(b"\0")) >= 0:
        raise ExpressionError(holds_nul(path, content.count(b"\n", 0, place) + 1))
    return bytes(content)


@contextmanager
def _unpacked(path: str) -> Iterator[BinaryIO]:
    unzipped: Callable[..., Any] = igzip.open
    with open(path, "rb") as file:
        start = file.read(512)
    zipped = start.startswith(_GZIP)
    if not zipped:
        _refuse_no_text(start, path)
    with unzipped(path, "rb") if zipped else open(path, "rb") as stream:
        yield stream


def _way(stream: BinaryIO, path: str) -> tuple[str, bool]:
    """Return the encoding of a text, and whether it has to be rewritten."""
    start = bytearray()
    try:
        # The first line decides about line ends; one that is too long is named when it is read.
        piece = b""
        while (
            len(start) < MOST_BYTES_OF_A_LINE and b"\n" not in piece and b"\r" not in bytes(start[-len(piece) - 1 : -1])
        ):
            piece = stream.read1(_PIECE)  # type: ignore[attr-defined]
            if not piece:
                break
            start += piece
    except (EOFError, *_DAMAGE):
        pass
    _refuse_no_text(bytes(start[:512]), path)
    for mark, encoding in _MARKS.items():
        if start.startswith(mark):
            return encoding or "utf-8", encoding is not None or _ends_by_return(start)
    zeros = start[:1000].count(0)
    if zeros > 0.3 * len(start[:1000]):
        even = start[:1000:2].count(0)
        # A text of Latin letters has its zeros on one side; what has them everywhere is no text.
        if even in (0, zeros):
            return ("utf-16-be" if even else "utf-16-le"), True
    if not _is_utf8(start):
        return "cp1252", True
    return "utf-8", _ends_by_return(start)


def _ends_by_return(start: bytearray) -> bool:
    place = start.find(b"\r")
    return place >= 0 and b"\n" not in start[: place + 2]


def _is_utf8(start: bytearray) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(start)
    except UnicodeDecodeError:
        return False
    return True


def _refuse_no_text(start: bytes, path: str) -> None:
    for magic, what in _NO_TEXT.items():
        if start.lstrip().lower().startswith(magic.lower()) if magic.startswith(b"<") else start.startswith(magic):
            raise ExpressionError(f"{path} is {what}")
    if start[257:262] == b"ustar":
        raise ExpressionError(f"{path} is a tar archive; unpack it and name the table in it")


class _Rewritten(io.RawIOBase):
    """A text of any encoding as UTF-8 with line feeds."""

    def __init__(self, stream: BinaryIO, encoding: str, path: str) -> None:
        self.stream, self.path, self.encoding = stream, path, encoding
        decoder = codecs.getincrementaldecoder(encoding)("replace" if encoding == "cp1252" else "strict")
        self.decoder = io.IncrementalNewlineDecoder(decoder, translate=True)
        self.left, self.ended = b"", False

    def readable(self) -> bool:
        """Return True: it is read from."""
        return True

    def readinto(self, target: Any) -> int:
        """Fill a buffer, and return how many bytes were written."""
        while not self.left and not self.ended:
            piece = self.stream.read1(_PIECE)  # type: ignore[attr-defined]
            self.ended = not piece
            try:
                self.left = self.decoder.decode(piece, final=self.ended).encode()
            except (UnicodeDecodeError, UnicodeEncodeError) as error:
                raise ExpressionError(
                    f"{self.path} begins as {self.encoding.upper()} and does not go on so ({error.reason}); "
                    f"write it again as UTF-8"
                ) from None
        size = min(len(target), len(self.left))
        target[:size], self.left = self.left[:size], self.left[size:]
        return size
