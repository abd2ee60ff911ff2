"""Genes in rows, read from text block by block, so that a file larger than memory can be read."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, BinaryIO, Protocol

import numpy as np
import numpy.typing as npt

from histo_assets.core.expression.errors import ExpressionError

BLOCK_BYTES = 8 << 20
SKIP, GENE, SYMBOL = -1, -2, -3
_NEWLINE, _RETURN = 10, 13

Bytes = npt.NDArray[np.uint8]
Positions = npt.NDArray[np.int64]


@dataclass(frozen=True)
class GeneBlock:
    """Some genes of the file: `values` is (genes, samples) float64 in the file's units; '' where a symbol lacks."""

    gene_id: list[str]
    symbol: list[str]
    values: npt.NDArray[np.float64]


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

    @property
    def wanted(self) -> int:
        """The number of samples that are read."""
        return int((self.roles >= 0).sum())


def gene_blocks(stream: BinaryIO, layout: RowFormat) -> Iterator[GeneBlock]:
    """Yield the genes of the lines that `stream` still holds, about `BLOCK_BYTES` of text at a time.

    Raises
    ------
    ExpressionError
        A line has more or fewer values than columns, or a wanted value is no finite number, or negative where the
        layout is not signed; the message names the line, the gene and the sample.
    """
    line = layout.first_line
    rest = b""
    while chunk := stream.read(BLOCK_BYTES):
        rest += chunk
        whole = rest.rfind(b"\n") + 1
        if whole:
            block, rest = rest[:whole], rest[whole:]
            yield from _parsed(block, layout, line)
            line += block.count(b"\n")
    if rest:
        yield from _parsed(rest + b"\n", layout, line)


def _parsed(text: bytes, layout: RowFormat, first_line: int) -> Iterator[GeneBlock]:
    """Yield the genes of a block of whole lines, unless all of them are empty."""
    buffer = np.frombuffer(text, dtype=np.uint8)
    ends = np.flatnonzero(buffer == _NEWLINE)
    starts = np.concatenate([[0], ends[:-1] + 1])
    ends = ends - ((ends > starts) & (buffer[ends - 1] == _RETURN))
    numbers = np.flatnonzero(ends > starts)
    if not len(numbers):
        return
    rows = _Rows(buffer, starts[numbers], ends[numbers], layout)
    rows.parse()
    for row in np.flatnonzero(rows.odd):
        rows.reread(int(row), first_line + int(numbers[row]))
    yield GeneBlock(rows.gene_id, rows.symbol, rows.values)


@dataclass
class _Rows:
    """The lines of a block while they are parsed."""

    buffer: Bytes
    starts: Positions
    ends: Positions
    layout: RowFormat
    values: npt.NDArray[np.float64] = field(init=False)
    odd: npt.NDArray[np.bool_] = field(init=False)
    gene_id: list[str] = field(init=False)
    symbol: list[str] = field(init=False)

    def parse(self) -> None:
        """Fill in what is plain digits; a row with anything else is marked odd."""
        count = len(self.starts)
        self.values = np.empty((count, self.layout.wanted))
        self.odd = np.zeros(count, dtype=np.bool_)
        texts = np.zeros((count, 4), dtype=np.int64)
        separator = ord(self.layout.separator)
        _compiled()(
            self.buffer, self.starts, self.ends, separator, self.layout.roles, _POWERS, self.values, texts, self.odd
        )
        self.gene_id = [self._text(start, end) for start, end in texts[:, :2]]
        self.symbol = [self._text(start, end) for start, end in texts[:, 2:]]

    def _text(self, start: int, end: int) -> str:
        return self.buffer[start:end].tobytes().decode(errors="replace").strip('" ')

    def reread(self, row: int, line: int) -> None:
        """Fill in one row the slow way, or say what is wrong with it."""
        layout = self.layout
        text = self.buffer[self.starts[row] : self.ends[row]].tobytes().decode(errors="replace")
        cells = text.split(layout.separator)
        if len(cells) != len(layout.columns):
            cells = next(csv.reader([text], delimiter=layout.separator))
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
        self.gene_id[row], self.symbol[row] = names.get(GENE, ""), names.get(SYMBOL, "")
        wanted = np.flatnonzero(layout.roles >= 0)
        try:
            numbers = np.array([float(cells[column]) for column in wanted])
        except ValueError:
            numbers = np.full(len(wanted), np.nan)
        if not np.isfinite(numbers).all() or (not layout.signed and (numbers < 0).any()):
            for column in wanted:
                _refuse_no_number(cells[column], f"{where}, sample {layout.columns[column]}", layout.signed)
        self.values[row, layout.roles[wanted]] = numbers


def _refuse_no_number(cell: str, where: str, signed: bool) -> None:
    """Raise an ExpressionError if a cell holds no finite number, or a negative one where it must not be."""
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if math.isnan(value):
        raise ExpressionError(f"{where}: {cell!r} is no number; write 0 or drop the gene or the sample")
    if math.isinf(value):
        raise ExpressionError(f"{where}: {cell!r} is infinite; correct it or drop the gene")
    if value < 0 and not signed:
        raise ExpressionError(
            f"{where}: {cell!r} is negative; expression is not, unless it is logarithms (`expression.units: log2`)"
        )


# The powers of ten that are exact in float64.
_POWERS = 10.0 ** np.arange(23)


def _parse_plain(
    buffer: Any, starts: Any, ends: Any, separator: int, roles: Any, powers: Any, values: Any, texts: Any, odd: Any
) -> None:
    """Parse lines of numbers such as `12`, `0.31`, `2e-05`; compiled by numba.

    A mantissa below 2**53 times or divided by an exact power of ten is rounded correctly (Clinger, PLDI 1990), so
    these values equal those of any correct parser. Everything else makes its row odd.
    """
    for row in range(len(starts)):
        position, end = starts[row], ends[row]
        column = 0
        while True:
            start = position
            role = roles[column] if column < len(roles) else -1
            if role >= 0:
                mantissa, power, exponent, digits = 0, 0, 0, 0
                point, scientific, negative = False, False, False
                while position < end and buffer[position] != separator:
                    character = buffer[position]
                    if 48 <= character <= 57 and scientific:
                        exponent = min(exponent * 10 + (character - 48), 99)
                    elif 48 <= character <= 57 and digits < 18:
                        mantissa = mantissa * 10 + (character - 48)
                        digits += 1
                        power -= point
                    elif character == 46 and not point and not scientific:
                        point = True
                    elif (character == 101 or character == 69) and digits > 0 and not scientific:
                        scientific = True
                        if position + 2 < end and (buffer[position + 1] == 45 or buffer[position + 1] == 43):
                            negative = buffer[position + 1] == 45
                            position += 1
                        if position + 1 >= end or not 48 <= buffer[position + 1] <= 57:
                            odd[row] = True
                    else:
                        odd[row] = True
                    position += 1
                power += -exponent if negative else exponent
                if digits == 0 or mantissa >= 9007199254740992 or abs(power) > 22:
                    odd[row] = True
                elif power < 0:
                    values[row, role] = mantissa / powers[-power]
                else:
                    values[row, role] = mantissa * powers[power]
            else:
                while position < end and buffer[position] != separator:
                    position += 1
                if role <= -2:
                    texts[row, -2 * role - 4] = start
                    texts[row, -2 * role - 3] = position
            column += 1
            if position >= end:
                break
            position += 1
        if column != len(roles):
            odd[row] = True


@cache
def _compiled() -> Callable[..., None]:
    """Return the parser as machine code, kept between processes where the file system allows."""
    import numba

    parser: Callable[..., None]
    try:
        parser = numba.njit(cache=True)(_parse_plain)
    except RuntimeError:
        parser = numba.njit(_parse_plain)
    return parser
