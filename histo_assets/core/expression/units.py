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
# So many positive numbers without a fraction are no chance.
WHOLE_NUMBERS = 1000


def log2_expression(values: Floats, units: str, totals: Floats, lengths: Floats | None = None) -> Floats:
    """Return expression as logarithms; `values` is overwritten.

    TPM become log2(1 + TPM); FPKM are first scaled to a million a sample, which makes them TPM (Li and Dewey, BMC
    Bioinformatics 2011). Counts are scaled too: over their genes' lengths, which makes them TPM, or as they are,
    which makes them CPM. `log2_counts` become log2(1 + count); `log2` stays as it is.

    Parameters
    ----------
    values
        (genes, samples) in `units`.
    units
        tpm, fpkm, counts, log2 or log2_counts.
    totals
        (samples,) sum over all genes of the file of what is scaled; read for FPKM and counts only.
    lengths
        (genes,) base pairs, read for counts; a gene whose length is NaN counts as not expressed. None for CPM.
    """
    if units == "log2":
        return values
    if units in ("fpkm", "counts"):
        values = scalable(values, lengths)
        values *= MILLION / totals
    values += 1.0
    return np.log2(values, out=values)


def scalable(values: Floats, lengths: Floats | None) -> Floats:
    """Return values that sum to a million TPM once scaled: FPKM, or counts over the lengths of their genes."""
    return values if lengths is None else np.nan_to_num(values / lengths[:, None], nan=0.0)


class UnitCheck:
    """Looks at the blocks of a file as they pass for evidence against the units that a study declares.

    `sums` is (samples,), the sum of every sample over the genes so far.
    """

    def __init__(self, units: str, samples: Sequence[str], path: str) -> None:
        self.units, self.samples, self.path = units, samples, path
        self.sums = np.zeros(len(samples))
        self.genes = self.positive = 0
        self.whole = units in ("tpm", "fpkm")

    def add(self, block: GeneBlock) -> None:
        """Take in a block, or raise an ExpressionError if one of its values cannot be in these units."""
        self.genes += len(block.gene_id)
        self.sums += block.values.sum(axis=0)
        if self.units in ("counts", "log2_counts"):
            wrong = block.values != np.floor(block.values)
            self._refuse(block, wrong, "is no whole number, so these are no counts", "tpm or fpkm")
        elif self.units == "log2":
            self._refuse(block, block.values > HIGHEST_LOG2, "is too high for a logarithm", "tpm, fpkm or counts")
        elif self.whole:
            self.whole = bool((block.values == np.floor(block.values)).all())
            self.positive += int((block.values > 0).sum())

    def _refuse(self, block: GeneBlock, wrong: npt.NDArray[np.bool_], what: str, way_out: str) -> None:
        if wrong.any():
            gene, sample = (int(place[0]) for place in np.nonzero(wrong))
            raise ExpressionError(
                f"{self.path}: gene {block.gene_id[gene]} has {block.values[gene, sample]:g} in sample "
                f"{self.samples[sample]}, which {what} (`expression.units: {self.units}`); say {way_out} if that is "
                f"what it is"
            )

    def notes(self, lengths: bool = False) -> list[str]:
        """Return notes on a file that has passed, or raise an ExpressionError where its sums are not of these units.

        TPM of a whole transcriptome sum to a million, by definition; a file of protein-coding genes holds less.
        """
        notes = self._whole_numbers()
        few = self.genes < WHOLE_TRANSCRIPTOME
        if self.units in ("fpkm", "counts"):
            refuse_empty(self.sums, self.samples, self.path)
        if few and self.units == "fpkm":
            return [*notes, f"FPKM were scaled to a million over {self.genes} genes only"]
        if few and self.units == "counts":
            scaled = f"counts were scaled to a million over {self.genes} genes only"
            return [*notes, scaled if lengths else f"{scaled}; `log2_counts` would not scale them"]
        if self.units == "fpkm" and (np.abs(self.sums / MILLION - 1) < 0.001).all():
            return [*notes, "the FPKM of every sample sum to a million, as TPM do"]
        return notes if few or self.units != "tpm" else [*notes, *self._sums_of_tpm()]

    def _whole_numbers(self) -> list[str]:
        if not self.whole or self.positive < WHOLE_NUMBERS:
            return []
        if self.genes >= WHOLE_TRANSCRIPTOME and (np.abs(self.sums / MILLION - 1) < 0.1).all():
            return ["every value is a whole number: the file was rounded"]
        raise ExpressionError(
            f"{self.path}: all of its {self.positive:,} positive values are whole numbers, so these are counts "
            f"(`expression.units: {self.units}`); say counts, or log2_counts for a handful of genes"
        )

    def _sums_of_tpm(self) -> list[str]:
        share = self.sums / MILLION
        worst = int(np.abs(np.log(np.maximum(share, 1e-12))).argmax())
        if share[worst] > 1.1 or share[worst] < 0.5:
            raise ExpressionError(
                f"{self.path}: the {self.genes:,} genes of sample {self.samples[worst]} sum to "
                f"{self.sums[worst]:,.0f}, where TPM sum to 1,000,000; name the right `expression.units` (fpkm, "
                f"counts, or log2 if logarithms were taken)"
            )
        if share[worst] < 0.9:
            sample, total = self.samples[worst], self.sums[worst]
            return [f"the TPM of sample {sample} sum to {total:,.0f}: the file leaves genes out"]
        return []


def refuse_empty(totals: Floats, samples: Sequence[str], path: str) -> None:
    """Raise an ExpressionError if a sample has nothing that could be scaled."""
    if (totals == 0).any():
        raise ExpressionError(f"{path}: sample {samples[int(totals.argmin())]} is all zeros; drop it")
