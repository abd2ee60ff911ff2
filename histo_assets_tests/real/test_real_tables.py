"""The cohort and the expression of GTEx as they really are."""

from __future__ import annotations

import os
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from histo_assets.core.cohort.ids import GTEX_SLIDE
from histo_assets.core.cohort.pairing import pair_slides
from histo_assets.core.cohort.reading import read_manifest, read_rna_samples
from histo_assets.core.cohort.selection import select_slides
from histo_assets.core.cohort.settings import CohortSettings, SelectionSettings, SplitSettings
from histo_assets.core.cohort.slide_files import match_slide_files
from histo_assets.core.cohort.splits import leaking_donors, split_donors
from histo_assets.core.expression.filters import gene_filter
from histo_assets.core.expression.gct import open_gct
from histo_assets.core.expression.reading import filter_expression, read_expression, write_expression
from histo_assets.core.expression.settings import ExpressionSettings, GeneFilterSettings
from histo_assets.studies.study import load_study

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def folder():
    root = os.environ.get("HISTO_REAL_DATA")
    if not root:
        pytest.skip("HISTO_REAL_DATA does not name the folder of real data")
    return Path(root)


@pytest.fixture(scope="module")
def manifest(folder):
    return read_manifest(CohortSettings(reader="gtex", manifest="x"), str(folder / "gtex/GTExPortal.csv"))


@pytest.fixture(scope="module")
def samples(folder):
    return read_rna_samples(str(folder / "gtex/GTEx_Analysis_v8_RNAseq_samples.txt"))


@pytest.fixture(scope="module")
def pairs(manifest, samples):
    return pair_slides(manifest, samples)


@pytest.fixture(scope="module")
def selected(pairs):
    chosen = load_study("gtex_post").selection
    return pd.concat([select_slides(pairs, chosen, tissue) for tissue in chosen.tissues], ignore_index=True)


@pytest.fixture(scope="module")
def kidney(folder):
    return str(folder / "expression/kidney_medulla_v8_tpm.gct")


@pytest.fixture(scope="module")
def few_genes(folder):
    return str(folder / "expression/acmg59_v8_reads.gct.gz")


def test_the_manifest_has_the_slides_donors_and_tissues_that_were_counted(manifest, samples):
    assert (len(manifest), manifest["donor"].nunique(), manifest["tissue"].nunique()) == (25_713, 980, 40)
    assert manifest["slide"].map(lambda slide: GTEX_SLIDE.fullmatch(slide) is not None).all()
    assert (manifest["categories"] == "").sum() == 17_591
    assert len(samples) == 17_382


def test_slides_and_rna_make_the_pairs_of_the_post(manifest, pairs):
    assert len(pairs) == 13_797
    assert pairs["donor"].nunique() == 940
    assert pairs["slide"].is_unique and pairs["sample"].is_unique
    assert pairs["slide"].tolist() == manifest["slide"][manifest["slide"].isin(pairs["slide"])].tolist()


def test_the_first_fifty_slides_of_each_tissue_are_the_cohort_of_the_post(selected):
    assert len(selected) == 1_803
    assert selected["donor"].nunique() == 301
    small = selected["tissue"].value_counts().loc[lambda count: count < 50].to_dict()
    assert small == {
        "bladder": 21,
        "cervix_endocervix": 10,
        "cervix_ectocervix": 9,
        "fallopian_tube": 9,
        "kidney_medulla": 4,
    }


@pytest.mark.parametrize("rule", ["first", "stable_hash"])
def test_every_tissue_has_donors_on_every_side(pairs, rule):
    chosen = SelectionSettings(tissues=tuple(sorted(pairs["tissue"].unique())), rule=rule)
    selected = pd.concat([select_slides(pairs, chosen, tissue) for tissue in chosen.tissues])
    split = split_donors(selected, SplitSettings())
    sided = selected.merge(split[["donor", "side"]], on="donor")
    assert leaking_donors(sided) == []
    assert (split["side"] == "test").mean() == pytest.approx(0.15, abs=0.01)
    assert (sided.groupby("tissue")["side"].nunique() == 3).all()


def test_files_named_by_the_sibling_aliquot_find_their_slide(folder, manifest):
    files = [str(path) for path in sorted((folder / "slides").glob("GTEX-*.svs"))]
    known = manifest["slide"].tolist()
    files_by_slide = match_slide_files(manifest["slide"][manifest["tissue"] == "uterus"].tolist(), files, known)
    assert sorted(files_by_slide.values()) == files
    assert all(slide.endswith("6") for slide in files_by_slide)


def test_every_value_of_the_kidney_file_equals_a_plain_parse(kidney):
    source = open_gct(kidney)
    blocks = list(source.blocks(source.samples))
    plain = pd.read_csv(kidney, sep="\t", skiprows=2, float_precision="round_trip")
    assert np.array_equal(np.concatenate([block.values for block in blocks]), plain[source.samples].to_numpy())
    assert [gene for block in blocks for gene in block.gene_id] == plain["Name"].tolist()
    assert [name for block in blocks for name in block.symbol] == plain["Description"].tolist()


def test_the_kidney_file_reads_as_tpm_and_its_wrong_header_is_noted(kidney):
    table = read_expression(kidney, ExpressionSettings(file="x"), None, None)
    plain = pd.read_csv(kidney, sep="\t", skiprows=2, float_precision="round_trip").set_index("Name")
    kept = plain.loc[table.adata.var["gene_id"], table.adata.obs_names]
    assert np.array_equal(table.adata.X, np.log2(1 + kept.to_numpy().T).astype(np.float32))
    assert table.notes == [
        "the first line says #1.3, the rest was read as GCT #1.2",
        "the header says 6 samples, the file has 4",
    ]
    assert len(table.genes) == 56_200
    assert table.genes["symbol"].duplicated(keep=False).sum() == 1_807


def test_name_rules_leave_the_genes_that_were_counted(kidney):
    symbols = read_expression(kidney, ExpressionSettings(file="x"), None, None).genes["symbol"].tolist()
    nine = np.full(len(symbols), 9.0)

    def funnel(rule):
        return gene_filter(nine, nine, symbols, GeneFilterSettings(names=rule)).funnel["genes"].tolist()

    assert funnel("drop_dotted_and_repeated")[3:] == [37_861, 36_066]
    assert funnel("keep_first")[3:] == [37_861, 36_259]
    assert funnel("drop_dotted")[3:] == [37_861]
    assert funnel("all") == [56_200] * 3


@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_the_counts_of_59_genes_read_for_any_samples(few_genes, data):
    names = open_gct(few_genes).samples
    chosen = data.draw(st.lists(st.sampled_from(names), min_size=1, max_size=50, unique=True))
    whatever = GeneFilterSettings(min_max=-1, min_sd=0)
    table = read_expression(few_genes, ExpressionSettings(file="x", units="log2_counts"), chosen, None)
    every = read_expression(
        few_genes, ExpressionSettings(file="x", units="log2_counts", filter=whatever), chosen, names
    )
    plain = pd.read_csv(few_genes, sep="\t", skiprows=2, usecols=["Description", *chosen], index_col="Description")
    assert table.adata.obs_names.tolist() == chosen
    assert np.array_equal(every.adata.X, np.log2(1 + plain[chosen].to_numpy().T).astype(np.float32))
    assert "the header says 56,200 genes, the file has 59" in table.notes


def test_every_count_of_59_genes_and_17382_samples_equals_a_plain_parse(few_genes, tmp_path):
    everything = GeneFilterSettings(min_max=-1, min_sd=0, names="all")
    settings = ExpressionSettings(file="x", units="log2_counts", filter=everything)
    plain = pd.read_csv(few_genes, sep="\t", skiprows=2).set_index("Name")
    counts = plain.drop(columns="Description")
    source = open_gct(few_genes)
    blocks = list(source.blocks(source.samples))
    assert np.array_equal(np.concatenate([block.values for block in blocks]), counts.to_numpy())
    write_expression(few_genes, settings, None, None, tmp_path / "x.h5ad")
    stored = anndata.read_h5ad(tmp_path / "x.h5ad")
    assert stored.shape == (17_382, 59)
    assert stored.obs_names.tolist() == list(counts.columns)
    assert stored.var["gene_id"].tolist() == plain.index.tolist()
    assert np.array_equal(stored.X, np.log2(1 + counts.to_numpy().T).astype(np.float32))
    assert np.allclose(stored.var["sd"], np.log2(1 + counts).std(axis=1, ddof=1), rtol=1e-12)


def test_counts_are_not_taken_for_tpm_nor_tpm_for_counts(kidney, few_genes):
    with pytest.raises(ValueError, match="no whole number"):
        read_expression(kidney, ExpressionSettings(file="x", units="counts"), None, None)
    with pytest.raises(ValueError, match="are whole numbers, so these are counts"):
        filter_expression(few_genes, ExpressionSettings(file="x"))


def test_a_file_of_v8_is_known_by_its_gencode_versions(kidney, few_genes):
    assert len(filter_expression(kidney, ExpressionSettings(file="x", release="gtex_v8")).genes) == 56_200
    with pytest.raises(ValueError, match=r"is not of gtex_v10 .* 5 of 5 well-known genes"):
        filter_expression(kidney, ExpressionSettings(file="x", release="gtex_v10"))


def test_the_44_par_y_genes_share_name_and_id_with_their_twins_but_for_the_suffix(kidney):
    genes = read_expression(kidney, ExpressionSettings(file="x"), None, None).genes.set_index("gene_id")
    twins = genes.index[genes.index.str.endswith("_PAR_Y")]
    originals = genes.loc[twins.str.removesuffix("_PAR_Y")]
    assert len(twins) == 44
    assert genes.loc[twins, "symbol"].tolist() == originals["symbol"].tolist()
    assert set(genes.loc[twins, "name_class"]) <= {"repeated", "dotted"}
    assert not genes.loc[twins, "kept"].any() and not originals["kept"].any()
