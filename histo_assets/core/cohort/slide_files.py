"""Which file is which slide's."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import PurePath

from histo_assets.core.cohort.errors import CohortError
from histo_assets.core.cohort.ids import exact_name, is_sibling, sibling_of

SLIDE = "{slide}"
PICTURES = (".jpg", ".jpeg", ".png")
"""Suffixes of pictures that often lie beside slides and are called like them."""


class SlideFiles:
    """Files, or folders of DICOM files, by the slides' names that they go by.

    A file belongs to the slide of its very name, without folder and suffix, after Unicode normalisation. With a
    template, also to the slide whose name the template finds in it. A picture beside a slide of its name is none.

    Image files of GTEx are often named by the sibling aliquot, ending in 5 where the manifest ends in 6, so a
    GTEx slide without a file of its name takes its sibling's.
    """

    def __init__(self, files: Iterable[str], template: str | None = None, folders: Collection[str] = ()) -> None:
        """Sort `files` by name; `folders` are those of them that are folders, whose names have no suffix."""
        self._named: dict[str, list[str]] = {}
        self._fitting: dict[str, list[str]] = {}
        self._template = None if template is None else _Template(template)
        self._names = {file: names_of(file, file in folders) for file in sorted(set(files))}
        for file, names in self._names.items():
            for name in names:
                self._named.setdefault(name, []).append(file)
            for name in self._names_in(file) - names:
                self._fitting.setdefault(name, []).append(file)

    def of(self, slide: str, known: Collection[str] = ()) -> str | None:
        """Return the one file that stands for the slide of that name; None where there is none.

        Parameters
        ----------
        known
            The names of all slides of the cohort: none of their files is taken for another's.

        Raises
        ------
        CohortError
            Two files stand for the slide, or one file could stand for two slides.
        """
        if not is_sibling(slide):
            return self._only(slide, known)
        five, six = slide[:-1] + "5", slide[:-1] + "6"
        if {five, six} <= {*known, slide}:
            fives, sixes = self._candidates(five, known), self._candidates(six, known)
            if fives and not sixes:
                raise CohortError(
                    f"{fives[0]} could be slide {five} or its sibling {six}, which files are often named after; "
                    f"put the files of both there under their own names"
                )
            return self._only(slide, known)
        return self._only(slide, known) or self._only(sibling_of(slide), known)

    def like(self, slide: str) -> list[str]:
        """Return the files whose names go on after the slide's, as those of TCGA do after a point."""
        return [
            file
            for file in self._names
            if (name := exact_name(PurePath(file).name)).startswith(slide) and not name[len(slide) :][:1].isalnum()
        ]

    def _only(self, slide: str, known: Collection[str]) -> str | None:
        files = self._candidates(slide, known)
        if len(files) > 1:
            raise CohortError(f"{files[0]} and {files[1]} both stand for slide {slide}; keep one of them in the folder")
        return files[0] if files else None

    def _candidates(self, slide: str, known: Collection[str]) -> list[str]:
        files = list(self._named.get(slide, ()))
        for file in self._fitting.get(slide, ()):
            if self._names[file] & set(known):
                continue  # another slide's by its very name
            others = sorted(self._names_in(file) & set(known) - {slide})
            if others:
                raise CohortError(
                    f"{file} fits slides {slide} and {others[0]} by slides.file_name; write a template that fits one"
                )
            files.append(file)
        return without_pictures(files)

    def _names_in(self, file: str) -> set[str]:
        return self._template.names(file) if self._template else set()


def match_slide_files(
    slides: Sequence[str], files: Iterable[str], known: Collection[str] = (), template: str | None = None
) -> dict[str, str]:
    """Return the file of each slide, by `SlideFiles`; slides without one are left out.

    Parameters
    ----------
    slides
        The names of the slides that are looked for.
    files
        Paths of files, or of folders for DICOM slides.
    known
        The names of all slides of the cohort, where `slides` is a part of it.
    template
        `slides.file_name` of the study.

    Raises
    ------
    CohortError
        Two files stand for one slide, or one file could stand for two slides of the cohort.
    """
    named, cohort = SlideFiles(files, template), {*slides, *known}
    found = {slide: named.of(slide, cohort) for slide in slides}
    return {slide: file for slide, file in found.items() if file is not None}


def names_of(file: str, is_folder: bool = False) -> set[str]:
    """Return the names that a file goes by: with its suffix, without it, and without `.ome`; a folder's has none."""
    path = PurePath(exact_name(file))
    stem = path.name if is_folder else path.stem
    return {path.name, stem, stem[:-4] if stem.lower().endswith(".ome") else stem} - {""}


def without_pictures(files: Sequence[str]) -> list[str]:
    """Return the files without pictures, unless there is nothing else."""
    scans = [file for file in files if PurePath(file).suffix.lower() not in PICTURES]
    return scans or list(files)


def checked_template(template: str) -> str:
    """Return a template of file names.

    Raises
    ------
    ValueError
        It does not hold `{slide}` once, or names a folder.
    """
    if template.count(SLIDE) != 1 or "/" in template:
        raise ValueError(f"{template!r} must hold {SLIDE} once and no folder, such as '{SLIDE}.*.svs'")
    return template


class _Template:
    """A file name with `{slide}` in it; `*` stands for anything, `?` for one letter, in either case of letters."""

    def __init__(self, template: str) -> None:
        before, after = exact_name(template).split(SLIDE)
        self._before, self._after = _pattern(before), _pattern(after)

    def names(self, file: str) -> set[str]:
        """Return every name that `{slide}` can stand for in the name of a file."""
        name = PurePath(exact_name(file)).name
        ends = [end for end in range(1, len(name) + 1) if self._after.fullmatch(name, end)]
        starts = [start for start in range(len(name)) if self._before.fullmatch(name, 0, start)]
        return {name[start:end] for start in starts for end in ends if start < end}


def _pattern(wild: str) -> re.Pattern[str]:
    wanted = {"*": ".*", "?": "."}
    return re.compile("".join(wanted.get(letter) or re.escape(letter) for letter in wild), re.IGNORECASE)
