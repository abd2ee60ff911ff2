"""One row per RNA sample: what the cohort knows of it."""

from __future__ import annotations

import pandas as pd

from histo_assets.core.cohort.errors import CohortError

# Columns that belong to a slide or to its selection, not to the sample.
_OF_THE_SLIDE = ("slide", "original_slide", "siblings", "rank", "why", "sample")
_NAMES = ("sample", "slide", "slides", "donor", "tissue", "tissue_name", "side", "original_donor")


def sample_table(selected: pd.DataFrame, split: pd.DataFrame) -> pd.DataFrame:
    """Return the selected slides' samples with donor, tissue, side of the split and the cohort's columns.

    Parameters
    ----------
    selected
        Selected slides of all tissues: slide, donor, tissue, tissue_name, sample and further columns, which are those
        of the cohort's tables: sex, age, hardy, and rin, ischemic_minutes, batch, center where they are known.
    split
        donor, fold, side.

    Returns
    -------
    pandas.DataFrame
        Indexed by sample, in order of first appearance, with `sample` first. `slide` is the first slide of the sample,
        `slides` holds all of them joined by `;`. Further columns are strings, or floats where every value is a number.

    Raises
    ------
    CohortError
        Slides of one sample name different donors or tissues.
    """
    grouped = selected.groupby("sample", sort=False)
    for column in ("donor", "tissue"):
        counts = grouped[column].nunique()
        if (counts > 1).any():
            sample = counts.index[counts > 1][0]
            values = sorted(selected.loc[selected["sample"] == sample, column].unique())
            raise CohortError(
                f"sample {sample} has slides of {column}s {' and '.join(map(str, values))};"
                f" correct the {column} or the sample in the manifest"
            )
    table = grouped.first().drop(columns=[c for c in _OF_THE_SLIDE if c in selected.columns and c != "sample"])
    table.insert(0, "slide", grouped["slide"].first())
    table.insert(1, "slides", grouped["slide"].agg(";".join))
    sides = split.set_index("donor")[["fold", "side"]]
    table = table.join(sides, on="donor")
    table.insert(0, "sample", table.index)
    return table.apply(_plain).rename_axis(index=None)


def _plain(column: pd.Series) -> pd.Series:
    """Return a column as whole numbers, floats, or strings with missing values as ''; names stay names."""
    if column.name == "fold":
        return column.astype("int64")
    if column.name in _NAMES:
        return column.map(lambda value: "" if pd.isna(value) else str(value)).astype(object)
    numbers = pd.to_numeric(column, errors="coerce")
    if numbers.notna().any() and numbers.notna().sum() == column.notna().sum():
        return numbers.astype("float64")
    return column.map(lambda value: "" if pd.isna(value) else str(value)).astype(object)
