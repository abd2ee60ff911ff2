"""Lengths of genes make TPM of counts."""

from __future__ import annotations

import gzip

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from histo_assets.core.cohort.errors import CohortError
from histo_assets.core.expression.errors import ExpressionError
from histo_assets.core.expression.lengths import _union, read_gene_lengths
from histo_assets.core.expression.reading import read_expression
from histo_assets.core.expression.settings import ExpressionSettings, GeneFilterSettings

ALL = GeneFilterSettings(min_max=-1, min_sd=0, names="all")
COUNTS = np.array([[10, 0, 7], [30, 5, 0], [60, 100, 3]])


@pytest.fixture
def counts(tmp_path):
    def written(genes):
        frame = pd.DataFrame(COUNTS[: len(genes)], columns=["s1", "s2", "s3"])
        frame.insert(0, "symbol", [f"N{i}" for i in range(len(genes))])
        frame.insert(0, "gene_id", genes)
        frame.to_csv(tmp_path / "counts.csv", index=False)
        return str(tmp_path / "counts.csv")

    return written


def read(path, lengths):
    settings = ExpressionSettings(file="x", units="counts", gene_lengths=str(lengths), filter=ALL)
    return read_expression(path, settings, None, None)


def table(tmp_path, genes, lengths, name="gene_id"):
    pd.DataFrame({name: genes, "length": lengths}).to_csv(tmp_path / "lengths.csv", index=False)
    return tmp_path / "lengths.csv"


def tpm(lengths):
    rate = COUNTS / np.asarray(lengths, dtype=float)[:, None]
    return np.log2(1 + 1e6 * rate / rate.sum(axis=0)).T.astype(np.float32)


GENES = ["ENSG00000000001.4", "ENSG00000000002.1", "ENSG00000000003.12"]


def test_counts_over_lengths_are_tpm_and_every_sample_sums_to_a_million(tmp_path, counts):
    matrix = read(counts(GENES), table(tmp_path, GENES, [1000, 500, 2500])).adata.X
    assert np.allclose(matrix, tpm([1000, 500, 2500]), rtol=1e-6)
    assert np.exp2(matrix.astype(float)).sum(axis=1) - 3 == pytest.approx([1e6] * 3, rel=1e-5)


@given(scale=st.floats(1e-3, 1e3))
def test_only_ratios_of_lengths_matter(tmp_path_factory, scale):
    folder = tmp_path_factory.mktemp("lengths")
    frame = pd.DataFrame(COUNTS, columns=["s1", "s2", "s3"])
    frame.insert(0, "gene_id", GENES)
    frame.to_csv(folder / "counts.csv", index=False)
    lengths = [1000 * scale, 500 * scale, 2500 * scale]
    matrix = read(str(folder / "counts.csv"), table(folder, GENES, lengths)).adata.X
    assert np.allclose(matrix, tpm([1000, 500, 2500]), rtol=1e-5)


def test_versions_of_ids_need_not_agree_and_par_y_has_the_length_of_its_twin(tmp_path, counts):
    genes = ["ENSG00000000001.4", "ENSG00000000002.1", "ENSG00000000001.4_PAR_Y"]
    lengths = table(tmp_path, ["ENSG00000000001.9", "ENSG00000000002"], [800, 400])
    assert np.allclose(read(counts(genes), lengths).adata.X, tpm([800, 400, 800]), rtol=1e-6)


def test_lengths_by_symbol_go_by_the_symbols_alone(tmp_path, counts):
    lengths = table(tmp_path, ["N0", "N1", "N2"], [800, 400, 100], name="symbol")
    assert np.allclose(read(counts(GENES), lengths).adata.X, tpm([800, 400, 100]), rtol=1e-6)


def test_genes_without_a_length_are_refused_where_they_are_many(tmp_path, counts):
    lengths = table(tmp_path, GENES[:2], [800, 400])
    with pytest.raises(
        ExpressionError, match=r"1 of 3 genes have no length in .*lengths\.csv, such as ENSG00000000003"
    ):
        read(counts(GENES), lengths)


def test_a_single_gene_without_a_length_counts_as_not_expressed(tmp_path):
    genes = [f"ENSG{i:011d}" for i in range(200)]
    frame = pd.DataFrame({"gene_id": genes, "s1": range(1, 201), "s2": 7})
    frame.to_csv(tmp_path / "counts.csv", index=False)
    report = read(str(tmp_path / "counts.csv"), table(tmp_path, genes[:199], [1000] * 199))
    assert "1 genes have no length and count as not expressed, such as ENSG00000000199" in report.notes
    assert report.genes["max"].iloc[199] == 0
    total = sum(range(1, 200))
    assert report.adata.X[0] == pytest.approx(np.log2(1 + 1e6 * np.arange(1, 200) / total), rel=1e-6)


GTF = """#!genome-build GRCh38
chr1\tHAVANA\tgene\t100\t900\t.\t+\t.\tgene_id "ENSG00000000001.4"; gene_name "A";
chr1\tHAVANA\texon\t100\t199\t.\t+\t.\tgene_id "ENSG00000000001.4"; transcript_id "T1";
chr1\tHAVANA\texon\t150\t299\t.\t+\t.\tgene_id "ENSG00000000001.4"; transcript_id "T2";
chr1\tHAVANA\texon\t800\t900\t.\t+\t.\tgene_id "ENSG00000000001.4"; transcript_id "T2";
chr2\tHAVANA\texon\t1\t10\t.\t-\t.\tgene_id "ENSG00000000002.1"; transcript_id "T3";
"""


@pytest.mark.parametrize("name", ["genes.gtf", "genes.gtf.gz"])
def test_a_gtf_gives_the_union_of_the_exons_of_each_gene(tmp_path, name):
    (tmp_path / name).write_bytes(gzip.compress(GTF.encode()) if name.endswith(".gz") else GTF.encode())
    assert read_gene_lengths(str(tmp_path / name)).by_name == {"ENSG00000000001": 301, "ENSG00000000002": 10}


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 12)).map(lambda x: (x[0], x[0] + x[1])), max_size=12))
def test_the_union_counts_every_covered_base_once(spans):
    assert _union(spans) == len({base for start, end in spans for base in range(start, end + 1)})


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("x.csv", "gene_id,kb\na,1\n", r"no column length or gene_length or bp .it has gene_id, kb"),
        ("x.csv", "id,length\na,1\n", "no column gene_id or gene"),
        ("x.csv", "gene,length\na,1\nb,0\n", "row 3: gene b has the length 0"),
        ("x.csv", "gene,length\na,1\nb,many\n", "row 2: gene a has the length '1'"),
        ("x.csv", "gene,length\nENSG00000000001.1,5\nENSG00000000001.2,6\n", "row 3: gene .* has two lengths"),
        ("x.gtf", 'chr1\tx\tgene\t1\t2\t.\t+\t.\tgene_id "a";\n', "has no exons"),
        ("x.gtf", 'chr1\tx\texon\t1\t2\t.\t+\t.\tgene_name "a";\n', "line 1: an exon without gene_id"),
        ("nowhere.csv", None, "does not exist"),
        ("nowhere.gtf", None, "does not exist"),
    ],
)
def test_unusable_lengths_are_named(tmp_path, name, text, words):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises((ExpressionError, CohortError), match=words):
        read_gene_lengths(str(tmp_path / name))


def test_lengths_are_of_counts_only():
    with pytest.raises(ValidationError, match="`gene_lengths` make TPM of counts, `units` says tpm"):
        ExpressionSettings(file="x", gene_lengths="y")
