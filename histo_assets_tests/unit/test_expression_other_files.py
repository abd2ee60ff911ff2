"""Expression as other programs write it: the numbers that were written, or one sentence."""

from __future__ import annotations

import gzip
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from histo_assets.core.expression.errors import ExpressionError
from histo_assets.core.expression.lengths import read_gene_lengths
from histo_assets.core.expression.reading import read_expression
from histo_assets.core.expression.settings import ExpressionSettings, GeneFilterSettings

ALL = GeneFilterSettings(min_max=-1, min_sd=0, names="all")
SAMPLES = ["s1", "s2", "s3", "s4"]


def read(path, units="counts", samples=None, **more):
    return read_expression(str(path), ExpressionSettings(file="x", units=units, filter=ALL, **more), samples, None)


def ensembl(n):
    return [f"ENSG{i:011d}" for i in range(1, n + 1)]


def counted(genes=40, samples=4, seed=0):
    rng = np.random.default_rng(seed)
    return rng.poisson(rng.lognormal(3, 1.5, (genes, 1)), (genes, samples)) + 1


def log2cpm(counts):
    return np.log2(1 + counts / counts.sum(axis=0) * 1e6).T


def frame(values, names=None, samples=None):
    samples = samples or [f"s{i + 1}" for i in range(np.shape(values)[1])]
    table = pd.DataFrame(values, columns=samples)
    table.insert(0, "gene_id", names or ensembl(len(values)))
    return table


def written(path, table, **options):
    table.to_csv(path, sep="\t", index=False, **options)
    return path


# Rows that are no genes


@pytest.mark.parametrize(
    ("kind", "rows"),
    [
        ("counters of the aligner", ["__no_feature", "__ambiguous", "__not_aligned"]),
        ("counters of the aligner", ["N_unmapped", "N_multimapping", "N_noFeature", "N_ambiguous"]),
        ("counters of the aligner", ["Unassigned_NoFeatures", "*"]),
        ("spike-ins", ["ERCC-00002", "ERCC-00171"]),
        ("totals", ["Total"]),
    ],
)
@pytest.mark.parametrize("at_the_end", [True, False])
def test_rows_that_are_no_genes_are_left_out_of_totals_too_and_named_with_their_number(
    tmp_path, kind, rows, at_the_end
):
    counts = counted()
    odd = frame(np.full((len(rows), 4), 5_000), rows)
    parts = [frame(counts), odd]
    path = written(tmp_path / "x.tsv", pd.concat(parts if at_the_end else parts[::-1]))
    table = read(path)
    assert np.allclose(table.adata.X, log2cpm(counts), atol=1e-5)
    assert table.adata.var["gene_id"].tolist() == ensembl(40)
    assert any(note.startswith(f"{len(rows)} rows are {kind} and no genes") and rows[0] in note for note in table.notes)


def test_they_are_left_out_of_any_format(tmp_path):
    import anndata

    counts = counted()
    table = pd.concat([frame(counts), frame(counts[:2] * 9, ["__no_feature", "ERCC-00004"])])
    table.to_parquet(tmp_path / "x.parquet", index=False)
    wide = table.set_index("gene_id").T
    wide.rename_axis("sample").to_csv(tmp_path / "rows.csv")
    anndata.AnnData(wide.to_numpy(float), pd.DataFrame(index=wide.index), pd.DataFrame(index=wide.columns)).write(
        tmp_path / "x.h5ad"
    )
    for name, samples_in in (("x.parquet", "columns"), ("rows.csv", "rows"), ("x.h5ad", "columns")):
        assert np.allclose(read(tmp_path / name, samples_in=samples_in).adata.X, log2cpm(counts), atol=1e-5)


def test_genes_whose_names_look_alike_stay(tmp_path):
    names = ["ERCC1", "ERCC2", "SUMO1", "NOTO", "TOTAL1", "AMBN", "SIRT1"]
    assert read(written(tmp_path / "x.tsv", frame(counted(7), names))).adata.var["symbol"].tolist() == names


def test_a_row_that_is_the_sum_of_all_others_is_a_total_whatever_it_is_called(tmp_path):
    counts = counted()
    path = written(tmp_path / "x.tsv", frame(np.vstack([counts, counts.sum(axis=0)]), [*ensembl(40), "everything"]))
    with pytest.raises(
        ExpressionError, match="the row everything is the sum of all others in every sample, a total and no"
    ):
        read(path)


# Columns that are no samples


def featurecounts(counts, comment=True):
    n = len(counts)
    table = frame(counts, samples=["a.bam", "b.bam", "c.bam", "d.bam"]).rename(columns={"gene_id": "Geneid"})
    place = {"Chr": "chr1", "Start": np.arange(n) * 900 + 1, "End": np.arange(n) * 900 + 500, "Strand": "+"}
    for i, (column, values) in enumerate({**place, "Length": 500 + np.arange(n)}.items()):
        table.insert(1 + i, column, values)
    start = '# Program:featureCounts v2.0.3; Command:"featureCounts" "-a" "genes.gtf"\n' if comment else ""
    return start + table.to_csv(sep="\t", index=False)


@pytest.mark.parametrize("comment", [True, False])
def test_the_table_of_featurecounts_has_its_alignments_as_samples_and_its_lengths_may_serve(tmp_path, comment):
    counts = counted()
    path = tmp_path / "counts.txt"
    path.write_text(featurecounts(counts, comment))
    table = read(path)
    assert table.samples == ["a.bam", "b.bam", "c.bam", "d.bam"]
    assert np.allclose(table.adata.X, log2cpm(counts), atol=1e-5)
    assert "5 columns say something about genes and are no samples: Chr, Start, End, Strand, Length" in table.notes
    assert any("the column Length gives the genes' base pairs" in note for note in table.notes)
    rates = counts / (500 + np.arange(40))[:, None]
    scaled = read(path, gene_lengths=str(path))
    assert np.allclose(scaled.adata.X, np.log2(1 + rates / rates.sum(axis=0) * 1e6).T, atol=1e-5)
    assert read_gene_lengths(str(path)).by_name["ENSG00000000003"] == 502


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("Entrez.Gene.ID", np.arange(40) * 7),
        ("gene biotype", ["protein_coding"] * 40),
        ("a remark", ["-", "n/a"] + ["novel"] * 38),
        ("transcript_id(s)", ["t1,t2"] * 40),
        ("Length", np.arange(40) + 300.5),
    ],
)
@pytest.mark.parametrize("kind", ["tsv", "csv", "parquet"])
def test_columns_about_genes_are_no_samples_wherever_they_stand(tmp_path, column, values, kind):
    counts = counted()
    for place in (1, 3, 5):
        table = frame(counts)
        table.insert(place, column, values)
        path = tmp_path / f"x.{kind}"
        table.to_parquet(path, index=False) if kind == "parquet" else table.to_csv(
            path, sep="\t" if kind == "tsv" else ",", index=False
        )
        found = read(path)
        assert found.samples == SAMPLES
        assert np.allclose(found.adata.X, log2cpm(counts), atol=1e-5)
        assert f"1 columns say something about genes and are no samples: {column}" in found.notes


def test_a_sample_that_is_called_like_one_is_read_where_it_is_asked_for(tmp_path):
    counts = counted()
    path = written(tmp_path / "x.tsv", frame(counts, samples=["start", "end", "s3", "s4"]))
    assert read(path).samples == ["s3", "s4"]
    table = read(path, samples=["end", "start"])
    assert table.samples == ["end", "start"]
    assert np.allclose(table.adata.X, log2cpm(counts[:, [1, 0]]), atol=1e-5)


def test_a_column_of_numbers_with_an_unknown_name_is_named_as_unlike_the_others(tmp_path):
    table = frame(counted(1500, 5))
    table.insert(1, "offset", np.arange(1500) * 311 % 9001)
    path = written(tmp_path / "x.tsv", table)
    assert any("1 of 6 columns do not look like samples" in note and "offset" in note for note in read(path).notes)
    assert not any("look like" in note for note in read(path, samples=SAMPLES).notes)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("gene_id\tlength\texpected_count\tTPM\tFPKM\nENSG00000000001\t5\t1\t2\t3\n", "figures of one sample"),
        ("Name\tLength\tEffectiveLength\tTPM\tNumReads\nENSG00000000001\t5\t4\t2\t3\n", "TPM, NumReads: these are"),
        ("ENSG00000000001\t4\t7\nENSG00000000002\t1\t2\n", "the table has no header"),
        ("N_unmapped\t4\t7\t7\nN_multimapping\t1\t2\t3\n", "the table has no header"),
    ],
)
def test_the_output_for_one_sample_is_named_as_what_it_is(tmp_path, text, words):
    (tmp_path / "x.tsv").write_text(text)
    with pytest.raises(ExpressionError, match=rf"x\.tsv, line 1 .*{words}"):
        read(tmp_path / "x.tsv")


# Expected counts


@pytest.mark.parametrize("units", ["counts", "log2_counts"])
def test_expected_counts_are_read_with_their_fractions_and_said_to_have_some(tmp_path, units):
    counts = np.round(counted() * 1.37 + 0.21, 2)
    table = read(written(tmp_path / "x.tsv", frame(counts)), units)
    assert np.allclose(table.adata.X, log2cpm(counts) if units == "counts" else np.log2(1 + counts).T, atol=1e-5)
    assert any(note.startswith("counts have fractions") for note in table.notes)


def test_tpm_and_logarithms_are_no_counts(tmp_path):
    tpm = counted(1200) * 1.37
    tpm = tpm / tpm.sum(axis=0) * 1e6
    with pytest.raises(ExpressionError, match=r"is no whole number, and every sample sums to 1,000,000, .*say tpm"):
        read(written(tmp_path / "x.tsv", frame(tpm)))
    for units in ("counts", "log2_counts"):
        with pytest.raises(
            ExpressionError, match="is no whole number, and no value is above 40, so these are no counts"
        ):
            read(written(tmp_path / "x.tsv", frame(np.log2(1 + tpm))), units)
    with pytest.raises(ExpressionError, match=r"logarithms and no FPKM .*log2\(fpkm\+1\)"):
        read(written(tmp_path / "x.tsv", frame(np.log2(1 + tpm))), "fpkm")


# Other logarithms


def transcriptome(seed=0):
    rng = np.random.default_rng(seed)
    tpm = rng.lognormal(0.5, 2.5, (1200, 4)) * (rng.random((1200, 4)) > 0.3)
    tpm[:, 0] += (tpm == 0).all(axis=1)
    return tpm / tpm.sum(axis=0) * 1e6


LOGARITHMS = {"log2": np.log2, "ln": np.log, "log10": np.log10}


@pytest.mark.parametrize("name", LOGARITHMS)
@pytest.mark.parametrize("pseudocount", [1, 0.001, 0.01, 0.5, 2])
def test_another_logarithm_is_refused_by_its_evidence_and_taken_back_where_the_study_names_it(
    tmp_path, name, pseudocount
):
    tpm = transcriptome()
    path = written(tmp_path / "x.tsv", frame(LOGARITHMS[name](tpm + pseudocount)), float_format="%.5f")
    if (name, pseudocount) != ("log2", 1):
        with pytest.raises(ExpressionError, match=r"`expression\.units: log2`"):
            read(path, "log2")
    table = read(path, f"{name}(TPM + {pseudocount})")
    assert np.allclose(table.adata.X, np.log2(1 + tpm).T, atol=2e-4)
    assert table.adata.X.min() == 0


def test_the_sentence_names_the_logarithm_whose_zero_is_the_lowest_value(tmp_path):
    path = written(tmp_path / "x.tsv", frame(np.log10(transcriptome() + 0.01)), float_format="%.4f")
    with pytest.raises(ExpressionError, match=r"negative, the lowest is -2 .*such as `log10\(tpm\+0\.01\)`"):
        read(path, "log2")


def test_a_logarithm_lower_than_that_of_nothing_is_another(tmp_path):
    path = written(tmp_path / "x.tsv", frame(np.log2(transcriptome() + 0.001)), float_format="%.4f")
    with pytest.raises(
        ExpressionError, match=r"below -6\.644, the lowest there is of `expression\.units: log2\(tpm\+0\.01"
    ):
        read(path, "log2(tpm+0.01)")
    with pytest.raises(ExpressionError, match=r"sum to .*, where TPM sum to 1,000,000"):
        read(written(tmp_path / "x.tsv", frame(np.log(transcriptome() + 1))), "log2(tpm+1)")


@pytest.mark.parametrize("quantity", ["counts", "fpkm"])
def test_logarithms_of_counts_and_fpkm_are_scaled_once_they_are_taken_back(tmp_path, quantity):
    counts = counted()
    path = written(tmp_path / "x.tsv", frame(np.log2(counts + 1.0)), float_format="%.6f")
    assert np.allclose(read(path, f"log2({quantity}+1)").adata.X, log2cpm(counts), atol=1e-4)


def test_log2_of_one_plus_tpm_is_taken_as_it_is(tmp_path):
    log2 = np.log2(1 + transcriptome())
    table = read(written(tmp_path / "x.tsv", frame(log2)), "log2")
    assert np.array_equal(table.adata.X, log2.T.astype(np.float32))
    assert table.notes == []


@pytest.mark.parametrize("units", ["log", "log2(tpm)", "log2(tpm+0)", "log2(tpm-1)", "log3(tpm+1)", "LOG2(x+1)"])
def test_units_that_are_none_are_refused_with_those_that_are(units):
    with pytest.raises(ValueError, match=r"is no unit that is read; say tpm, .*log2\(tpm\+0\.001\)"):
        ExpressionSettings(file="x", units=units)


def annotated(path, x, layers=None, raw=None, uns=None):
    import anndata

    obs, var = pd.DataFrame(index=SAMPLES), pd.DataFrame(index=ensembl(x.shape[1]))
    made = anndata.AnnData(x, obs, var, layers=layers or {}, uns=uns or {})
    if raw is not None:
        made.raw = anndata.AnnData(raw, obs, pd.DataFrame(index=ensembl(raw.shape[1])))
    made.write_h5ad(path)
    return path


def test_what_an_h5ad_says_of_logarithms_and_its_other_matrices_are_looked_at(tmp_path):
    counts = counted().T.astype(float)
    scaled = counts / counts.sum(axis=1, keepdims=True) * 1e4
    path = annotated(
        tmp_path / "x.h5ad", np.log1p(scaled), {"counts": counts}, np.hstack([counts, counts]), {"log1p": {"base": 2.0}}
    )
    for units in ("log2(counts+0.1)", "counts", "tpm", "fpkm"):
        with pytest.raises(
            ExpressionError,
            match=r"says by `uns\['log1p'\]` that its X is log2\(1\+x\).*`expression.layer`: counts, raw",
        ):
            read(path, units)
    path = annotated(tmp_path / "ln.h5ad", np.log1p(scaled), {"counts": counts}, counts, {"log1p": {}})
    expected = log2cpm(counts.T)
    assert np.allclose(read(path, "ln(counts+1)").adata.X, expected, atol=1e-4)
    assert np.allclose(read(path, layer="counts").adata.X, expected, atol=1e-5)
    assert np.allclose(read(path, layer="raw").adata.X, expected, atol=1e-5)
    with pytest.raises(ExpressionError, match=r"has no layer 'count'; it has counts, raw"):
        read(path, layer="count")
    path = annotated(tmp_path / "whole.h5ad", counts, uns={"log1p": {}})
    assert np.allclose(read(path).adata.X, expected, atol=1e-5)
    with pytest.raises(ExpressionError, match="is tsv and has no layers"):
        read(written(tmp_path / "x.tsv", frame(counted())), layer="counts")


def test_single_cell_sums_are_no_log2_of_tpm(tmp_path):
    scaled = transcriptome() / 100
    for taken in (np.log, np.log2):
        with pytest.raises(ExpressionError, match="sum to 10,000, as single cells are scaled"):
            read(written(tmp_path / "x.tsv", frame(taken(1 + scaled))), "log2")


# Names that spreadsheets changed


def with_names(tmp_path, odd, others=30):
    names = [*odd, *(f"GENE{i}" for i in range(others))]
    table = frame(counted(len(names)), names).rename(columns={"gene_id": "gene"})
    return written(tmp_path / "x.tsv", table), len(odd)


@pytest.mark.parametrize(
    ("date", "gene"),
    [
        ("2-Sep", "SEPT2"),
        ("Sep-02", "SEPT2"),
        ("14-Sep", "SEPT14"),
        ("1-Dec", "DEC1"),
        ("10-Mar", "MARCH10"),
        ("2023-03-05", "MARCH5"),
        ("2023-09-07 00:00:00", "SEPT7"),
        ("5. Mrz", "MARCH5"),
        ("09.03.2021", "MARCH9"),
        ("44625", "MARCH5"),
        ("11/03/2020", "MARCH11"),
    ],
)
def test_a_date_that_can_be_one_gene_alone_is_that_gene_and_said_to_be(tmp_path, date, gene):
    path, _ = with_names(tmp_path, [date], 120)
    table = read(path)
    assert table.adata.var["symbol"].iloc[0] == gene
    assert any("1 names of genes are dates" in note and f"{date} is {gene}" in note for note in table.notes)


@pytest.mark.parametrize(
    ("odd", "words"),
    [
        (["1-Mar"], r"1-Mar \(MARCH1 or MARC1\)"),
        (["2-Sep", "Sep-02"], r"2-Sep \(SEPT2\), Sep-02 \(SEPT2\)"),
        (["2-Sep", "SEPT2"], r"2-Sep \(SEPT2\)"),
        (["7-Jul"], r"7-Jul \(no gene known\)"),
        (["03/09/2020"], r"03/09/2020 \(MARCH9 or SEPT3\)"),
    ],
)
def test_a_date_that_may_be_several_genes_stays_and_is_named(tmp_path, odd, words):
    path, _ = with_names(tmp_path, odd)
    table = read(path)
    assert set(odd) <= set(table.adata.var["symbol"])
    assert any(pd.Series(note).str.contains(f"stay as they are .*{words}")[0] for note in table.notes)


def test_a_date_twice_is_an_error_about_the_spreadsheet(tmp_path):
    path, _ = with_names(tmp_path, ["1-Mar", "1-Mar"])
    with pytest.raises(ExpressionError, match=r"the gene '1-Mar' occurs 2 times: a spreadsheet .*MARCH1 and MARC1"):
        read(path)


def test_an_ensembl_id_says_which_of_two_genes_a_date_was(tmp_path):
    ids = ["ENSG00000145416.13", "ENSG00000186205.12", "ENSG00000111640.14"]
    table = frame(counted(3), ids)
    table.insert(1, "symbol", ["1-Mar", "1-Mar", "GAPDH"])
    assert read(written(tmp_path / "x.tsv", table)).adata.var["symbol"].tolist() == ["MARCH1", "MARC1", "GAPDH"]


def test_names_that_are_no_dates_stay_as_they_are(tmp_path):
    names = ["MARCH1", "DEC1", "SEPT2", "HLA-A", "NKX2-5", "A1BG-AS1", "7SK"]
    path, _ = with_names(tmp_path, names)
    table = read(path)
    assert table.adata.var["symbol"].tolist()[:7] == names
    assert not any("dates" in note for note in table.notes)
    worm = [f"{word}-{i}" for word in ("dec", "sep", "unc") for i in (11, 12, 13)]
    path, _ = with_names(tmp_path, worm, 0)
    assert read(path).adata.var["symbol"].tolist() == worm


def test_names_of_clones_that_became_numbers_are_named(tmp_path):
    path, _ = with_names(tmp_path, ["2.31E+13"])
    assert any("1 names of genes are numbers that a spreadsheet made" in note for note in read(path).notes)


# Names of samples that R changed


@pytest.mark.parametrize(
    ("asked", "in_file"),
    [
        (["s-1", "s 2", "12", "n/a"], ["s.1", "s.2", "X12", "n.a"]),
        (["GTEX-1117F-0226-SM-5GZZ7", "a", "b", "c"], ["GTEX.1117F.0226.SM.5GZZ7", "a", "b", "c"]),
        (["a", "b", "c", "d-1"], ["bam/a.bam", "b.sorted.bam", "/x/c.Aligned.sortedByCoord.out.bam", "d.1.bam"]),
        (["Gr\u00fcn", "b", "c", "d"], ["Gru\u0308n", "b", "c ", "d"]),
    ],
)
def test_names_that_r_or_an_aligner_changed_are_mapped_back_and_said(tmp_path, asked, in_file):
    counts = counted()
    path = written(tmp_path / "x.tsv", frame(counts, samples=in_file))
    table = read(path, samples=asked[::-1])
    assert table.samples == asked[::-1]
    assert np.allclose(table.adata.X, log2cpm(counts)[::-1], atol=1e-5)
    assert any("in the file, they were taken so" in note for note in table.notes)


def test_an_exact_name_goes_first_and_what_two_names_come_to_is_left_open(tmp_path):
    counts = counted()
    path = written(tmp_path / "x.tsv", frame(counts, samples=["s.1", "s-1", "t.1", "u"]))
    assert np.allclose(read(path, samples=["s-1"]).adata.X, log2cpm(counts[:, [1]]), atol=1e-5)
    table = read(path, samples=["t-1", "t 1", "u"])
    assert (table.samples, table.missing_samples) == (["u"], ["t-1", "t 1"])
    assert any("t.1 in the file may be t-1 or t 1" in note for note in table.notes)
    with pytest.raises(ExpressionError, match=r"holds none of the 2 samples .*t\.1 in the file may be t-1 or t 1"):
        read(path, samples=["t-1", "t 1"])


def test_names_as_r_writes_them_are_noted_where_nothing_is_asked_for(tmp_path):
    path = written(tmp_path / "x.tsv", frame(counted(), samples=["X12", "X13", "a", "b"]))
    assert any("2 names of samples look as R changes names" in note for note in read(path).notes)


# GCT


def gct(path, values, head, meta=()):
    rows = ["\t".join(map(str, row)) for row in values]
    path.write_text("\n".join([*head, *meta, *rows]) + "\n")
    return path


@pytest.mark.parametrize(("of_genes", "of_samples"), [(3, 2), (3, 0), (0, 2), (1, 1)])
def test_gct_1_3_gives_the_block_of_values_and_leaves_out_what_it_says_of_genes_and_samples(
    tmp_path, of_genes, of_samples
):
    counts = counted()
    about = [["pr_gene_symbol", *(f"N{i}" for i in range(40))], ["chrom_start", *range(40)], ["note", *["x"] * 40]]
    about = about[:of_genes]
    head = ["#1.3", f"40\t4\t{of_genes}\t{of_samples}", "\t".join(["id", *(str(c[0]) for c in about), *SAMPLES])]
    meta = [
        "\t".join(["age", *["na"] * of_genes, "61", "45", "33", "70"]),
        "\t".join(["batch", *["na"] * of_genes, *"1212"]),
    ]
    rows = [[gene, *(c[i + 1] for c in about), *counts[i]] for i, gene in enumerate(ensembl(40))]
    table = read(gct(tmp_path / "x.gct", rows, head, meta[:of_samples]))
    assert table.samples == SAMPLES
    assert np.allclose(table.adata.X, log2cpm(counts), atol=1e-5)
    assert table.adata.var["gene_id"].tolist() == ensembl(40)
    assert table.adata.var["symbol"].tolist() == ([f"N{i}" for i in range(40)] if of_genes else ensembl(40))
    assert not any("header says" in note for note in table.notes)


def test_gct_1_3_whose_second_line_does_not_fit_its_third_says_so(tmp_path):
    path = gct(tmp_path / "x.gct", [["g", "a", 1, 2]], ["#1.3", "1\t2\t2\t0", "id\tName\ts1\ts2"])
    with pytest.raises(ExpressionError, match=r"line 2 says 2 columns about genes and 2 samples, and line 3 names 4"):
        read(path)


@pytest.mark.parametrize("names", ["NAME\tDescription", "name\tdescription", "Description\tName"])
def test_the_names_of_columns_may_be_written_in_any_case_and_order(tmp_path, names):
    counts = counted()
    cells = [[f"N{i}", gene] if names.startswith("Desc") else [gene, f"N{i}"] for i, gene in enumerate(ensembl(40))]
    head = ["#1.2", "40\t4", "\t".join([names, *SAMPLES])]
    table = read(gct(tmp_path / "x.gct", [[*pair, *row] for pair, row in zip(cells, counts, strict=True)], head))
    assert np.allclose(table.adata.X, log2cpm(counts), atol=1e-5)
    assert table.adata.var["gene_id"].tolist() == ensembl(40)


def test_a_gct_with_more_columns_than_samples_leaves_those_about_genes_out(tmp_path):
    counts = counted()
    rows = [[gene, "N", 5 * i, *counts[i]] for i, gene in enumerate(ensembl(40))]
    head = ["#1.2", "40\t4", "\t".join(["Name", "Description", "Length", *SAMPLES])]
    assert read(gct(tmp_path / "x.gct", rows, head)).samples == SAMPLES
    head = ["#1.2", "40\t5", "\t".join(["Name", "Description", "Length", *SAMPLES])]
    assert read(gct(tmp_path / "x.gct", rows, head)).samples == ["Length", *SAMPLES]


# Other ways of writing a table

VALUES = np.round(np.random.default_rng(0).lognormal(4, 2, (60, 4)), 3) + 0.001
NAMES = [f"GENE{i}" for i in range(60)]


def plain(separator=",", number=str, quote=""):
    lines = [[f"{quote}{cell}{quote}" for cell in ("gene", *SAMPLES)]]
    lines += [[f"{quote}{name}{quote}", *map(number, row)] for name, row in zip(NAMES, VALUES, strict=True)]
    return "\n".join(map(separator.join, lines)) + "\n"


def comma(value):
    return f"{value:.3f}".replace(".", ",")


def german(value):
    return f"{value:,.3f}".translate(str.maketrans(",.", ".,"))


def without_first(text, separator):
    return text.split(separator, 1)[1]


OTHERS = {
    "decimal commas, semicolons": ("x.csv", plain(";", comma).encode()),
    "decimal commas, tabs": ("x.tsv", plain("\t", comma).encode()),
    "decimal commas, quoted": ("x.csv", plain(",", lambda v: f'"{comma(v)}"').encode()),
    "thousands": ("x.csv", plain(",", lambda v: f'"{v:,.3f}"').encode()),
    "thousands in german": ("x.csv", plain(";", german).encode()),
    "thousands in swiss": ("x.csv", plain(";", lambda v: f"{v:,.3f}".replace(",", "'")).encode()),
    "thousands in french": ("x.csv", plain(";", lambda v: german(v).replace(".", "\u202f")).encode()),
    "UTF-16 little": ("x.txt", plain("\t").encode("utf-16")),
    "UTF-16 big": ("x.txt", b"\xfe\xff" + plain("\t").encode("utf-16-be")),
    "UTF-16 without mark": ("x.csv", plain().encode("utf-16-le")),
    "UTF-32": ("x.csv", plain().encode("utf-32")),
    "byte order mark": ("x.csv", b"\xef\xbb\xbf" + plain(quote='"').encode()),
    "carriage returns": ("x.csv", plain().replace("\n", "\r").encode()),
    "both ends": ("x.csv", plain().replace("\n", "\r\n").encode()),
    "R, spaces": ("x.txt", without_first(plain(" ", quote='"'), " ").encode()),
    "R, tabs": ("x.tsv", without_first(plain("\t"), "\t").encode()),
    "R, commas, quoted": ("x.csv", without_first(plain(quote='"'), ",").encode()),
    "spaces": ("x.txt", plain(" ").encode()),
    "pipes": ("x.txt", plain("|").encode()),
    "Excel's separator": ("x.csv", ("sep=;\n" + plain(";")).encode()),
    "a comment": ("x.csv", ("# made, by; a script\n#\n" + plain()).encode()),
    "a hash before the header": ("x.tsv", ("#" + plain("\t")).encode()),
    "empty lines": ("x.csv", ("\n\n" + plain().replace("\n", "\n\n")).encode()),
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("other", OTHERS)
def test_a_table_written_in_another_way_gives_the_same_values(tmp_path, other, packed):
    name, content = OTHERS[other]
    path = tmp_path / (f"{name}.gz" if packed else name)
    path.write_bytes(gzip.compress(content, mtime=0) if packed else content)
    table = read(path, "fpkm")
    assert table.samples == SAMPLES
    assert table.adata.var["symbol"].tolist() == NAMES
    assert np.allclose(table.adata.X, log2cpm(VALUES), atol=1e-5)


@pytest.mark.parametrize("other", ["decimal commas, semicolons", "thousands in german", "UTF-16 little", "R, tabs"])
def test_tables_with_samples_in_rows_are_read_in_these_ways_too(tmp_path, other):
    name, content = OTHERS[other]
    encoding = "utf-16" if other.startswith("UTF-16") else "utf-8"
    separator = ";" if name.endswith("csv") else "\t"
    rows = [line.split(separator) for line in content.decode(encoding).splitlines()]
    if other.startswith("R"):
        rows[0] = ["", *rows[0]]
    turned = [list(row) for row in zip(*rows, strict=True)]
    if other.startswith("R"):
        turned[0] = turned[0][1:]
    (tmp_path / name).write_bytes("\n".join(map(separator.join, turned)).encode(encoding))
    table = read(tmp_path / name, "fpkm", samples_in="rows")
    assert table.samples == SAMPLES
    assert np.allclose(table.adata.X, log2cpm(VALUES), atol=1e-5)


def test_counts_with_commas_between_thousands_are_read(tmp_path):
    counts = counted() * 37
    lines = [
        ["gene_id", *SAMPLES],
        *([g, *(f"{v:,}" for v in row)] for g, row in zip(ensembl(40), counts, strict=True)),
    ]
    (tmp_path / "x.tsv").write_text("\n".join(map("\t".join, lines)))
    assert np.allclose(read(tmp_path / "x.tsv").adata.X, log2cpm(counts), atol=1e-5)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"gene\ts1\ts2\nA\t2,110\t3,250\n", r"writes numbers such as '2,110', whose comma or point may be"),
        (b"gene\ts1\ts2\nA\t1,5\t3.25\n", r"writes numbers such as '1,5', whose comma or point may be"),
        (b"gene\ts1\ts2\nA\t1\x005\t3\n", r"line 2 holds NUL bytes"),
        (b"ge\x00ne\ts1\ts2\nA\t1\t3\n", r"line 1 holds NUL bytes"),
        (b"gene\ts1\ts2\nA\t1\t3\n" + b"B\t1\t3\n" * 500 + b"C\x00\t1\t3\n", r"line 503 holds NUL bytes"),
        (b'gene,"' + b"s" * 200_000 + b"\nA,1\n", r"line 1: field larger than field limit"),
        (b'gene,s1\nA,1\n"B,' + b"1" * 200_000 + b"\n", r"line 3.*"),
        (b"PK\x03\x04" + bytes(200), r"is a ZIP archive or an Excel workbook"),
        (b"\xd0\xcf\x11\xe0" + bytes(200), r"is an Excel workbook \(\.xls\)"),
        (b"BZh91AY&SY" + bytes(20), r"is packed by bzip2"),
        (b"\xfd7zXZ" + bytes(20), r"is packed by xz"),
        (b"\x89HDF\r\n\x1a\n" + bytes(20), r"is an HDF5 file; if it is h5ad, say so"),
        (b"PAR1" + bytes(20), r"is a parquet file; say so as"),
        (b"<!DOCTYPE html><html></html>", r"is a web page"),
        (gzip.compress(gzip.compress(b"gene,s1\n", mtime=0), mtime=0), r"is packed by gzip twice"),
        (b"gene,s1\nA,1_000\nB,2\n", r"'1_000' is no number"),
        ("gene,s1\nA,1\n".encode("utf-16") + b"x", r"begins as UTF-16 and does not go on so"),
        (b"\n\n\n", r"is empty"),
    ],
)
@pytest.mark.parametrize("samples_in", ["columns", "rows"])
@pytest.mark.parametrize("suffix", ["csv", "csv.gz"])
def test_what_cannot_be_read_is_one_sentence(tmp_path, content, words, samples_in, suffix):
    path = tmp_path / f"x.{suffix}"
    packed = suffix.endswith("gz") and not content.startswith((b"PK", b"\x1f\x8b"))
    path.write_bytes(gzip.compress(content, mtime=0) if packed else content)
    with pytest.raises(ExpressionError, match=words):
        read(path, samples_in=samples_in)


def test_points_between_thousands_that_would_pass_as_fractions_are_refused(tmp_path):
    counts = counted(200) * 11
    lines = [
        ["gene_id", *SAMPLES],
        *([g, *(f"{v:,}".replace(",", ".") for v in row)] for g, row in zip(ensembl(200), counts)),
    ]
    assert counts.max() < 1_000_000 and (counts > 999).sum() > 60
    (tmp_path / "x.csv").write_text("\n".join(map(";".join, lines)))
    with pytest.raises(ExpressionError, match="whose comma or point may be a decimal mark or stand between thousands"):
        read(tmp_path / "x.csv")


@pytest.mark.parametrize("content", [b"\0", b",", b"1\t", b"gene\ts1\nA\t1\n"], ids=["NUL", "comma", "tab", "row"])
@pytest.mark.parametrize("name", ["x.csv.gz", "x.gct.gz"])
def test_a_small_gzip_that_unpacks_to_much_takes_little_memory(tmp_path, content, name):
    path = tmp_path / name
    with gzip.open(path, "wb", compresslevel=9) as file:
        for _ in range(100):
            file.write(content * (1_000_000 // len(content)))
    assert path.stat().st_size < 600_000
    tracemalloc.start()
    try:
        with pytest.raises(ExpressionError):
            read(path, samples_in="rows")
        # A column a byte makes many small names of a line that is bounded.
        assert tracemalloc.get_traced_memory()[1] < 1_000_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ["x.csv", "x.gct", "x.tsv"])
@settings(max_examples=50, deadline=None)
@given(content=st.binary(max_size=400) | st.text("\t,;\"'. \n\r0123456789aeE-+#NA\u00fc", max_size=300).map(str.encode))
def test_no_bytes_leave_a_traceback(tmp_path_factory, name, content):
    path = tmp_path_factory.mktemp("fuzz") / name
    for start in (b"", b"gene,s1,s2\nA,1,2\n", b"#1.2\n1\t2\nName\tDescription\ts1\ts2\nA\tB\t1\t2\n"):
        path.write_bytes(start + content)
        for samples_in in ("columns", "rows"):
            try:
                read(path, samples_in=samples_in)
            except ExpressionError as error:
                assert str(path) in str(error)


def test_a_layer_is_recorded_only_where_one_is_named_so_that_earlier_results_stay_fresh():
    from histo_assets.core.settings import recorded
    from histo_assets.studies.study import load_study

    study = load_study("tiny")
    assert "expression.layer" not in recorded(study, ["expression"])
    named = study.model_copy(update={"expression": study.expression.model_copy(update={"layer": "counts"})})
    assert recorded(named, ["expression"])["expression.layer"] == "counts"
