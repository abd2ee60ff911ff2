"""One row per RNA sample."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData, read_h5ad

from histo_assets.core.cohort.errors import CohortError
from histo_assets.core.cohort.samples import sample_table

SPLIT = pd.DataFrame({"donor": ["007", "008"], "fold": [0, 1], "side": ["validation", "train"]})


def slides(**changes: list[str]) -> pd.DataFrame:
    columns = {
        "slide": ["12", "13", "14"],
        "donor": ["007", "007", "008"],
        "tissue": ["1", "1", "2"],
        "tissue_name": ["1", "1", "2"],
        "sample": ["a", "a", "b"],
        "rin": ["7.5", "7.5", None],
    }
    return pd.DataFrame({**columns, **changes})


def test_names_made_of_digits_stay_names() -> None:
    table = sample_table(slides(), SPLIT)
    assert table["slides"].to_list() == ["12;13", "14"]
    assert table["donor"].to_list() == ["007", "008"]
    assert table["tissue"].to_list() == ["1", "2"]


def test_columns_of_numbers_become_numbers() -> None:
    assert sample_table(slides(), SPLIT)["rin"].dtype == "float64"


def test_slides_of_one_sample_must_be_of_one_donor() -> None:
    with pytest.raises(CohortError, match=r"sample a .*007 and 008"):
        sample_table(slides(donor=["007", "008", "008"]), SPLIT)


def test_every_column_of_the_cohorts_tables_stays_beside_sample_and_slide() -> None:
    table = sample_table(slides(sex=["f", "f", "m"], batch=["B1", "B1", ""], why=["x", "x", "x"]), SPLIT)
    assert list(table.columns) == [
        "sample", "slide", "slides", "donor", "tissue", "tissue_name", "rin", "sex", "batch", "fold", "side",
    ]  # fmt: skip
    assert table["sample"].to_list() == table.index.to_list() == ["a", "b"]
    assert table["slide"].to_list() == ["12", "14"]


def test_the_table_is_written_as_h5ad_and_comes_back_alike(tmp_path: Path) -> None:
    table = sample_table(slides(), SPLIT)
    AnnData(np.zeros((2, 1), np.float32), table).write_h5ad(tmp_path / "x.h5ad")
    back = read_h5ad(tmp_path / "x.h5ad").obs
    assert list(back.columns) == list(table.columns)
    assert back["sample"].to_list() == back.index.to_list() == ["a", "b"]
