"""Text files with genes in rows: GCT, CSV and TSV, plain or gzipped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from histo_assets.core.delimited import PLAIN, Numbers
from histo_assets.core.expression.blocks import GeneBlock, RowFormat, gene_blocks
from histo_assets.core.expression.errors import ExpressionError
from histo_assets.core.expression.parsing import GENE, SKIP, SYMBOL
from histo_assets.core.expression.streams import bounded_line, opened


@dataclass(frozen=True)
class TextSource:
    """A text file with genes in rows, known by its header; `blocks` reads it from the start each time.

    `sample_places`, `gene` and `symbol` are places of columns, `about_genes` of those that are read only where a sample
    of that name is asked for. `length_column` gives the genes' base pairs, `declared` the genes and samples that a GCT
    header claims, `oddities` are sentences on what was found in the first lines. A text
    has no `log1p` and no `layers`.
    """

    path: str
    columns: list[str]
    sample_places: list[int]
    gene: int
    symbol: int | None
    header_lines: int
    separator: str = "\t"
    numbers: Numbers = PLAIN
    about_genes: list[int] = field(default_factory=list)
    length_column: str | None = None
    declared: tuple[int, int] | None = None
    oddities: list[str] = field(default_factory=list)
    log1p: str = ""
    layers: list[str] = field(default_factory=list)

    @property
    def samples(self) -> list[str]:
        """The names of all samples of the file."""
        return [self.columns[place] for place in self.sample_places]

    @property
    def others(self) -> list[str]:
        """Names of columns that hold no sample, unless one of that name is asked for."""
        return [self.columns[place] for place in self.about_genes]

    def blocks(self, samples: Sequence[str], signed: bool = False) -> Iterator[GeneBlock]:
        """Yield all genes with the values of `samples`, in blocks of about 8 MB of text."""
        roles = np.full(len(self.columns), SKIP, dtype=np.int64)
        roles[self.gene] = GENE
        if self.symbol is not None:
            roles[self.symbol] = SYMBOL
        place = {self.columns[i]: i for i in (*self.about_genes, *self.sample_places)}
        roles[[place[sample] for sample in samples]] = np.arange(len(samples))
        first, separator = self.header_lines + 1, self.separator
        layout = RowFormat(self.path, self.columns, roles, first, separator, signed, self.numbers)
        with opened(self.path) as stream:
            for number in range(self.header_lines):
                bounded_line(stream, self.path, number + 1)
            yield from gene_blocks(stream, layout)

    def notes(self, genes: int) -> list[str]:
        """Return what is odd about the first lines, and where the header of a GCT and its body disagree."""
        found = list(self.oddities)
        if self.declared is not None and self.declared[0] != genes:
            found.append(f"the header says {self.declared[0]:,} genes, the file has {genes:,}")
        if self.declared is not None and self.declared[1] != len(self.sample_places):
            found.append(f"the header says {self.declared[1]:,} samples, the file has {len(self.sample_places):,}")
        return found


def left_out_columns(names: Sequence[str]) -> list[str]:
    """Return a note on columns that say something about genes and were left out."""
    if not names:
        return []
    return [f"{len(names)} columns say something about genes and are no samples: {', '.join(names)}"]


def refuse_repeated(names: Sequence[str], what: str, path: str) -> None:
    """Raise an ExpressionError if one of `names` is empty or occurs twice."""
    if "" in names:
        raise ExpressionError(f"{path}: {what} number {list(names).index('') + 1} has no name; name it or drop it")
    if len(set(names)) < len(names):
        seen: set[str] = set()
        repeated = next(name for name in names if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ExpressionError(f"{path}: {what} {repeated!r} occurs {list(names).count(repeated)} times; keep one")
