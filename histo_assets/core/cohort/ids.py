"""Identifiers of slides and RNA samples: what is allowed, what is made of the rest, and which file is which slide."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import PurePath

from histo_assets.core.cohort.errors import CohortError
from histo_assets.core.files import is_safe_id

GTEX_SLIDE = re.compile(r"GTEX-[A-Z0-9]{4,5}-\d{4}")
GTEX_DONOR = re.compile(r"GTEX-[A-Z0-9]{4,5}")
_GTEX_SAMPLE = re.compile(r"(GTEX-[A-Z0-9]{4,5}-\d{4})(?:-SM-.+)?")
_SIBLINGS = re.compile(r"(GTEX-[A-Z0-9]{4,5}-\d{3})[56]")
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


def safe_id(name: str) -> str:
    """Return `name` if it is safe as a file name, else the closest name that is; empty where nothing is left.

    >>> safe_id("S-12.a"), safe_id("Pat 7/B"), safe_id("../x"), safe_id("???")
    ('S-12.a', 'Pat_7_B', 'x', '')
    """
    if is_safe_id(name):
        return name
    plain = re.sub(r"\.{2,}", ".", _UNSAFE.sub("_", name)).strip("._-")
    return plain[:120].rstrip("._-")


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


def siblings_of(slides: Sequence[str], known: Collection[str]) -> list[str]:
    """Return, for each slide, the other slides of `known` that an image file could be taken for, joined by `;`.

    >>> siblings_of(["GTEX-YB5K-0825"], ["GTEX-YB5K-0825", "GTEX-YB5K-0826"])
    ['GTEX-YB5K-0826']
    """
    by_key: dict[str, set[str]] = {}
    for slide in known:
        by_key.setdefault(canonical_slide(slide), set()).add(slide)
    return [";".join(sorted(by_key.get(canonical_slide(slide), set()) - {slide})) for slide in slides]


def match_slide_files(slides: Sequence[str], files: Sequence[str], known: Collection[str] = ()) -> dict[str, str]:
    """Return the file of each slide; slides without one are left out.

    A file belongs to the slide of its very name (without folder and suffix, slugged where the name is no safe id).
    Image files of GTEx are often named by the sibling aliquot, ending in 5 where the manifest ends in 6, so a
    GTEx slide without a file of its name takes its sibling's.

    Parameters
    ----------
    slides
        The slides that are looked for.
    files
        Paths of files, or of folders for DICOM slides.
    known
        All slides of the cohort, where `slides` is a part of it: a file named like one of them is never taken for
        its sibling.

    Raises
    ------
    CohortError
        Two files stand for one slide, or one file could stand for two slides of the cohort.
    """
    named, cohort = files_by_name(files), {*slides, *known}
    matches = {slide: file_of_slide(slide, named, cohort) for slide in slides}
    return {slide: file for slide, file in matches.items() if file is not None}


def files_by_name(files: Sequence[str]) -> dict[str, list[str]]:
    """Return the files of each id that a file can be named by."""
    named: dict[str, list[str]] = {}
    for file in sorted(set(files)):
        for name in _names(file):
            named.setdefault(name, []).append(file)
    return named


def _names(file: str) -> set[str]:
    """Return the ids that a file can be named by."""
    path = PurePath(file)
    names = {path.name, path.stem, path.stem.removesuffix(".ome")}
    return {safe_id(name) for name in names} - {""}


def file_of_slide(slide: str, named: dict[str, list[str]], cohort: set[str]) -> str | None:
    """Return the one file of `files_by_name` that stands for the slide, by its own name or by that of its sibling.

    Raises
    ------
    CohortError
        As for `match_slide_files`, of which this is one slide.
    """
    if _SIBLINGS.fullmatch(slide) is None:
        return _only(slide, named.get(slide, []))
    five, six = slide[:-1] + "5", slide[:-1] + "6"
    if {five, six} <= cohort:
        if five in named and six not in named:
            raise CohortError(
                f"{named[five][0]} could be slide {five} or its sibling {six}, which files are often named after; "
                f"put the files of both there under their own names"
            )
        return _only(slide, named.get(slide, []))
    return _only(slide, named.get(slide) or named.get(six if slide == five else five, []))


def _only(slide: str, files: list[str]) -> str | None:
    if len(files) > 1:
        raise CohortError(f"{files[0]} and {files[1]} both stand for slide {slide}; keep one of them in the folder")
    return files[0] if files else None
