"""From the units of a file to log2(1 + TPM), and what speaks against the units that a study declares."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from histo_assets.core.expression.blocks import GeneBlock
from histo_assets.core.expression.errors import ExpressionError

Floats = npt.NDArray[np.float64]

MILLION = 1e6
# A file with fewer genes is a choice of genes: its columns need not sum to anything.
WHOLE_TRANSCRIPTOME = 1000
# log2(1 + TPM) is at most 19.9, log2 of the deepest count about 30.
HIGHEST_LOG2 = 40.0


def log2_expression(values: Floats, units: str, totals: Floats) -> Floats:
    """Return expression as logarithms.

    TPM become log2(1 + TPM); FPKM are first scaled to a million a sample, which makes them TPM (Li and Dewey, BMC
    Bioinformatics 2011); counts too, which makes them CPM (gene lengths are not known here); `log2_counts` become
    log2(1 + count); `log2` stays as it is.

    Parameters
    ----------
    values
        (genes, samples) in `units`.
    units
        tpm, fpkm, counts, log2 or log2_counts.
    totals
        (samples,) sum of all genes of the file; read for FPKM and counts only.
    """
    if units == "log2":
        return values
    if units in ("fpkm", "counts"):
        values = values * (MILLION / totals)
    return np.asarray(np.log2(1.0 + values))


def refuse_other_units(block: GeneBlock, units: str, samples: Sequence[str], path: str) -> None:
    """Raise an ExpressionError if single values show that a block is not in `units`, with the value as evidence."""
    if units in ("counts", "log2_counts"):
        bad, what = block.values != np.floor(block.values), "is no whole number, so these are no counts"
        way_out = "tpm or fpkm"
    elif units == "log2":
        bad, what = block.values > HIGHEST_LOG2, "is too high for a logarithm"
        way_out = "tpm, fpkm or counts"
    else:
        return
    if bad.any():
        gene, sample = (int(place[0]) for place in np.nonzero(bad))
        raise ExpressionError(
            f"{path}: gene {block.gene_id[gene]} has {block.values[gene, sample]:g} in sample {samples[sample]}, which "
            f"{what} (`expression.units: {units}`); say {way_out} if that is what it is"
        )


def refuse_other_totals(totals: Floats, genes: int, units: str, samples: Sequence[str], path: str) -> list[str]:
    """Return notes on the column sums, or raise an ExpressionError where they cannot be those of `units`.

    TPM of a whole transcriptome sum to a million, by definition; a file of protein-coding genes holds somewhat less.
    """
    if units in ("fpkm", "counts") and (totals == 0).any():
        raise ExpressionError(f"{path}: sample {samples[int(totals.argmin())]} is all zeros; drop it")
    if units == "fpkm" and genes < WHOLE_TRANSCRIPTOME:
        return [f"FPKM were scaled to a million over {genes} genes only"]
    if units == "counts" and genes < WHOLE_TRANSCRIPTOME:
        return [f"counts were scaled to a million over {genes} genes only; `log2_counts` would not scale them"]
    if units != "tpm" or genes < WHOLE_TRANSCRIPTOME:
        return []
    share = totals / MILLION
    worst = int(np.abs(np.log(np.maximum(share, 1e-12))).argmax())
    if share[worst] > 1.1 or share[worst] < 0.5:
        raise ExpressionError(
            f"{path}: the {genes:,} genes of sample {samples[worst]} sum to {totals[worst]:,.0f}, where TPM sum to "
            f"1,000,000; name the right `expression.units` (fpkm, counts, or log2 if logarithms were taken)"
        )
    if share[worst] < 0.9:
        return [f"the TPM of sample {samples[worst]} sum to {totals[worst]:,.0f}: the file leaves genes out"]
    return []
