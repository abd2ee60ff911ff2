"""The first lines of a text table: what separates its fields, its columns, and how its numbers are written."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Literal

Separator = Literal["\t", ",", ";"]

# Only where a first line has no other: R's `write.table` separates by spaces.
_RARE = (" ", "|")
_SEPARATOR_NAMED = re.compile(r"sep=(.)", re.IGNORECASE)
# What stands between thousands: commas, points, apostrophes and the spaces of various locales.
_GROUPS = ",.'\u2019 \u00a0\u202f"
_NUMERIC = re.compile(rf"[+-]?\d[\d{_GROUPS}]*(?:[eE][+-]?\d+)?")
_PLAIN = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
# Both marks, or several groups of three: nothing else than thousands.
_THOUSANDS = re.compile(r"[+-]?\d{1,3}(?:,\d{3})+\.\d+|[+-]?\d{1,3}(?:,\d{3}){2,}")
_GROUPED = re.compile(rf"[+-]?\d{{1,3}}([{_GROUPS}])\d{{3}}(?:\1\d{{3}})*(?:(?!\1)([.,])\d*)?(?:[eE][+-]?\d+)?")
# Without zeros at their end numbers of three decimals are rare among so many.
_MANY = 50


@dataclass(frozen=True)
class Header:
    """The first line of a table, without its end and a byte order mark; `columns` are as they stand there."""

    line: str
    separator: Separator
    columns: list[str]


@dataclass(frozen=True)
class Numbers:
    """How the numbers of a table are written: the decimal mark, and what stands between thousands ('' nothing)."""

    point: str = "."
    group: str = ""

    @property
    def words(self) -> str:
        """What they look like, for a sentence: `1,234.5`, `1234.5`, `1234,5`."""
        return f"1{self.group}234{self.point}5"

    def value(self, cell: str) -> float:
        """Return the number that a cell holds.

        >>> Numbers(",").value("3,5"), Numbers(group=",").value("2,110"), Numbers().value("2,110.5")
        (3.5, 2110.0, 2110.5)

        Raises
        ------
        ValueError
            It holds none, or one that is written in another way.
        """
        text = cell.strip()
        if self.group and self.group in text:
            whole, point, rest = text.partition(self.point)
            if not re.fullmatch(rf"[+-]?\d{{1,3}}(?:{re.escape(self.group)}\d{{3}})+", whole):
                raise ValueError(cell)
            text = whole.replace(self.group, "") + point + rest
        elif self.point == "." and _THOUSANDS.fullmatch(text):
            text = text.replace(",", "")
        if self.point != ".":
            if "." in text:
                raise ValueError(cell)
            text = text.replace(self.point, ".")
        if "_" in text:
            raise ValueError(cell)
        return float(text)


PLAIN = Numbers()


@dataclass(frozen=True)
class Layout:
    """How a table is laid out.

    Attributes
    ----------
    header_line
        The number of the line that names the columns; comments, empty lines and `sep=;` may stand before it.
    line
        That line.
    columns
        Names without quotes and spaces around them; the first is '' where R left it out.
    separator
        One character.
    rows
        The fields of the lines after it, as far as they were looked at.
    """

    header_line: int
    line: str
    columns: list[str]
    separator: str
    rows: list[list[str]]


def read_header(table: BinaryIO, usual: Separator | None = None) -> Header:
    """Return the first line of a table, which is read from where it stands.

    Parameters
    ----------
    usual
        The separator that the file's name or settings promise; it is taken wherever the line has it. Else tabs
        separate, unless there are more commas, and semicolons only where there is neither. A comment (`# `)
        promises nothing.
    """
    line = table.readline().decode("utf-8-sig", errors="replace").rstrip("\r\n")
    separator = _separator_of(line, usual)
    return Header(line, separator, fields(line, separator))


def read_layout(lines: Sequence[str], usual: Separator) -> Layout:
    """Return how a table is laid out whose first lines these are, without their ends.

    Raises
    ------
    ValueError
        There is no line that could name columns, or one whose quote never ends; the message is a part of a sentence.
    """
    start, told = 0, str(usual)
    named = _SEPARATOR_NAMED.fullmatch(lines[0].strip().strip('"')) if lines else None
    if named:
        start, told = 1, named[1]
    while start < len(lines) and (not lines[start].strip() or _is_comment(lines, start)):
        start += 1
    if start == len(lines):
        raise ValueError("is empty")
    line, after = lines[start], [row for row in lines[start + 1 :] if row.strip()]
    separator = _fitting(line, after, told)
    columns = [column.strip() for column in _fields(line, separator, start + 1)]
    if columns[0].startswith("#"):
        columns[0] = columns[0].lstrip("# ")
    rows = [_fields(row, separator, start + 2 + i) for i, row in enumerate(after)]
    if _first_is_left_out(columns, rows):
        columns = ["", *columns]
    return Layout(start + 1, line, columns, separator, rows)


def fields(line: str, separator: str) -> list[str]:
    """Return the fields of a line, without their quotes.

    Raises
    ------
    ValueError
        A field is longer than the `csv` module reads: a quote that never ends.
    """
    try:
        return next(csv.reader([line], delimiter=separator), [""])
    except csv.Error as error:
        raise ValueError(str(error)) from None


def numbers_of(cells: Iterable[str]) -> tuple[Numbers, str]:
    """Return how these numbers are written, and one that leaves two readings open ('' where none does).

    A comma is a decimal mark where it is the last of two marks, or where it does not stand before three digits as
    thousands have it; it stands between thousands where there are several, where points are decimal marks, or where
    all numbers without one are below a thousand.

    >>> numbers_of(["0,5", "1234,25"])[0], numbers_of(["12", "2,110", "999"])[0]
    (Numbers(point=',', group=''), Numbers(point='.', group=','))
    >>> numbers_of(["2,110", "3,250"])[1]
    '2,110'
    """
    found = [cell.strip() for cell in cells]
    found = [cell for cell in found if _NUMERIC.fullmatch(cell)]
    points, groups, open_cells = set[str](), set[str](), list[str]()
    for cell in found:
        marks = [character for character in cell if not character.isdigit() and character not in "+-eE"]
        if not marks or marks == ["."]:
            continue
        if len(marks) > 1 or marks[0] not in ",.":
            # What is no number in any way is named at its line.
            if grouped := _GROUPED.fullmatch(cell):
                groups.add(grouped[1])
                points |= {grouped[2]} - {None}
        elif re.fullmatch(r"[+-]?[1-9]\d{0,2},\d{3}", cell):
            open_cells.append(cell)
        else:
            points.add(",")
    plain = [cell for cell in found if _PLAIN.fullmatch(cell)]
    if any("." in cell for cell in plain) and "." not in groups:
        points.add(".")
    if open_cells and not points and not groups:
        if not plain or any(abs(float(cell)) >= 1000 for cell in plain):
            return Numbers(), open_cells[0]
        groups.add(",")
    if "," not in points and open_cells:
        groups.add(",")
    if points & groups or len(points) > 1 or len(groups) > 1:
        return Numbers(), next(cell for cell in found if not cell.isdigit() and not _PLAIN.fullmatch(cell))
    point = next(iter(points), "," if "." in groups else ".")
    if point == "." and not groups and (odd := _points_between_thousands(plain)):
        return Numbers(), odd
    return Numbers(point, next(iter(groups), "")), ""


def _points_between_thousands(plain: Sequence[str]) -> str:
    """Return a number whose point must stand between thousands: all have three digits after it, or none and < 1000."""
    pointed = [cell for cell in plain if "." in cell]
    whole = [int(cell) for cell in plain if cell.isdigit() and int(cell)]
    if len(pointed) < _MANY or 10 * len(whole) < len(pointed) or max(whole) >= 1000:
        return ""
    return pointed[0] if all(re.fullmatch(r"[1-9]\d{0,2}\.\d{3}", cell) for cell in pointed) else ""


def _separator_of(line: str, usual: Separator | None) -> Separator:
    told = usual is not None and (usual in line or line.startswith("# "))
    return usual if usual is not None and told else _separator(line, usual or ",")


def _separator(line: str, otherwise: Separator) -> Separator:
    tabs, commas = line.count("\t"), line.count(",")
    if tabs or commas:
        return "\t" if tabs >= commas else ","
    return ";" if ";" in line else otherwise


def _fitting(line: str, rows: Sequence[str], told: str) -> str:
    """Return what separates a line: by its own look, or what splits the lines after it alike where that does not."""
    usual: str = told if told in line else _separator(line, ",")
    if _fits(line, rows, usual):
        return usual
    others = [sign for sign in ("\t", ",", ";", *_RARE) if sign != usual and _fits(line, rows, sign)]
    return others[0] if others else (told if usual not in line and told in ("\t", ",", ";") else usual)


def _fits(line: str, rows: Sequence[str], separator: str) -> bool:
    """Return whether all of a line and of the rows have as many fields, or the rows one more than the line."""
    try:
        own = len(fields(line, separator))
        counts = {len(fields(row, separator)) for row in rows}
    except ValueError:
        return False
    return len(counts) == 1 and max(counts) > 1 and (max(counts) - own) in (0, 1)


def _is_comment(lines: Sequence[str], place: int) -> bool:
    """Return whether a line says something about the table: a `#` that does not begin the names of its columns."""
    line = lines[place]
    if not line.startswith("#"):
        return False
    if line.startswith(("# ", "##")) or place + 1 == len(lines):
        return True
    after = lines[place + 1]
    return not after.startswith("#") and not _fits(line, [after], _separator(after, ","))


def _first_is_left_out(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Return whether R left out the name of the first column: every row has one field more, and none ends empty."""
    return bool(rows) and all(len(row) == len(columns) + 1 and row[-1].strip() for row in rows)


def _fields(line: str, separator: str, number: int) -> list[str]:
    try:
        return fields(line, separator)
    except ValueError as error:
        raise ValueError(f"cannot be read, line {number}: {error}") from None
