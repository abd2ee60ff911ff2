"""Rows of an expression file that are no genes: counters of an aligner, spike-ins, totals."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from histo_assets.core.expression.blocks import GeneBlock
from histo_assets.core.expression.errors import ExpressionError

# HTSeq, STAR, featureCounts' summary, samtools idxstats; ERCC, SIRV, PhiX and Sequins; rows that a person added.
_KINDS = {
    "counters of the aligner": re.compile(
        r"__.+|N_(?:unmapped|multimapping|noFeature|ambiguous)|Unassigned(?:_\w+)?|\*|"
        r"(?:no_feature|ambiguous|too_low_aQual|not_aligned|alignment_not_unique|unmapped)",
        re.IGNORECASE,
    ),
    "spike-ins": re.compile(
        r"ERCC[-._]\d{5}(?:\.\d+)?|SIRV\d+\w*|gSpikein[-._]\w+|phix(?:174)?|R\d_\d+_\d|spike[-_. ]?in\w*", re.IGNORECASE
    ),
    "totals": re.compile(
        r"(?:grand[ _]?|row[ _]?|column[ _]?)?(?:total|sum)s?(?:[ _](?:counts?|reads|of[ _]?reads|tpm))?|"
        r"lib(?:rary)?[_ .]?size|summe|n_?reads|mapped[ _]reads",
        re.IGNORECASE,
    ),
}
_ANY = re.compile("|".join(f"(?:{pattern.pattern})" for pattern in _KINDS.values()), re.IGNORECASE)
_NAMED = 3
# Genes, transcripts, exons or peaks of any genome are fewer.
_MOST_ROWS = 1_000_000


def is_gene(name: str) -> bool:
    """Return whether a name may be a gene's.

    >>> [is_gene(name) for name in ("ERCC1", "ERCC-00002", "__no_feature", "N_unmapped", "SUMO1", "Total")]
    [True, False, False, False, True, False]
    """
    return name.startswith("ENS") or _ANY.fullmatch(name) is None


@dataclass
class NoGenes:
    """Leaves rows that are no genes out of the blocks of a file; `found` are their names by kind."""

    found: dict[str, list[str]] = field(default_factory=dict)

    def genes_of(self, blocks: Iterator[GeneBlock], path: str) -> Iterator[GeneBlock]:
        """Yield the blocks with their genes alone; a block that has no other rows is passed on as it is.

        Raises
        ------
        ExpressionError
            There are more rows than any genome has genes.
        """
        self.found = {}
        rows = 0
        for block in blocks:
            rows += len(block.gene_id)
            if rows > _MOST_ROWS:
                raise ExpressionError(
                    f"{path} has more than {_MOST_ROWS:,} rows, more than any genome has genes; give the right file"
                )
            odd = [row for row, name in enumerate(block.gene_id) if not is_gene(name)]
            for row in odd:
                self.found.setdefault(_kind(block.gene_id[row]), []).append(block.gene_id[row])
            yield _without(block, odd) if odd else block

    @property
    def rows(self) -> int:
        """How many rows were left out."""
        return sum(map(len, self.found.values()))

    def notes(self) -> list[str]:
        """Return which rows were left out, a sentence a kind."""
        return [
            f"{len(names):,} rows are {kind} and no genes, they were left out, of totals too: "
            f"{', '.join(names[:_NAMED])}{' and so on' if len(names) > _NAMED else ''}"
            for kind, names in self.found.items()
        ]


def _kind(name: str) -> str:
    return next(kind for kind, pattern in _KINDS.items() if pattern.fullmatch(name))


def _without(block: GeneBlock, rows: list[int]) -> GeneBlock:
    left = set(rows)
    kept = [row for row in range(len(block.gene_id)) if row not in left]
    return GeneBlock(
        [block.gene_id[row] for row in kept], [block.symbol[row] for row in kept], np.delete(block.values, rows, axis=0)
    )
