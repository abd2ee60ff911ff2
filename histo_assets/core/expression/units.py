"""From the units of a file to log2(1 + TPM), and what speaks against the units that a study declares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from histo_assets.core.expression.blocks import GeneBlock
from histo_assets.core.expression.errors import ExpressionError
from histo_assets.core.expression.logarithm_check import HIGHEST_LOG2, MILLION, WHOLE_TRANSCRIPTOME, LogarithmCheck
from histo_assets.core.expression.settings import quantity

Floats = npt.NDArray[np.float64]

# Of fewer genes one may well be as high as all others together.
A_FEW_GENES = 20
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


@dataclass(frozen=True)
class _Place:
    """One value of the file, for a sentence."""

    gene: str
    sample: str
    value: float

    def __str__(self) -> str:
        return f"gene {self.gene} has {self.value:g} in sample {self.sample}"


class UnitCheck:
    """Looks at the blocks of a file as they pass for evidence against the units that a study declares.

    `sums` is (samples,), the sum of every sample over the genes so far.
    """

    def __init__(self, units: str, samples: Sequence[str], path: str) -> None:
        self.units, self.samples, self.path = quantity(units), samples, path
        # What was taken back from logarithms has the fractions of their rounding.
        self.exact = self.units == units
        self.sums = np.zeros(len(samples))
        self.genes = self.positive = 0
        self.whole = self.units in ("tpm", "fpkm")
        self.highest = -np.inf
        self.fraction: _Place | None = None
        self.total: tuple[str, Floats] | None = None
        self.logarithms = LogarithmCheck(samples, path)

    def add(self, block: GeneBlock) -> None:
        """Take in a block, or raise an ExpressionError if one of its values cannot be in these units."""
        if not block.gene_id:
            return
        self.genes += len(block.gene_id)
        self.sums += block.values.sum(axis=0)
        if self.units == "log2":
            self._refuse(block, block.values > HIGHEST_LOG2, "is too high for a logarithm", "tpm, fpkm or counts")
            self.logarithms.add(block)
            return
        self._look_for_a_total(block)
        if self.units != "tpm" and self.highest <= HIGHEST_LOG2:
            self.highest = max(self.highest, float(block.values.max()))
        if self.units in ("counts", "log2_counts"):
            if self.exact and self.fraction is None:
                wrong = block.values != np.floor(block.values)
                self.fraction = self._place(block, wrong) if wrong.any() else None
        elif self.whole:
            self.whole = bool((block.values == np.floor(block.values)).all())
            self.positive += int((block.values > 0).sum())

    def _place(self, block: GeneBlock, where: npt.NDArray[np.bool_]) -> _Place:
        gene, sample = (int(place[0]) for place in np.nonzero(where))
        return _Place(block.gene_id[gene], self.samples[sample], float(block.values[gene, sample]))

    def _refuse(self, block: GeneBlock, wrong: npt.NDArray[np.bool_], what: str, way_out: str) -> None:
        if wrong.any():
            raise ExpressionError(
                f"{self.path}: {self._place(block, wrong)}, which {what} (`expression.units: {self.units}`); "
                f"say {way_out} if that is what it is"
            )

    def _look_for_a_total(self, block: GeneBlock) -> None:
        """Keep the row with the highest value of the first sample: a total is as high as all others together."""
        row = int(block.values[:, 0].argmax())
        if self.total is None or block.values[row, 0] > self.total[1][0]:
            self.total = (block.gene_id[row], block.values[row].copy())

    def _refuse_a_total(self) -> None:
        if self.total is None or self.genes < A_FEW_GENES:
            return
        name, values = self.total
        if (values > 0).all() and np.allclose(self.sums, 2 * values, rtol=1e-6):
            raise ExpressionError(
                f"{self.path}: the row {name} is the sum of all others in every sample, a total and no "
                f"gene; take it out"
            )

    @property
    def is_whole(self) -> bool:
        """Whether no value had a fraction, so that no logarithm can have been taken."""
        if not self.exact:
            return False
        return self.fraction is None if self.units in ("counts", "log2_counts") else self.whole

    def notes(self, lengths: bool = False) -> list[str]:
        """Return notes on a file that has passed, or raise an ExpressionError where its sums are not of these units.

        TPM of a whole transcriptome sum to a million, by definition; a file of protein-coding genes holds less.
        """
        self._refuse_a_total()
        notes = [*self._whole_numbers(), *self._fractions(), *self.logarithms.notes(self.units)]
        few = self.genes < WHOLE_TRANSCRIPTOME
        if self.units in ("fpkm", "counts"):
            refuse_empty(self.sums, self.samples, self.path)
        if few and self.units == "fpkm":
            return [*notes, f"FPKM were scaled to a million over {self.genes} genes only"]
        if few and self.units == "counts":
            scaled = f"counts were scaled to a million over {self.genes} genes only"
            return [*notes, scaled if lengths else f"{scaled}; `log2_counts` would not scale them"]
        if self.units == "fpkm" and self.exact:
            self._refuse_logarithms_of_fpkm()
        if self.units == "fpkm" and (np.abs(self.sums / MILLION - 1) < 0.001).all():
            return [*notes, "the FPKM of every sample sum to a million, as TPM do"]
        return notes if few or self.units != "tpm" else [*notes, *self._sums_of_tpm()]

    def _fractions(self) -> list[str]:
        """Return a note on counts with fractions, or raise an ExpressionError where they are no counts."""
        if self.fraction is None:
            return []
        said = f"{self.path}: {self.fraction}, which is no whole number, and"
        if self.highest <= HIGHEST_LOG2:
            raise ExpressionError(
                f"{said} no value is above {HIGHEST_LOG2:g}, so these are no counts (`expression.units: {self.units}`) "
                f"but logarithms, TPM or FPKM; say which"
            )
        if (np.abs(self.sums / MILLION - 1) < 0.001).all():
            raise ExpressionError(
                f"{said} every sample sums to 1,000,000, so these are no counts (`expression.units: {self.units}`) but "
                f"TPM or counts per million; say tpm"
            )
        return [
            "counts have fractions, as the expected counts of RSEM, Salmon and kallisto do; they were taken as they are"
        ]

    def _refuse_logarithms_of_fpkm(self) -> None:
        if self.highest <= HIGHEST_LOG2:
            raise ExpressionError(
                f"{self.path}: no value of its {self.genes:,} genes is above {HIGHEST_LOG2:g}, so these are logarithms "
                f"and no FPKM (`expression.units: fpkm`); say which, such as log2(fpkm+1)"
            )

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
