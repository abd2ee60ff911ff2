"""The first line of a text table: what separates its fields, and its columns."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import BinaryIO, Literal

Separator = Literal["\t", ",", ";"]


@dataclass(frozen=True)
class Header:
    """The first line of a table, without its end and a byte order mark; `columns` are as they stand there."""

    line: str
    separator: Separator
    columns: list[str]


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
    is_usual = usual is not None and (usual in line or line.startswith("# "))
    separator = usual if usual is not None and is_usual else _separator(line, usual or ",")
    return Header(line, separator, next(csv.reader([line], delimiter=separator)))


def _separator(line: str, otherwise: Separator) -> Separator:
    tabs, commas = line.count("\t"), line.count(",")
    if tabs or commas:
        return "\t" if tabs >= commas else ","
    return ";" if ";" in line else otherwise
