"""Lengths of genes, which make TPM of counts."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from histo_assets.core.cohort.table_files import read_table
from histo_assets.core.delimited import PLAIN, fields, read_layout
from histo_assets.core.expression.columns import columns_of
from histo_assets.core.expression.errors import ExpressionError
from histo_assets.core.expression.identifiers import PAR_Y, is_ensembl, unversioned
from histo_assets.core.expression.not_genes import is_gene
from histo_assets.core.expression.streams import bounded_line, first_lines, opened

GENE_COLUMNS = ("gene_id", "gene", "name", "symbol")
LENGTH_COLUMNS = ("length", "gene_length", "bp")
_GENE_OF = re.compile(r'gene_id "([^"]+)"')
# A file may have spike-ins; with more genes than these missing, the lengths are of another annotation.
_FEW = 0.01


@dataclass(frozen=True)
class GeneLengths:
    """Length of each gene in base pairs, by its id without version, or by its symbol; never by both."""

    path: str
    by_name: dict[str, float]

    @property
    def of_symbols(self) -> bool:
        """Whether genes are named by symbol."""
        return not any(map(is_ensembl, self.by_name))

    def of(self, gene_ids: Sequence[str], symbols: Sequence[str]) -> npt.NDArray[np.float64]:
        """Return (genes,) base pairs, NaN where unknown; a `_PAR_Y` gene without one has that of its twin on X."""
        names = symbols if self.of_symbols else [unversioned(gene) for gene in gene_ids]
        lengths = [self.by_name.get(name, self.by_name.get(name.removesuffix(PAR_Y), np.nan)) for name in names]
        return np.array(lengths, dtype=np.float64)

    def refuse_unknown(self, unknown: Sequence[str], genes: int, path: str) -> list[str]:
        """Return a note on genes without a length, or raise an ExpressionError where they are many."""
        if len(unknown) > _FEW * genes:
            raise ExpressionError(
                f"{path}: {len(unknown):,} of {genes:,} genes have no length in {self.path}, such as {unknown[0]}; "
                f"give the lengths of the annotation that the reads were counted on"
            )
        if not unknown:
            return []
        return [f"{len(unknown):,} genes have no length and count as not expressed, such as {unknown[0]}"]


def read_gene_lengths(path: str) -> GeneLengths:
    """Return the lengths of genes in a GTF, or in a table with a column of genes and one of base pairs.

    The length of a gene of a GTF is that of the union of its exons.

    Raises
    ------
    ExpressionError
        The file has no such columns, no exons, names a gene twice, or has a length that is not above zero.
    """
    if path.removesuffix(".gz").lower().endswith((".gtf", ".gff2")):
        return GeneLengths(path, _exon_unions(path))
    table = _of_expression(path)
    if table is None:
        table = read_table(path, text=GENE_COLUMNS)
    gene = next((name for name in GENE_COLUMNS if name in table), None)
    length = next((name for name in LENGTH_COLUMNS if name in table), None)
    if gene is None or length is None:
        raise ExpressionError(
            f"{path} has no column {' or '.join(GENE_COLUMNS if gene is None else LENGTH_COLUMNS)} (it has "
            f"{', '.join(table.columns)}); name the genes `gene_id` and their base pairs `length`"
        )
    lengths: dict[str, float] = {}
    for row, (name, value) in enumerate(zip(table[gene], table[length], strict=True), start=2):
        if not isinstance(value, (int, float)) or not 0 < value < np.inf:
            raise ExpressionError(f"{path}, row {row}: gene {name} has the length {value!r}; give its base pairs")
        if lengths.setdefault(unversioned(name), float(value)) != value:
            raise ExpressionError(f"{path}, row {row}: gene {name} has two lengths; keep one")
    return GeneLengths(path, lengths)


def _of_expression(path: str) -> pd.DataFrame | None:
    """Return `gene` and `length` of a table of expression that has lengths, such as featureCounts writes; else None."""
    if path.endswith((".parquet", ".pq")) or not Path(path).is_file():
        return None
    try:
        layout = read_layout(first_lines(path), "\t")
        found = columns_of(layout.columns, layout.rows, path)
    except ValueError:
        return None
    if found.length is None or not found.samples:
        return None
    names, lengths = [], []
    with opened(path) as stream:
        for number in count(1):
            line = bounded_line(stream, path, number).decode(errors="replace")
            if not line:
                break
            try:
                cells = fields(line.rstrip("\r\n"), layout.separator)
            except ValueError as error:
                raise ExpressionError(f"{path}, line {number} cannot be read: {error}; write it again") from None
            if number > layout.header_line and len(cells) == len(layout.columns) and is_gene(cells[found.gene]):
                names.append(cells[found.gene])
                lengths.append(_base_pairs(cells[found.length]))
    return pd.DataFrame({"gene": names, "length": pd.Series(lengths, dtype=object)})


def _base_pairs(cell: str) -> float | str:
    try:
        return PLAIN.value(cell)
    except ValueError:
        return cell


def _exon_unions(path: str) -> dict[str, float]:
    exons: dict[str, list[tuple[int, int]]] = defaultdict(list)
    with opened(path) as stream:
        for number in count(1):
            row = bounded_line(stream, path, number)
            if not row:
                break
            fields = row.decode(errors="replace").split("\t", 8)
            if len(fields) < 9 or fields[2] != "exon":
                continue
            gene = _GENE_OF.search(fields[8])
            if gene is None or not fields[3].isdecimal() or not fields[4].isdecimal():
                raise ExpressionError(f"{path}, line {number}: an exon without gene_id, start or end; correct it")
            exons[unversioned(gene[1])].append((int(fields[3]), int(fields[4])))
    if not exons:
        raise ExpressionError(f"{path} has no exons; give the GTF that the reads were counted on")
    return {gene: _union(spans) for gene, spans in exons.items()}


def _union(spans: Iterable[tuple[int, int]]) -> float:
    """Return how many base pairs closed intervals cover.

    >>> _union([(1, 10), (5, 12), (20, 20)])
    13.0
    """
    covered, reached = 0, 0
    for start, end in sorted(spans):
        covered += max(0, end - max(start - 1, reached))
        reached = max(reached, end)
    return float(covered)
