"""A generated cohort is the same for the same seed, and its files are those that a portal would send."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import numpy as np
import openslide
import pandas as pd
import pytest
import slideio

from histo_assets.core.files import folder_digest, slug
from histo_assets.demo.anatomy import TISSUES
from histo_assets.demo.cohort import CohortFolderError, is_written, write_cohort
from histo_assets.demo.roster import cohort_plan, printed_label
from histo_assets.demo.score import truth_table
from histo_assets.demo.settings import SyntheticSettings

SMALL = SyntheticSettings(tissues=4, donors=6, slides=10, genes=40, slide_px=256, seed=3)
DISEASES = SyntheticSettings(flavour="diseases", donors=12, slides=20, genes=60, slide_px=256, seed=5, dirt=False)
SLIDE_ID = re.compile(r"GTEX-[A-Z0-9]{4,5}-\d{4}")
SAMPLE_ID = re.compile(r"GTEX-[A-Z0-9]{4,5}-(?:\d{4}|0011-R\d{1,2}[abAB])-SM-[A-Z0-9]{5}")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cohort(SMALL, tmp_path_factory.mktemp("gtex"), workers=1)


@pytest.fixture(scope="module")
def diseases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cohort(DISEASES, tmp_path_factory.mktemp("diseases"), workers=1)


@pytest.fixture
def slides(cohort: Path) -> pd.DataFrame:
    return pd.read_parquet(cohort / "truth" / "slides.parquet")


def _gct(cohort: Path) -> pd.DataFrame:
    return pd.read_csv(cohort / "gene_tpm.gct.gz", sep="\t", skiprows=2)


def test_the_same_seed_gives_the_same_bytes_whatever_the_number_of_workers(cohort: Path, tmp_path: Path) -> None:
    again = write_cohort(SMALL, tmp_path / "again", workers=2)
    assert folder_digest(again) == folder_digest(cohort)


def test_another_seed_gives_other_slides_and_genes(cohort: Path, tmp_path: Path) -> None:
    other = write_cohort(SMALL.model_copy(update={"seed": 4}), tmp_path, workers=1)
    assert (other / "gene_tpm.gct.gz").read_bytes() != (cohort / "gene_tpm.gct.gz").read_bytes()


def test_only_a_whole_cohort_of_the_same_settings_counts_as_written(cohort: Path, tmp_path: Path) -> None:
    assert is_written(SMALL, cohort)
    assert not is_written(SMALL.model_copy(update={"genes": 41}), cohort)
    assert not is_written(SMALL, tmp_path)
    (tmp_path / "cohort.json").write_text("{")
    assert not is_written(SMALL, tmp_path)


def test_a_rewritten_cohort_keeps_incoming_slides_and_drops_old_ones(tmp_path: Path) -> None:
    tiny = SMALL.model_copy(update={"slides": 4, "dirt": False})
    write_cohort(tiny, tmp_path, workers=1)
    (tmp_path / "incoming" / "mine.svs").write_text("x")
    (tmp_path / "slides" / "old.svs").write_text("x")
    messages: list[str] = []
    write_cohort(tiny, tmp_path, messages.append, workers=1)
    assert (tmp_path / "incoming" / "mine.svs").exists()
    assert not (tmp_path / "slides" / "old.svs").exists()
    assert "complete" in messages[-1]


def test_every_printed_tissue_slugs_to_its_key() -> None:
    assert [slug(tissue.name) for tissue in TISSUES.values()] == list(TISSUES)
    assert [printed_label(key) for key in TISSUES] == [tissue.name for tissue in TISSUES.values()]


def test_four_tissues_are_those_of_the_tiny_study(slides: pd.DataFrame) -> None:
    assert set(slides["tissue"]) == {"adipose_subcutaneous", "brain_cortex", "esophagus_muscularis", "liver"}


def test_the_manifest_is_the_portals(cohort: Path) -> None:
    lines = (cohort / "portal.csv").read_text().splitlines()
    header = (
        '"Tissue Sample ID","Tissue","Subject ID","Sex","Age Bracket","Hardy Scale",'
        '"Pathology Categories","Pathology Notes"'
    )
    assert lines[0] == header
    assert all(line.startswith('"') and line.endswith('"') for line in lines)
    manifest = pd.read_csv(cohort / "portal.csv")
    assert manifest["Tissue Sample ID"].is_unique
    assert manifest["Tissue Sample ID"].map(lambda slide: bool(SLIDE_ID.fullmatch(slide))).all()
    assert (manifest["Tissue Sample ID"].str.rsplit("-", n=1).str[0] == manifest["Subject ID"]).all()


def test_rna_samples_have_gtex_ids_and_pair_by_their_first_three_fields(cohort: Path, slides: pd.DataFrame) -> None:
    samples = pd.read_csv(cohort / "rna_samples.txt", sep="\t")
    assert list(samples.columns) == ["sample_id", "donor_id", "has_genotype", "tissue_id"]
    assert samples["sample_id"].map(lambda sample: bool(SAMPLE_ID.fullmatch(sample))).all()
    assert samples["sample_id"].str.contains("-0011-R").sum() == 5
    paired = set(samples["sample_id"].map(lambda sample: "-".join(sample.split("-")[:3])))
    assert set(slides.loc[slides["kind"] == "good", "slide"]) <= paired
    assert not set(slides.loc[slides["kind"] == "unpaired", "slide"]) & paired
    assert list(_gct(cohort).columns[2:]) != sorted(_gct(cohort).columns[2:])
    assert set(_gct(cohort).columns[2:]) == set(samples["sample_id"])


def test_some_slide_files_carry_the_sibling_aliquots_name_and_none_collides() -> None:
    plan = cohort_plan(SyntheticSettings())
    files = [row.file for row in plan.slides if row.file]
    keys = [file[:-5] for file in files]
    assert len(set(keys)) == len(keys)
    assert 5 < sum(file.endswith("5.svs") for file in files) < len(files) / 2
    assert all(Path(row.file).stem[:-1] == row.slide[:-1] for row in plan.slides if row.file)


def test_the_demo_has_four_medulla_slides_both_sexes_of_breast_and_about_120_pairs() -> None:
    plan = cohort_plan(SyntheticSettings())
    good = [row for row in plan.slides if row.kind == "good"]
    assert len(good) == 120
    assert sum(row.label == "kidney_medulla" for row in good) == 4
    assert {row.donor.sex for row in good if row.label == "breast_mammary_tissue"} == {"male", "female"}
    by_donor = pd.Series([(row.donor.id, row.label) for row in good]).value_counts()
    assert by_donor.max() == 2, "a donor may have two slides of a tissue, so that donor and tissue are no key"


def test_slides_open_at_half_a_micrometre_with_a_reduced_level(cohort: Path, slides: pd.DataFrame) -> None:
    file = slides.loc[(slides["kind"] == "good"), "file"].iloc[0]
    scene = slideio.open_slide(str(cohort / "slides" / file), "SVS").get_scene(0)
    assert scene.rect == (0, 0, 256, 256)
    assert scene.resolution == pytest.approx((5e-7, 5e-7))
    with openslide.OpenSlide(str(cohort / "slides" / file)) as slide:
        assert slide.level_count == 2


def test_damaged_slides_are_damaged_as_the_truth_says(cohort: Path, slides: pd.DataFrame) -> None:
    damaged = slides[slides["kind"] == "damaged"].set_index("damage")
    assert set(damaged.index) == {
        "blank",
        "truncated",
        "html",
        "zero_length_tiles",
        "overwritten_tiles",
        "missing",
    }

    def path(damage: str) -> Path:
        return cohort / "slides" / str(damaged.loc[damage, "file"])

    assert path("html").read_text().startswith("<!DOCTYPE html>")
    assert damaged.loc["missing", "file"] == ""
    blank = slideio.open_slide(str(path("blank")), "SVS").get_scene(0).read_block((0, 0, 256, 256))
    assert blank.min() > 230
    counts = _byte_counts(path("zero_length_tiles"))
    assert sum(count == 0 for count in counts) == 3
    dirt = pd.read_parquet(cohort / "truth" / "dirt.parquet")
    assert (dirt["kind"] == "overwritten_tiles").sum() == 3


def _byte_counts(path: Path) -> list[int]:
    import tifffile

    with tifffile.TiffFile(path) as tiff:
        return [int(count) for count in tiff.pages.first.tags["TileByteCounts"].value]


def test_tpm_columns_sum_to_a_million(cohort: Path) -> None:
    with gzip.open(cohort / "gene_tpm.gct.gz", "rt") as file:
        assert next(file) == "#1.2\n"
        rows, columns = (int(field) for field in next(file).split("\t"))
    matrix = _gct(cohort)
    assert matrix.shape == (rows, columns + 2)
    assert matrix.iloc[:, 2:].sum().to_numpy() == pytest.approx(1e6, rel=1e-4)


def test_the_matrix_has_dotted_repeated_par_y_low_flat_and_edge_rows(cohort: Path) -> None:
    matrix = _gct(cohort)
    assert matrix["Description"].str.contains(r"\.\d+$").sum() >= 8
    assert (matrix["Description"] == "Y_RNA").sum() >= 4
    twins = matrix[matrix["Name"].str.endswith("_PAR_Y")]
    originals = matrix.set_index("Name")["Description"].loc[twins["Name"].str.removesuffix("_PAR_Y")]
    assert list(originals) == list(twins["Description"])
    assert matrix["Name"].is_unique


def _filtered(cohort: Path) -> set[str]:
    """The post's filter, written out again: name, max > 5, sd > 0.5."""
    matrix = _gct(cohort)
    values = np.log2(1 + matrix.iloc[:, 2:].to_numpy())
    good_name = ~matrix["Description"].str.contains(r"\.\d+$") & ~matrix["Description"].duplicated(keep=False)
    return set(matrix.loc[good_name & (values.max(axis=1) > 5) & (values.std(axis=1, ddof=1) > 0.5), "Name"])


def test_the_filters_truth_is_what_the_filter_gives_and_nearly_all_planted_genes_survive(cohort: Path) -> None:
    truth = pd.read_parquet(cohort / "truth" / "filter.parquet")
    assert set(truth.loc[truth["should_survive"], "gene_id"]) == _filtered(cohort)
    genes = pd.read_parquet(cohort / "truth" / "genes.parquet")
    assert len(genes) == 40
    survived = truth.set_index("symbol").loc[genes["gene"], "should_survive"]
    assert survived.mean() > 0.95
    by_kind = truth.groupby("kind")["should_survive"].all()
    assert by_kind["edge_max_in"] and by_kind["edge_sd_in"]
    for kind in ("edge_max_out", "edge_sd_out", "dotted", "repeated", "par_y", "low", "flat"):
        assert not truth.loc[truth["kind"] == kind, "should_survive"].any(), kind


def test_edge_genes_lie_within_one_percent_of_their_threshold(cohort: Path) -> None:
    truth = pd.read_parquet(cohort / "truth" / "filter.parquet")
    peaks = truth.loc[truth["kind"].str.startswith("edge_max"), "max"] / 5
    spreads = truth.loc[truth["kind"].str.startswith("edge_sd"), "sd"] / 0.5
    for ratio in (peaks, spreads):
        assert ratio.between(0.99, 1.01).all()
        assert (ratio > 1).sum() == (ratio < 1).sum() == 3


def test_a_disease_cohort_names_no_gtex_and_pairs_by_its_own_columns(diseases: Path) -> None:
    table = pd.read_csv(diseases / "slides.csv")
    assert list(table.columns) == ["slide_id", "patient", "diagnosis", "rna", "site", "stage"]
    assert table["diagnosis"].nunique() == 5
    assert table["slide_id"].is_unique
    assert table["rna"].value_counts().max() == 2, "some samples have two slides"
    assert table.drop_duplicates("rna")["patient"].value_counts().max() >= 2, "some donors have two samples"
    assert table.groupby("rna")["patient"].nunique().max() == 1
    for slide in table["slide_id"]:
        assert (diseases / "slides" / (re.sub(r"[^A-Za-z0-9._-]+", "_", slide) + ".svs")).is_file()
    text = (diseases / "slides.csv").read_text() + (diseases / "counts.csv").read_text()
    assert "GTEX" not in text.upper()


def test_disease_counts_are_whole_numbers_of_every_sample(diseases: Path) -> None:
    counts = pd.read_csv(diseases / "counts.csv")
    assert counts.columns[0] == "gene"
    assert set(counts.columns[1:]) == set(pd.read_csv(diseases / "slides.csv")["rna"])
    assert (counts.iloc[:, 1:].dtypes == np.int64).all()


@pytest.mark.parametrize("settings", [SMALL, DISEASES], ids=["gtex", "diseases"])
def test_the_truth_names_every_slide_gene_and_latent(
    settings: SyntheticSettings, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue("cohort" if settings is SMALL else "diseases")
    truth = truth_table(folder / "truth", "slides")
    shares = truth[[column for column in truth if str(column).startswith("mix_")]].sum(axis=1)
    assert shares.to_numpy() == pytest.approx(1)
    assert set(truth.loc[truth["kind"] == "good", "slide"]) == {
        row.slide for row in cohort_plan(settings).slides if row.kind == "good"
    }
    assert {"gene", "block", "strength", "tissue", "recoverable"} <= set(truth_table(folder / "truth", "genes").columns)
    assert {"slide", "kind", "x", "y", "w", "h"} <= set(truth_table(folder / "truth", "dirt").columns)


def test_a_folder_with_somebodys_slides_is_left_alone(tmp_path: Path) -> None:
    mine = tmp_path / "slides" / "mine.svs"
    mine.parent.mkdir()
    mine.write_bytes(b"a slide of the lab")
    with pytest.raises(CohortFolderError, match="synthetic: null"):
        write_cohort(SyntheticSettings(), tmp_path)
    assert mine.read_bytes() == b"a slide of the lab"
