"""Digests depend on content alone, and on all of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from anndata import AnnData
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from histo_assets.storage.digests import content_digest
from histo_assets.storage.layout import StorageError

numbers = st.one_of(st.integers(-(2**40), 2**40), st.floats(allow_nan=False, allow_infinity=False))
plain = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=5), inner, max_size=4)),
    max_leaves=12,
)


def adata() -> AnnData:
    return AnnData(
        np.arange(6, dtype=np.float32).reshape(3, 2),
        obs=pd.DataFrame({"tissue": ["liver", "heart", "liver"]}, index=["a", "b", "c"]),
        var=pd.DataFrame({"mean": [0.5, 1.5]}, index=["g1", "g2"]),
        obsm={"X_pca": np.ones((3, 2), dtype=np.float32)},
        uns={"seed": 7, "names": ["x", "y"], "deep": {"share": 0.25}},
    )


@settings(max_examples=60, deadline=None)
@given(plain, plain)
def test_unequal_plain_values_have_unequal_digests(one: Any, other: Any) -> None:
    assert (content_digest(one) == content_digest(other)) == (repr(_sorted(one)) == repr(_sorted(other)))


def _sorted(value: Any) -> Any:
    """Return `value` with its keys in order."""
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value


def test_the_order_of_keys_does_not_matter() -> None:
    assert content_digest({"a": 1, "b": [2]}) == content_digest({"b": [2], "a": 1})


def test_a_table_has_one_digest_in_pandas_and_in_polars() -> None:
    columns = {"slide": ["a", None, "ü"], "x": [1, 2, 3], "mpp": [0.5, float("nan"), 1.0], "ok": [True, False, True]}
    assert content_digest(pd.DataFrame(columns)) == content_digest(pl.DataFrame(columns, strict=False))


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.rename(columns={"slide": "slides"}),
        lambda t: t.assign(x=t.x.astype("int32")),
        lambda t: t.assign(x=t.x + 1),
        lambda t: t.assign(slide=["ab", "", "c"]),
        lambda t: t.assign(slide=["a", None, "c"]),
        lambda t: t.iloc[::-1],
        lambda t: t.iloc[:2],
        lambda t: t[["x", "slide"]],
    ],
)
def test_every_change_of_a_table_shows_in_its_digest(change: Any) -> None:
    table = pd.DataFrame({"slide": ["a", "b", "c"], "x": [1, 2, 3]})
    assert content_digest(change(table)) != content_digest(table)


def test_the_row_numbers_of_a_filtered_table_do_not_matter() -> None:
    table = pd.DataFrame({"x": [1, 2, 3]})
    assert content_digest(table[table.x > 1]) == content_digest(pd.DataFrame({"x": [2, 3]}))


def test_a_slice_has_the_digest_of_a_copy() -> None:
    table = pl.DataFrame({"slide": ["a", "bb", "ccc", None], "x": [1, None, 3, 4]})
    assert content_digest(table[1:]) == content_digest(pl.DataFrame({"slide": ["bb", "ccc", None], "x": [None, 3, 4]}))


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a.X.__setitem__((0, 0), 9),
        lambda a: a.obs.__setitem__("tissue", ["liver", "liver", "liver"]),
        lambda a: setattr(a, "obs_names", ["a", "b", "d"]),
        lambda a: a.obsm["X_pca"].__setitem__((0, 0), 9),
        lambda a: a.obsm.__setitem__("X_umap", np.zeros((3, 2))),
        lambda a: a.uns["deep"].__setitem__("share", 0.5),
        lambda a: a.var.__setitem__("mean", [0.5, 2.0]),
    ],
)
def test_every_change_of_a_matrix_shows_in_its_digest(change: Any) -> None:
    changed = adata()
    change(changed)
    assert content_digest(changed) != content_digest(adata())


def test_a_sparse_matrix_has_one_digest_however_it_is_built() -> None:
    rows = sparse.csr_matrix(np.array([[0, 1.0, 2.0], [3.0, 0, 0]]))
    unsorted = sparse.csr_matrix((np.array([2.0, 1.0, 3.0]), np.array([2, 1, 0]), np.array([0, 2, 3])), shape=(2, 3))
    assert content_digest(rows) == content_digest(unsorted) == content_digest(rows.tocsc())


def test_a_handle_speaks_for_itself_or_by_its_files() -> None:
    class Spoken:
        def content_digest(self) -> str:
            return "abc"

    class Files:
        def __init__(self, text: str) -> None:
            self.text = text

        def write(self, folder: Path) -> None:
            (folder / "file.txt").write_text(self.text)

    assert content_digest(Spoken()) == content_digest(Spoken())
    assert content_digest(Files("a")) == content_digest(Files("a")) != content_digest(Files("b"))


@pytest.mark.parametrize(
    "value", [object(), {1, 2}, pd.DataFrame({1: [2]}), pd.DataFrame([[1, 2]], columns=["a", "a"])]
)
def test_what_cannot_be_stored_has_no_digest(value: Any) -> None:
    with pytest.raises(StorageError):
        content_digest(value)


def test_a_table_with_an_index_of_its_own_is_refused() -> None:
    with pytest.raises(StorageError, match=r"index .*slide.*; make it a column"):
        content_digest(pd.DataFrame({"x": [1]}, index=pd.Index(["a"], name="slide")))


@settings(max_examples=50)
@given(st.lists(st.tuples(st.text(max_size=4), st.integers(0, 9), st.floats(width=32)), max_size=6))
def test_a_table_and_its_copy_have_one_digest(rows: list[tuple[str, int, float]]) -> None:
    table = pd.DataFrame(rows, columns=["a", "b", "c"])
    assert content_digest(table) == content_digest(table.copy())
