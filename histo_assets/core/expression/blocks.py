"""Genes in rows, read from text block by block, so that a file larger than memory can be read."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, BinaryIO, Protocol

import numpy as np
import numpy.typing as npt
from isal import isal_zlib

from histo_assets.core.delimited import PLAIN, Numbers, fields
from histo_assets.core.expression.errors import ExpressionError
from histo_assets.core.expression.parsing import GENE, POWERS, SKIP, SYMBOL, compiled, parse_rows
from histo_assets.core.expression.streams import MOST_BYTES_OF_A_LINE, endless, holds_nul

# Small enough that a block and its numbers stay in the processor's cache.
BLOCK_BYTES = 1 << 20
_SLACK = 2
_NEWLINE = 10
_DAMAGE: Any = (OSError, isal_zlib.error)

Positions = npt.NDArray[np.int64]


@dataclass(frozen=True)
class GeneBlock:
    """Some genes of the file: `values` is (genes, samples) float64 in the file's units; '' where a symbol lacks."""

    gene_id: list[str]
    symbol: list[str]
    values: npt.NDArray[np.float64]

    def name(self, row: int) -> str:
        """Return the id and the symbol of one gene, as messages name it."""
        return f"{self.gene_id[row]} {self.symbol[row]}".strip()


class ExpressionSource(Protocol):
    """An expression file whose genes can be read in blocks, as often as needed."""

    @property
    def path(self) -> str:
        """Return the path that messages name."""
        ...

    @property
    def samples(self) -> list[str]:
        """Return the names of all samples of the file."""
        ...

    @property
    def others(self) -> list[str]:
        """Return the names of columns that are no samples unless one of that name is asked for."""
        ...

    @property
    def length_column(self) -> str | None:
        """Return the column that gives the genes' base pairs."""
        ...

    @property
    def log1p(self) -> str:
        """Return the logarithm of 1 + x that the file says was taken; '' for none."""
        ...

    @property
    def layers(self) -> list[str]:
        """Return the names of further matrices of the file."""
        ...

    def blocks(self, samples: Sequence[str], signed: bool = False) -> Iterator[GeneBlock]:
        """Yield all genes with the values of `samples`; negative values are refused unless `signed`."""
        ...

    def notes(self, genes: int) -> list[str]:
        """Return what is odd about the file, once it is known to hold `genes` genes."""
        ...


@dataclass(frozen=True)
class RowFormat:
    """How the lines of a file are laid out.

    `roles` has one entry a column: `SKIP`, `GENE`, `SYMBOL`, or from 0 the place of the sample among the wanted ones.
    """

    path: str
    columns: list[str]
    roles: Positions
    first_line: int
    separator: str = "\t"
    signed: bool = False
    numbers: Numbers = PLAIN

    @property
    def wanted(self) -> int:
        """The number of samples that are read."""
        return int((self.roles >= 0).sum())

    @cached_property
    def fields(self) -> tuple[Positions, Positions, int]:
        """The roles of the columns that are read, how many to skip before each, and how many after the last."""
        read = np.flatnonzero(self.roles != SKIP)
        return self.roles[read], np.diff(read, prepend=-1) - 1, len(self.roles) - 1 - int(read[-1])


def gene_blocks(stream: BinaryIO, layout: RowFormat) -> Iterator[GeneBlock]:
    """Yield the genes of the lines that `stream` still holds, about `BLOCK_BYTES` of text at a time.

    Raises
    ------
    ExpressionError
        A line has more or fewer values than columns, or a wanted value is no finite number, or negative where the
        layout is not signed; the message names the line, the gene and the sample. The stream breaks off; the message
        names the last whole line and its gene.
    """
    line, gene = layout.first_line, "none"
    window = _Window(stream)
    while window.whole():
        if (place := window.text.find(b"\0", window.start, window.end)) >= 0:
            raise ExpressionError(holds_nul(layout.path, line + window.text.count(b"\n", window.start, place)))
        block, lines = _parsed(window, layout, line)
        line += lines
        if block.gene_id:
            gene = block.name(-1)
            yield block
    if window.endless:
        raise ExpressionError(endless(layout.path, line))
    if window.damage:
        raise ExpressionError(f"{layout.path} {window.damage} after line {line - 1}, gene {gene}; fetch the file again")


class _Window:
    """The part of a stream that is in memory: whole lines in `text[start:end]`, then the beginning of the next.

    `damage` says why the stream could not be read to its end; what came before is still given out. `endless`: a line
    is longer than any of a table.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        self.text = bytearray(BLOCK_BYTES + _SLACK)
        self.start = self.end = self.filled = 0
        self.ended = self.endless = False
        self.damage = ""

    def whole(self) -> bool:
        """Return whether there are whole lines left, after reading on if there were none."""
        if self.start < self.end:
            return True
        rest = self.filled - self.end
        self.text[:rest] = self.text[self.end : self.filled]
        self.filled, self.start, self.end = rest, 0, 0
        while not self.end and not self.ended:
            if self.filled > MOST_BYTES_OF_A_LINE:
                self.endless = True
                return False
            self._fill()
            if self.ended and not self.damage and self.filled and self.text[self.filled - 1] != _NEWLINE:
                self.text[self.filled] = _NEWLINE
                self.filled += 1
            self.end = self.text.rfind(b"\n", 0, self.filled) + 1
        return self.end > 0

    def _fill(self) -> None:
        if len(self.text) - self.filled <= _SLACK:
            self.text = self.text.ljust(2 * len(self.text), b"\0")
        room = memoryview(self.text)[: len(self.text) - _SLACK]
        while not self.ended and self.filled < len(room):
            try:
                part = self.stream.read1(len(room) - self.filled)  # type: ignore[attr-defined]
            except EOFError:
                part, self.damage = b"", "is cut off, its gzip stream has no end,"
            except _DAMAGE as error:
                part, self.damage = b"", f"cannot be read ({error})"
            room[self.filled : self.filled + len(part)] = part
            self.filled += len(part)
            self.ended = not part


def _parsed(window: _Window, layout: RowFormat, first_line: int) -> tuple[GeneBlock, int]:
    """Return genes of the whole lines of a window, which moves on, and how many lines these were."""
    text = np.frombuffer(window.text, dtype=np.uint8)[window.start :]
    # A number and a separator take two bytes; shorter lines than that are for the next call.
    most = (window.end - window.start) // (2 * len(layout.columns)) + 1
    values = np.empty((most, layout.wanted))
    texts = np.zeros((most, 4), dtype=np.int64)
    places = np.empty((most, 3), dtype=np.int64)
    odd = np.zeros(most, dtype=np.bool_)
    size = np.uint64(window.end - window.start)
    separator, point = np.uint8(ord(layout.separator)), np.uint8(ord(layout.numbers.point))
    rows, lines, used = compiled(parse_rows)(
        text, size, separator, point, *layout.fields, layout.signed, POWERS, values, texts, places, odd
    )
    window.start += int(used)
    named = texts[:rows].tolist()
    genes, symbols = ([_text(text, *place[i : i + 2]) for place in named] for i in (0, 2))
    block = GeneBlock(genes, symbols, values[:rows])
    for row in np.flatnonzero(odd[:rows]):
        line, start, end = (int(place) for place in places[row])
        _reread(block, int(row), text[start:end].tobytes().decode(errors="replace"), layout, first_line + line)
    return block, lines


def _text(text: npt.NDArray[np.uint8], start: int, end: int) -> str:
    return text[start:end].tobytes().decode(errors="replace").strip('" \r')


def _reread(block: GeneBlock, row: int, text: str, layout: RowFormat, line: int) -> None:
    """Fill in one gene of a block the slow way, or report what is wrong with its line."""
    cells = text.split(layout.separator)
    if len(cells) != len(layout.columns):
        try:
            cells = fields(text, layout.separator)
        except ValueError as error:
            raise ExpressionError(f"{layout.path}, line {line} cannot be read: {error}; write it again") from None
    if '"' in text:
        cells = [cell.strip('" ') for cell in cells]
    names = {int(role): cell for role, cell in zip(layout.roles, cells, strict=False) if role < SKIP}
    gene = " ".join(names[role] for role in (GENE, SYMBOL) if role in names)
    where = f"{layout.path}, line {line}, gene {gene}"
    if len(cells) != len(layout.columns):
        raise ExpressionError(
            f"{where}: {len(cells)} columns where the header names {len(layout.columns)}; "
            f"the row is ragged or the file is cut off, write or fetch it again"
        )
    block.gene_id[row], block.symbol[row] = names.get(GENE, ""), names.get(SYMBOL, "")
    wanted = np.flatnonzero(layout.roles >= 0)
    try:
        numbers = np.array([layout.numbers.value(cells[column]) for column in wanted])
    except ValueError:
        numbers = np.full(len(wanted), np.nan)
    if not np.isfinite(numbers).all() or (not layout.signed and (numbers < 0).any()):
        for column in wanted:
            _refuse_no_number(cells[column], f"{where}, sample {layout.columns[column]}", layout)
    block.values[row, layout.roles[wanted]] = numbers


def _refuse_no_number(cell: str, where: str, layout: RowFormat) -> None:
    """Raise an ExpressionError if a cell holds no finite number, or a negative one where it must not be."""
    try:
        value = layout.numbers.value(cell)
    except ValueError:
        value = math.nan
    if math.isnan(value):
        way_out = "write 0 or drop the gene or the sample"
        if re.search(r"\d\D\d", cell):
            way_out = f"the numbers of this file are read as {layout.numbers.words}, write all of them so"
        raise ExpressionError(f"{where}: {cell!r} is no number; {way_out}")
    if math.isinf(value):
        raise ExpressionError(f"{where}: {cell!r} is infinite; correct it or drop the gene")
    if value < 0 and not layout.signed:
        raise ExpressionError(
            f"{where}: {cell!r} is negative; expression is not, unless it is logarithms (`expression.units: log2`)"
        )
