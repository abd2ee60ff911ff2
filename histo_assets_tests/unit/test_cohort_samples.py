"""One row per RNA sample."""

from __future__ import annotations

import pandas as pd
import pytest

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
