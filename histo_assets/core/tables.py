"""Tables declared once: what is stored, shown in the UI and listed in the docs follows from the class.

A room's tables are classes in its `tables.py`. pandera judges them over polars, whatever library a frame is of: what
is stored is parquet, where there is one kind of missing value. Validation returns nothing and changes nothing.
"""

from __future__ import annotations

import importlib
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import polars as pl

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of what pandera finds installed beside it
    import pandera.polars as pa
    from pandera import dtypes
    from pandera.engines import polars_engine

from histo_assets.core.errors import HistoError

if TYPE_CHECKING:
    import pandas as pd


class TableError(HistoError):
    """A table is not what its declaration says; the sentence names the table, the column and the row."""


class _Kind(polars_engine.DataType):
    """A kind of value, whatever type holds it; a column without any value is of every kind."""

    words: ClassVar[str]

    def check(self, pandera_dtype: Any, data_container: Any = None) -> bool:
        """Return whether a column of the polars type `pandera_dtype` holds values of this kind."""
        return pandera_dtype == pl.Null or self.holds(pandera_dtype, data_container)

    def holds(self, dtype: Any, data: Any) -> bool:
        """Return whether `dtype` fits; `data` gives the column where the type alone does not tell."""
        raise NotImplementedError

    def __str__(self) -> str:
        return self.words


def _registered(kind: Any) -> Any:
    """Return a kind of values that pandera knows from now on."""
    return polars_engine.Engine.register_dtype(dtypes.immutable(kind))


@_registered
class Text(_Kind):
    """Words: ids, labels, reasons."""

    type, words = pl.String, "text"

    def holds(self, dtype: Any, data: Any) -> bool:
        """Return whether `dtype` is of strings or categories."""
        return dtype in (pl.String, pl.Categorical, pl.Enum)


@_registered
class Whole(_Kind):
    """Counts and places; as pandas holds them, floats where some are missing."""

    type, words = pl.Int64, "whole number"

    def holds(self, dtype: Any, data: Any) -> bool:
        """Return whether `dtype` is of integers, or of floats none of which has a fraction."""
        if dtype.is_integer():
            return True
        if not dtype.is_float() or data is None:
            return False
        column = pl.col(data.key)
        return bool(data.lazyframe.select((column.is_null() | (column == column.round())).all()).collect().item())


@_registered
class Number(_Kind):
    """Measurements and figures."""

    type, words = pl.Float64, "number"

    def holds(self, dtype: Any, data: Any) -> bool:
        """Return whether `dtype` is of numbers."""
        return bool(dtype.is_numeric())


@_registered
class Flag(_Kind):
    """Yes or no."""

    type, words = pl.Boolean, "yes or no"

    def holds(self, dtype: Any, data: Any) -> bool:
        """Return whether `dtype` is of truth values."""
        return bool(dtype == pl.Boolean)


@_registered
class Value(_Kind):
    """Whatever a cohort's own column holds: words in one cohort, numbers in another."""

    type, words = pl.String, "text or number"

    def holds(self, dtype: Any, data: Any) -> bool:
        """Return True."""
        return True


class Table(pa.DataFrameModel):
    """Base of the declared tables. Columns that are not declared are the cohort's own, and kept."""

    @classmethod
    def columns(cls) -> list[Column]:
        """Return the columns as they are declared, in their order."""
        return [_column(each) for each in cls.to_schema().columns.values()]


def column(description: str, unit: str = "", *, missing: bool = False, like: str = "", **allowed: Any) -> Any:
    """Return the declaration of a column.

    Parameters
    ----------
    missing
        Whether a value may be missing.
    like
        A regular expression, where it stands for every column of such a name.
    allowed
        What pandera's `Field` knows: `ge`, `le`, `gt`, `lt`, `isin`, `unique`.
    """
    named: dict[str, Any] = {"alias": f"^({like})$", "regex": True} if like else {}
    return pa.Field(description=description, metadata={"unit": unit}, nullable=missing, **named, **allowed)


@dataclass(frozen=True)
class Column:
    """One column as it is declared.

    Attributes
    ----------
    name
        Its name, or the regular expression that the names of such columns match.
    kind
        `text`, `whole number`, `number`, `yes or no` or `text or number`.
    description, unit
        What it holds, and in which unit ('' where it has none).
    rules
        What its values have to be, in words.
    missing, unique, optional, pattern
        Whether values may be missing, are all different, whether the column itself may be absent, and whether its
        name is a pattern.
    """

    name: str
    kind: str
    description: str
    unit: str
    rules: tuple[str, ...]
    missing: bool
    unique: bool
    optional: bool
    pattern: bool

    def matches(self, name: str) -> bool:
        """Return whether a column called `name` is this one."""
        return re.fullmatch(self.name, name) is not None if self.pattern else self.name == name


def declared_table(name: str) -> type[Table]:
    """Return the table `<room>.<Class>` of `core/<room>/tables.py`.

    Pointers name tables so: one that is renamed keeps its old name there.

    Raises
    ------
    TableError
        This version knows no such table.
    """
    room, _, named = name.partition(".")
    try:
        table: type[Table] = getattr(importlib.import_module(f"histo_assets.core.{room}.tables"), named)
    except (ModuleNotFoundError, AttributeError):
        raise TableError("this version of histo_assets does not know that table; a later one made it") from None
    return table


def declared_tables(*modules: str) -> Iterator[type[Table]]:
    """Yield the tables that the modules declare themselves, in the order of the text."""
    for module in map(importlib.import_module, modules):
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, Table) and value.__module__ == module.__name__:
                yield value


def validate(frame: pd.DataFrame | pl.DataFrame, table: type[Table]) -> None:
    """Judge a frame by its declaration.

    Raises
    ------
    TableError
        A column is absent or of another kind, or a value is missing, repeated or out of bounds. The sentence names
        the first of each column, and the row by its number from 1 and its first column.
    """
    view = _view(frame)
    try:
        table.to_schema().validate(view, lazy=True)
    except pa.errors.SchemaErrors as error:
        cases = error.failure_cases.filter(_is_no_consequence())
        faults = cases.unique(("column", "check"), keep="first", maintain_order=True).to_dicts()
        raise TableError("; ".join(_sentence(fault, view, table) for fault in faults[:4])) from None


def _is_no_consequence() -> pl.Expr:
    """Return whether a failure is that of a column's kind, or of a column of the right kind."""
    kind = pl.col("check").str.starts_with("dtype(")
    return kind | ~kind.any().over("column")


def as_table(value: Any, table: type[Table]) -> pd.DataFrame | pl.DataFrame:
    """Return what of an artefact `table` declares: a frame itself, or of an AnnData `obs` with its index as a column.

    The index takes the name of the first declared column, unless `obs` has a column of that name.
    """
    if not hasattr(value, "obs"):
        frame: pd.DataFrame | pl.DataFrame = value
        return frame
    first = table.columns()[0].name
    obs: pd.DataFrame = value.obs
    return obs.reset_index(drop=True) if first in obs else obs.reset_index(names=first)


def write_table(frame: pd.DataFrame | pl.DataFrame, path: Path, table: type[Table]) -> None:
    """Write a frame that is as declared to a parquet file."""
    validate(frame, table)
    if isinstance(frame, pl.DataFrame):
        frame.write_parquet(path, compression="zstd")
    else:
        frame.to_parquet(path, index=False)


def read_pandas(path: Path, table: type[Table]) -> pd.DataFrame:
    """Return what `write_table` wrote, as pandas holds it, judged by its declaration."""
    import pandas as pd

    frame = pd.read_parquet(path)
    validate(frame, table)
    return frame


def read_polars(path: Path, table: type[Table]) -> pl.DataFrame:
    """Return what `write_table` wrote, as polars holds it, judged by its declaration."""
    frame = pl.read_parquet(path)
    validate(frame, table)
    return frame


def _column(each: Any) -> Column:
    name = str(each.name)
    return Column(
        name=name.removeprefix("^(").removesuffix(")$") if each.regex else name,
        kind=str(each.dtype),
        description=each.description or "",
        unit=(each.metadata or {}).get("unit", ""),
        rules=tuple(_rule(check) for check in each.checks),
        missing=each.nullable,
        unique=each.unique,
        optional=not each.required,
        pattern=each.regex,
    )


def _view(frame: pd.DataFrame | pl.DataFrame) -> pl.DataFrame:
    """Return the frame as it is stored, without the index of a pandas frame; NaN is a missing value.

    A column without any value has no type.
    """
    if not isinstance(frame, pl.DataFrame):
        import pyarrow

        arrow = pyarrow.Table.from_pandas(frame, preserve_index=False)
        frame = pl.DataFrame(pl.from_arrow(arrow))
    view = frame.with_columns(pl.selectors.float().fill_nan(None))
    # pandas makes floats of a column without any value.
    return view.with_columns(pl.lit(None).alias(each.name) for each in view if each.count() == 0)


_RULES: dict[str, Callable[[Any], str]] = {
    "greater_than_or_equal_to": lambda limits: f"at least {limits['min_value']:g}",
    "less_than_or_equal_to": lambda limits: f"at most {limits['max_value']:g}",
    "greater_than": lambda limits: f"greater than {limits['min_value']:g}",
    "less_than": lambda limits: f"less than {limits['max_value']:g}",
    "isin": lambda limits: f"one of {', '.join(map(str, limits['allowed_values']))}",
}


def _rule(check: Any) -> str:
    return _RULES[check.name](check.statistics)


def _sentence(fault: dict[str, Any], view: pl.DataFrame, table: type[Table]) -> str:
    """Return one failure of pandera's in words."""
    check, name, value = str(fault["check"]), fault["column"], fault["failure_case"]
    if check == "column_in_dataframe":
        return f"there is no column `{value}`"
    each = next(each for each in table.to_schema().columns.values() if _column(each).matches(name))
    if check.startswith("dtype("):
        return f"column `{name}` is {view.schema[name]}, not {each.dtype}"
    where = "" if fault["index"] is None else f" in row {fault['index'] + 1}{_first_cell(view, fault['index'], name)}"
    if check == "not_nullable":
        return f"column `{name}` has no value{where}"
    if check == "field_uniqueness":
        return f"column `{name}` holds {value} more than once, first{where}"
    rule = next(_rule(rule) for rule in each.checks if rule.error == check)
    return f"column `{name}` is {value}{where}, and must be {rule}"


def _first_cell(view: pl.DataFrame, row: int, name: str) -> str:
    first = view.columns[0]
    return "" if first == name else f" ({first} {view[row, 0]})"
