"""Ensembl ids and symbols, and genes that stand twice."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from histo_assets.core.expression.errors import ExpressionError
from histo_assets.core.expression.identifiers import is_ensembl, refuse_mixed_ids, unversioned

NUMBERS = st.integers(0, 10**11 - 1)
VERSIONS = st.integers(1, 99)


def ids(count: int) -> list[str]:
    return [f"ENSG{number:011d}.{1 + number % 9}" for number in range(count)]


@given(NUMBERS, VERSIONS, st.booleans())
def test_an_id_without_its_version_stays_an_id_and_keeps_par_y(number: int, version: int, par_y: bool) -> None:
    twin = "_PAR_Y" if par_y else ""
    gene = f"ENSG{number:011d}.{version}{twin}"
    assert is_ensembl(gene)
    assert unversioned(gene) == f"ENSG{number:011d}{twin}"
    assert unversioned(unversioned(gene)) == unversioned(gene)


@given(st.text(max_size=12).filter(lambda name: not name.startswith("ENS")))
def test_any_other_name_is_left_alone(name: str) -> None:
    assert not is_ensembl(name)
    assert unversioned(name) == name


def test_ids_of_one_kind_are_no_matter() -> None:
    assert refuse_mixed_ids(ids(300), "x") == []
    assert refuse_mixed_ids(["TP53", "BRCA1", "BRCA1"], "x") == []


def test_a_few_spike_ins_are_noted() -> None:
    notes = refuse_mixed_ids([*ids(300), "ERCC-00002", "ERCC-00003"], "x")
    assert notes == ["2 of 302 genes have no Ensembl id, such as ERCC-00002"]
    notes = refuse_mixed_ids([*[f"GENE{i}" for i in range(300)], "ENSG00000141510.16"], "x")
    assert notes == ["1 of 301 genes have an Ensembl id, such as ENSG00000141510.16"]


def test_ids_and_symbols_mixed_are_refused_with_one_of_each() -> None:
    with pytest.raises(ExpressionError, match=r"x\.csv mixes .*: 90 such as ENSG0+\.1, 10 such as SYM0; give the ids"):
        refuse_mixed_ids([*ids(90), *[f"SYM{i}" for i in range(10)]], "x.csv")


def test_one_gene_under_two_versions_is_refused() -> None:
    with pytest.raises(ExpressionError, match=r"two versions, ENSG00000141510\.16 and ENSG00000141510\.18"):
        refuse_mixed_ids([*ids(5), "ENSG00000141510.16", "ENSG00000141510.18"], "x")
    assert refuse_mixed_ids(["ENSG00000182378.13", "ENSG00000182378.13_PAR_Y"], "x") == []
