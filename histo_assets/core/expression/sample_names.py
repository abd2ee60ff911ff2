"""Names of samples as other programs changed them, mapped back where no two names come to the same."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

_RESERVED = {"if", "else", "repeat", "while", "function", "for", "next", "break", "TRUE", "FALSE", "NULL", "Inf"}
_RESERVED |= {"NaN", "NA", "NA_integer_", "NA_real_", "NA_character_", "NA_complex_", "in"}
_OF_AN_ALIGNER = re.compile(
    r"(?:[._]?Aligned)?(?:[._](?:sortedByCoord|sorted|sort|markdup|dedup|toTranscriptome))*(?:[._]out)?\.(?:bam|sam|cram)",
    re.IGNORECASE,
)
_NAMED = 3


def name_in_r(name: str) -> str:
    """Return what R's `make.names` makes of a name, as `read.table` and `data.frame` do unless told otherwise.

    >>> [name_in_r(name) for name in ("s-1", "12", "_a", ".5x", "next", "Grün 1")]
    ['s.1', 'X12', 'X_a', 'X.5x', 'next.', 'Grün.1']
    """
    starts = re.match(r"[^\W\d_]|\.(?!\d)", name)
    changed = re.sub(r"[^\w.]", ".", name if starts else f"X{name}")
    return f"{changed}." if changed in _RESERVED else changed


def name_of_bam(name: str) -> str:
    """Return a sample's name without the folder and the endings of an alignment, as featureCounts writes columns.

    >>> name_of_bam("star/s-1.Aligned.sortedByCoord.out.bam"), name_of_bam("s.1")
    ('s-1', 's.1')
    """
    found = _OF_AN_ALIGNER.search(name)
    if found is None or found.end() != len(name):
        return name
    return name[: found.start()].replace("\\", "/").rsplit("/", 1)[-1]


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name.strip().strip("\"'"))


# What is done to a name that is asked for, and to one of the file, and why they are the same then.
_WAYS: tuple[tuple[Callable[[str], str], Callable[[str], str], str], ...] = (
    (_plain, _plain, "written otherwise"),
    (name_in_r, str, "changed as R changes names"),
    (str, name_of_bam, "named by their alignments"),
    (name_in_r, name_of_bam, "named by their alignments, changed as R changes names"),
)


@dataclass
class Named:
    """Names that were asked for and what the file calls them: `found`; `notes` on those that differ.

    `open` are sentences on names of the file that several of those asked for come to.
    """

    found: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    open: list[str] = field(default_factory=list)


def named_in_file(asked: Sequence[str], samples: Sequence[str], others: Sequence[str] = ()) -> Named:
    """Return which sample of the file each name means; an exact name goes first, then what programs make of names.

    Parameters
    ----------
    asked
        Names without repeats.
    samples
        The file's own.
    others
        Columns that are samples only if asked for by their exact name.
    """
    there = {*samples, *others}
    named = Named({name: name for name in asked if name in there})
    for of_asked, of_file, how in _WAYS:
        _match(named, asked, samples, (of_asked, of_file, how))
    named.found = {name: named.found[name] for name in asked if name in named.found}
    return named


def _match(
    named: Named,
    asked: Sequence[str],
    samples: Sequence[str],
    way: tuple[Callable[[str], str], Callable[[str], str], str],
) -> None:
    """Add the names that are alike one to one in this way."""
    of_asked, of_file, how = way
    left = [name for name in asked if name not in named.found]
    if not left:
        return
    taken = set(named.found.values())
    own: dict[str, list[str]] = {}
    for sample in samples:
        if sample not in taken:
            own.setdefault(of_file(sample), []).append(sample)
    times = Counter(map(of_asked, left))
    matched = {}
    for name in left:
        alike = own.get(of_asked(name), [])
        if len(alike) == 1 and times[of_asked(name)] == 1:
            matched[name] = alike[0]
        elif alike:
            same = [other for other in left if of_asked(other) == of_asked(name)]
            sentence = f"{' and '.join(alike)} in the file may be {' or '.join(same)}, {how}; rename them in the file"
            if sentence not in named.open:
                named.open.append(sentence)
    named.found.update(matched)
    if matched:
        pairs = ", ".join(f"{sample} is {name}" for name, sample in list(matched.items())[:_NAMED])
        more = " and so on" if len(matched) > _NAMED else ""
        named.notes.append(f"{len(matched)} samples are {how} in the file, they were taken so: {pairs}{more}")


def changed_by_r(samples: Sequence[str]) -> list[str]:
    """Return a note on names that look as R changes them, where nothing tells what they were."""
    odd = [name for name in samples if re.match(r"X[\d.]", name) or re.match(r"(?:GTEX|TCGA)\.\w", name)]
    if not odd:
        return []
    return [
        f"{len(odd)} names of samples look as R changes names (`X` before digits, dots for dashes), such as {odd[0]}; "
        f"asked for by the names of the cohort they are taken under these"
    ]
