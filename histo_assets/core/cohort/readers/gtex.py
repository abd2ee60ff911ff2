"""The CSV of the GTEx portal's histology page, and GTEx ids."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from histo_assets.core.cohort.readers.reader import Reader

if TYPE_CHECKING:
    import pandas as pd

    from histo_assets.core.cohort.settings import CohortSettings

PORTAL_COLUMNS = {
    "Tissue Sample ID": "slide",
    "Subject ID": "donor",
    "Tissue": "tissue_name",
    "Sex": "sex",
    "Age Bracket": "age",
    "Hardy Scale": "hardy",
}
PORTAL_NOTES = {"Pathology Categories": "categories", "Pathology Notes": "notes"}


class Gtex(Reader):
    """The CSV of the GTEx portal's histology page, and GTEx ids."""

    name: ClassVar[str] = "gtex"
    description: ClassVar[str] = "the portal's CSV and GTEx ids"

    def read(self, path: str, settings: CohortSettings) -> pd.DataFrame:
        """Return the manifest under this project's column names: also sex, age, hardy, categories, notes."""
        from histo_assets.core.cohort.reading import ordered, require, set_aside, with_tissue
        from histo_assets.core.cohort.table_files import read_table

        table = read_table(path, text=(*PORTAL_COLUMNS, *PORTAL_NOTES))
        require(table, list(PORTAL_COLUMNS), path, "download it from the portal's histology page with the button CSV")
        for name in PORTAL_NOTES:
            if name not in table:
                table[name] = ""
        names = PORTAL_COLUMNS | PORTAL_NOTES
        table = set_aside(table, names.keys()).rename(columns=names)
        for row, slide, donor in zip(range(2, len(table) + 2), table["slide"], table["donor"], strict=True):
            _check_gtex_ids(path, row, slide, donor)
        table["sex"] = table["sex"].str.lower()
        return ordered(with_tissue(table, path))


def _check_gtex_ids(path: str, row: int, slide: str, donor: str) -> None:
    from histo_assets.core.cohort.errors import CohortError
    from histo_assets.core.cohort.ids import GTEX_DONOR, GTEX_SLIDE
    from histo_assets.core.files import is_safe_id

    for column, value, pattern, example in (
        ("Tissue Sample ID", slide, GTEX_SLIDE, "GTEX-1117F-0126"),
        ("Subject ID", donor, GTEX_DONOR, "GTEX-1117F"),
    ):
        if pattern.fullmatch(value):
            continue
        what = f"is no GTEx id such as {example}" if is_safe_id(value) else "could be a path and is no GTEx id"
        raise CohortError(
            f"{path}, row {row}: {column} {value!r} {what}; correct it, or read the cohort with `reader: table`"
        )
    if not slide.startswith(donor + "-"):
        raise CohortError(f"{path}, row {row}: slide {slide} is said to be of donor {donor}; correct one of the two")
