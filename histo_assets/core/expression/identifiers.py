"""Names of genes: Ensembl ids with and without version, and what speaks against a file's ids."""

from __future__ import annotations

import re
from collections.abc import Sequence

from histo_assets.core.expression.errors import ExpressionError

PAR_Y = "_PAR_Y"
_ENSEMBL = re.compile(r"(ENS[A-Z]*G\d{6,})(?:\.\d+)?(_PAR_Y)?")
# Spike-ins and counters of an aligner stand among the ids of many files; more than these is another kind of name.
_FEW = 0.01


def is_ensembl(gene_id: str) -> bool:
    """Return whether a name is an Ensembl gene id.

    >>> is_ensembl("ENSG00000182378.13_PAR_Y"), is_ensembl("ENSMUSG00000051951"), is_ensembl("TP53")
    (True, True, False)
    """
    return _ENSEMBL.fullmatch(gene_id) is not None


def unversioned(gene_id: str) -> str:
    """Return an Ensembl id without its version; `_PAR_Y` stays, so that the two of a pair differ.

    >>> unversioned("ENSG00000223972.5"), unversioned("ENSG00000182378.13_PAR_Y"), unversioned("AL627309.1")
    ('ENSG00000223972', 'ENSG00000182378_PAR_Y', 'AL627309.1')
    """
    match = _ENSEMBL.fullmatch(gene_id)
    return gene_id if match is None else match[1] + (match[2] or "")


def refuse_mixed_ids(gene_ids: Sequence[str], path: str) -> list[str]:
    """Return notes on ids of another kind, or raise an ExpressionError where Ensembl ids and symbols are mixed.

    Raises
    ------
    ExpressionError
        More than one in a hundred ids is of the other kind, or a gene stands under two versions of its id.
    """
    ensembl = [gene for gene in gene_ids if is_ensembl(gene)]
    others = [gene for gene in gene_ids if not is_ensembl(gene)]
    fewer = min(ensembl, others, key=len)
    if len(fewer) > _FEW * len(gene_ids):
        raise ExpressionError(
            f"{path} mixes Ensembl ids and other names of genes: {len(ensembl):,} such as {ensembl[0]}, "
            f"{len(others):,} such as {others[0]}; give the ids as `gene_id` and the names as `symbol`"
        )
    _refuse_two_versions(ensembl, path)
    if not fewer:
        return []
    kind = "no Ensembl id" if fewer is others else "an Ensembl id"
    return [f"{len(fewer):,} of {len(gene_ids):,} genes have {kind}, such as {fewer[0]}"]


def _refuse_two_versions(ensembl: Sequence[str], path: str) -> None:
    first: dict[str, str] = {}
    for gene in ensembl:
        other = first.setdefault(unversioned(gene), gene)
        if other != gene:
            raise ExpressionError(f"{path} has one gene under two versions, {other} and {gene}; keep one")
