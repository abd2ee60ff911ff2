"""Tissues that pass for one another: how often, by sex, and what is left of the errors once they count as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import permutations
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from histo_assets.core.evaluation.classification import classification_figures

Groups = Sequence[Sequence[str]]


def merged_figures(table: pd.DataFrame, groups: Groups, bootstraps: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Return `classification_figures` with the tissues of each group counted as one.

    Only the metrics over all tissues, under the names 'merged_accuracy' and 'merged_macro_f1'; no row
    where no group has two tissues in the table.
    """
    labels = [column.removeprefix("p_") for column in table.columns if column.startswith("p_")]
    one_of = {tissue: " or ".join(group) for group in present(groups, labels) for tissue in group}
    if not one_of:
        return classification_figures(table, 1, seed).iloc[:0]
    merged = table.drop(columns=[f"p_{tissue}" for tissue in one_of])
    for name in dict.fromkeys(one_of.values()):
        members = table[[f"p_{tissue}" for tissue, of in one_of.items() if of == name]].to_numpy(float)
        merged[f"p_{name}"] = np.logaddexp.reduce(members, axis=1)
    for column in ("tissue", "predicted"):
        merged[column] = [one_of.get(tissue, tissue) for tissue in table[column]]
    figures = classification_figures(merged, bootstraps, seed)
    figures = figures[figures["metric"].isin(["accuracy", "macro_f1"])]
    return figures.assign(metric="merged_" + figures["metric"])


def mistaken_figures(
    table: pd.DataFrame, groups: Groups, sexes: Mapping[str, str], bootstraps: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """Return how often each tissue of a group is taken for each other one, over all donors and by sex.

    Parameters
    ----------
    sexes
        Donor -> sex; donors that are not in it count only among all.

    Returns
    -------
    pd.DataFrame
        Columns level, side, metric ('mistaken'), tissue, predicted, sex ('' over all), value (share of
        the tissue's tiles or slides), low, high (95 % over donors), n.
    """
    level = "tile" if "tile" in table else "slide"
    rows: list[dict[str, Any]] = []
    of_sex = table["donor"].map(dict(sexes)).fillna("").to_numpy(str)
    labels = [column.removeprefix("p_") for column in table.columns if column.startswith("p_")]
    pairs = [pair for group in present(groups, labels) for pair in permutations(group, 2)]
    for side in sorted(set(table["side"])):
        for tissue, taken_for in pairs:
            own = ((table["side"] == side) & (table["tissue"] == tissue)).to_numpy()
            for sex in ("", *sorted(set(of_sex[own]) - {""})):
                cases = table[own & ((of_sex == sex) | (sex == ""))]
                if len(cases):
                    share = dict(zip(("value", "low", "high"), _share(cases, taken_for, bootstraps, seed), strict=True))
                    known = {"level": level, "side": side, "metric": "mistaken", "tissue": tissue}
                    rows.append(known | {"predicted": taken_for, "sex": sex, "n": len(cases)} | share)
    columns = ["level", "side", "metric", "tissue", "predicted", "sex", "value", "low", "high", "n"]
    return pd.DataFrame(rows, columns=columns)


def donor_sexes(manifest: pd.DataFrame) -> dict[str, str]:
    """Return donor -> sex from a cohort's table of slides; empty where it has no column `sex`."""
    if "sex" not in manifest:
        return {}
    known = manifest.dropna(subset=["sex"])
    return dict(zip(known["donor"].astype(str), known["sex"].astype(str), strict=True))


def present(groups: Groups, tissues: Sequence[str]) -> list[list[str]]:
    """Return the groups cut to the tissues that there are; those with fewer than two are left out."""
    cut = [[tissue for tissue in group if tissue in tissues] for group in groups]
    return [group for group in cut if len(group) > 1]


def _share(cases: pd.DataFrame, taken_for: str, bootstraps: int, seed: int) -> tuple[float, float, float]:
    """Return the share of cases that are taken for a tissue, and its interval over donors."""
    by_donor = (cases["predicted"] == taken_for).groupby(cases["donor"].astype(str)).agg(["sum", "size"])
    counts: npt.NDArray[np.float64] = by_donor.to_numpy(float)
    donors = len(counts)
    draws = np.random.default_rng(seed).multinomial(donors, np.full(donors, 1 / donors), size=bootstraps)
    taken, of = (draws @ counts).T
    low, high = np.percentile(taken / of, [2.5, 97.5])
    return float(counts[:, 0].sum() / counts[:, 1].sum()), float(low), float(high)
