"""The files outside the storage that a study reads: its tables, its slides, its expression file."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from histo_assets.core.settings import file_version
from histo_assets.storage.looks import Look, Parts, Source

if TYPE_CHECKING:
    import pandas as pd

    from histo_assets.storage.layout import Artefact, StudyStorage
    from histo_assets.studies.study import Study

MOST_SHOWN = 50

SIBLINGS = "(siblings)"
"""Part of what a tissue's slides are made of: the other slides that a file could be taken for, joined by `;`."""

NAMES = "(names)"
"""Part of what a tissue's slides are made of: the names, as JSON, of slides whose file is not called like their id."""

LISTING = "(listing)"
"""Part of a look at slides: the table that says where they are fetched from, where the study names one."""


def study_sources(study: Study) -> dict[str, Source]:
    """Return the sources of a study by name."""
    tables = {
        "manifest": study.cohort.manifest,
        "RNA samples": study.cohort.rna_samples,
    }
    return {
        "cohort_tables": _files({name: study.resolve(path) for name, path in tables.items() if path}),
        "slide_files": _slides(study),
        "expression_file": _expression(study),
        "incoming_files": _incoming(study),
    }


class _Folder:
    """A look at a folder of slides, by the names that its slides go by."""

    def __init__(self, look: Parts, template: str | None) -> None:
        from histo_assets.core.cohort.slide_files import SlideFiles

        self.look = look
        self._slides, folders = _files_and_folders(look)
        self._files = SlideFiles(self._slides, template, folders)

    def versions(self, names: Mapping[str, str], siblings: Iterable[str]) -> dict[str, str]:
        """Return the version of each slide's file, `missing` where there is none, and what it goes by.

        What stands for two slides, or two files for one, is a version too: it changes when that is put right.
        """
        from histo_assets.core.cohort.errors import CohortError

        cohort, versions = {*names.values(), *siblings}, {}
        for slide, name in names.items():
            try:
                file = self._files.of(name, cohort)
                versions[slide] = "missing" if file is None else f"{file} {self._slides[file]}"
            except CohortError as error:
                versions[slide] = str(error)
        unlike = {slide: name for slide, name in names.items() if name != slide}
        return {
            **versions,
            SIBLINGS: ";".join(sorted(set(siblings))),
            **({NAMES: json.dumps(unlike, sort_keys=True)} if unlike else {}),
        }


def slides_of(selected: pd.DataFrame, look: Parts, template: str | None = None) -> dict[str, str]:
    """Return what a tissue's `raw_slides` are made of: the version of each selected slide's file."""
    from histo_assets.core.slides.inspection import names_of_slides

    siblings = [name for names in selected["siblings"] for name in names.split(";") if name]
    return _Folder(look, template).versions(names_of_slides(selected), siblings) | _listing_in(look)


def _listing_in(look: Parts) -> dict[str, str]:
    return {name: version for name, version in look.items() if name == LISTING}


def _files_and_folders(look: Parts) -> tuple[dict[str, str], list[str]]:
    """Return the slides of a look with their versions, and those that are folders of DICOM files."""
    from histo_assets.core.files import settings_digest
    from histo_assets.core.slides.dicom import READING
    from histo_assets.core.slides.found import slides_among

    found = slides_among(name for name in look if name != LISTING)
    folders = [slide for slide, files in found.items() if files != [slide]]
    versions = {slide: look[slide] for slide in found if slide not in folders}
    # What earlier versions made of a DICOM slide may be wrong: it is looked at again, and cut again where it was.
    inside = {
        slide: settings_digest([*sorted(f"{name} {look[name]}" for name in found[slide]), READING]) for slide in folders
    }
    return {**versions, **inside}, folders


def _slides(study: Study) -> Source:
    folder, template = Path(study.resolve(study.slides.folder)), study.slides.file_name
    seen: list[_Folder] = []  # the last look, so that forty tissues do not sort the same files forty times

    def sorted_out(look: Parts) -> _Folder:
        if not seen or seen[0].look is not look:
            seen[:] = [_Folder(look, template)]
        return seen[0]

    def look() -> Parts:
        from histo_assets.core.download.fetched import user_files

        files = {path.relative_to(folder).as_posix(): _size_and_time(path) for path in user_files(folder)}
        return {**files, **_listing(study)}

    def concerning(look: Parts, recorded: Parts) -> Parts:
        unlike = json.loads(recorded.get(NAMES, "{}"))
        names = {slide: unlike.get(slide, slide) for slide in recorded if slide not in (SIBLINGS, LISTING, NAMES)}
        siblings = [name for name in recorded.get(SIBLINGS, "").split(";") if name]
        return sorted_out(look).versions(names, siblings) | _listing_in(look)

    def seen_before(storage: StudyStorage, artefact: Artefact, written_at: datetime) -> Parts | None:
        selected, inspected = (
            _table(storage, asset, artefact.partition) for asset in ("selected_slides", "raw_slides")
        )
        if selected is None or inspected is None:
            return None
        if study.slides.source.kind != "folder" and (inspected["path"] == "").any():
            return None  # a slide that could not be fetched was quarantined for good then
        now = look()
        versions = slides_of(selected, now, template)
        files = [
            folder / version.rsplit(" ", 1)[0] for name, version in versions.items() if name in set(selected["slide"])
        ]
        return versions if _older(files, written_at) else None

    return Source(look, _place(str(folder)), concerning, seen_before)


def _listing(study: Study) -> dict[str, str]:
    """Return the version of the table that says where slides are fetched from, where the study names one."""
    listing = study.slides.source.listing
    return {LISTING: file_version(study.resolve(listing))} if listing else {}


def _table(storage: StudyStorage, asset: str, partition: str | None) -> pd.DataFrame | None:
    import pandas as pd

    from histo_assets.storage.formats import read
    from histo_assets.storage.layout import Artefact, StorageError

    artefact = Artefact(asset, partition)
    pointer = storage.pointer_or_none(artefact)
    if pointer is None:
        return None
    try:
        table: pd.DataFrame = read(pointer.format, storage.fetch(artefact, pointer), pd.DataFrame)
        return table
    except (StorageError, OSError):
        return None


def _files(paths: Mapping[str, str]) -> Source:
    def look() -> Parts:
        return {name: _version(path) for name, path in paths.items()}

    def seen_before(storage: StudyStorage, artefact: Artefact, written_at: datetime) -> Parts | None:
        return look() if _older([Path(path) for path in paths.values()], written_at) else None

    return Source(look, _place(*paths.values()), seen_before=seen_before)


def _expression(study: Study) -> Source:
    from histo_assets.core.expression.releases import release_version

    path, lengths = study.resolve(study.expression.file), study.expression.gene_lengths

    def look() -> Parts:
        released = release_version(study.expression.release, path)
        parts = {"expression file": released or _version(path)}
        return parts | ({"gene lengths": _version(study.resolve(lengths))} if lengths else {})

    def seen_before(storage: StudyStorage, artefact: Artefact, written_at: datetime) -> Parts | None:
        released = release_version(study.expression.release, path)
        files = [*([] if released else [path]), *([study.resolve(lengths)] if lengths else [])]
        return look() if _older([Path(file) for file in files], written_at) else None

    return Source(look, _place(path, str(lengths)), seen_before=seen_before)


def _incoming(study: Study) -> Source:
    folder = Path(study.resolve(study.incoming.folder))

    def look() -> Parts:
        from histo_assets.core.cohort.folders import files_below
        from histo_assets.core.slides.found import slides_among

        slides = slides_among(os.path.relpath(file, folder) for file in files_below(folder))
        return {slide: version_of_entry(folder / slide) for slide in slides}

    def concerning(look: Parts, recorded: Parts) -> Parts:
        return {slide: incoming_version(slide, look) for slide in recorded}

    def seen_before(storage: StudyStorage, artefact: Artefact, written_at: datetime) -> Parts | None:
        return {str(artefact.partition): incoming_version(str(artefact.partition), look())}

    return Source(look, _place(str(folder)), concerning, seen_before)


def _place(*paths: str) -> str:
    """Return a digest that identifies some places; the address itself may hold a secret."""
    from histo_assets.core.files import settings_digest

    return settings_digest(list(paths))


def incoming_version(slide: str, look: Parts) -> str:
    """Return the version of an incoming slide's file in a look at the incoming folder."""
    from histo_assets.core.slides.found import keys_of_new_slides

    file = keys_of_new_slides(look).get(slide)
    return "missing" if file is None else f"{file} {look[file]}"


def version_of_entry(entry: Path) -> str:
    """Return what changes when a file does, or one of a folder's."""
    if not entry.is_dir():
        return _size_and_time(entry)
    from histo_assets.core.files import settings_digest
    from histo_assets.core.slides.dicom import READING

    inside = sorted(entry.rglob("*"))
    reading = [READING] if any(path.suffix.lower() == ".dcm" for path in inside) else []
    return settings_digest([*(f"{path.name} {_size_and_time(path)}" for path in inside), *reading])


def _size_and_time(path: Path) -> str:
    try:
        status = path.stat()
    except OSError:
        return "missing"
    return f"{status.st_size}-{status.st_mtime_ns}"


def _version(path: str) -> str:
    """Return the identity of a file's content; a remote one goes by a digest of its address."""
    from histo_assets.core.files import settings_digest

    return f"remote {settings_digest(path)}" if "://" in path else file_version(path)


def _older(paths: Sequence[Path], written_at: datetime) -> bool:
    """Return whether every file that is there was last changed before `written_at`."""
    return all(path.stat().st_mtime <= written_at.timestamp() for path in paths if path.exists())


def look_version(look: Look) -> dg.DataVersion:
    """Return the data version of a source that was looked at."""
    from histo_assets.core.files import settings_digest

    return dg.DataVersion(settings_digest(dict(look.parts)))


def look_metadata(look: Look) -> dict[str, Any]:
    """Return what a source shows of a look: how many files, when, and the first of them."""
    first = dict(sorted(look.parts.items())[:MOST_SHOWN])
    return {"files": len(look.parts), "looked_at": look.observed_at.isoformat(timespec="seconds"), **first}
