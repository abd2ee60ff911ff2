"""What speaks against values being log2(1 + TPM): the lowest of them, and what they sum to once taken back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from histo_assets.core.expression.blocks import GeneBlock
from histo_assets.core.expression.errors import ExpressionError
from histo_assets.core.expression.logarithms import BASES, Logarithm, guessed, logarithm_of

MILLION = 1e6
# A file with fewer genes is a choice of genes: its columns need not sum to anything.
WHOLE_TRANSCRIPTOME = 1000
# log2(1 + TPM) is at most 19.9, log2 of the deepest count about 30.
HIGHEST_LOG2 = 40.0
# Two decimals of a logarithm are that much of the pseudocount.
_ROUNDED = 0.02
# Samples whose sums are looked at.
_SAMPLES = 100
# Zeros are a good part of any transcriptome.
_MANY_ALIKE = 0.01
# Single cells are scaled to this by scanpy's tutorials and Seurat.
_TEN_THOUSAND = 1e4


class LogarithmCheck:
    """Looks at logarithms, block by block, for evidence that they are others than log2(1 + TPM)."""

    def __init__(self, samples: Sequence[str], path: str) -> None:
        self.samples, self.path = samples, path
        self.values = self.negative = self.alike = self.genes = 0
        self.lowest = np.inf
        self.where = ""
        self.sums = {name: np.zeros(min(len(samples), _SAMPLES)) for name in BASES}

    def add(self, block: GeneBlock) -> None:
        """Take in a block."""
        values = block.values
        self.genes += len(values)
        self.values += values.size
        self.negative += int((values < 0).sum())
        lowest = float(values.min())
        if lowest < self.lowest:
            gene, sample = (int(place[0]) for place in np.nonzero(values == lowest))
            self.where = f"gene {block.gene_id[gene]}, sample {self.samples[sample]}"
            self.lowest, self.alike = lowest, 0
        if lowest == self.lowest:
            self.alike += int((values == lowest).sum())
        for name, base in BASES.items():
            self.sums[name] += np.expm1(values[:, :_SAMPLES] * np.log(base)).sum(axis=0)

    def notes(self, units: str) -> list[str]:
        """Return a note on sums, or raise an ExpressionError where the values are no log2(1 + TPM)."""
        if units != "log2" or not self.genes:
            return []
        many = self.alike > max(1, _MANY_ALIKE * self.values)
        guess = (guessed(self.lowest) if many else "") or "log2(tpm+0.001)"
        way_out = (
            f"say which in full as `expression.units`, such as `{guess}`, or give TPM; values corrected for "
            f"batches are set to 0 where they are below"
        )
        if self.negative:
            raise ExpressionError(
                f"{self.path}: {self.negative:,} values are negative, the lowest is {self.lowest:g} ({self.where}; "
                f"{self.alike:,} times), and log2(1+TPM) has none (`expression.units: log2`): another logarithm or "
                f"pseudocount was taken; {way_out}"
            )
        if self.lowest > 0.01 and many and self.genes >= WHOLE_TRANSCRIPTOME:
            raise ExpressionError(
                f"{self.path}: the lowest value, {self.lowest:g}, stands {self.alike:,} times, so it is what became of "
                f"zero, and of log2(1+TPM) that is 0 (`expression.units: log2`): another logarithm or pseudocount was "
                f"taken; {way_out}"
            )
        return self._sums() if self.genes >= WHOLE_TRANSCRIPTOME else []

    def _sums(self) -> list[str]:
        share = self.sums["log2"] / MILLION
        if (share > 0.5).all() and (share < 1.1).all():
            return []
        for name in ("ln", "log10"):
            if (np.abs(self.sums[name] / MILLION - 1) < 0.1).all():
                raise ExpressionError(
                    f"{self.path}: taken back from log2 its samples sum to {self.sums['log2'][0]:,.0f}, from {name} to "
                    f"1,000,000 as TPM do, so these are {name}(1+TPM) (`expression.units: log2`); say {name}(tpm+1)"
                )
        for name, sums in self.sums.items():
            if (np.abs(sums / _TEN_THOUSAND - 1) < 0.02).all():
                raise ExpressionError(
                    f"{self.path}: taken back from {name} its samples sum to 10,000, as single cells are scaled, where "
                    f"TPM sum to 1,000,000 (`expression.units: log2`); give counts or TPM, or say {name}(counts+1), "
                    f"which scales them to a million"
                )
        worst = int(np.abs(np.log(np.maximum(share, 1e-12))).argmax())
        return [
            f"taken back from log2, sample {self.samples[worst]} sums to {self.sums['log2'][worst]:,.0f}, where TPM "
            f"sum to 1,000,000"
        ]


def taken_back(block: GeneBlock, logarithm: Logarithm, samples: Sequence[str], path: str) -> npt.NDArray[np.float64]:
    """Return the values of a block of logarithms as the quantity that they were taken of.

    Raises
    ------
    ExpressionError
        A logarithm is lower than that of nothing expressed, or too high for one.
    """
    values = logarithm.taken_back(np.minimum(block.values, HIGHEST_LOG2))
    wrong = (values < -_ROUNDED * logarithm.pseudocount) | (block.values > HIGHEST_LOG2)
    if wrong.any():
        gene, sample = (int(place[0]) for place in np.nonzero(wrong))
        value = block.values[gene, sample]
        what = (
            "too high for a logarithm" if value > HIGHEST_LOG2 else f"below {logarithm.lowest:.4g}, the lowest there is"
        )
        raise ExpressionError(
            f"{path}: gene {block.gene_id[gene]} has {value:g} in sample {samples[sample]}, which is {what} of "
            f"`expression.units: {logarithm}`; name the logarithm that was taken"
        )
    return np.maximum(values, 0.0)


def refuse_log1p(log1p: str, layers: Sequence[str], units: str, whole: bool, path: str) -> None:
    """Raise an ExpressionError if an h5ad file says that logarithms were taken of its X, and the study does not.

    `whole`: all values are whole numbers, so that the file's word is about another matrix. `layers` are the matrices
    that the file has besides X.
    """
    logarithm = logarithm_of(units)
    if not log1p or whole or (logarithm is not None and (logarithm.name, logarithm.pseudocount) == (log1p, 1.0)):
        return
    if units == "log2" and log1p == "log2":
        return
    kept = f"; or name another of its matrices as `expression.layer`: {', '.join(layers)}" if layers else ""
    raise ExpressionError(
        f"{path} says by `uns['log1p']` that its X is {log1p}(1+x) (`expression.units: {units}`); say "
        f"{log1p}(counts+1), which takes them back and scales them to a million, or {log1p}(tpm+1){kept}"
    )
