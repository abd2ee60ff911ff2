"""What is written comes back as it was; what would not is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from anndata import AnnData
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import sparse

from histo_assets.storage import formats
from histo_assets.storage.digests import content_digest
from histo_assets.storage.layout import StorageError

words = st.one_of(st.none(), st.text(st.characters(codec="utf-8"), max_size=5))
rows = st.lists(st.tuples(words, st.integers(-9, 9), st.floats(), st.booleans()), max_size=6)
per_example = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@per_example
@given(rows, st.sampled_from([pd.DataFrame, pl.DataFrame]), st.sampled_from([pd.DataFrame, pl.DataFrame]))
def test_a_table_comes_back_as_the_kind_that_is_asked_for(
    tmp_path: Path, content: list[Any], kind: Any, wanted: Any
) -> None:
    table = pd.DataFrame(content, columns=["word", "count", "share", "ok"])
    table = table.astype({"count": "int64", "share": "float64", "ok": "bool"})
    value = table if kind is pd.DataFrame else pl.from_pandas(table)
    formats.write("tables", value, tmp_path)
    back = formats.read("tables", tmp_path, wanted)
    assert isinstance(back, wanted)
    assert content_digest(back) == content_digest(table)
    assert isinstance(formats.read("tables", tmp_path), kind)


def test_a_pandas_table_comes_back_equal(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {
            "slide": ["a", "b", "c"],
            "quarantined": [None, "empty file", None],
            "mpp": np.array([0.5, np.nan, 0.25]),
            "levels": np.array([1, 2, 3], dtype="int32"),
            "side": pd.Categorical(["test", "train", "test"], ["train", "test"]),
            "day": pd.DatetimeIndex(["2026-01-01", pd.NaT, "2026-01-03"]),
        }
    )
    formats.write("tables", table, tmp_path)
    pd.testing.assert_frame_equal(formats.read("tables", tmp_path, pd.DataFrame), table)


def test_a_column_of_nothing_but_nulls_is_text_to_polars(tmp_path: Path) -> None:
    formats.write("tables", pd.DataFrame({"quarantined": [None, None]}), tmp_path)
    assert formats.read("tables", tmp_path, pl.DataFrame).schema == {"quarantined": pl.String}


def matrix(**changes: Any) -> AnnData:
    parts: dict[str, Any] = {
        "X": np.arange(6, dtype=np.float32).reshape(3, 2),
        "obs": pd.DataFrame(
            {
                "tissue": ["liver", "heart", "liver"],
                "notes": ["clean", None, np.nan],
                "why": pd.array(["a", "b", None], dtype="string"),
                "none": pd.Series([None] * 3, dtype=object).to_numpy(),
                "fold": [0, -1, 1],
                "locked": [True, False, True],
            },
            index=["s1", "s2", "s3"],
        ),
        "var": pd.DataFrame(index=["g1", "g2"]),
        "obsm": {"X_pca": np.ones((3, 2), dtype=np.float32)},
        "uns": {"seed": 7, "labels": ["x", "y"], "deep": {"share": 0.25, "name": "pca"}},
    }
    return AnnData(**{**parts, **changes})


def test_a_matrix_comes_back_equal_and_is_not_changed_by_being_stored(tmp_path: Path) -> None:
    value = matrix()
    before = value.obs.copy()
    formats.write("matrices", value, tmp_path)
    back = formats.read("matrices", tmp_path)
    pd.testing.assert_frame_equal(value.obs, before)
    np.testing.assert_array_equal(back.X, value.X)
    np.testing.assert_array_equal(back.obsm["X_pca"], value.obsm["X_pca"])
    assert list(back.obs.tissue) == ["liver", "heart", "liver"]
    assert content_digest(back) == content_digest(value)


def test_labels_of_a_matrix_are_plain_strings_or_categoricals_in_the_file(tmp_path: Path) -> None:
    import h5py

    formats.write("matrices", matrix(), tmp_path)
    with h5py.File(tmp_path / "matrix.h5ad") as file:
        kinds = {name: file["obs"][name].attrs["encoding-type"] for name in file["obs"] if name != "_index"}
        assert "X" in file
    assert kinds == {
        "tissue": "string-array",
        "notes": "categorical",
        "why": "categorical",
        "none": "categorical",
        "fold": "array",
        "locked": "array",
    }


def test_a_sparse_matrix_comes_back_equal(tmp_path: Path) -> None:
    value = matrix(X=sparse.csr_matrix(np.array([[0, 1], [2, 0], [0, 0]], dtype=np.float32)))
    formats.write("matrices", value, tmp_path)
    assert (formats.read("matrices", tmp_path).X != value.X).nnz == 0


def test_a_matrix_without_x_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="needs its X"):
        formats.write("matrices", AnnData(obs=pd.DataFrame(index=["a"])), tmp_path)


plain = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(), inner, max_size=3)),
    max_leaves=10,
)


@per_example
@given(st.dictionaries(st.text(st.characters(codec="utf-8")), plain, max_size=4))
def test_json_comes_back_equal(tmp_path: Path, value: dict[str, Any]) -> None:
    formats.write("json", value, tmp_path)
    assert formats.read("json", tmp_path) == value


def test_numpy_numbers_become_plain_ones_in_json(tmp_path: Path) -> None:
    formats.write("json", {"epoch": np.int64(3), "means": np.array([0.5, 1.5])}, tmp_path)
    assert json.loads((tmp_path / "content.json").read_text()) == {"epoch": 3, "means": [0.5, 1.5]}


@pytest.mark.parametrize("value", [{"a": float("nan")}, {"a": float("inf")}, {"a": object()}, {"a": {1, 2}}])
def test_json_refuses_what_it_cannot_hold(tmp_path: Path, value: Any) -> None:
    with pytest.raises(StorageError, match=r"JSON|no digest"):
        formats.write("json", value, tmp_path)


@pytest.mark.parametrize(
    ("format", "value"),
    [("tables", {"a": 1}), ("matrices", pd.DataFrame()), ("folders", 3), ("json", {1: "a", "1": "b"})],
)
def test_a_value_of_another_kind_is_refused(tmp_path: Path, format: Any, value: Any) -> None:
    with pytest.raises(StorageError):
        formats.write(format, value, tmp_path)


FULL_DISK = """
import numpy as np, pandas as pd, anndata, sys
from pathlib import Path
from histo_assets.storage import formats
formats.HELD_IN_MEMORY = int(sys.argv[2])
rows = np.random.default_rng(0).normal(size=(3000, 300)).astype("float32")
matrix = anndata.AnnData(rows, obs=pd.DataFrame(index=[f"s{i}" for i in range(3000)]))
try:
    formats.write("matrices", matrix, Path(sys.argv[1]))
except OSError as error:
    print(error.strerror)
"""


@pytest.mark.parametrize("held", [500_000_000, 1000])
def test_a_full_disk_is_an_error_and_does_not_end_the_process(small_disk: Path, held: int) -> None:
    """HDF5 writes hundreds of lines and ends the process with a segmentation fault where it meets a full disk."""
    command = [sys.executable, "-c", FULL_DISK, str(small_disk), str(held)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr[-300:]
    assert ran.stdout.strip() == "No space left on device"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("only root may mount a small disk")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)
