"""Room `tiles`: quality-controlled, balanced tiles of every slide, one shard a slide."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from histo_assets.core.tiling.filters.jpeg_size import JPEG_SIZE
from histo_assets.core.tiling.filters.registry import measures
from histo_assets.defs.metadata import markdown_table, picture, table_metadata
from histo_assets.defs.study_assets import StudyAssets, result, verdict, worker_count
from histo_assets.defs.types import Table, TileSet
from histo_assets.storage.io_managers import StorageResource
from histo_assets.studies.study import Study

ROOM = "tiles"


IMAGES = "no_image_under_two_donors"
"""The check that a copy of an image under another name fails."""


def verdict_on_images(tiles: Mapping[str, TileSet], warn: bool = False) -> dg.AssetCheckResult:
    """Return the verdict of `IMAGES`, with the slides that hold one image."""
    from histo_assets.core.tiling.same_image import same_images

    found = same_images(tiles)
    wrong, twice = ([str(pair) for pair in found if pair.of_two_donors is two] for two in (True, False))
    sentences = [f"one image: {', '.join(wrong)}; take one of the slides out, or correct its donor"] if wrong else []
    sentences += [f"twice under one donor: {', '.join(twice)}"] if twice else []
    return verdict(IMAGES, not wrong, "; ".join(sentences) or "no image twice", warn=warn)


def build(assets: StudyAssets) -> list[Any]:
    """Return the assets of the room."""

    @assets.asset(
        ROOM,
        "folders",
        revision=2,
        kinds={"slideio", "polars"},
        derived={"tiling.measures": measures()} if measures() else {},
        reads=["tiling", "slides.max_lost_share", "slides.max_upsampling", "selection.min_slides"],
        ins={"raw_slides": assets.one("raw_slides")},
        partitions=assets.partitions.tissues,
        pool="slide_io",
        checks={
            "tissue_has_tiles": "The tissue's minimum of slides gave tiles, all cut under the same parameters.",
            "tiles_are_balanced": "The tissue has as many tiles as the study asks for.",
            IMAGES: "No two slides of the tissue hold one image under two donors.",
        },
        blocking=["tissue_has_tiles"],
    )
    def tiles(
        study: Study, context: dg.AssetExecutionContext, storage: StorageResource, raw_slides: Table
    ) -> dg.MaterializeResult:
        """Balanced, quality-filtered JPEG tiles of one tissue: a shard a slide, an index, the funnel of rejections."""
        from histo_assets.core.figures.slides import tile_pictures
        from histo_assets.core.slides.inspection import with_resolutions
        from histo_assets.core.tiling.job import TissueJob
        from histo_assets.core.tiling.pictures import contact_sheet
        from histo_assets.core.tiling.tables import TileIndex
        from histo_assets.core.tiling.tile_set import TileReader
        from histo_assets.core.tiling.tiles import tile_tissue

        tissue = context.partition_key
        tile_set = tile_tissue(
            raw_slides,
            TissueJob(
                tissue,
                storage.shard_root("tiles"),
                study.tiling,
                with_resolutions(study.slides, raw_slides),
                study.resolve(study.slides.folder),
            ),
            workers=worker_count(study),
            progress=context.log.info,
            worker_megabytes=study.resources.worker_megabytes,
        )
        fetched = set(raw_slides.loc[raw_slides["digest_kind"] == "fetched", "slide"])
        unfetched = {slide: reason for slide, reason in tile_set.missing.items() if slide in fetched}
        index, funnel = tile_set.index, tile_set.funnel
        quality = study.tiling.quality.for_tissue(tissue)
        wanted = study.tiling.tiles_per_tissue or study.tiling.tiles_per_slide * len(funnel)
        slides = index["slide"].n_unique()
        sheet = contact_sheet(TileReader([tile_set]), index.sample(min(40, len(index)), seed=0))
        pictures = tile_pictures(
            tile_set.decisions,
            funnel,
            tile_set.previews,
            tile_set.rejected_examples(),
            sheet,
            quality.threshold(JPEG_SIZE.setting),
        )
        reasons = [name for name in funnel.columns if name not in ("slide", "candidates", "good", "kept")]
        return result(
            tile_set,
            {
                "tiles": len(index),
                "slides": slides,
                "candidates": int(funnel["candidates"].sum()),
                **{f"rejected_{name}": int(funnel[name].sum()) for name in reasons},
                "preview": picture(pictures.pop("tiles"), "tiles"),
                **{name: picture(image, name) for name, image in pictures.items()},
                "by_slide": dg.MetadataValue.md(markdown_table(funnel)),
                **table_metadata(index, TileIndex),
                "storage_tiles_lost": sum(tile_set.lost_storage_tiles.values()),
                "quarantined_while_tiling": "; ".join(f"{k}: {v}" for k, v in tile_set.quarantined.items()) or "none",
                "not_fetched_again": "; ".join(f"{k}: {v}" for k, v in unfetched.items()) or "none",
            },
            [
                verdict(
                    "tissue_has_tiles",
                    slides >= study.selection.min_slides,
                    f"{slides} slides with tiles, at least {study.selection.min_slides} wanted",
                ),
                verdict("tiles_are_balanced", len(index) >= wanted, f"{len(index)} of {wanted} tiles", warn=True),
                verdict_on_images({tissue: tile_set}, warn=True),
            ],
            incomplete=unfetched,
        )

    return [tiles]
