"""One reader for the tables of a cohort, whatever they are written in."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection

import pandas as pd
import polars as pl
from upath import UPath

from histo_assets.core.cohort.errors import CohortError
from histo_assets.core.delimited import read_header


def read_table(path: str, text: Collection[str] = ()) -> pd.DataFrame:
    """Return a text table or a parquet file as a table of plain strings, ints and floats.

    Parameters
    ----------
    path
        Local path or URL. Parquet goes by its suffix, the separator of other files (tab, comma, semicolon) by their
        first line.
    text
        Columns that are read as strings however they look ('007' stays '007'); others are numbers where every
        value is one. A missing string is ''.

    Raises
    ------
    CohortError
        The file is missing, empty, not a table, or a row has more fields than the first line names.
    """
    try:
        content = UPath(path).read_bytes()
    except FileNotFoundError:
        raise CohortError(f"{path} does not exist; put the file there or correct its path in the study") from None
    except (OSError, ValueError) as error:
        raise CohortError(f"{path} cannot be read ({error}); correct its path in the study") from None
    if not content.strip():
        raise CohortError(f"{path} is empty; put the table there")
    frame = _parquet(content, path) if path.endswith((".parquet", ".pq")) else _delimited(content, path, text)
    if frame.is_empty():
        raise CohortError(f"{path} names columns but has no rows; put the table there")
    return _plain(frame, text)


def _parquet(content: bytes, path: str) -> pl.DataFrame:
    try:
        return pl.read_parquet(io.BytesIO(content))
    except pl.exceptions.PolarsError as error:
        raise CohortError(f"{path} is no parquet file ({_first_line(error)}); write it again") from None


def _delimited(content: bytes, path: str, text: Collection[str]) -> pl.DataFrame:
    try:
        content.decode()
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise CohortError(f"{path}, line {line} is not UTF-8; save the table as UTF-8 text") from None
    header = read_header(io.BytesIO(content))
    # GTEx's own TSV files do not quote, and their notes hold single quotation marks.
    quote = None if header.separator == "\t" and '"' not in header.line else '"'
    names = [name.strip() for name in header.columns]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise CohortError(f"{path}: the column {repeated[0]!r} stands twice in the first line; rename one")
    try:
        return pl.read_csv(
            content,
            separator=header.separator,
            quote_char=quote,
            schema_overrides={column: pl.String for column in header.columns if column.strip() in text},
            infer_schema_length=None,
        )
    except pl.exceptions.PolarsError as error:
        reason = _ragged(content, header.separator, quote) or f"it is not a readable table: {_first_line(error)}"
        raise CohortError(f"{path}: {reason}") from None


def _ragged(content: bytes, separator: str, quote: str | None) -> str | None:
    """Return which row first has another number of fields than the header, as a sentence."""
    lines = io.StringIO(content.decode(), newline="")
    rows = csv.reader(lines, delimiter=separator, quoting=csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE)
    expected = len(next(rows))
    for number, fields in enumerate(rows, start=2):
        if fields and len(fields) != expected:
            return f"row {number} has {len(fields)} fields where the first line names {expected}; correct that row"
    return None


def _plain(frame: pl.DataFrame, text: Collection[str]) -> pd.DataFrame:
    """Return a pandas table of strings (object), ints and floats."""
    columns = {}
    for series in frame:
        name = series.name.strip()
        if series.dtype.is_numeric() and name not in text:
            columns[name] = pd.Series(series.to_numpy())
        else:
            columns[name] = pd.Series(series.cast(pl.String).fill_null("").to_list(), dtype=object)
    return pd.DataFrame(columns)


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0]
