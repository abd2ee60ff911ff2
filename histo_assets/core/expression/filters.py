"""Which genes a study keeps: expressed, variable, and with a name of their own."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from histo_assets.core.expression.name_rules.registry import RULES
from histo_assets.core.expression.settings import GeneFilterSettings

DOTTED = re.compile(r"\.\d+$")

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class GeneFilter:
    """Which genes stay: `kept` (genes,) bool, `name_class` of each, and `funnel` (step, genes)."""

    kept: Flags
    name_class: list[str]
    funnel: pd.DataFrame


def gene_filter(
    maximum: npt.NDArray[np.float64], sd: npt.NDArray[np.float64], symbols: Sequence[str], settings: GeneFilterSettings
) -> GeneFilter:
    """Return which genes of a file stay, and how many each step leaves.

    Parameters
    ----------
    maximum, sd
        (genes,) highest log2(1 + TPM) and standard deviation over the samples that the filter is fitted on; an sd of
        NaN (a single sample) is not held against a gene.
    symbols
        Names of all genes of the file; a name is repeated if it occurs twice here, kept or not.
    settings
        Thresholds and the rule for names.
    """
    names = name_classes(symbols)
    passed = [np.ones(len(maximum), dtype=np.bool_), maximum > settings.min_max, is_variable(sd, settings)]
    steps = ["in the file", f"highest log2 value > {settings.min_max:g}", f"standard deviation > {settings.min_sd:g}"]
    for step, kept in RULES[settings.names].steps(symbols, names):
        passed.append(np.array(kept, dtype=np.bool_))
        steps.append(step)
    left = np.logical_and.accumulate(passed)
    return GeneFilter(left[-1], names, pd.DataFrame({"step": steps, "genes": left.sum(axis=1)}))


def genes_by_rule(
    maximum: npt.NDArray[np.float64], sd: npt.NDArray[np.float64], symbols: Sequence[str], settings: GeneFilterSettings
) -> dict[str, int]:
    """Return name rule -> how many genes would stay under it, everything else as in `settings`."""
    return {
        rule: int(gene_filter(maximum, sd, symbols, settings.model_copy(update={"names": rule})).kept.sum())
        for rule in RULES
    }


def is_variable(sd: npt.NDArray[np.float64], settings: GeneFilterSettings) -> Flags:
    """Return which genes vary enough; one without a standard deviation does."""
    return np.asarray(np.isnan(sd) | (sd > settings.min_sd))


def name_classes(symbols: Sequence[str]) -> list[str]:
    """Return 'dotted', 'repeated' or 'standard' for each gene name.

    Dotted names (`AL627309.1`) are those of clones and accessions; one that is repeated as well counts as dotted.

    >>> name_classes(["TP53", "AL627309.1", "Y_RNA", "Y_RNA"])
    ['standard', 'dotted', 'repeated', 'repeated']
    """
    count = Counter(symbols)
    return [
        "dotted" if DOTTED.search(symbol) else "repeated" if count[symbol] > 1 else "standard" for symbol in symbols
    ]
