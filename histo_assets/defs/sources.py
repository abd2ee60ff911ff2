"""The files outside the storage that a study reads: its tables, its slides, its expression file."""

from __future__ import annotations

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


def versions_of_slides(slides: Sequence[str], siblings: Iterable[str], look: Parts) -> dict[str, str]:
    """Return the version of each slide's file in a look at the slides' folder, `missing` where there is none.

    What stands for two slides, or two files for one, is a version too: it changes when that is put right.
    """
    return _Folder(look).versions(slides, siblings)


class _Folder:
    """A look at a folder of slides, by the ids that its files can be named by."""

    def __init__(self, look: Parts) -> None:
        from histo_assets.core.cohort.ids import files_by_name

        self.look = look
        self._files = _files_and_folders(look)
        self._named = files_by_name(list(self._files))

    def versions(self, slides: Sequence[str], siblings: Iterable[str]) -> dict[str, str]:
        """Return the version of each slide's file, and the siblings."""
        from histo_assets.core.cohort.errors import CohortError
        from histo_assets.core.cohort.ids import file_of_slide

        cohort, versions = {*slides, *siblings}, {}
        for slide in slides:
            try:
                file = file_of_slide(slide, self._named, cohort)
                versions[slide] = "missing" if file is None else f"{file} {self._files[file]}"
            except CohortError as error:
                versions[slide] = str(error)
        return {**versions, SIBLINGS: ";".join(sorted(set(siblings)))}


def slides_of(selected: pd.DataFrame, look: Parts) -> dict[str, str]:
    """Return what a tissue's `raw_slides` are made of: the version of each selected slide's file."""
    siblings = [name for names in selected["siblings"] for name in names.split(";") if name]
    return versions_of_slides(list(selected["slide"]), siblings, look) | _listing_in(look)


def _listing_in(look: Parts) -> dict[str, str]:
    return {name: version for name, version in look.items() if name == LISTING}


def _files_and_folders(look: Parts) -> dict[str, str]:
    """Return the files of a look, and in the place of DICOM files the folders that hold them."""
    from histo_assets.core.files import settings_digest
    from histo_assets.core.slides.dicom import READING

    files: dict[str, str] = {}
    folders: dict[str, list[str]] = {}
    for name, version in look.items():
        path = Path(name)
        if name == LISTING:
            continue
        if path.suffix.lower() == ".dcm" and path.parent != Path():
            folders.setdefault(path.parent.as_posix(), []).append(f"{name} {version}")
        else:
            files[name] = version
    # What earlier versions made of a DICOM slide may be wrong: it is looked at again, and cut again where it was.
    return files | {folder: settings_digest([*sorted(inside), READING]) for folder, inside in folders.items()}


def _slides(study: Study) -> Source:
    folder = Path(study.resolve(study.slides.folder))
    seen: list[_Folder] = []  # the last look, so that forty tissues do not sort the same files forty times

    def sorted_out(look: Parts) -> _Folder:
        if not seen or seen[0].look is not look:
            seen[:] = [_Folder(look)]
        return seen[0]

    def look() -> Parts:
        from histo_assets.core.download.fetched import user_files

        found = {path.relative_to(folder).as_posix(): _size_and_time(path) for path in user_files(folder)}
        return {**found, **_listing(study)}

    def concerning(look: Parts, recorded: Parts) -> Parts:
        slides = [name for name in recorded if name not in (SIBLINGS, LISTING)]
        siblings = [name for name in recorded.get(SIBLINGS, "").split(";") if name]
        return sorted_out(look).versions(slides, siblings) | _listing_in(look)

    def seen_before(storage: StudyStorage, artefact: Artefact, written_at: datetime) -> Parts | None:
        selected, inspected = (
            _table(storage, asset, artefact.partition) for asset in ("selected_slides", "raw_slides")
        )
        if selected is None or inspected is None:
            return None
        if study.slides.source.kind != "folder" and (inspected["path"] == "").any():
            return None  # a slide that could not be fetched was quarantined for good then
        now = look()
        found = concerning(now, dict.fromkeys(selected["slide"], "") | {SIBLINGS: _siblings(selected)})
        files = [
            folder / version.rsplit(" ", 1)[0] for name, version in found.items() if name in set(selected["slide"])
        ]
        return found if _older(files, written_at) else None

    return Source(look, _place(str(folder)), concerning, seen_before)


def _listing(study: Study) -> dict[str, str]:
    """Return the version of the table that says where slides are fetched from, where the study names one."""
    listing = study.slides.source.listing
    return {LISTING: file_version(study.resolve(listing))} if listing else {}


def _siblings(selected: pd.DataFrame) -> str:
    return ";".join(sorted({name for names in selected["siblings"] for name in names.split(";") if name}))


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
        found = {"expression file": released or _version(path)}
        return found | ({"gene lengths": _version(study.resolve(lengths))} if lengths else {})

    def seen_before(storage: StudyStorage, artefact: Artefact, written_at: datetime) -> Parts | None:
        released = release_version(study.expression.release, path)
        files = [*([] if released else [path]), *([study.resolve(lengths)] if lengths else [])]
        return look() if _older([Path(file) for file in files], written_at) else None

    return Source(look, _place(path, str(lengths)), seen_before=seen_before)


def _incoming(study: Study) -> Source:
    folder = Path(study.resolve(study.incoming.folder))

    def look() -> Parts:
        entries = sorted(folder.iterdir()) if folder.is_dir() else []
        return {entry.name: _version_of_entry(entry) for entry in entries if not entry.name.startswith(".")}

    def concerning(look: Parts, recorded: Parts) -> Parts:
        return {slide: incoming_version(slide, look) for slide in recorded}

    def seen_before(storage: StudyStorage, artefact: Artefact, written_at: datetime) -> Parts | None:
        return {str(artefact.partition): incoming_version(str(artefact.partition), look())}

    return Source(look, _place(str(folder)), concerning, seen_before)


def _place(*paths: str) -> str:
    """Return what identifies some places; a digest, since an address may hold a secret."""
    from histo_assets.core.files import settings_digest

    return settings_digest(list(paths))


def incoming_version(slide: str, look: Parts) -> str:
    """Return the version of an incoming slide's file in a look at the incoming folder."""
    return versions_of_slides([slide], [], look)[slide]


def _version_of_entry(entry: Path) -> str:
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
    """Return what identifies the content of a file; a remote one goes by a digest of its address."""
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
