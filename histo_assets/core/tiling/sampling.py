"""How many tiles each slide gives, and in which order its candidates are tried."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence


def balanced_counts(available: Mapping[str, int], per_slide: int, per_tissue: int | None) -> dict[str, int]:
    """Return how many tiles each slide gives, as evenly as the slides allow.

    Every slide gives the same number, except one that has fewer, which gives all it has and leaves
    the rest to the others. Counts of slides that could give more differ by one at most; which of
    them give the one more depends on their names alone, so no order of slides matters.

    Parameters
    ----------
    available
        Good tiles of each slide.
    per_slide
        The number for each slide where `per_tissue` is None.
    per_tissue
        The number for all slides together.

    Examples
    --------
    >>> balanced_counts({"a": 10, "b": 2, "c": 10}, 4, None)
    {'a': 4, 'b': 2, 'c': 4}
    >>> balanced_counts({"a": 10, "b": 2, "c": 10}, 4, 12)
    {'a': 5, 'b': 2, 'c': 5}
    """
    if per_tissue is None:
        return {slide: min(count, per_slide) for slide, count in available.items()}
    wanted = min(per_tissue, sum(available.values()))
    level = _level(sorted(available.values()), wanted)
    counts = {slide: min(count, level) for slide, count in available.items()}
    odd = wanted - sum(counts.values())
    richer = sorted((slide for slide in available if available[slide] > level), key=_hash)
    return {slide: count + (slide in richer[:odd]) for slide, count in counts.items()}


def candidate_order(slide: str, positions: Sequence[tuple[int, int]], seed: int) -> list[tuple[int, int]]:
    """Return the positions (x, y) of a slide in the seeded order in which they are tried.

    Each position's place follows from its own hash: it does not depend on other slides, nor, among
    the positions that stay, on which others are there.
    """
    return sorted(positions, key=lambda position: _hash(f"{seed}:{slide}:{position[0]}:{position[1]}"))


def _level(counts: Sequence[int], wanted: int) -> int:
    """Return the highest number that every slide can give, or all it has, within `wanted` in all."""
    left = wanted
    for place, count in enumerate(counts):
        share = left // (len(counts) - place)
        if count > share:
            return share
        left -= count
    return max(counts, default=0)


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=8).digest()
