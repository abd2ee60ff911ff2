"""A table with the study's own names for slide, donor, label and sample, and ids of any kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from histo_assets.core.cohort.readers.reader import Reader

if TYPE_CHECKING:
    import pandas as pd

    from histo_assets.core.cohort.settings import CohortSettings


class Table(Reader):
    """A table with the study's own names for slide, donor, label and sample, and ids of any kind."""

    name: ClassVar[str] = "table"
    description: ClassVar[str] = "a table with the study's own names and ids"

    def read(self, path: str, settings: CohortSettings) -> pd.DataFrame:
        """Return the manifest under this project's column names; further columns are kept.

        `original_slide` and `original_donor` are there where an id was no safe file name and had to be slugged.
        """
        from histo_assets.core.cohort.errors import CohortError
        from histo_assets.core.cohort.ids import exact_name
        from histo_assets.core.cohort.reading import ordered, require, set_aside, with_tissue
        from histo_assets.core.cohort.table_files import read_table

        table = read_table(path, text=[name for name in (*settings.columns.model_dump().values(), "sample") if name])
        wanted = {key: name for key, name in settings.columns.model_dump().items() if name is not None}
        for key, name in wanted.items():
            require(table, [name], path, f"name the right one as `cohort.columns.{key}`")
        if "sample" not in wanted and "sample" in table:
            wanted["sample"] = "sample"
        if len(set(wanted.values())) < len(wanted):
            raise CohortError(f"{path}: `cohort.columns` names one column twice ({wanted}); give each its own")
        table = set_aside(table, set(wanted.values()))
        table = table.rename(columns={name: "tissue_name" if key == "label" else key for key, name in wanted.items()})
        for key in {"slide", "donor", "tissue_name", "sample"} & set(table):
            table[key] = table[key].map(exact_name)
        for key in ("slide", "donor"):
            table = _with_safe_ids(table, key, path)
        return ordered(with_tissue(table, path))


def _with_safe_ids(table: pd.DataFrame, key: str, path: str) -> pd.DataFrame:
    """Return the table with ids that can be file names; the originals are kept where any had to change."""
    from histo_assets.core.cohort.ids import safe_ids
    from histo_assets.core.cohort.reading import refuse_empty, refuse_repeated

    originals = table[key]
    refuse_empty(table, key, path)
    if key == "slide":
        refuse_repeated(table, key, path)
    safe = safe_ids(list(originals))
    if safe == list(originals):
        return table
    marked = table.copy()
    marked[key], marked[f"original_{key}"] = safe, originals
    return marked
