"""The matrix written while it is read."""

from __future__ import annotations

import gzip
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest

from histo_assets.core.expression import values
from histo_assets.core.expression.errors import ExpressionError
from histo_assets.core.expression.reading import filter_expression, read_expression, write_expression
from histo_assets.core.expression.settings import ExpressionSettings, GeneFilterSettings
from histo_assets.core.expression.values import SetAside

SETTINGS = ExpressionSettings(file="x", format="gct", filter=GeneFilterSettings(names="keep_first"))
SAMPLES = [f"s{number}" for number in range(37)]


@pytest.fixture
def gct(tmp_path: Path) -> str:
    rng = np.random.default_rng(1)
    rows = [
        "\t".join([f"ENSG{gene:011d}.1", f"N{gene % 700}{'.1' if gene % 5 == 0 else ''}", *map(str, row)])
        for gene, row in enumerate(rng.gamma(0.3, 90, (800, len(SAMPLES))).round(3))
    ]
    head = ["#1.2", f"800\t{len(SAMPLES)}", "\t".join(["Name", "Description", *SAMPLES])]
    path = tmp_path / "x.gct.gz"
    path.write_bytes(gzip.compress(("\n".join([*head, *rows]) + "\n").encode()))
    return str(path)


@pytest.mark.filterwarnings("ignore:the 800 genes")
@pytest.mark.parametrize(("samples", "fit"), [(None, None), (["s9", "s3", "s30"], None), (["s9", "s3"], SAMPLES[5:])])
def test_what_is_written_is_what_is_read(
    tmp_path: Path, gct: str, samples: list[str] | None, fit: list[str] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(values, "GENES_AT_ONCE", 7)
    wanted = read_expression(gct, SETTINGS, samples, fit)
    report = write_expression(gct, SETTINGS, samples, fit, tmp_path / "x.h5ad")
    stored = anndata.read_h5ad(tmp_path / "x.h5ad")
    assert 50 < stored.n_vars < 600
    assert np.array_equal(stored.X, wanted.adata.X)
    assert stored.X.dtype == np.float32
    pd.testing.assert_frame_equal(stored.var, wanted.adata.var, check_index_type=False)
    pd.testing.assert_frame_equal(report.funnel, wanted.funnel)
    assert stored.obs_names.tolist() == (samples or SAMPLES)
    assert stored.uns["units"] == "tpm"
    pd.testing.assert_frame_equal(filter_expression(gct, SETTINGS, samples, fit).var, wanted.var)


def test_it_is_an_h5ad_that_can_be_read_in_parts_and_written_again(tmp_path: Path, gct: str) -> None:
    write_expression(gct, SETTINGS, None, None, tmp_path / "x.h5ad")
    backed = anndata.read_h5ad(tmp_path / "x.h5ad", backed="r")
    part = backed[["s3", "s1"], 5:9].to_memory()
    whole = anndata.read_h5ad(tmp_path / "x.h5ad")
    assert np.array_equal(part.X, whole.X[[3, 1], 5:9])
    assert not whole.obs_names.has_duplicates and not whole.var_names.has_duplicates
    whole.write_h5ad(tmp_path / "again.h5ad", compression="gzip")
    assert np.array_equal(anndata.read_h5ad(tmp_path / "again.h5ad").X, whole.X)


def test_a_file_that_breaks_off_leaves_the_old_matrix_and_nothing_else(tmp_path: Path, gct: str) -> None:
    target = tmp_path / "out" / "x.h5ad"
    write_expression(gct, SETTINGS, None, None, target)
    before = target.read_bytes()
    packed = Path(gct).read_bytes()
    Path(gct).write_bytes(packed[: len(packed) * 3 // 4])
    with pytest.raises(ExpressionError, match="is cut off"):
        write_expression(gct, SETTINGS, None, None, target)
    assert target.read_bytes() == before
    assert list(target.parent.iterdir()) == [target]


def test_how_far_it_is_is_told(gct: str) -> None:
    lines: list[str] = []
    read_expression(gct, SETTINGS, None, None, progress=lines.append)
    assert lines[-1] == "800 genes read"


def test_values_set_aside_on_disk_and_in_memory_come_back_alike(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).random((301, 5)).astype(np.float32)
    kept = np.arange(301) % 3 == 1
    for folder in (None, tmp_path):
        matrix = np.empty((5, kept.sum()), dtype=np.float32)
        with SetAside(5, folder) as aside:
            for part in np.array_split(rows, 9):
                aside.add(part)
            aside.fill(matrix, kept)
        assert np.array_equal(matrix, rows[kept].T)
    assert list(tmp_path.iterdir()) == []
