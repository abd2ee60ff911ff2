"""Units, gene filters and the matrix that a study gets."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from histo_assets.core.expression.errors import ExpressionError
from histo_assets.core.expression.filters import gene_filter, name_classes
from histo_assets.core.expression.reading import read_expression
from histo_assets.core.expression.settings import ExpressionSettings, GeneFilterSettings

ALL = GeneFilterSettings(min_max=-1, min_sd=0, names="all")


def table(tmp_path, values, symbols=None, genes=None):
    values = np.asarray(values)
    genes = genes or [f"ENSG{i:08d}.{i}" for i in range(len(values))]
    frame = pd.DataFrame(values, columns=[f"s{i}" for i in range(values.shape[1])])
    frame.insert(0, "symbol", symbols or [f"N{i}" for i in range(len(values))])
    frame.insert(0, "gene_id", genes)
    frame.to_csv(tmp_path / "x.tsv", sep="\t", index=False)
    return str(tmp_path / "x.tsv")


def read(path, units="tpm", samples=None, fit=None, chosen=ALL):
    return read_expression(path, ExpressionSettings(file="x", units=units, filter=chosen), samples, fit)


def test_fpkm_and_counts_are_scaled_to_a_million_before_the_logarithm(tmp_path):
    path = table(tmp_path, [[1, 30], [3, 10]])
    expected = np.log2(1 + np.array([[250_000, 750_000], [750_000, 250_000]])).astype(np.float32)
    for units in ("fpkm", "counts"):
        result = read(path, units)
        assert np.allclose(result.adata.X, expected)
        assert "scaled to a million over 2 genes only" in result.notes[0]


def test_log2_is_taken_as_it_is_and_never_negative(tmp_path):
    assert read(table(tmp_path, [[1.5, 2], [3, 0]]), "log2").adata.X.tolist() == [[1.5, 3], [2, 0]]
    path = table(tmp_path, [[1.5, -3], [3, 0]])
    with pytest.raises(
        ExpressionError, match=r"1 values are negative, the lowest is -3 .gene .*log2\(1\+TPM\) has none"
    ):
        read(path, "log2")
    with pytest.raises(ExpressionError, match=r"'-3\.0' is negative"):
        read(path, "tpm")


def test_declared_units_are_refused_with_the_evidence(tmp_path):
    path = table(tmp_path, [[1, 2.5], [3, 4]])
    with pytest.raises(ExpressionError, match=r"gene ENSG0+\.0 has 2\.5 in sample s1, which is no whole number"):
        read(path, "counts")
    with pytest.raises(ExpressionError, match="no whole number"):
        read(path, "log2_counts")
    with pytest.raises(ExpressionError, match="has 900 in sample s1, which is too high for a logarithm"):
        read(table(tmp_path, [[1, 900], [3, 4]]), "log2")
    with pytest.raises(ExpressionError, match="sample s1 is all zeros"):
        read(table(tmp_path, [[1, 0], [3, 0]]), "counts")


def test_tpm_of_a_whole_transcriptome_must_sum_to_a_million(tmp_path):
    rising = np.linspace(500, 1500, 1000)
    tpm = np.stack([rising, rising[::-1]], axis=1)
    assert read(table(tmp_path, tpm)).notes == []
    assert "leaves genes out" in read(table(tmp_path, tpm * 0.8)).notes[0]
    for scale, total in [(20, "20,000,000"), (0.01, "10,000")]:
        with pytest.raises(ExpressionError, match=rf"sample s1 sum to {total}, where TPM sum to 1,000,000"):
            read(table(tmp_path, tpm * [1, scale]))
    assert read(table(tmp_path, tpm[:999] * 20)).notes == []


def test_whole_numbers_are_counts_and_no_tpm(tmp_path):
    counts = np.random.default_rng(0).poisson(50, (300, 4))
    for units in ("tpm", "fpkm"):
        with pytest.raises(ExpressionError, match=r"all of its 1,200 positive values are whole numbers, .*say counts"):
            read(table(tmp_path, counts), units)
    assert "scaled to a million" in read(table(tmp_path, counts), "counts").notes[0]
    one_fraction = counts + np.eye(300, 4) * 0.5
    assert read(table(tmp_path, one_fraction)).notes == []


def test_tpm_rounded_to_whole_numbers_are_noted(tmp_path):
    whole = np.full((1000, 2), 1000) + np.arange(1000)[:, None] % 2 * [1, -1]
    assert read(table(tmp_path, whole)).notes == ["every value is a whole number: the file was rounded"]


def test_fpkm_that_are_tpm_already_are_noted(tmp_path):
    tpm = np.random.default_rng(0).random((1000, 2))
    notes = read(table(tmp_path, 1e6 * tpm / tpm.sum(axis=0)), "fpkm").notes
    assert notes == ["the FPKM of every sample sum to a million, as TPM do"]
    assert read(table(tmp_path, 100 * tpm), "fpkm").notes == []


def test_cpm_of_counts_and_tpm_of_fpkm_do_not_depend_on_depth(tmp_path):
    values = np.random.default_rng(0).poisson(20, (50, 3)) + 1
    for units in ("counts", "fpkm"):
        shallow, deep = (read(table(tmp_path, values * depth), units).adata.X for depth in (1, 7))
        assert np.allclose(shallow, deep, rtol=1e-6)


def test_the_three_filters_leave_a_funnel_and_say_what_became_of_every_gene(tmp_path):
    values = [[100, 1], [100, 1], [100, 1], [100, 1], [20, 1], [100, 100]]
    symbols = ["A", "B.1", "C", "C", "low", "flat"]
    result = read(table(tmp_path, values, symbols), chosen=GeneFilterSettings())
    assert result.adata.var_names.tolist() == ["A"]
    assert result.funnel["genes"].tolist() == [6, 5, 4, 3, 1]
    assert result.genes["name_class"].tolist() == ["standard", "dotted", "repeated", "repeated", "standard", "standard"]
    assert result.genes["kept"].tolist() == [True] + 5 * [False]
    assert result.genes["sd"].iloc[5] == 0
    first = read(table(tmp_path, values, symbols), chosen=GeneFilterSettings(names="keep_first"))
    assert first.adata.var_names.tolist() == ["A", "C"]
    dotted = read(table(tmp_path, values, symbols), chosen=GeneFilterSettings(names="drop_dotted"))
    assert dotted.adata.var["symbol"].tolist() == ["A", "C", "C"]


def test_genes_are_named_by_symbols_or_by_ids_and_never_by_both(tmp_path):
    values, symbols = [[100, 1], [100, 1], [100, 1], [100, 1]], ["A", "B.1", "C", "C"]
    every = read(table(tmp_path, values, symbols), chosen=GeneFilterSettings(names="all"))
    assert every.adata.var_names.tolist() == every.adata.var["gene_id"].tolist()
    assert every.adata.var["symbol"].tolist() == symbols
    own = read(table(tmp_path, values, symbols), chosen=GeneFilterSettings())
    assert own.adata.var_names.tolist() == ["A"]


def test_what_each_name_rule_would_keep_is_told_for_the_filters_samples_and_for_all(tmp_path):
    values = [[100, 1, 1], [100, 1, 1], [100, 1, 1], [100, 1, 1], [1, 1, 100]]
    path = table(tmp_path, values, ["A", "B.1", "C", "C", "late"])
    alternatives = read(path, samples=["s0", "s1", "s2"], fit=["s0", "s1"], chosen=GeneFilterSettings()).alternatives
    rules = ["drop_dotted_and_repeated", "keep_first", "drop_dotted", "all"]
    assert alternatives["names"].tolist() == rules * 2
    assert alternatives["samples"].tolist() == ["of the filter"] * 4 + ["all that are read"] * 4
    assert alternatives["n_samples"].tolist() == [2] * 4 + [3] * 4
    assert alternatives["genes"].tolist() == [1, 2, 3, 4, 2, 3, 4, 5]
    for rule, genes in zip(rules, alternatives["genes"], strict=False):
        assert read(path, fit=["s0", "s1"], chosen=GeneFilterSettings(names=rule)).adata.n_vars == genes
    assert len(read(path, chosen=GeneFilterSettings()).alternatives) == 4


def test_thresholds_are_exceeded_and_ddof_is_the_studys(tmp_path):
    at_threshold = gene_filter(np.array([5.0, 5.1]), np.array([0.6, 0.5]), ["A", "B"], GeneFilterSettings())
    assert not at_threshold.kept.any()
    path = table(tmp_path, [[31, 63], [31, 127]])
    deviations = [read(path, chosen=ALL.model_copy(update={"ddof": ddof})).adata.var["sd"].iloc[0] for ddof in (0, 1)]
    assert deviations == pytest.approx([0.5, np.sqrt(0.5)])


def test_the_filter_is_fitted_on_its_own_samples_only(tmp_path):
    path = table(tmp_path, [[100, 1, 1, 1], [1, 1, 100, 1], [1, 1, 1, 100]])
    result = read(path, samples=["s0", "s1", "s2"], fit=["s2", "s3"], chosen=GeneFilterSettings())
    assert result.adata.var_names.tolist() == ["N1", "N2"]
    assert result.adata.X.shape == (3, 2)
    assert result.adata.var["mean"].tolist() == pytest.approx([np.log2(101) / 2 + 0.5] * 2)
    assert result.genes["max"].tolist() == pytest.approx([1, np.log2(101), np.log2(101)])


def test_missing_samples_are_listed_and_repeats_read_once(tmp_path):
    path = table(tmp_path, [[1, 2], [3, 4]])
    result = read(path, samples=["s1", "gone", "s1", "s0"], fit=["s0", "s1", "other"])
    assert result.adata.obs_names.tolist() == ["s1", "s0"]
    assert result.missing_samples == ["gone"]
    assert result.notes == [
        "1 of 3 samples are not in the file, such as gone",
        "1 samples to fit the gene filter on are not in the file, such as other",
    ]


def test_no_sample_and_no_gene_left_are_errors_that_name_the_way_out(tmp_path):
    path = table(tmp_path, [[1, 2], [3, 4]])
    with pytest.raises(
        ExpressionError, match=r"none of the 1 samples asked for .such as S0.; its own are called s0, s1"
    ):
        read(path, samples=["S0"])
    with pytest.raises(
        ExpressionError, match=r"no gene passes .* \(2 in the file, 0 highest.*`expression\.filter\.min_max`"
    ):
        read(path, chosen=GeneFilterSettings())


def test_one_sample_has_no_deviation_so_none_is_asked_of_its_genes(tmp_path):
    result = read(table(tmp_path, [[100, 2], [3, 4]]), samples=["s0"], chosen=GeneFilterSettings())
    assert result.adata.var_names.tolist() == ["N0"]
    assert "fitted on one sample, s0" in result.notes[0]


def test_ensembl_versions_go_and_a_missing_symbol_is_the_id(tmp_path):
    genes = ["ENSG00000223972.5", "ENSG00000182378.13_PAR_Y", "ENSG00000182378.13"]
    result = read(table(tmp_path, [[1, 2]] * 3, [" ", "PLCXD1", "PLCXD1"], genes))
    unversioned = ["ENSG00000223972", "ENSG00000182378_PAR_Y", "ENSG00000182378"]
    assert result.adata.var["gene_id_unversioned"].tolist() == unversioned
    assert result.adata.var["symbol"].tolist() == ["ENSG00000223972", "PLCXD1", "PLCXD1"]
    assert result.adata.var_names.tolist() == genes
    assert "1 of 3 genes have no symbol and go by their id" in result.notes


def test_the_matrix_survives_being_written_as_h5ad(tmp_path):
    import anndata

    result = read(table(tmp_path, [[1, 2], [3, 4]]))
    result.adata.write(tmp_path / "x.h5ad")
    back = anndata.read_h5ad(tmp_path / "x.h5ad")
    assert np.array_equal(back.X, result.adata.X)
    assert back.var["symbol"].tolist() == ["N0", "N1"]


@settings(max_examples=50)
@given(st.lists(st.sampled_from(["A", "B", "C.1", "C.2", "D"]), min_size=1, max_size=30))
def test_name_rules_keep_each_name_at_most_once(symbols):
    nine = np.full(len(symbols), 9.0)
    strict, first = (
        [s for s, kept in zip(symbols, gene_filter(nine, nine, symbols, rule).kept, strict=True) if kept]
        for rule in (GeneFilterSettings(), GeneFilterSettings(names="keep_first"))
    )
    assert len(set(strict)) == len(strict) and len(set(first)) == len(first)
    assert set(strict) <= set(first) == {s for s in symbols if not s.startswith("C.")}
    assert len(strict) == name_classes(symbols).count("standard")
