"""The public releases of GTEx that a study can name, and what tells them apart.

What is known of v8 was counted on its files. Of v10 the names, the number of genes and the GENCODE version are
from GTEx's documentation; nothing here refuses a file on the ground of these.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from histo_assets.core.expression.errors import ExpressionError
from histo_assets.core.files import write_json
from histo_assets.core.progress import ByteProgress, Progress

BASE_URL = "https://storage.googleapis.com/adult-gtex"
# Versions of well-known genes in GENCODE v26. Each of them has a higher one in v39.
GENCODE_26 = {
    "ENSG00000012048": "20",  # BRCA1
    "ENSG00000075624": "13",  # ACTB
    "ENSG00000111640": "14",  # GAPDH
    "ENSG00000139618": "14",  # BRCA2
    "ENSG00000141510": "16",  # TP53
}
_RELEASE_IN_NAME = re.compile(r"GTEx_Analysis_(?:\d{4}-\d\d-\d\d_)?v(\d+)_", re.IGNORECASE)


@dataclass(frozen=True)
class ReleaseFile:
    """A file of a release: its place below the base URL."""

    path: str

    @property
    def name(self) -> str:
        """The file's name."""
        return self.path.rsplit("/", 1)[-1]


@dataclass(frozen=True)
class Release:
    """A release: its files, the GENCODE version of its gene ids, its numbers of genes and samples where known."""

    gencode: int
    genes: int
    samples: int | None
    tpm: ReleaseFile
    sample_attributes: ReleaseFile
    subject_phenotypes: ReleaseFile

    @property
    def files(self) -> tuple[ReleaseFile, ...]:
        """The file of TPM and the annotations."""
        return self.tpm, self.sample_attributes, self.subject_phenotypes


def _annotations(version: str, table: str) -> ReleaseFile:
    return ReleaseFile(f"annotations/{version}/metadata-files/GTEx_Analysis_{version}_Annotations_{table}.txt")


RELEASES = {
    "gtex_v8": Release(
        gencode=26,
        genes=56_200,
        samples=17_382,
        tpm=ReleaseFile("bulk-gex/v8/rna-seq/GTEx_Analysis_2017-06-05_v8_RNASeQCv1.1.9_gene_tpm.gct.gz"),
        sample_attributes=_annotations("v8", "SampleAttributesDS"),
        subject_phenotypes=_annotations("v8", "SubjectPhenotypesDS"),
    ),
    "gtex_v10": Release(
        gencode=39,
        genes=59_033,
        samples=None,
        tpm=ReleaseFile("bulk-gex/v10/rna-seq/GTEx_Analysis_v10_RNASeQCv2.4.2_gene_tpm.gct.gz"),
        sample_attributes=_annotations("v10", "SampleAttributesDS"),
        subject_phenotypes=_annotations("v10", "SubjectPhenotypesDS"),
    ),
}


def fetch_release_file(
    file: ReleaseFile,
    target: Path,
    progress: ByteProgress | None = None,
    base_url: str | None = None,
) -> Path:
    """Return a file of a release at `target`, fetched if it is not there.

    Parameters
    ----------
    progress
        Called with the bytes that are here and those of the whole, or None.
    base_url
        A mirror; default `HISTO_GTEX_URL`, else GTEx's own place.

    Raises
    ------
    DownloadError
        The file cannot be had.
    """
    if target.exists():
        return target
    from histo_assets.core.download.http import RemoteFile, fetch_file

    base = (base_url or os.environ.get("HISTO_GTEX_URL") or BASE_URL).rstrip("/")
    remote = RemoteFile(url=f"{base}/{file.path}", name=file.name)
    fetched = fetch_file(remote, target, progress=progress)
    size, stamp = _size_and_stamp(target)
    write_json(_record(target), {"url": remote.url, "sha256": fetched.sha256, "bytes": size, "mtime_ns": stamp})
    return target


def in_words(path: str, progress: Progress) -> ByteProgress:
    """Return a function that reports in a line how much of a file is here, from the bytes that are and the whole's."""
    name = path.rsplit("/", 1)[-1]

    def line(here: int, whole: int | None) -> None:
        progress(f"{name}: {here / 1e6:,.0f}{f' of {whole / 1e6:,.0f}' if whole else ''} MB fetched")

    return line


def release_version(release: str | None, path: str) -> str | None:
    """Return the release as the version of the content at `path`, the same before and after it is fetched.

    None where the study names no release, or where a file lies there that was not fetched or was changed since.
    """
    if release is None:
        return None
    target = Path(path)
    if target.exists():
        try:
            record = json.loads(_record(target).read_text())
        except (OSError, ValueError):
            return None
        if (record.get("bytes"), record.get("mtime_ns")) != _size_and_stamp(target):
            return None
    return f"{release} {RELEASES[release].tpm.name}"


def _record(target: Path) -> Path:
    return target.with_name(f".{target.name}.fetched.json")


def _size_and_stamp(target: Path) -> tuple[int, int]:
    return target.stat().st_size, target.stat().st_mtime_ns


def release_in_name(path: str) -> str | None:
    """Return the release that a file is of by its name.

    >>> release_in_name("gtex/GTEx_Analysis_v10_RNASeQCv2.4.2_gene_tpm.gct.gz")
    'gtex_v10'
    """
    match = _RELEASE_IN_NAME.search(path.rsplit("/", 1)[-1])
    return f"gtex_v{match[1]}" if match else None


def refuse_mixed_releases(path: str, tables: Sequence[str | None], release: str | None = None) -> None:
    """Raise an ExpressionError if the names of an expression file and of the cohort's tables name two releases.

    Parameters
    ----------
    path
        The expression file.
    tables
        Files of the cohort, such as the list of RNA samples; a name without a release is no evidence.
    release
        That of the study; None where it names none.
    """
    own = release or release_in_name(path)
    for table in filter(None, tables):
        other = release_in_name(table)
        if own and other and own != other:
            raise ExpressionError(
                f"{path} is of {own} and the cohort's table {table} of {other}: gene ids, samples and donors differ; "
                f"take both from one release"
            )


def refuse_other_gencode(release: str | None, gene_ids: Sequence[str], path: str) -> None:
    """Raise an ExpressionError if the versions of gene ids show that a file is not of the release.

    The evidence is `GENCODE_26`: of a v8 file most of these genes have these versions, of a later one few.
    """
    if release is None:
        return
    versions = dict(gene.split(".", 1) for gene in gene_ids if gene.split(".", 1)[0] in GENCODE_26 and "." in gene)
    if len(versions) < 3:
        return
    same = [gene for gene, version in versions.items() if version == GENCODE_26[gene]]
    if (2 * len(same) > len(versions)) == (RELEASES[release].gencode == 26):
        return
    gene = next(gene for gene in versions if (gene in same) == (2 * len(same) > len(versions)))
    raise ExpressionError(
        f"{path} is not of {release} (GENCODE v{RELEASES[release].gencode}): {len(same)} of {len(versions)} well-known "
        f"genes have their version of GENCODE v26, such as {gene}.{versions[gene]} (v26: .{GENCODE_26[gene]}); "
        f"name the right `expression.release`, or fetch the file again"
    )


def refuse_missing_samples(release: str | None, missing: Sequence[str], total: int, path: str) -> None:
    """Raise an ExpressionError if a file lacks samples of the study although both should be of one release."""
    if release is not None and missing:
        raise ExpressionError(
            f"{path} lacks {len(missing)} of {total} samples, such as {missing[0]}, although the study says "
            f"{release}: the cohort's tables are of another release; take them from {release}"
        )
