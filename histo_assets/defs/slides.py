"""Room `slides`: where each slide is, whether it is whole, its size and resolution."""

from typing import Any

import dagster as dg

from histo_assets.defs.metadata import markdown_table, picture
from histo_assets.defs.sources import slides_of
from histo_assets.defs.study_assets import StudyAssets, result, verdict
from histo_assets.defs.types import Table
from histo_assets.studies.study import Study

ROOM = "slides"


def build(assets: StudyAssets) -> list[Any]:
    """Return the assets of the room."""

    @assets.asset(
        ROOM,
        "tables",
        table="slides.RawSlides",
        revision=2,
        kinds={"slideio", "table"},
        reads=["slides.source", "slides.assume_mpp", "selection.min_slides"],
        derived={} if assets.study.slides.image is None else {"slides.image": assets.study.slides.image},
        ins={"selected_slides": assets.one("selected_slides")},
        sources={"slide_files": ()},
        observed=lambda look, inputs, tissue: slides_of(inputs["selected_slides"], look, assets.study.slides.file_name),
        partitions=assets.partitions.tissues,
        pool="slide_io",
        checks={
            "enough_sound_slides": "Without missing and quarantined slides the tissue still has the study's minimum.",
            "every_slide_is_sound": "No slide that is there is damaged or without resolution.",
            "no_slide_is_missing": "Every selected slide is there, or could be fetched.",
        },
        blocking=["enough_sound_slides"],
    )
    def raw_slides(study: Study, context: dg.AssetExecutionContext, selected_slides: Table) -> dg.MaterializeResult:
        """Where each slide of a tissue is, fetched where need be, its size and digest; or why it cannot be used."""
        from histo_assets.core.figures.slides import image_grid, slide_sizes
        from histo_assets.core.slides.arrival import arrived_slides, outages
        from histo_assets.core.slides.inspection import thumbnails, usable

        siblings = [name for names in selected_slides["siblings"] for name in names.split(";") if name]
        folder = study.resolve(study.slides.folder)
        slides, dropped = arrived_slides(
            selected_slides, folder, study.located_slides(), siblings, progress=context.log.info
        )
        bad, missing = slides[slides["quarantined"].notna()], slides[slides["missing"].notna()]
        for row in bad.itertuples():
            context.log.warning(f"{row.slide} is quarantined: {row.quarantined}")
        for row in missing.itertuples():
            context.log.warning(f"{row.slide} is missing: {row.missing}")
        left_out = slides.loc[[*bad.index, *missing.index], ["slide", "quarantined", "missing"]].fillna("")
        images = {**thumbnails(slides, folder, study.slides, max_px=160, most=24), **dropped}
        sound, minimum = len(usable(slides)), study.selection.min_slides
        return result(
            slides,
            {
                "slides": len(slides),
                "quarantined": len(bad),
                "missing": len(missing),
                "fetched": int((slides["digest_kind"] == "fetched").sum()),
                "gigabytes": float(slides["bytes"].sum() / 1e9),
                "preview": picture(image_grid(list(images.values()), list(images), 8, "Slides"), "thumbnails"),
                "sizes": picture(slide_sizes(slides), "sizes"),
                **({"reasons": dg.MetadataValue.md(markdown_table(left_out))} if len(left_out) else {}),
            },
            [
                verdict("enough_sound_slides", sound >= minimum, f"{sound} sound slides, at least {minimum} wanted"),
                verdict(
                    "every_slide_is_sound",
                    bad.empty,
                    "; ".join(f"{row.slide}: {row.quarantined}" for row in bad.itertuples()) or "all sound",
                    warn=True,
                ),
                verdict(
                    "no_slide_is_missing",
                    missing.empty,
                    "; ".join(f"{row.slide}: {row.missing}" for row in missing.itertuples()) or "none missing",
                ),
            ],
            incomplete=outages(slides, study.slides),
        )

    return [raw_slides]
