"""Which columns of a table with genes in rows are samples, and which say something about the genes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from histo_assets.core.delimited import PLAIN, Numbers, numbers_of
from histo_assets.core.expression.errors import ExpressionError
from histo_assets.core.expression.identifiers import is_ensembl
from histo_assets.core.expression.not_genes import is_gene

GENE_NAMES = (
    "gene_id",
    "gene",
    "name",
    "id",
    "ensembl_id",
    "__index_level_0__",
    "geneid",
    "ensembl_gene_id",
    "gene_stable_id",
    "target_id",
    "feature_id",
)
SYMBOL_NAMES = (
    "symbol",
    "gene_symbol",
    "gene_name",
    "hgnc_symbol",
    "description",
    "genename",
    "hugo_symbol",
    "external_gene_name",
    "genesymbol",
    "pr_gene_symbol",
    "gene",
    "name",
)
LENGTH_NAMES = ("length", "gene_length", "bp")

# featureCounts, StringTie, RSEM, Salmon, biomaRt, cBioPortal, GDC and LINCS name their columns so.
_ABOUT_GENES = {
    *GENE_NAMES,
    *SYMBOL_NAMES,
    *LENGTH_NAMES,
    *("chr", "chrom", "chromosome", "chromosome_name", "seqname", "seqnames", "seqid", "reference", "locus"),
    *("start", "end", "stop", "strand", "width", "txstart", "txend", "chrom_start", "chrom_end", "chromstart"),
    *("chromend", "start_position", "end_position", "gene_start", "gene_end", "position", "cytoband", "band"),
    *("genelength", "effective_length", "effectivelength", "eff_length", "exon_length", "transcript_length"),
    *("biotype", "gene_biotype", "gene_type", "genetype", "type", "feature_type", "class_code", "source"),
    *("entrez", "entrezid", "entrez_id", "entrez_gene_id", "entrezgene", "entrezgene_id", "ncbi_id", "hgnc_id"),
    *("transcript_id", "transcript_ids", "tss_id", "nearest_ref_id", "gene_short_name", "gene_description"),
    *("gc", "gc_content", "percentage_gene_gc_content", "exon_count", "alias", "synonyms", "havana_gene", "level"),
    *("gene_id_unversioned", "ensembl", "probe", "probe_id", "pr_gene_id", "pr_gene_title", "pr_is_lm", "pr_is_bing"),
}
# What programs write for one sample beside its gene: as many columns, and none is a sample.
_OF_ONE_SAMPLE = {
    *("tpm", "fpkm", "rpkm", "cpm", "expected_count", "numreads", "est_counts", "coverage", "cov", "isopct"),
    *("posterior_mean_count", "posterior_standard_deviation_of_count", "pme_tpm", "pme_fpkm"),
    *("unstranded", "stranded_first", "stranded_second", "tpm_unstranded", "fpkm_unstranded", "fpkm_uq_unstranded"),
    *("fpkm_conf_lo", "fpkm_conf_hi", "fpkm_status", "raw_count", "raw_counts", "read_count", "count"),
}
# Enough to see how numbers are written.
_ROWS, _COLUMNS = 200, 50
_MISSING = {"", "na", "n/a", "nan", "null", "none", "-", "."}


@dataclass(frozen=True)
class Columns:
    """What the columns of a table are, by their places; `about_genes` are those that are neither id, name nor sample.

    `length` is the one of them that gives the genes' base pairs.
    """

    gene: int
    symbol: int | None
    samples: list[int]
    about_genes: list[int]
    length: int | None


def columns_of(columns: Sequence[str], rows: Sequence[Sequence[str]], where: str) -> Columns:
    """Return what the columns of a table are.

    A column says something about genes by its name (`Chr`, `Length`), or where none of the `rows` has a number in it;
    every other one is a sample.

    Parameters
    ----------
    columns
        Their names.
    rows
        Fields of the first genes.
    where
        The file and its header's line, for the sentences.

    Raises
    ------
    ExpressionError
        There is no header, or the table has the figures of a single sample.
    """
    _refuse_no_header(columns, where)
    gene = place_of(columns, GENE_NAMES) or 0
    symbol = place_of(columns, SYMBOL_NAMES)
    symbol = None if symbol == gene else symbol
    rest = [i for i in range(len(columns)) if i not in (gene, symbol)]
    about = about_genes(columns, rows, rest)
    samples = [i for i in rest if i not in set(about)]
    if samples and {normal(columns[i]) for i in samples} <= _OF_ONE_SAMPLE:
        raise ExpressionError(
            f"{where} names {', '.join(columns[i] for i in samples)}: these are figures of one sample, not samples; "
            f"merge the files of all samples to one table with a column a sample (such as tximport's)"
        )
    length = next((i for i in about if normal(columns[i]) in LENGTH_NAMES), None)
    return Columns(gene, symbol, samples, about, length)


def about_genes(columns: Sequence[str], rows: Sequence[Sequence[str]], places: Sequence[int]) -> list[int]:
    """Return which columns at these places say something about genes, by name or because they hold no number."""
    return [i for i in places if normal(columns[i]) in _ABOUT_GENES or is_text(row[i] for row in rows if i < len(row))]


def numbers_in(rows: Sequence[Sequence[str]], places: Sequence[int], path: str) -> Numbers:
    """Return how the numbers in these columns are written.

    Raises
    ------
    ExpressionError
        They can be read in two ways.
    """
    cells = (row[i] for row in rows[:_ROWS] for i in places[:_COLUMNS] if i < len(row))
    numbers, two_ways = numbers_of(cells)
    if two_ways:
        raise ExpressionError(
            f"{path} writes numbers such as {two_ways!r}, whose comma or point may be a decimal mark or stand between "
            f"thousands; write them with a decimal point and nothing between thousands"
        )
    return numbers


def place_of(columns: Sequence[str], names: Sequence[str]) -> int | None:
    """Return the place of the first of `names` that is a column, whatever its case, spaces and dots."""
    plain = [normal(column) for column in columns]
    return next((plain.index(name) for name in names if name in plain), None)


def normal(column: str) -> str:
    """Return the name of a column in small letters, with `_` for what else stands between words.

    >>> normal("Gene ID"), normal("transcript_id(s)"), normal("Entrez.Gene.ID")
    ('gene_id', 'transcript_ids', 'entrez_gene_id')
    """
    kept = column.strip().lower()
    return kept if kept.startswith("__") else re.sub(r"[\s.\-]+", "_", re.sub(r"[()]", "", kept))


def is_text(cells: Iterable[str]) -> bool:
    """Return whether cells hold something, and nothing of it is a number."""
    held = [cell.strip() for cell in cells if cell.strip().lower() not in _MISSING]
    return bool(held) and not any(_looks_like_a_number(cell) for cell in held)


def _looks_like_a_number(cell: str) -> bool:
    try:
        PLAIN.value(cell)
    except ValueError:
        return re.fullmatch(r"[+-]?\d[\d,.'\u2019 \u00a0\u202f]*(?:[eE][+-]?\d+)?", cell) is not None
    return True


def _refuse_no_header(columns: Sequence[str], where: str) -> None:
    numbers = [column for column in columns[1:] if _looks_like_a_number(column)]
    if numbers and len(numbers) == len(columns) - 1 and (is_ensembl(columns[0]) or not is_gene(columns[0])):
        raise ExpressionError(
            f"{where} holds {columns[0]} and {numbers[0]} where names of columns belong: the table has no header; "
            f"write `gene_id` and the names of the samples as its first line"
        )
