"""Which of a tissue's paired slides a study takes."""

from __future__ import annotations

import hashlib
from difflib import get_close_matches

import pandas as pd

from histo_assets.core.cohort.errors import CohortError
from histo_assets.core.cohort.settings import SelectionSettings


def select_slides(pairs: pd.DataFrame, settings: SelectionSettings, tissue: str) -> pd.DataFrame:
    """Return the slides of one tissue that the study takes, in order, and why.

    `first` takes them in manifest order, `stable_hash` by the sha256 of seed and slide id, so that a slide that is
    added to the manifest displaces at most one.

    Parameters
    ----------
    pairs
        What `pair_slides` returned: in manifest order, of all tissues.
    settings
        The rule and how many.
    tissue
        Partition key.

    Returns
    -------
    pandas.DataFrame
        The columns of `pairs`, rank (0 is the first taken), why (str).

    Raises
    ------
    CohortError
        No paired slide has that tissue.
    """
    candidates = pairs[pairs["tissue"] == tissue]
    if candidates.empty:
        raise CohortError(_unknown(tissue, sorted(pairs["tissue"].unique())))
    if settings.rule == "stable_hash":
        order = candidates["slide"].map(lambda slide: stable_hash(settings.seed, slide))
        candidates = candidates.loc[order.sort_values().index]
    taken = candidates.head(settings.slides_per_tissue or len(candidates)).reset_index(drop=True)
    return taken.assign(rank=range(len(taken)), why=_why(settings))


def stable_hash(*parts: object) -> str:
    """Return the sha256 of the parts, in hexadecimal: a shuffle key that depends on nothing else."""
    return hashlib.sha256(":".join(map(str, parts)).encode()).hexdigest()


def _why(settings: SelectionSettings) -> str:
    # No count of what was there: a slide that is not taken must leave this table as it was.
    if settings.slides_per_tissue is None:
        return "every paired slide of the tissue is taken"
    if settings.rule == "first":
        return f"among the first {settings.slides_per_tissue} paired slides of the tissue in manifest order"
    return f"among the {settings.slides_per_tissue} paired slides of the tissue with the lowest hash of their id"


def _unknown(tissue: str, known: list[str]) -> str:
    close = get_close_matches(tissue, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}?" if close else f"known are {', '.join(known)}"
    return f"tissue {tissue!r} in `selection.tissues` has no paired slide in this cohort; {hint}"
