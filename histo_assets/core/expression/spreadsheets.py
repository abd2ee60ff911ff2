"""Names of genes that a spreadsheet made dates or numbers of, and the genes that they were.

M. Ziemann et al., "Gene name errors are widespread in the scientific literature", Genome Biology 17, 177 (2016).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from histo_assets.core.expression.identifiers import is_ensembl, unversioned

# The genes whose names begin with a month: their numbers, and the Ensembl ids of GENCODE.
_FAMILIES = {"MARCH": (3, 11), "MARC": (3, 2), "SEPT": (9, 15), "DEC": (12, 2)}
_BY_ID = {
    **{"ENSG00000145416": "MARCH1", "ENSG00000099785": "MARCH2", "ENSG00000173926": "MARCH3"},
    **{"ENSG00000144583": "MARCH4", "ENSG00000198060": "MARCH5", "ENSG00000145495": "MARCH6"},
    **{"ENSG00000136536": "MARCH7", "ENSG00000165406": "MARCH8", "ENSG00000139266": "MARCH9"},
    **{"ENSG00000173838": "MARCH10", "ENSG00000183654": "MARCH11", "ENSG00000186205": "MARC1"},
    **{"ENSG00000117791": "MARC2", "ENSG00000180096": "SEPT1", "ENSG00000168385": "SEPT2"},
    **{"ENSG00000100167": "SEPT3", "ENSG00000108387": "SEPT4", "ENSG00000184702": "SEPT5"},
    **{"ENSG00000125354": "SEPT6", "ENSG00000122545": "SEPT7", "ENSG00000164402": "SEPT8"},
    **{"ENSG00000184640": "SEPT9", "ENSG00000186522": "SEPT10", "ENSG00000138758": "SEPT11"},
    **{"ENSG00000140623": "SEPT12", "ENSG00000154997": "SEPT14", "ENSG00000173077": "DEC1"},
}
_MONTHS = {
    word: month
    for month, words in {
        1: "jan january",
        2: "feb february",
        3: "mar march mrz mär märz mars maart",
        4: "apr april avr",
        5: "may mai mei maj",
        6: "jun june juin",
        7: "jul july juil",
        8: "aug august août",
        9: "sep sept september",
        10: "oct october okt out",
        11: "nov november",
        12: "dec december dez déc dic",
    }.items()
    for word in words.split()
}
_STARTS = {word[:3] for word in _MONTHS}
_FIRST = {*"0123456789", *(case for word in _STARTS for case in (word[0], word[0].upper()))}
_WORDS = "|".join(sorted(_MONTHS, key=len, reverse=True))
_DAY_MONTH = re.compile(rf"(\d{{1,2}})[-. /]{{1,2}}({_WORDS})\.?(?:[-. /](?:\d\d|\d{{4}}))?", re.IGNORECASE)
_MONTH_DAY = re.compile(rf"({_WORDS})\.?[-. /](\d{{1,2}})", re.IGNORECASE)
_ISO = re.compile(r"(?:19|20)\d\d-(\d\d)-(\d\d)(?:[T ]00:00(?::00)?)?")
_DIGITS = re.compile(r"(\d{1,2})([/.])(\d{1,2})\2(?:19|20)?\d\d")
# `2310009E13Rik` and the like, once read as numbers.
_CLONE = re.compile(r"\d(?:[.,]\d+)?E\+\d\d", re.IGNORECASE)
_WORM = re.compile(r"[a-z]{3,4}-\d+")
# Days since 1900 of the years 1995 to 2035.
_DAY = re.compile(r"3[5-9]\d{3}|4\d{4}")
_FEW = 0.01
_NAMED = 4


@dataclass(frozen=True)
class Restored:
    """Ids and symbols with genes in place of dates where one gene alone can be meant, and notes on what was found."""

    gene_id: list[str]
    symbol: list[str]
    notes: list[str]


def is_date(name: str) -> bool:
    """Return whether a name is a date as spreadsheets write them.

    >>> [is_date(name) for name in ("1-Mar", "Sep-02", "2023-03-05", "03/01/2023", "1. Mrz", "MARCH1", "DEC1", "HLA-A")]
    [True, True, True, True, True, False, False, False]
    """
    return _may_be_one(name) and any(form.fullmatch(name) for form in (_DAY_MONTH, _MONTH_DAY, _ISO, _DIGITS))


def _may_be_one(name: str) -> bool:
    return name[:1].isdecimal() or name[:3].lower() in _STARTS


def genes_of_date(name: str) -> list[str]:
    """Return the genes that a spreadsheet may have made this date of.

    >>> genes_of_date("2-Sep"), genes_of_date("1-Mar"), genes_of_date("2023-03-05"), genes_of_date("7-Jul")
    (['SEPT2'], ['MARCH1', 'MARC1'], ['MARCH5'], [])
    """
    return list(
        dict.fromkeys(
            f"{family}{day}"
            for month, day in _month_and_day(name)
            for family, (its_month, most) in _FAMILIES.items()
            if month == its_month and 1 <= day <= most
        )
    )


def restored(gene_id: Sequence[str], symbol: Sequence[str]) -> Restored:
    """Return the names of a file's genes with those that a spreadsheet changed put right where that is certain.

    An Ensembl id says which gene it was; else a date is a gene's name only where one gene alone may be meant, no other
    row may be the same gene, and the file does not have that gene besides.
    """
    rows = [row for row, name in enumerate(symbol) if name[:1] in _FIRST and _may_be_one(name)]
    if not rows or _are_of_a_worm(symbol):
        return Restored(list(gene_id), list(symbol), [])
    days = _are_mostly_names(symbol)
    odd = [row for row in rows if is_date(symbol[row]) or (days and _DAY.fullmatch(symbol[row]))]
    clones = [symbol[row] for row in rows if _CLONE.fullmatch(symbol[row])]
    ids, symbols = list(gene_id), list(symbol)
    notes = []
    if odd:
        certain = _certain(odd, gene_id, symbol)
        for row, gene in certain.items():
            if ids[row] == symbols[row]:
                ids[row] = gene
            symbols[row] = gene
        notes.append(_sentence([symbol[row] for row in odd], {symbol[row]: gene for row, gene in certain.items()}))
    if clones:
        notes.append(
            f"{len(clones)} names of genes are numbers that a spreadsheet made of names such as 2310009E13Rik, "
            f"such as {clones[0]}; they stay as they are, give the file as it was before"
        )
    return Restored(ids, symbols, notes)


def _certain(odd: Sequence[int], gene_id: Sequence[str], symbol: Sequence[str]) -> dict[int, str]:
    """Return row -> the gene that it is for certain."""
    others = set(symbol) - {symbol[row] for row in odd}
    small = sum(name.isupper() for name in others if name[:1].isalpha()) < len(others) / 2
    may_be: dict[int, list[str]] = {}
    for row in odd:
        known = _BY_ID.get(unversioned(gene_id[row])) if is_ensembl(gene_id[row]) else None
        genes = [known] if known else genes_of_date(_as_date(symbol[row]))
        may_be[row] = [gene.capitalize() if small else gene for gene in genes]
    times = Counter(gene for genes in may_be.values() for gene in genes if len(genes) == 1)
    return {
        row: genes[0]
        for row, genes in may_be.items()
        if len(genes) == 1 and times[genes[0]] == 1 and genes[0] not in others
    }


def _sentence(odd: Sequence[str], certain: dict[str, str]) -> str:
    left = list(dict.fromkeys(name for name in odd if name not in certain))
    parts = []
    if certain:
        pairs = ", ".join(f"{name} is {gene}" for name, gene in list(certain.items())[:_NAMED])
        parts.append(f"{len(certain)} can be one gene alone and go by its name ({pairs})")
    if left:
        meant = ", ".join(
            f"{name} ({' or '.join(genes_of_date(_as_date(name))) or 'no gene known'})" for name in left[:_NAMED]
        )
        parts.append(f"{len(left)} stay as they are ({meant}): give the file as it was before the spreadsheet")
    return f"{len(odd)} names of genes are dates that a spreadsheet made of them: {'; '.join(parts)}"


def _as_date(name: str) -> str:
    return (date(1899, 12, 30) + timedelta(int(name))).isoformat() if name.isdecimal() else name


def _are_mostly_names(symbols: Sequence[str]) -> bool:
    """Return whether names are no numbers, as the ids of Entrez are."""
    return sum(name.isdecimal() for name in symbols) <= _FEW * len(symbols)


def _are_of_a_worm(symbols: Sequence[str]) -> bool:
    """Return whether genes go by the names of nematodes, where `dec-7` and `sep-1` are genes."""
    return sum("-" in name and _WORM.fullmatch(name) is not None for name in symbols) > _FEW * len(symbols)


def _month_and_day(name: str) -> list[tuple[int, int]]:
    """Return what a date may say: month and day, in both orders where digits leave that open."""
    if found := _DAY_MONTH.fullmatch(name):
        return [(_MONTHS[found[2].lower()], int(found[1]))]
    if found := _MONTH_DAY.fullmatch(name):
        return [(_MONTHS[found[1].lower()], int(found[2]))]
    if found := _ISO.fullmatch(name):
        return [(int(found[1]), int(found[2]))]
    if found := _DIGITS.fullmatch(name):
        first, second = int(found[1]), int(found[3])
        return [(second, first)] if found[2] == "." else [(first, second), (second, first)]
    return []
