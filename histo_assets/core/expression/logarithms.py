"""Logarithms other than log2(1 + TPM): named by a study's units, and taken back."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import NDArray

BASES = {"log2": 2.0, "ln": math.e, "log10": 10.0}
_NAMED = re.compile(r"(log2|ln|log10)\((tpm|fpkm|counts)\+(\d+\.?\d*(?:e-?\d+)?|\.\d+)\)")
_LOG1P = re.compile(r"log1p\((tpm|fpkm|counts)\)")
# Values are written with some decimals: what lies within this share of the pseudocount around zero is zero.
_ZERO = 1e-3


@dataclass(frozen=True)
class Logarithm:
    """What was taken of `quantity` (tpm, fpkm, counts): the logarithm of it and a pseudocount, to a base."""

    name: str
    quantity: str
    pseudocount: float

    def __str__(self) -> str:
        return f"{self.name}({self.quantity}+{self.pseudocount:g})"

    @property
    def lowest(self) -> float:
        """The logarithm of nothing expressed."""
        return math.log(self.pseudocount) / math.log(BASES[self.name])

    def taken_back(self, logarithms: NDArray[float64]) -> NDArray[float64]:
        """Return the quantity; below zero where a logarithm is lower than that of the pseudocount.

        >>> import numpy as np
        >>> Logarithm("log2", "tpm", 0.001).taken_back(np.array([-9.9658, 3.0])).round(3).tolist()
        [0.0, 7.999]
        """
        import numpy as np

        values: NDArray[float64] = np.exp(logarithms * math.log(BASES[self.name]))
        values -= self.pseudocount
        values[np.abs(values) < _ZERO * self.pseudocount] = 0.0
        return values


def logarithm_of(units: str) -> Logarithm | None:
    """Return the logarithm that units such as `log2(tpm+0.001)`, `ln(tpm+1)` or `log1p(counts)` name, None for others.

    >>> logarithm_of("log10(FPKM + 1)")
    Logarithm(name='log10', quantity='fpkm', pseudocount=1.0)
    """
    plain = units.replace(" ", "").lower()
    if found := _LOG1P.fullmatch(plain):
        return Logarithm("ln", found[1], 1.0)
    found = _NAMED.fullmatch(plain)
    if found is None or not float(found[3]) > 0:
        return None
    return Logarithm(found[1], found[2], float(found[3]))


def guessed(lowest: float) -> str:
    """Return the units whose zero this is, if it is the logarithm of a round pseudocount; '' if not.

    >>> guessed(-9.9658), guessed(-6.907755), guessed(-2.0), guessed(-0.3)
    ('log2(tpm+0.001)', 'ln(tpm+0.001)', 'log10(tpm+0.01)', '')
    """
    rounds = [digit * 10.0**-power for power in range(1, 10) for digit in (1, 5)]
    for pseudocount in sorted(rounds, key=lambda value: f"{value:e}"):
        for name, base in BASES.items():
            if abs(math.log(pseudocount) / math.log(base) - lowest) < 6e-4:
                return f"{name}(tpm+{pseudocount:g})"
    return ""
