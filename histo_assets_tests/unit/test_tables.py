"""Declared tables: what is refused and in which words, and that each table is declared and listed."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import polars as pl
import pytest

from histo_assets.cli.tables import as_markdown, stored_tables
from histo_assets.core.tables import (
    Flag,
    Number,
    Table,
    TableError,
    Text,
    Value,
    Whole,
    as_table,
    column,
    declared_table,
    read_pandas,
    read_polars,
    validate,
    write_table,
)
from histo_assets.defs.rooms import study_assets
from histo_assets.studies.study import load_study

ROOT = Path(__file__).parents[2]


class Sections(Table):
    """Sections of tissue."""

    slide: Text = column("Slide.", unique=True)
    stain: Text = column("Stain.", isin=["HE", "PAS"])
    pieces: Whole = column("Pieces.", ge=1)
    thickness: Number = column("Thickness.", "um", missing=True, gt=0, lt=20)
    frozen: Flag = column("Whether it was frozen.")
    age: Value | None = column("Age of the donor.", missing=True)
    score: Number | None = column("A reader's score.", like=r"reader_\d|score", le=3)


def sections() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "slide": ["a", "b", "c"],
            "stain": ["HE", "PAS", "HE"],
            "pieces": [1, 2, 3],
            "thickness": [4.0, float("nan"), 5.0],
            "frozen": [True, False, False],
        }
    )


FAULTS = {
    "there is no column `stain`": sections().drop(columns="stain"),
    "column `slide` holds a more than once, first in row 1": sections().assign(slide=["a", "b", "a"]),
    "column `slide` has no value in row 2": sections().assign(slide=pd.Series(["a", None, "c"])),
    "column `stain` is Azan in row 3 (slide c), and must be one of HE, PAS": sections().assign(
        stain=["HE", "PAS", "Azan"]
    ),
    "column `pieces` is 0 in row 2 (slide b), and must be at least 1": sections().assign(pieces=[1, 0, 3]),
    "column `pieces` is Float64, not whole number": sections().assign(pieces=[1.0, 1.5, 2.0]),
    "column `pieces` is String, not whole number": sections().assign(pieces=["1", "2", "3"]),
    "column `pieces` has no value in row 3 (slide c)": sections().assign(pieces=[1.0, 2.0, float("nan")]),
    "column `thickness` is 20.0 in row 1 (slide a), and must be less than 20": sections().assign(thickness=20.0),
    "column `thickness` is 0.0 in row 1 (slide a), and must be greater than 0": sections().assign(thickness=0.0),
    "column `frozen` is Int64, not yes or no": sections().assign(frozen=1),
    "column `reader_2` is 4 in row 1 (slide a), and must be at most 3": sections().assign(reader_1=1, reader_2=4),
    "column `reader_1` is String, not number": sections().assign(reader_1="good"),
}


@pytest.mark.parametrize("library", ["pandas", "polars"])
@pytest.mark.parametrize("sentence", FAULTS)
def test_what_is_not_as_declared_is_named_with_column_and_row(sentence: str, library: str) -> None:
    frame = FAULTS[sentence] if library == "pandas" else pl.from_pandas(FAULTS[sentence], nan_to_null=False)
    with pytest.raises(TableError) as raised:
        validate(frame, Sections)
    assert str(raised.value) == sentence


def test_several_faults_are_one_sentence() -> None:
    with pytest.raises(TableError) as raised:
        validate(sections().assign(pieces=[0, 0, 1], frozen="no"), Sections)
    assert str(raised.value) == (
        "column `pieces` is 0 in row 1 (slide a), and must be at least 1; column `frozen` is String, not yes or no"
    )


@pytest.mark.parametrize(
    "fine",
    [
        sections(),
        sections().assign(age=[40, 50, 60], reader_1=[1, 2, 3]),
        sections().assign(age=pd.Series(["40-49", None, ""]), own_column=[b"x", b"y", b"z"]),
        sections().assign(pieces=[1.0, 2.0, 3.0], thickness=[1, 2, 3]),  # as pandas holds them, and whole measurements
        sections().assign(stain=pd.Categorical(["HE", "PAS", "HE"]), thickness=None),
        sections().assign(reader_12="not a reader's", my_reader_1="nor this"),
        sections().head(0).astype({"frozen": bool}),
        pd.DataFrame({name: [] for name in sections()}),  # which pandas takes for floats
    ],
)
def test_what_is_as_declared_is_left_as_it_is(fine: pd.DataFrame) -> None:
    before = fine.copy(deep=True)
    validate(fine, Sections)
    pd.testing.assert_frame_equal(fine, before)


def test_a_table_is_judged_where_it_is_written_and_where_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "sections.parquet"
    with pytest.raises(TableError, match="no column `frozen`"):
        write_table(sections().drop(columns="frozen"), path, Sections)
    assert not path.exists()
    write_table(sections(), path, Sections)
    pd.testing.assert_frame_equal(read_pandas(path, Sections), sections())
    write_table(pl.from_pandas(sections()), path, Sections)
    assert read_polars(path, Sections).equals(pl.from_pandas(sections()))
    sections().assign(pieces=-1).to_parquet(path)
    for read in (read_pandas, read_polars):
        with pytest.raises(TableError, match="column `pieces` is -1 in row 1"):
            read(path, Sections)


def test_the_rows_of_a_matrix_are_judged_with_their_names() -> None:
    from anndata import AnnData

    rows = sections().set_index("slide").rename_axis(index=None)
    adata = AnnData(obs=rows.assign(thickness=1.0))
    validate(as_table(adata, Sections), Sections)
    adata.obs["pieces"] = [1, 2, 0]
    with pytest.raises(TableError, match=r"is 0 in row 3 \(slide c\)"):
        validate(as_table(adata, Sections), Sections)


def test_every_column_says_what_it_holds() -> None:
    declared = [table for table, _ in stored_tables(load_study("demo"))]
    assert len(declared) > 15
    for table in declared:
        assert table.__doc__ and table.__doc__ != Table.__doc__, table
        for each in table.columns():
            assert each.description.endswith("."), (table, each.name)


@pytest.mark.parametrize("study", ["demo", "gtex"])
def test_every_table_and_every_matrix_of_a_study_is_declared(study: str) -> None:
    assets = study_assets(load_study(study))
    for name, declaration in assets.declared.items():
        io = declaration.stored_as
        assert bool(declaration.table) == (io in ("tables", "matrices")), name
        if declaration.table:
            assert issubclass(declared_table(declaration.table), Table)


def test_the_page_of_tables_is_what_is_declared() -> None:
    written = (ROOT / "docs/tables.md").read_text(encoding="utf-8")
    assert as_markdown(load_study("demo")) == written, "run `histo-assets tables --markdown > docs/tables.md`"
