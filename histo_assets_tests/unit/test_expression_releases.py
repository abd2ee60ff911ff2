"""Known releases of GTEx: fetched once, never mixed; and files behind a URL."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from histo_assets.core.download.errors import DownloadError
from histo_assets.core.expression.errors import ExpressionError
from histo_assets.core.expression.reading import read_expression
from histo_assets.core.expression.releases import (
    GENCODE_26,
    RELEASES,
    fetch_release_file,
    refuse_mixed_releases,
    refuse_other_gencode,
    release_in_name,
    release_version,
)
from histo_assets.core.expression.settings import ExpressionSettings, GeneFilterSettings
from histo_assets_tests.unit.lying_server import Request, serving

ALL = GeneFilterSettings(min_max=-1, min_sd=0, names="all")
V8, V10 = RELEASES["gtex_v8"], RELEASES["gtex_v10"]
SAMPLES = ["GTEX-1117F-0226-SM-5GZZ7", "GTEX-1117F-0426-SM-5EGHI"]


def packed(version_26: int = 5, samples: list[str] = SAMPLES) -> bytes:
    """A GCT in which so many of the well-known genes have their GENCODE v26 version."""
    genes = [f"{gene}.{GENCODE_26[gene] if i < version_26 else 27}" for i, gene in enumerate(GENCODE_26)]
    rows = [f"{gene}\tN{i}\t{i + 1.5}\t{2 * i + 0.25}" for i, gene in enumerate(genes)]
    head = ["#1.2", f"{len(rows)}\t2", "\t".join(["Name", "Description", *samples])]
    return gzip.compress(("\n".join([*head, *rows]) + "\n").encode(), mtime=0)


def settings(**values: object) -> ExpressionSettings:
    return ExpressionSettings.model_validate({"filter": ALL, **values})


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HISTO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_study_need_only_name_the_release() -> None:
    assert settings(release="gtex_v8").file == f"gtex/{V8.tpm.name}"
    assert settings(release="gtex_v10").file == "gtex/GTEx_Analysis_v10_RNASeQCv2.4.2_gene_tpm.gct.gz"
    assert settings(release="gtex_v8", file="mine/x.gct.gz").file == "mine/x.gct.gz"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"release": "gtex_v9"}, "gtex_v8"),
        ({"release": "gtex_v8", "units": "counts"}, "gtex_v8 is in TPM; drop `units`"),
        ({"release": "gtex_v8", "file": V10.tpm.name}, "is of gtex_v10 by its name and `release` says gtex_v8"),
        ({}, "file"),
    ],
)
def test_a_release_that_cannot_be_is_refused_with_the_study(values: dict[str, str], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        settings(**values)


def test_a_release_is_fetched_once_to_where_the_file_should_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "gtex" / V8.tpm.name
    with serving({f"/mirror/{V8.tpm.path}": packed()}, lambda request: request.serve(at_most=60)) as server:
        monkeypatch.setenv("HISTO_GTEX_URL", f"{server.address}/mirror")
        lines: list[str] = []
        first = read_expression(str(path), settings(release="gtex_v8"), SAMPLES, None, progress=lines.append)
        assert "MB fetched" in lines[0] and V8.tpm.name in lines[0]
        asked = len(server.asked)
        assert asked == 2, "the connection broke once, and the rest was asked for"
        again = read_expression(str(path), settings(release="gtex_v8"), SAMPLES, None)
        assert len(server.asked) == asked
    assert path.read_bytes() == packed()
    assert np.array_equal(first.adata.X, again.adata.X)


def test_annotations_are_fetched_from_the_same_place(tmp_path: Path) -> None:
    with serving({f"/{V8.sample_attributes.path}": b"SAMPID\tSMRIN\n"}) as server:
        for _ in range(2):
            fetch_release_file(V8.sample_attributes, tmp_path / "x.txt", base_url=server.address)
        assert len(server.asked) == 1
    assert (tmp_path / "x.txt").read_bytes() == b"SAMPID\tSMRIN\n"


def test_a_web_page_in_place_of_the_file_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    def page(request: Request) -> None:
        request.send(200, b"<!DOCTYPE html><html>moved</html>", {"Content-Type": "text/html"})

    with serving({}, *[page] * 9) as server, pytest.raises(DownloadError, match=r"gene_tpm\.gct\.gz"):
        fetch_release_file(V8.tpm, tmp_path / V8.tpm.name, base_url=server.address)
    assert not (tmp_path / V8.tpm.name).exists()


def test_the_version_of_a_release_is_the_same_before_and_after_it_is_fetched(tmp_path: Path) -> None:
    path = tmp_path / V8.tpm.name
    assert release_version(None, str(path)) is None
    before = release_version("gtex_v8", str(path))
    assert before is not None and before != release_version("gtex_v10", str(path))
    with serving({f"/{V8.tpm.path}": packed()}) as server:
        fetch_release_file(V8.tpm, path, base_url=server.address)
    assert release_version("gtex_v8", str(path)) == before
    path.write_bytes(packed(samples=["a", "b"]))
    assert release_version("gtex_v8", str(path)) is None, "somebody put another file there"


@pytest.mark.parametrize(
    ("path", "release"),
    [
        (V8.tpm.name, "gtex_v8"),
        (V10.tpm.name, "gtex_v10"),
        ("GTEx_Analysis_2022-06-06_v10_RNASeQCv2.4.2_gene_tpm_non_lcm.gct", "gtex_v10"),
        ("GTEx_Analysis_v8_Annotations_SampleAttributesDS.txt", "gtex_v8"),
        ("gtex_v8/portal.csv", None),
        ("gene_tpm.gct.gz", None),
    ],
)
def test_a_files_name_tells_its_release_or_nothing(path: str, release: str | None) -> None:
    assert release_in_name(path) == release


def test_tables_and_expression_of_two_releases_are_refused_by_their_names() -> None:
    tables = ["gtex/GTExPortal.csv", "gtex/GTEx_Analysis_v8_Annotations_SampleAttributesDS.txt", None]
    refuse_mixed_releases(V8.tpm.name, tables)
    refuse_mixed_releases("gene_tpm.gct.gz", tables)
    with pytest.raises(ExpressionError, match=r"v10.*is of gtex_v10 and the cohort's table .*v8.* of gtex_v8"):
        refuse_mixed_releases(V10.tpm.name, tables)
    with pytest.raises(ExpressionError, match="of gtex_v10 and the cohort's table"):
        refuse_mixed_releases("gene_tpm.gct.gz", tables, "gtex_v10")


@pytest.mark.parametrize(("release", "version_26"), [("gtex_v8", 0), ("gtex_v8", 2), ("gtex_v10", 5), ("gtex_v10", 3)])
def test_a_file_of_another_gencode_than_the_releases_is_refused_with_the_evidence(
    tmp_path: Path, release: str, version_26: int
) -> None:
    (tmp_path / "x.gct.gz").write_bytes(packed(version_26))
    words = rf"is not of {release} .*: {version_26} of 5 well-known genes .* such as ENSG\d+\.\d+ \(v26: \.\d+\)"
    with pytest.raises(ExpressionError, match=words):
        read_expression(str(tmp_path / "x.gct.gz"), settings(release=release, file="x"), SAMPLES, None)


def test_genes_that_tell_nothing_are_no_evidence() -> None:
    refuse_other_gencode("gtex_v10", ["ENSG00000141510.16", "ENSG00000012048.20", "ENSG00000000419.12"], "x")
    refuse_other_gencode("gtex_v8", ["TP53", "ENSG00000141510", "ENSG00000012048"], "x")
    refuse_other_gencode(None, [f"{gene}.1" for gene in GENCODE_26], "x")


def test_samples_that_a_release_should_have_are_not_merely_missing(tmp_path: Path) -> None:
    (tmp_path / "x.gct.gz").write_bytes(packed())
    wanted = [*SAMPLES, "GTEX-ZZZZ-0126-SM-AAAAA"]
    with pytest.raises(ExpressionError, match=r"lacks 1 of 3 samples, such as GTEX-ZZZZ.*tables are of another"):
        read_expression(str(tmp_path / "x.gct.gz"), settings(release="gtex_v8", file="x"), wanted, None)
    assert read_expression(str(tmp_path / "x.gct.gz"), settings(file="x"), wanted, None).missing_samples == wanted[2:]


def test_a_file_behind_a_url_is_fetched_once_into_the_cache(cache: Path) -> None:
    with serving({"/a/x.gct.gz": packed()}, lambda request: request.serve(at_most=60)) as server:
        url = f"{server.address}/a/x.gct.gz"
        first = read_expression(url, settings(file=url), SAMPLES[::-1], None)
        asked = len(server.asked)
        again = read_expression(url, settings(file=url), SAMPLES[::-1], None)
        assert len(server.asked) == asked
    assert first.adata.obs_names.tolist() == SAMPLES[::-1]
    assert np.array_equal(first.adata.X, again.adata.X)
    assert [path.read_bytes() for path in cache.rglob("x.gct.gz")] == [packed()]
    offline = read_expression(url, settings(file=url), SAMPLES[::-1], None)
    assert np.array_equal(first.adata.X, offline.adata.X)


def test_a_url_that_leads_nowhere_says_so() -> None:
    with serving({}) as server, pytest.raises(DownloadError, match=r"x\.gct\.gz"):
        read_expression(f"{server.address}/x.gct.gz", settings(file="x"), None, None)


def test_other_file_systems_serve_as_well() -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.pipe("/bucket/x.gct.gz", packed())
    report = read_expression("memory://bucket/x.gct.gz", settings(file="x"), None, None)
    assert report.samples == SAMPLES
    with pytest.raises(ExpressionError, match=r"memory://bucket/nowhere\.gct does not exist"):
        read_expression("memory://bucket/nowhere.gct", settings(file="x"), None, None)
