"""What a study will do, before it does it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from histo_assets.studies.study import Study

if TYPE_CHECKING:
    import pandas as pd

    from histo_assets.core.cohort.splits import SplitRegime

GTEX_SLIDE_GIGABYTES = 0.335  # mean of the 25,503 slides in Imaging Data Commons
JPEG_BYTES_PER_PIXEL = 0.22  # of a tissue tile at quality 90


@dataclass(frozen=True)
class TissuePlan:
    """What the study holds and will make of one tissue.

    Attributes
    ----------
    tissue
        Its name.
    slides, donors
        How many are selected.
    found
        How many of the slides are there, or were until their tiles were made.
    tiles
        How many will be cut.
    """

    tissue: str
    slides: int
    donors: int
    found: int
    tiles: int


@dataclass(frozen=True)
class StudyPlan:
    """Counts of what the study holds and will make, and what is missing for it."""

    study: str
    title: str
    manifest_slides: int
    pairs: int
    pair_donors: int
    slides: int
    donors: int
    tissues: int
    tiles: int
    slides_found: int
    slide_gigabytes: float
    slide_gigabytes_missing: float
    slides_to_fetch: int
    slide_source: str
    tile_gigabytes: float
    experiments: list[str]
    epochs: int
    frozen: str | None
    regressors: list[str]
    regime: SplitRegime
    per_tissue: list[TissuePlan]
    missing: list[str] = field(default_factory=list)
    assumptions: list[str] = field(default_factory=list)


def plan_study(study: Study) -> StudyPlan:
    """Return the plan of a study from its tables and the names of its slide files; no slide is opened."""
    import pandas as pd

    from histo_assets.core.cohort.pairing import pair_slides
    from histo_assets.core.cohort.reading import read_manifest, read_rna_samples
    from histo_assets.core.cohort.selection import select_slides
    from histo_assets.core.cohort.splits import split_donors, split_regime

    missing = missing_files(study)
    manifest = read_manifest(study.cohort, study.resolve(study.cohort.manifest))
    listed = study.cohort.rna_samples
    pairs = pair_slides(manifest, read_rna_samples(study.resolve(listed)) if listed else None)
    parts = {tissue: select_slides(pairs, study.selection, tissue) for tissue in study.selection.tissues}
    selected = pd.concat(parts.values(), ignore_index=True)
    split = split_donors(selected, study.split)
    found, doubtful = _slide_sizes(study, selected, manifest)
    missing += doubtful
    absent = len(selected) - len(found)
    source = study.slides.source
    if absent and source.kind == "folder":
        missing.append(f"{absent} of {len(selected)} slides are not in {study.resolve(study.slides.folder)}")
    mean_size = sum(found.values()) / len(found) / 1e9 if found else GTEX_SLIDE_GIGABYTES
    per_tissue = [_tissue_plan(study, tissue, part, found) for tissue, part in parts.items()]
    tiles = sum(planned.tiles for planned in per_tissue)
    return StudyPlan(
        study=study.name,
        title=study.title,
        manifest_slides=len(manifest),
        pairs=len(pairs),
        pair_donors=int(pairs["donor"].nunique()),
        slides=len(selected),
        donors=int(selected["donor"].nunique()),
        tissues=len(parts),
        tiles=tiles,
        slides_found=len(found),
        slide_gigabytes=round(sum(found.values()) / 1e9, 3),
        slide_gigabytes_missing=round(absent * mean_size, 3),
        slides_to_fetch=0 if source.kind == "folder" else absent,
        slide_source=_source_name(study),
        tile_gigabytes=round(tiles * study.tiling.tile_px**2 * JPEG_BYTES_PER_PIXEL / 1e9, 3),
        experiments=list(study.learning.experiments),
        epochs=sum(e.epochs for e in study.learning.experiments.values()),
        frozen=_frozen_backbone(study),
        regressors=list(study.prediction.regressors),
        regime=split_regime(split, selected),
        per_tissue=per_tissue,
        missing=missing,
        assumptions=list(study.assumptions),
    )


def _frozen_backbone(study: Study) -> str | None:
    """Return the backbone that serves as it is and its licence, None where the study trains."""
    from histo_assets.core.networks.registry import BACKBONES

    frozen = study.learning.frozen
    return f"{frozen.backbone} ({BACKBONES[frozen.backbone].licence})" if frozen else None


def missing_files(study: Study) -> list[str]:
    """Return a sentence for every table of the study that is not where it should be."""
    wanted = {
        "manifest": study.cohort.manifest,
        "list of RNA samples": study.cohort.rna_samples,
        "expression file": None if study.expression.release else study.expression.file,
        "table of gene lengths": study.expression.gene_lengths,
    }
    return [
        f"the {what} is missing: {study.resolve(path)}"
        for what, path in wanted.items()
        if path and "://" not in path and not Path(study.resolve(path)).is_file()
    ]


def _source_name(study: Study) -> str:
    """Return where slides come from that are not in the folder, in words."""
    source = study.slides.source
    named = {
        "folder": "nowhere: put them into the folder",
        "url": source.url or f"the addresses of {source.listing}",
        "idc": f"Imaging Data Commons, collection {source.collection}",
    }
    return named[source.kind]


def _slide_sizes(study: Study, selected: pd.DataFrame, manifest: pd.DataFrame) -> tuple[dict[str, int], list[str]]:
    """Return slide -> bytes of the slides that are there, or were fetched and dropped once their tiles were made.

    Also sentences on slides whose file cannot be told.
    """
    from histo_assets.core.cohort.errors import CohortError
    from histo_assets.core.download.fetched import fetched_slides
    from histo_assets.core.slides.found import found_slides
    from histo_assets.core.slides.inspection import names_of_slides

    folder = study.resolve(study.slides.folder)
    files, known = found_slides(folder, study.slides), set(names_of_slides(manifest).values())
    names, doubtful = names_of_slides(selected), []
    records = [record for record in fetched_slides(Path(folder)) if record.tiled or record.is_there(Path(folder))]
    sizes = {record.slide: record.bytes for record in records if record.slide in names}
    for slide, name in names.items():
        try:
            path = files.of(name, known)
        except CohortError as error:
            doubtful.append(str(error))
            continue
        if path is not None:
            sizes[slide] = _bytes(Path(path))
    return sizes, doubtful


def _bytes(path: Path) -> int:
    return path.stat().st_size if path.is_file() else sum(part.stat().st_size for part in path.iterdir())


def _tissue_plan(study: Study, tissue: str, part: pd.DataFrame, found: dict[str, int]) -> TissuePlan:
    count = len(part)
    per_tissue = study.tiling.tiles_per_tissue or study.tiling.tiles_per_slide * count
    return TissuePlan(
        tissue=tissue,
        slides=count,
        donors=int(part["donor"].nunique()),
        found=int(part["slide"].isin(list(found)).sum()),
        tiles=per_tissue if count else 0,
    )
