"""Identifiers of slides, donors and RNA samples: what is allowed, and what is made of the rest."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Sequence

from histo_assets.core.files import is_safe_id

GTEX_SLIDE = re.compile(r"GTEX-[A-Z0-9]{4,5}-\d{4}")
GTEX_DONOR = re.compile(r"GTEX-[A-Z0-9]{4,5}")
_GTEX_SAMPLE = re.compile(r"(GTEX-[A-Z0-9]{4,5}-\d{4})(?:-SM-.+)?")
_SIBLINGS = re.compile(r"(GTEX-[A-Z0-9]{4,5}-\d{3})[56]")
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


def exact_name(name: str) -> str:
    """Return a name as names are compared: in Unicode's composed form, in which one accent is one letter.

    >>> exact_name("Pra\u0308 2") == "Prä 2", exact_name("Prä 2") == exact_name("Pra 2")
    (True, False)
    """
    return unicodedata.normalize("NFC", name)


def safe_id(name: str) -> str:
    """Return `name` if it is safe as a file name, else the closest name that is; empty where nothing is left.

    Different names may come to the same, so this alone identifies nothing.

    >>> safe_id("S-12.a"), safe_id("Pat 7/B"), safe_id("../x"), safe_id("???")
    ('S-12.a', 'Pat_7_B', 'x', '')
    """
    if is_safe_id(name):
        return name
    plain = re.sub(r"\.{2,}", ".", _UNSAFE.sub("_", name)).strip("._-")
    return plain[:120].rstrip("._-")


def own_id(name: str) -> str:
    """Return `name` if it is safe as a file name, else an id that no other name has.

    >>> own_id("S-12.a"), own_id("Grön 1"), own_id("Grün 1")
    ('S-12.a', 'Gr_n_1-5d323742', 'Gr_n_1-df54c6ae')
    """
    return name if is_safe_id(name) else marked_id(name)


def marked_id(name: str, of: str | None = None) -> str:
    """Return an id made of `name` and a mark that follows from `of`, or from the name itself."""
    told = exact_name(name if of is None else of)
    mark = hashlib.sha256(told.encode("utf-8", "surrogateescape")).hexdigest()[:8]
    return f"{(safe_id(exact_name(name)) or 'x')[:100].rstrip('._-')}-{mark}"


def safe_ids(names: Sequence[str]) -> list[str]:
    """Return an id for every name that is safe as a file name; two names that differ have two ids.

    >>> safe_ids(["Pat 7", "P1", "P1"]), safe_ids(["a b", "a_b"])
    (['Pat_7', 'P1', 'P1'], ['a_b-c8687a08', 'a_b'])
    """
    names = [exact_name(name) for name in names]
    shared = Counter(safe_id(name) for name in set(names))
    return [plain if (plain := safe_id(name)) and shared[plain] == 1 else own_id(name) for name in names]


def own_name(slide: str, original: str = "") -> str:
    """Return the name that a slide's file has: its name in the cohort's table, or its id where no file can have that.

    >>> own_name("Pat_7", "Pat 7"), own_name("Pat_7_B", "Pat 7/B"), own_name("S1")
    ('Pat 7', 'Pat_7_B', 'S1')
    """
    return slide if not original or "/" in original else exact_name(original)


def slide_of_sample(sample: str) -> str:
    """Return the slide that an RNA sample belongs to: the first three dash fields of a GTEx id, else `sample` itself.

    The brain regions `0011-Rn` of GTEx have no slides and are returned unchanged.

    >>> slide_of_sample("GTEX-1117F-0226-SM-5GZZ7")
    'GTEX-1117F-0226'
    """
    match = _GTEX_SAMPLE.fullmatch(sample)
    return match[1] if match else sample


def canonical_slide(name: str) -> str:
    """Return the key that sibling aliquots share: a GTEx id that ends in 5 becomes the one in 6, others stay.

    `name` is a slide id or the stem of an image file.

    >>> canonical_slide("GTEX-1117F-0125"), canonical_slide("GTEX-1117F-0124"), canonical_slide("scan-5")
    ('GTEX-1117F-0126', 'GTEX-1117F-0124', 'scan-5')
    """
    match = _SIBLINGS.fullmatch(name)
    return match[1] + "6" if match else name


def sibling_of(slide: str) -> str:
    """Return the other aliquot of a GTEx slide, 5 for 6 and 6 for 5; '' where there can be none.

    >>> sibling_of("GTEX-1117F-0126"), sibling_of("GTEX-1117F-0124"), sibling_of("scan-5")
    ('GTEX-1117F-0125', '', '')
    """
    if _SIBLINGS.fullmatch(slide) is None:
        return ""
    return slide[:-1] + ("5" if slide.endswith("6") else "6")


def is_sibling(slide: str) -> bool:
    """Return whether a slide is a GTEx aliquot that has a sibling."""
    return _SIBLINGS.fullmatch(slide) is not None


def siblings_of(slides: Sequence[str], known: Collection[str], prefixes: bool = False) -> list[str]:
    """Return, for each slide, the other slides of `known` that an image file could be taken for, joined by `;`.

    With `prefixes` also those whose name is the beginning of the other's, for files whose names go on after it.

    >>> siblings_of(["GTEX-YB5K-0825"], ["GTEX-YB5K-0825", "GTEX-YB5K-0826"])
    ['GTEX-YB5K-0826']
    >>> siblings_of(["A1"], ["A1", "A1.b", "B1"], prefixes=True)
    ['A1.b']
    """
    by_key: dict[str, set[str]] = {}
    for slide in known:
        by_key.setdefault(canonical_slide(slide), set()).add(slide)
    found = [by_key.get(canonical_slide(slide), set()) - {slide} for slide in slides]
    if prefixes:
        found = [near | _nested(slide, known) for near, slide in zip(found, slides, strict=True)]
    return [";".join(sorted(names)) for names in found]


def _nested(slide: str, known: Collection[str]) -> set[str]:
    return {name for name in known if name != slide and (name.startswith(slide) or slide.startswith(name))}
