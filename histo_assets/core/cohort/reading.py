"""A cohort's tables: the manifest of slides, by the study's reader, and the list of RNA samples."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import pandas as pd

from histo_assets.core.cohort.errors import CohortError
from histo_assets.core.cohort.ids import exact_name
from histo_assets.core.cohort.readers.registry import READERS
from histo_assets.core.cohort.settings import CohortSettings
from histo_assets.core.cohort.table_files import read_table
from histo_assets.core.files import slug

# Columns of the tables made from a manifest; a file's own column of such a name is kept as `<name>_in_file`.
RESERVED = ("slide", "donor", "tissue", "tissue_name", "sample", "original_slide", "original_donor", "rank", "why")

# What expression depends on, by GTEx's SampleAttributesDS and by this project's names.
SAMPLE_ATTRIBUTES = {
    "SMATSSCR": "autolysis",
    "SMCENTER": "center",
    "SMGEBTCH": "batch",
    "SMNABTCH": "isolation_batch",
    "SMNABTCHD": "isolation_date",
    "SMRIN": "rin",
    "SMTSISCH": "ischemic_minutes",
}


def read_manifest(settings: CohortSettings, path: str) -> pd.DataFrame:
    """Return the slides of a cohort, normalised and validated, in the order of the file.

    Parameters
    ----------
    settings
        Says which reader, and for `table` how the columns are called.
    path
        CSV, TSV or parquet; local or a URL.

    Returns
    -------
    pandas.DataFrame
        slide, donor, tissue (partition key), tissue_name (as printed), then for `gtex` sex, age, hardy, categories,
        notes and what else the file has; for `table` sample if there is one, the file's further columns, and
        original_slide or original_donor where an id was no safe file name and had to be slugged.

    Raises
    ------
    CohortError
        A column is missing, an id is empty, repeated, unsafe or no GTEx id, or two labels share a partition key.
    """
    manifest = READERS[settings.reader].read(path, settings)
    refuse_repeated(manifest, "slide", path)
    return manifest


def with_tissue(table: pd.DataFrame, path: str) -> pd.DataFrame:
    """Return the table with the partition key of each label."""
    refuse_empty(table, "tissue_name", path)
    labels: dict[str, str] = {}
    for name in table["tissue_name"].unique():
        key = slug(name)
        if not key:
            raise CohortError(f"{path}: the label {name!r} has no letter a-z or digit to make a partition key of")
        if labels.setdefault(key, name) != name:
            raise CohortError(
                f"{path}: the labels {labels[key]!r} and {name!r} share the partition key {key!r}; "
                f"write them alike if they are one, further apart if they are two"
            )
    return table.assign(tissue=table["tissue_name"].map(slug))


def ordered(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with the columns first that every manifest has."""
    first = ["slide", "donor", "tissue", "tissue_name"]
    first += [name for name in ("sample",) if name in table]
    last = [name for name in ("original_slide", "original_donor") if name in table]
    return table[[*first, *(name for name in table.columns if name not in {*first, *last}), *last]]


def read_rna_samples(path: str) -> pd.DataFrame:
    """Return the RNA samples of a list, in the order of the file.

    Parameters
    ----------
    path
        A table with `sample_id`, `donor_id` and `tissue_id` (or sample, donor, tissue), or GTEx's SampleAttributesDS
        (`SAMPID`, `SMTSD`), of which only samples of the RNA-seq freeze are taken where `SMAFRZE` says so.

    Returns
    -------
    pandas.DataFrame
        sample, donor and tissue_name ('' where the list does not say), then every further column of the list; those
        of SampleAttributesDS that expression depends on are called autolysis, center, batch, isolation_batch,
        isolation_date, rin and ischemic_minutes, and one without any value is left out.

    Raises
    ------
    CohortError
        No column of sample ids, a sample that is empty or listed twice, or a freeze without RNA samples.
    """
    table = read_table(
        path, text=("SAMPID", "SMTSD", "sample_id", "donor_id", "tissue_id", "sample", "donor", "tissue")
    )
    samples = _from_attributes(table, path) if "SAMPID" in table else _from_list(table, path)
    for name in ("sample", "donor", "tissue_name"):
        samples[name] = samples[name].map(exact_name)
    refuse_empty(samples, "sample", path)
    refuse_repeated(samples, "sample", path)
    return samples.reset_index(drop=True)


def _from_attributes(table: pd.DataFrame, path: str) -> pd.DataFrame:
    """Return the samples of GTEx's SampleAttributesDS."""
    if "SMAFRZE" in table:
        freezes = sorted(set(table["SMAFRZE"]) - {""})
        table = table[table["SMAFRZE"] == "RNASEQ"]
        if table.empty:
            raise CohortError(
                f"{path} has no sample of the freeze RNASEQ in SMAFRZE (it has {', '.join(freezes[:5]) or 'none'}); "
                f"take the SampleAttributesDS of the release, or drop the column"
            )
    samples = pd.DataFrame(
        {
            "sample": table["SAMPID"],
            "donor": table["SAMPID"].str.split("-").str[:2].str.join("-"),
            "tissue_name": table.get("SMTSD", ""),
        }
    )
    further = table.drop(columns=["SAMPID", *({"SMTSD", "SMAFRZE"} & set(table))])
    filled = [name for name in further if (further[name].notna() & (further[name] != "")).any()]
    return samples.join(further[filled].rename(columns=SAMPLE_ATTRIBUTES))


def _from_list(table: pd.DataFrame, path: str) -> pd.DataFrame:
    """Return the samples of a plain list."""
    names = {}
    for key in ("sample", "donor", "tissue"):
        matches = [name for name in (f"{key}_id", key) if name in table]
        if matches:
            names[matches[0]] = "tissue_name" if key == "tissue" else key
    if "sample" not in names.values():
        require(table, ["sample_id"], path, "name the column of RNA sample ids `sample_id`")
    samples = table.drop(columns=[name for name in ("has_genotype",) if name in table]).rename(columns=names)
    for name in ("donor", "tissue_name"):
        if name not in samples:
            samples[name] = ""
    first = ["sample", "donor", "tissue_name"]
    return samples[[*first, *(name for name in samples.columns if name not in first)]]


def require(table: pd.DataFrame, names: Sequence[str], path: str, way_out: str) -> None:
    """Raise unless a table has columns of these names."""
    missing = [name for name in names if name not in table]
    if missing:
        columns = ", ".join(map(str, table.columns))
        raise CohortError(f"{path} has no column {missing[0]!r} (it has {columns}); {way_out}")


def refuse_empty(table: pd.DataFrame, column: str, path: str) -> None:
    """Raise where a row has nothing in a column."""
    empty = (table[column].str.strip() == "").to_numpy()
    if empty.any():
        raise CohortError(f"{path}, row {int(empty.argmax()) + 2}: the {column} is empty; fill it in or drop the row")


def refuse_repeated(table: pd.DataFrame, column: str, path: str) -> None:
    """Raise where a value of a column stands in two rows."""
    repeated = table[column].duplicated().to_numpy()
    if repeated.any():
        name = table[column].iloc[int(repeated.argmax())]
        rows = ", ".join(str(row + 2) for row in (table[column] == name).to_numpy().nonzero()[0][:5])
        raise CohortError(f"{path}: {column} {name!r} stands in rows {rows}; keep one of them")


def set_aside(table: pd.DataFrame, used: Collection[str]) -> pd.DataFrame:
    """Return the table with its unused columns renamed where their name is one of this project's."""
    return table.rename(columns={name: f"{name}_in_file" for name in RESERVED if name in table and name not in used})
