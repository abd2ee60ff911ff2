"""Columns that were taken as samples and do not look like one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

# So many genes are enough to see whether two columns go together.
_GENES, _VALUES = 4000, 5_000_000
_FEW_GENES, _FEW_SAMPLES = 200, 4
# Samples of any two tissues go together with about 0.8; positions and lengths of genes with none.
_ALIKE, _UNLIKE = 0.5, 0.2
_NAMED = 5


class Unlike:
    """Compares each sample with the median of all over the first genes of a file."""

    def __init__(self, samples: Sequence[str]) -> None:
        self.samples = samples
        self._log2: list[npt.NDArray[np.float64]] = []
        self._genes = 0
        self._most = max(_FEW_GENES, min(_GENES, _VALUES // max(1, len(samples))))

    def add(self, log2: npt.NDArray[np.float64]) -> None:
        """Take in (genes, samples), while there are few."""
        if self._genes < self._most and len(self.samples) >= _FEW_SAMPLES:
            self._log2.append(log2[: self._most - self._genes].copy())
            self._genes += len(self._log2[-1])

    def notes(self) -> list[str]:
        """Return a note on columns that do not go together with the others, where the others do."""
        if self._genes < _FEW_GENES:
            return []
        values = np.concatenate(self._log2)
        middle = np.median(values, axis=1)
        values = values - values.mean(axis=0)
        middle = middle - middle.mean()
        spread = np.sqrt((values**2).sum(axis=0) * (middle**2).sum())
        together = np.divide(middle @ values, spread, out=np.zeros(values.shape[1]), where=spread > 0)
        if np.median(together) < _ALIKE:
            return []
        odd = [sample for sample, alike in zip(self.samples, together, strict=True) if alike < _UNLIKE]
        if not odd:
            return []
        return [
            f"{len(odd)} of {len(self.samples)} columns do not look like samples, for their values do not go with "
            f"those of the others: {', '.join(odd[:_NAMED])}; name the samples if these are none"
        ]
