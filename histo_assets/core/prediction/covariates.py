"""Covariates of samples as a design matrix; what cannot serve is refused or left out by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from histo_assets.core.errors import HistoError

MISSING = "(missing)"
FEW_VALUES = 10
"""Whole numbers with at most this many values, each seen on several donors, are codes and not amounts."""


class PredictionError(HistoError):
    """Input that genes cannot be predicted from: the message names the donor, column or size at fault."""


@dataclass(frozen=True)
class Column:
    """How one covariate becomes columns: `levels` of a category, or centre and spread of a number."""

    name: str
    numeric: bool
    levels: tuple[str, ...] = ()
    centre: float = 0.0
    spread: float = 1.0


@dataclass(frozen=True)
class CovariateCode:
    """The coding of covariates, learned on training rows.

    A category becomes one column a level, missing being a level of its own; a level that training never
    saw is a row of zeros. A number becomes itself, standardised, and a column that says where it is missing.
    """

    columns: tuple[Column, ...] = ()

    @property
    def width(self) -> int:
        """Return the number of columns of the design."""
        return sum(2 if column.numeric else len(column.levels) for column in self.columns)

    def design(self, table: pd.DataFrame | None, rows: int) -> NDArray[np.float64]:
        """Return the design matrix (rows, width); a named column that `table` lacks is an error."""
        if not self.columns:
            return np.zeros((rows, 0))
        if table is None:
            raise PredictionError(f"covariates {', '.join(c.name for c in self.columns)} are needed; give a table")
        absent = [column.name for column in self.columns if column.name not in table]
        if absent:
            raise PredictionError(
                f"covariate {absent[0]!r} is not a column of the table; it has {', '.join(map(str, table))}"
            )
        return np.hstack([_coded(table[column.name], column) for column in self.columns])


def usable_covariates(
    table: pd.DataFrame | None, tissues: Sequence[str], donors: Sequence[str]
) -> tuple[pd.DataFrame | None, list[str]]:
    """Return the covariates that can be regressed out, and a note for each that cannot.

    Left out with a note: a column that does not vary, that does not vary inside any tissue, or that
    has a value of its own for every donor.

    Raises
    ------
    PredictionError
        A covariate is the label under another name: each tissue has one value and each value one tissue.
    """
    if table is None or not len(table.columns):
        return None, []
    kept, notes = [], []
    for name in table.columns:
        values = _as_text(table[name])
        pairs = pd.DataFrame({"value": values, "tissue": np.asarray(tissues, dtype=str)}).drop_duplicates()
        distinct, labels = pairs["value"].nunique(), pairs["tissue"].nunique()
        owners = pd.DataFrame({"value": values, "donor": np.asarray(donors, dtype=str)}).drop_duplicates()
        if distinct < 2:
            notes.append(f"covariate {name!r} was left out: it has the same value everywhere")
        elif len(pairs) == distinct == labels:
            raise PredictionError(
                f"covariate {name!r} is the tissue under another name: regressing it out would remove what the "
                "tissue says and add nothing; take it out of prediction.covariates"
            )
        elif len(pairs) == labels:
            notes.append(f"covariate {name!r} was left out: it does not vary inside any tissue")
        elif not _is_number(table[name]) and owners["value"].nunique() == owners["donor"].nunique() == len(owners):
            notes.append(f"covariate {name!r} was left out: every donor has a value of its own, so it names donors")
        else:
            kept.append(name)
    return (table[kept].reset_index(drop=True) if kept else None), notes


def fit_code(table: pd.DataFrame | None, donors: NDArray[Any]) -> CovariateCode:
    """Return the coding of `table`'s columns, learned from these rows (training donors)."""
    if table is None:
        return CovariateCode()
    columns = []
    for name in table.columns:
        text = _as_text(table[name])
        if _is_number(table[name]) and not _is_code(table[name], donors):
            numbers = pd.to_numeric(table[name], errors="coerce").to_numpy(dtype=np.float64)
            centre, spread = (np.nanmean(numbers), np.nanstd(numbers)) if np.isfinite(numbers).any() else (0.0, 1.0)
            columns.append(Column(name, True, (), float(centre), float(spread) if spread > 0 else 1.0))
        else:
            columns.append(Column(name, False, tuple(sorted(set(text)))))
    return CovariateCode(tuple(columns))


def _coded(values: pd.Series, column: Column) -> NDArray[np.float64]:
    if column.numeric:
        numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64)
        absent = ~np.isfinite(numbers)
        scaled = np.where(absent, 0.0, (numbers - column.centre) / column.spread)
        return np.column_stack([scaled, absent])
    onehot: NDArray[np.bool_] = _as_text(values)[:, None] == np.array(column.levels, dtype=object)
    return onehot.astype(np.float64)


def _as_text(values: pd.Series) -> NDArray[Any]:
    numbers = pd.to_numeric(values, errors="coerce") if _is_number(values) else None
    absent = (values.isna() if numbers is None else numbers.isna()) | (values.astype(str).str.strip() == "")
    text = (values if numbers is None else numbers.astype(float)).astype(str).str.strip()
    return text.where(~absent, MISSING).to_numpy(dtype=object)


def _is_number(values: pd.Series) -> bool:
    """Return whether every value that is present reads as a number."""
    if pd.api.types.is_bool_dtype(values):
        return False
    present = values[values.notna() & (values.astype(str).str.strip() != "")]
    return len(present) > 0 and bool(pd.to_numeric(present, errors="coerce").notna().all())


def _is_code(values: pd.Series, donors: NDArray[Any]) -> bool:
    numbers = pd.to_numeric(values, errors="coerce")
    present = numbers.notna().to_numpy()
    pairs = pd.DataFrame({"value": numbers[present].to_numpy(), "donor": np.asarray(donors, dtype=str)[present]})
    whole = bool((pairs["value"] % 1 == 0).all())
    per_value = pairs.drop_duplicates().groupby("value").size()
    return whole and len(per_value) <= FEW_VALUES and bool((per_value >= 2).all())
