"""Reading manifests and lists of RNA samples, good and bad."""

from __future__ import annotations

import polars as pl
import pytest

from histo_assets.core.cohort.errors import CohortError
from histo_assets.core.cohort.reading import read_manifest, read_rna_samples
from histo_assets.core.cohort.settings import CohortSettings, TableColumns

GTEX = CohortSettings(reader="gtex", manifest="x")
HEADER = (
    '"Tissue Sample ID","Tissue","Subject ID","Sex","Age Bracket","Hardy Scale",'
    '"Pathology Categories","Pathology Notes"'
)
LIVER = '"GTEX-1117F-0126","Liver","GTEX-1117F","Female","60-69","Slow death","","2 pieces, ""clean"""'


def portal(tmp_path, *rows, header=HEADER, end="\n"):
    path = tmp_path / "GTExPortal.csv"
    path.write_bytes((end.join([header, *rows]) + end).encode())
    return str(path)


def own(tmp_path, text, name="cohort.csv", **columns):
    path = tmp_path / name
    path.write_text(text)
    return CohortSettings(reader="table", manifest="x", columns=TableColumns(**columns)), str(path)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_portal_manifest_is_normalised(tmp_path, end):
    row = read_manifest(GTEX, portal(tmp_path, LIVER, end=end)).iloc[0]
    assert row.to_dict() == {
        "slide": "GTEX-1117F-0126",
        "donor": "GTEX-1117F",
        "tissue": "liver",
        "tissue_name": "Liver",
        "sex": "female",
        "age": "60-69",
        "hardy": "Slow death",
        "categories": "",
        "notes": '2 pieces, "clean"',
    }


def test_a_byte_order_mark_and_further_columns_do_no_harm(tmp_path):
    manifest = read_manifest(GTEX, portal(tmp_path, LIVER + ',"7.5"', header="\ufeff" + HEADER + ',"ph"'))
    assert manifest["slide"].tolist() == ["GTEX-1117F-0126"]
    assert manifest["ph"].tolist() == [7.5]


def test_a_missing_manifest_column_is_named_with_those_that_are_there(tmp_path):
    path = portal(tmp_path, LIVER, header=HEADER.replace("Tissue Sample ID", "Sample"))
    with pytest.raises(CohortError, match=r"GTExPortal\.csv has no column 'Tissue Sample ID' \(it has Sample, Tissue"):
        read_manifest(GTEX, path)


def test_repeated_slide_ids_are_named_with_their_rows(tmp_path):
    with pytest.raises(CohortError, match=r"slide 'GTEX-1117F-0126' stands in rows 2, 3; keep one"):
        read_manifest(GTEX, portal(tmp_path, LIVER, LIVER))


def test_an_id_that_could_be_a_path_is_refused_in_a_gtex_cohort(tmp_path):
    path = portal(tmp_path, LIVER, LIVER.replace("GTEX-1117F-0126", "../x"))
    with pytest.raises(CohortError, match=r"row 3: Tissue Sample ID '\.\./x' could be a path and is no GTEx id"):
        read_manifest(GTEX, path)


@pytest.mark.parametrize("wrong", ["TCGA-AA-0126", "GTEX-1117F-126", "gtex-1117F-0126", "GTEX-1117F-0126 "])
def test_an_id_that_is_no_gtex_id_is_refused_with_the_reader_that_would_take_it(tmp_path, wrong):
    path = portal(tmp_path, LIVER.replace("GTEX-1117F-0126", wrong))
    with pytest.raises(CohortError, match=r"row 2: .* GTEx id.*`reader: table`"):
        read_manifest(GTEX, path)


def test_a_slide_of_another_donor_is_refused(tmp_path):
    path = portal(tmp_path, LIVER.replace('"GTEX-1117F"', '"GTEX-111CU"'))
    with pytest.raises(CohortError, match=r"row 2: slide GTEX-1117F-0126 is said to be of donor GTEX-111CU"):
        read_manifest(GTEX, path)


def test_a_missing_empty_ragged_or_binary_manifest_each_says_so(tmp_path):
    with pytest.raises(CohortError, match=r"nowhere\.csv does not exist"):
        read_manifest(GTEX, str(tmp_path / "nowhere.csv"))
    with pytest.raises(CohortError, match="has no rows"):
        read_manifest(GTEX, portal(tmp_path))
    with pytest.raises(CohortError, match="row 3 has 9 fields where the first line names 8"):
        read_manifest(GTEX, portal(tmp_path, LIVER, LIVER + ',"more"'))
    (tmp_path / "blank.csv").write_text("\n")
    with pytest.raises(CohortError, match="is empty"):
        read_manifest(GTEX, str(tmp_path / "blank.csv"))
    (tmp_path / "binary.csv").write_bytes(b"a,b\n\xff\xfe,1\n")
    with pytest.raises(CohortError, match=r"binary\.csv, line 2 is not UTF-8"):
        read_manifest(GTEX, str(tmp_path / "binary.csv"))


def test_a_table_goes_by_the_studys_own_names_and_keeps_further_columns(tmp_path):
    text = "image\tpatient\tdiagnosis\trna\tage\ttissue\n007\t12\tCrohn's\tr1\t40\tcolon\n008\t13\tNone\t\t\tcolon\n"
    settings, path = own(tmp_path, text, "c.tsv", slide="image", donor="patient", label="diagnosis", sample="rna")
    manifest = read_manifest(settings, path)
    assert list(manifest) == ["slide", "donor", "tissue", "tissue_name", "sample", "age", "tissue_in_file"]
    assert manifest["slide"].tolist() == ["007", "008"]
    assert manifest["donor"].tolist() == ["12", "13"]
    assert manifest["tissue"].tolist() == ["crohn_s", "none"]
    assert manifest["sample"].tolist() == ["r1", ""]
    assert manifest["age"].dtype == float


def test_a_table_may_be_separated_by_semicolons_and_begin_with_a_byte_order_mark(tmp_path):
    settings, path = own(tmp_path, "\ufeffslide;donor;label\na;P1;colon, left\n")
    assert read_manifest(settings, path)["tissue_name"].tolist() == ["colon, left"]


def test_a_table_may_be_parquet(tmp_path):
    path = str(tmp_path / "c.parquet")
    pl.DataFrame({"slide": [1, 2], "donor": ["a", "b"], "label": ["x", "y"], "stage": [1, None]}).write_parquet(path)
    manifest = read_manifest(CohortSettings(reader="table", manifest="x"), path)
    assert manifest["slide"].tolist() == ["1", "2"]
    assert manifest["stage"].tolist()[0] == 1


def test_a_missing_column_of_a_table_is_named_with_its_key(tmp_path):
    settings, path = own(tmp_path, "image,donor,label\na,b,c\n")
    with pytest.raises(
        CohortError, match=r"no column 'slide' \(it has image, donor, label\).*`cohort\.columns\.slide`"
    ):
        read_manifest(settings, path)


def test_an_unsafe_id_is_slugged_and_the_original_kept(tmp_path):
    settings, path = own(tmp_path, "slide,donor,label,sample\n../a b,P 1,x,A b/1\ns2,P2,x,B\n")
    manifest = read_manifest(settings, path)
    assert manifest["slide"].tolist() == ["a_b", "s2"]
    assert manifest["original_slide"].tolist() == ["../a b", "s2"]
    assert manifest["original_donor"].tolist() == ["P 1", "P2"]
    assert manifest["sample"].tolist() == ["A b/1", "B"]


def test_originals_are_not_kept_where_nothing_had_to_change(tmp_path):
    settings, path = own(tmp_path, "slide,donor,label\ns1,P1,x\n")
    assert "original_slide" not in read_manifest(settings, path)


def test_an_empty_id_and_a_repeated_one_are_refused(tmp_path):
    for rows, words in [
        ("s1,P1,x\n,P2,x\n", "row 3: the slide is empty"),
        ("s1,P1,\n", "row 2: the tissue_name is empty"),
        ("s1,P1,x\ns1,P2,x\n", "slide 's1' stands in rows 2, 3"),
    ]:
        settings, path = own(tmp_path, "slide,donor,label\n" + rows)
        with pytest.raises(CohortError, match=words):
            read_manifest(settings, path)


def test_two_labels_with_one_partition_key_are_an_error_that_names_both(tmp_path):
    settings, path = own(tmp_path, "slide,donor,label\ns1,P1,Brain - Cortex\ns2,P2,brain cortex\n")
    with pytest.raises(CohortError, match="'Brain - Cortex' and 'brain cortex' share the partition key 'brain_cortex'"):
        read_manifest(settings, path)


def test_a_list_of_rna_samples_keeps_its_covariates(tmp_path):
    path = tmp_path / "rna.txt"
    path.write_text(
        "sample_id\tdonor_id\thas_genotype\ttissue_id\tbatch\nGTEX-1117F-0226-SM-5GZZ7\tGTEX-1117F\tTrue\tLiver\tB1\n"
    )
    samples = read_rna_samples(str(path))
    assert samples.to_dict("records") == [
        {"sample": "GTEX-1117F-0226-SM-5GZZ7", "donor": "GTEX-1117F", "tissue_name": "Liver", "batch": "B1"}
    ]


def test_sample_attributes_give_the_samples_of_the_rna_freeze(tmp_path):
    path = tmp_path / "attributes.txt"
    path.write_text(
        "SAMPID\tSMTSD\tSMPTHNTS\tSMRIN\tSMTSISCH\tSMNABTCHD\tSMAFRZE\tSMUBRID\n"
        'GTEX-1117F-0226-SM-5GZZ7\tLiver\t"2 pieces\t6.8\t1214\t09/17/2013\tRNASEQ\t\n'
        "GTEX-1117F-0003-SM-58Q7G\tWhole Blood\t\t\t\t\tEXCLUDE\t13756\n"
    )
    samples = read_rna_samples(str(path))
    assert samples.to_dict("records") == [
        {
            "sample": "GTEX-1117F-0226-SM-5GZZ7",
            "donor": "GTEX-1117F",
            "tissue_name": "Liver",
            "SMPTHNTS": '"2 pieces',
            "rin": 6.8,
            "ischemic_minutes": 1214,
            "isolation_date": "09/17/2013",
        }
    ]


def test_sample_attributes_of_another_freeze_are_refused(tmp_path):
    path = tmp_path / "attributes.txt"
    path.write_text("SAMPID\tSMAFRZE\nGTEX-1117F-0226-SM-5GZZ7\tWGS\n")
    with pytest.raises(CohortError, match=r"no sample of the freeze RNASEQ in SMAFRZE .it has WGS"):
        read_rna_samples(str(path))


def test_a_list_without_sample_ids_or_with_repeated_ones_is_refused(tmp_path):
    path = tmp_path / "rna.csv"
    path.write_text("rna,donor\na,b\n")
    with pytest.raises(CohortError, match=r"rna\.csv has no column 'sample_id'"):
        read_rna_samples(str(path))
    path.write_text("sample,donor\na,b\na,b\n")
    with pytest.raises(CohortError, match="sample 'a' stands in rows 2, 3"):
        read_rna_samples(str(path))
