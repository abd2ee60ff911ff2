"""Reading expression from CSV, TSV, parquet and h5ad."""

from __future__ import annotations

import gzip

import numpy as np
import pandas as pd
import pytest

from histo_assets.core.expression.errors import ExpressionError
from histo_assets.core.expression.reading import read_expression
from histo_assets.core.expression.settings import ExpressionSettings, GeneFilterSettings

ALL = GeneFilterSettings(min_max=-1, min_sd=0, names="all")
GENES = pd.DataFrame(
    {"gene_id": ["g1", "g2", "g3"], "symbol": ["A", "B", "C"], "s1": [1, 2, 3.5], "s 2": [4, 0, 1e-5], "s3": [7, 8, 9]}
)
LOG2 = np.log2(1 + GENES[["s1", "s 2", "s3"]].to_numpy().T).astype(np.float32)


def read(path, samples=None, **settings):
    return read_expression(str(path), ExpressionSettings(file="x", filter=ALL, **settings), samples, None)


def by_sample():
    return GENES.set_index("symbol")[["s1", "s 2", "s3"]].T.rename_axis("sample")


@pytest.mark.parametrize(
    "kind", ["csv", "tsv", "txt", "csv.gz", "parquet", "rows.csv", "rows.tsv", "rows.parquet", "h5ad"]
)
def test_every_format_gives_the_same_matrix(tmp_path, kind):
    path = tmp_path / f"x.{kind}"
    separator = "," if "csv" in kind else "\t"
    if kind == "h5ad":
        import anndata

        table = by_sample()
        anndata.AnnData(table.to_numpy(), pd.DataFrame(index=table.index), pd.DataFrame(index=table.columns)).write(
            path
        )
    elif kind == "rows.parquet":
        by_sample().reset_index().to_parquet(path)
    elif kind == "parquet":
        GENES.to_parquet(path)
    elif kind.startswith("rows"):
        by_sample().to_csv(path, sep=separator)
    else:
        GENES.to_csv(path, sep=separator, index=False)
    table = read(path, samples_in="rows" if kind.startswith("rows") else "columns")
    assert table.adata.obs_names.tolist() == ["s1", "s 2", "s3"]
    assert table.adata.var_names.tolist() == ["A", "B", "C"]
    assert np.array_equal(table.adata.X, LOG2)
    assert table.adata.X.dtype == np.float32


def test_a_sparse_h5ad_gives_the_samples_in_the_order_asked_for(tmp_path):
    import anndata
    from scipy.sparse import csr_matrix

    path = tmp_path / "x.h5ad"
    var = pd.DataFrame({"gene_name": ["A", "B", "C"]}, index=["g1", "g2", "g3"])
    table = by_sample()
    anndata.AnnData(csr_matrix(table.to_numpy()), pd.DataFrame(index=table.index), var).write(path)
    read_back = read(path, ["s3", "s1"])
    assert np.array_equal(read_back.adata.X, LOG2[[2, 0]])
    assert read_back.adata.var["symbol"].tolist() == ["A", "B", "C"]
    assert read_back.adata.var["gene_id"].tolist() == ["g1", "g2", "g3"]


def test_a_parquet_with_a_pandas_index_is_understood(tmp_path):
    by_sample().rename_axis(None).to_parquet(tmp_path / "x.parquet")
    assert np.array_equal(read(tmp_path / "x.parquet", samples_in="rows").adata.X, LOG2)


def test_a_csv_with_quoted_names_is_understood(tmp_path):
    text = '"gene_id","s1","s 2","s3"\n"g,1",1,4,7\n"g2",2,0,8\n"g3",3.5,1e-05,9\n'
    (tmp_path / "x.csv").write_text(text)
    table = read(tmp_path / "x.csv")
    assert table.adata.var["gene_id"].tolist() == ["g,1", "g2", "g3"]
    assert np.array_equal(table.adata.X, LOG2)


def test_a_table_with_an_unnamed_first_column_is_understood(tmp_path):
    with gzip.open(tmp_path / "x.tsv.gz", "wt") as file:
        file.write("\tA\tB\ns1\t0\t1\ns2\t3\t7\n")
    table = read(tmp_path / "x.tsv.gz", units="log2_counts", samples_in="rows")
    assert table.adata.to_df().to_dict("list") == {"A": [0, 2], "B": [1, 3]}


@pytest.mark.parametrize("samples_in", ["columns", "rows"])
@pytest.mark.parametrize(("name", "separator"), [("x.csv", "\t"), ("x.tsv", ","), ("x.csv", ";"), ("x.txt", ";")])
def test_a_table_is_separated_as_its_first_line_says_whatever_its_name_promises(tmp_path, name, separator, samples_in):
    rows = {"columns": ["gene_id s1 s2", "A 0 3", "B 1 7"], "rows": ["sample A B", "s1 0 1", "s2 3 7"]}[samples_in]
    text = "\n".join(rows).replace(" ", separator)
    (tmp_path / name).write_text(f"\ufeff{text}\n")
    table = read(tmp_path / name, units="log2_counts", samples_in=samples_in)
    assert table.adata.to_df().to_dict("list") == {"A": [0, 2], "B": [1, 3]}


@pytest.mark.parametrize(
    ("name", "text", "samples_in", "words"),
    [
        ("x.csv", "gene_id,s1,s1\ng1,1,2\n", "columns", "sample column 's1' occurs 2 times"),
        ("x.csv", "gene_id,s1\ng1,1\ng2,x\n", "columns", "line 3, gene g2, sample s1: 'x' is no number"),
        ("x.csv", "gene_id\ng1\n", "columns", "has no columns of samples in its first line .*; begin with the names"),
        ("x.csv", "", "columns", "is empty"),
        ("x.csv", "sample,g1\ns1,1\ns2,x\n", "rows", "row of s2, gene g1: 'x' is no number"),
        ("x.csv", "sample,g1\ns1,1\ns2,-2\n", "rows", "gene g1, sample s2: -2 is negative"),
        ("x.csv", "sample,g1,g1\ns1,1,2\n", "rows", "gene column 'g1' occurs 2 times"),
        ("x.csv", "sample,g1\ns1,1\ns1,2\n", "rows", "sample 's1' occurs 2 times"),
        ("x.parquet", "no parquet", "rows", "is no parquet file"),
        ("x.h5ad", "no h5ad", "columns", "is no h5ad file"),
        ("x.dat", "a", "columns", "its name tells no format; name one of .*`expression.format`"),
    ],
)
def test_a_bad_table_gives_one_clear_sentence(tmp_path, name, text, samples_in, words):
    (tmp_path / name).write_text(text)
    with pytest.raises(ExpressionError, match=words):
        read(tmp_path / name, samples_in=samples_in)


def test_a_table_that_knows_genes_by_name_only_may_repeat_names_that_the_filter_drops(tmp_path):
    (tmp_path / "x.csv").write_text("gene,s1,s2\nA,1,2\nB,1,2\nB,3,4\nC.1,1,2\n")
    strict = ExpressionSettings(file="x", filter=GeneFilterSettings(min_max=-1, min_sd=0))
    table = read_expression(str(tmp_path / "x.csv"), strict, None, None)
    assert table.adata.var_names.tolist() == ["A"]
    assert table.genes["name_class"].tolist() == ["standard", "repeated", "repeated", "dotted"]
    with pytest.raises(ExpressionError, match="gene 'B' occurs 2 times"):
        read(tmp_path / "x.csv")
