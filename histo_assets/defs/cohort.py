"""Room `cohort`: who is in the study, which slides, on which side of the split."""

from typing import TYPE_CHECKING, Any

import dagster as dg

from histo_assets.defs.metadata import picture
from histo_assets.defs.sources import look_metadata, look_version
from histo_assets.defs.study_assets import StudyAssets, result, verdict
from histo_assets.defs.types import Table
from histo_assets.storage.io_managers import StorageResource
from histo_assets.studies.study import Study

if TYPE_CHECKING:
    from histo_assets.core.cohort.splits import SplitRegime

ROOM = "cohort"


def build(assets: StudyAssets) -> list[Any]:
    """Return the assets of the room."""
    return [*_source_files(assets), *_slides_and_pairs(assets), *_selection_and_split(assets)]


def _source_files(assets: StudyAssets) -> list[Any]:
    described = {
        "cohort_tables": "The files of the cohort: manifest and list of RNA samples, by their digest.",
        "slide_files": "The folder of slides, by the sizes and times of its files; fetched ones do not count.",
        "expression_file": "The expression file and that of gene lengths, by their digest. A release goes by its name.",
        "incoming_files": "The folder of new slides, by the sizes and times of its files.",
    }
    rooms = {"expression_file": "expression", "incoming_files": "incoming"}
    return [_observed(assets, name, text, rooms.get(name, ROOM)) for name, text in described.items()]


def _observed(assets: StudyAssets, name: str, description: str, room: str) -> Any:
    """Return the source asset `name`: observing it stores a look, which every answer on staleness follows."""

    @dg.observable_source_asset(key=assets.key(name), group_name=room, description=description)
    def source(storage: StorageResource) -> dg.ObserveResult:
        look = assets.staleness(storage.storage).sources.look(name)
        return dg.ObserveResult(data_version=look_version(look), metadata=look_metadata(look))

    return source


def _slides_and_pairs(assets: StudyAssets) -> list[Any]:
    @assets.asset(
        ROOM,
        "tables",
        table="cohort.Manifest",
        kinds={"table", "pandas"},
        reads=["cohort"],
        sources={"cohort_tables": ("manifest",)},
        checks={"slide_ids_are_unique": "No slide id occurs twice."},
        blocking=["slide_ids_are_unique"],
    )
    def slide_manifest(study: Study) -> dg.MaterializeResult:
        """Every slide of the cohort: id, donor, tissue and the cohort's own columns, normalised and validated."""
        from histo_assets.core.cohort.reading import read_manifest
        from histo_assets.core.figures.cohort import cohort_overview

        manifest = read_manifest(study.cohort, study.resolve(study.cohort.manifest))
        repeated = int(manifest["slide"].duplicated().sum())
        return result(
            manifest,
            {
                "slides": len(manifest),
                "donors": manifest["donor"].nunique(),
                "tissues": manifest["tissue"].nunique(),
                "preview": picture(cohort_overview(manifest), "slides per tissue"),
            },
            [verdict("slide_ids_are_unique", repeated == 0, f"{repeated} repeated slide ids")],
        )

    @assets.asset(
        ROOM,
        "tables",
        table="cohort.Pairs",
        kinds={"table", "pandas"},
        ins={"slide_manifest": assets.one("slide_manifest")},
        sources={"cohort_tables": ("RNA samples",)},
        revision=2,
        checks={"every_pair_names_a_slide_and_a_sample": "No pair lacks a slide, donor, tissue or sample."},
        blocking=["every_pair_names_a_slide_and_a_sample"],
    )
    def slide_pairs(study: Study, slide_manifest: Table) -> dg.MaterializeResult:
        """The slides that have an RNA sample of the same piece of tissue, one row a slide, in manifest order."""
        from histo_assets.core.cohort.pairing import pair_slides
        from histo_assets.core.cohort.reading import read_rna_samples
        from histo_assets.core.figures.cohort import pairing_figure

        listed = study.cohort.rna_samples
        samples = read_rna_samples(study.resolve(listed)) if listed else None
        pairs = pair_slides(slide_manifest, samples)
        empty = int(pairs[["slide", "donor", "tissue", "sample"]].isna().any(axis=1).sum())
        return result(
            pairs,
            {
                "pairs": len(pairs),
                "donors": pairs["donor"].nunique(),
                "slides_without_rna": len(slide_manifest) - len(pairs),
                "rna_without_slide": 0 if samples is None else int((~samples["sample"].isin(pairs["sample"])).sum()),
                "preview": picture(pairing_figure(slide_manifest, pairs), "slides with RNA"),
            },
            [verdict("every_pair_names_a_slide_and_a_sample", empty == 0 and len(pairs) > 0, f"{len(pairs)} pairs")],
        )

    return [slide_manifest, slide_pairs]


def _selection_and_split(assets: StudyAssets) -> list[Any]:
    @assets.asset(
        ROOM,
        "tables",
        table="cohort.SelectedSlides",
        kinds={"table", "pandas"},
        reads=[f"selection.{name}" for name in ("rule", "slides_per_tissue", "min_slides", "seed")],
        derived={"slides.file_name": template} if (template := assets.study.slides.file_name) else {},
        ins={"slide_pairs": assets.one("slide_pairs"), "slide_manifest": assets.one("slide_manifest")},
        partitions=assets.partitions.tissues,
        checks={"enough_slides": "The tissue has at least the study's minimum of slides."},
        blocking=["enough_slides"],
    )
    def selected_slides(
        study: Study, context: dg.AssetExecutionContext, slide_pairs: Table, slide_manifest: Table
    ) -> dg.MaterializeResult:
        """The slides of one tissue that the study takes, in order, and why each was taken."""
        from histo_assets.core.cohort.ids import siblings_of
        from histo_assets.core.cohort.selection import select_slides
        from histo_assets.core.figures.cohort import selection_figure
        from histo_assets.core.slides.inspection import names_of_slides

        selected = select_slides(slide_pairs, study.selection, context.partition_key)
        own, known = (list(names_of_slides(table).values()) for table in (selected, slide_manifest))
        selected["siblings"] = siblings_of(own, known, prefixes=study.slides.file_name is not None)
        minimum = study.selection.min_slides
        available = int((slide_pairs["tissue"] == context.partition_key).sum())
        return result(
            selected,
            {
                "tissue": str(selected["tissue_name"].iloc[0]) if len(selected) else context.partition_key,
                "slides": len(selected),
                "donors": selected["donor"].nunique(),
                "available": available,
                "preview": picture(selection_figure(selected, available), "slides taken"),
            },
            [verdict("enough_slides", len(selected) >= minimum, f"{len(selected)} slides, at least {minimum} wanted")],
        )

    @assets.asset(
        ROOM,
        "tables",
        table="cohort.DonorSplit",
        kinds={"table", "pandas"},
        reads=["split"],
        ins={"selected_slides": assets.every("selected_slides")},
        checks={
            "no_donor_on_two_sides": "No donor stands on two sides of the split.",
            "every_tissue_on_every_side": "Every tissue has a donor on each side; otherwise it is not evaluable there.",
        },
        blocking=["no_donor_on_two_sides"],
    )
    def donor_split(study: Study, selected_slides: dict[str, Table]) -> dg.MaterializeResult:
        """The side of every donor: locked test, validation or training fold."""
        import pandas as pd

        from histo_assets.core.cohort.splits import leaking_donors, split_donors, split_regime
        from histo_assets.core.figures.cohort import split_figure

        selected = pd.concat(selected_slides.values(), ignore_index=True)
        split = split_donors(selected, study.split)
        sided = selected.merge(split[["donor", "side"]], on="donor")
        leaking = leaking_donors(sided)
        sides = sided.groupby("tissue")["side"].nunique()
        thin = sorted(sides.index[sides < split["side"].nunique()])
        return result(
            split,
            {
                "donors": len(split),
                **{f"{side}_donors": int(count) for side, count in split["side"].value_counts().items()},
                **_regime(split_regime(split, selected)),
                "preview": picture(split_figure(split, selected), "donors per side"),
            },
            [
                verdict("no_donor_on_two_sides", not leaking, f"on two sides: {', '.join(leaking) or 'none'}"),
                verdict(
                    "every_tissue_on_every_side", not thin, f"not evaluable: {', '.join(thin) or 'none'}", warn=True
                ),
            ],
        )

    return [selected_slides, donor_split]


def _regime(regime: "SplitRegime") -> dict[str, str | int | float]:
    """Return the plain figures of a split's regime."""
    detectable = regime.detectable_out_of_fold
    return {
        "evidence": regime.regime,
        "locked_donors": regime.locked_donors,
        "detectable_r2_within": float("nan") if detectable is None else float(detectable),
        "detectable_by": regime.approximation,
    }
