"""Room `incoming`: a new slide against the finished study."""

from typing import Any

import dagster as dg

from histo_assets.defs.metadata import markdown_table, model_metadata, picture
from histo_assets.defs.sources import incoming_version
from histo_assets.defs.study_assets import StudyAssets, result, verdict
from histo_assets.defs.types import CrossValidation, Incoming, Matrix, SelectedModel, Table, TileSet
from histo_assets.storage.io_managers import StorageResource
from histo_assets.storage.layout import Artefact
from histo_assets.storage.provenance import require_one_origin
from histo_assets.studies.study import Study

ROOM = "incoming"


def build(assets: StudyAssets) -> list[Any]:
    """Return the assets of the room."""
    return [*_slide_to_embedding(assets), _prediction(assets)]


def _slide_to_embedding(assets: StudyAssets) -> list[Any]:
    partitions = assets.partitions.incoming

    @assets.asset(
        ROOM,
        "json",
        revision=2,
        kinds={"slideio"},
        reads=["slides.assume_mpp"],
        derived={} if assets.study.slides.image is None else {"slides.image": assets.study.slides.image},
        sources={"incoming_files": ()},
        observed=lambda look, inputs, slide: {slide: incoming_version(slide, look)},
        partitions=partitions,
        checks={"slide_is_sound": "The new slide is whole, opens and has a resolution."},
        blocking=["slide_is_sound"],
    )
    def incoming_slide(study: Study, context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        """Where a new slide is, its size, resolution and digest, or why it cannot be used."""
        from histo_assets.core.slides.inspection import inspect_incoming, thumbnail_of

        folder = study.resolve(study.incoming.folder)
        incoming = inspect_incoming(folder, context.partition_key, study.slides)
        content, record = incoming.as_json(), incoming.record
        image = thumbnail_of(incoming, folder, study.slides, max_px=600)
        reason = record.quarantined or record.missing
        return result(
            content,
            {
                "path": record.path,
                "mpp": content["mpp"],
                "size": f"{record.width} x {record.height}",
                **({} if image is None else {"preview": picture(image, "slide")}),
            },
            [verdict("slide_is_sound", reason is None, reason or "sound")],
        )

    @assets.asset(
        ROOM,
        "folders",
        revision=2,
        kinds={"slideio", "polars"},
        reads=["tiling", "slides.max_lost_share", "slides.max_upsampling"],
        ins={"incoming_slide": assets.one("incoming_slide")},
        partitions=partitions,
        checks={"slide_has_tiles": "The new slide gave tiles that pass the quality filters."},
        blocking=["slide_has_tiles"],
    )
    def incoming_tiles(
        study: Study, context: dg.AssetExecutionContext, storage: StorageResource, incoming_slide: Incoming
    ) -> dg.MaterializeResult:
        """Quality-filtered tiles of a new slide, cut as the study's were."""
        from histo_assets.core.figures.slides import image_grid
        from histo_assets.core.slides.inspection import IncomingSlide, with_resolutions
        from histo_assets.core.tiling.job import TissueJob
        from histo_assets.core.tiling.tiles import tile_tissue

        slides = IncomingSlide.from_json(incoming_slide).table()
        tile_set = tile_tissue(
            slides,
            TissueJob(
                "incoming",
                storage.shard_root("incoming_tiles"),
                study.tiling.model_copy(update={"tiles_per_tissue": None}),
                with_resolutions(study.slides, slides),
                study.resolve(study.incoming.folder),
            ),
            workers=1,
            progress=context.log.info,
        )
        images = list(tile_set.previews.values())
        return result(
            tile_set,
            {
                "tiles": len(tile_set.index),
                "funnel": dg.MetadataValue.md(markdown_table(tile_set.funnel)),
                **({"preview": picture(image_grid(images, list(tile_set.previews), 1, ""), "tiles")} if images else {}),
            },
            [
                verdict(
                    "slide_has_tiles",
                    len(tile_set.index) > 0,
                    "; ".join(tile_set.left_out.values()) or f"{len(tile_set.index)} tiles",
                )
            ],
        )

    @assets.asset(
        ROOM,
        "matrices",
        table="embedding.EmbeddedTiles",
        kinds={"pytorch", "anndata"},
        revision=2,
        reads=["embedding", "learning.input_px"],
        ins={"incoming_tiles": assets.one("incoming_tiles"), "selected_model": assets.one("selected_model")},
        partitions=partitions,
        pool="gpu",
    )
    def incoming_embedding(
        study: Study, context: dg.AssetExecutionContext, incoming_tiles: TileSet, selected_model: SelectedModel
    ) -> dg.MaterializeResult:
        """The selected network's vector for every tile of a new slide, and its log-probabilities."""
        from histo_assets.core.embedding.matrices import tile_matrix
        from histo_assets.core.figures.evaluation import tissue_mix_figure

        adata = tile_matrix(selected_model, incoming_tiles, study.embedding, study.learning.input_px, context.log.info)
        predicted = adata.obs["predicted"].value_counts()
        return result(
            adata,
            {
                "tiles": adata.n_obs,
                **model_metadata(selected_model),
                **(
                    {"preview": picture(tissue_mix_figure(predicted), "what tiles are taken for")}
                    if len(selected_model.labels)
                    else {}
                ),
            },
        )

    return [incoming_slide, incoming_tiles, incoming_embedding]


def _prediction(assets: StudyAssets) -> Any:
    @assets.asset(
        ROOM,
        "folders",
        kinds={"scikit-learn", "html"},
        reads=["title", "projection", "slides.assume_mpp"],
        ins={
            "incoming_slide": assets.one("incoming_slide"),
            "incoming_tiles": assets.one("incoming_tiles"),
            "incoming_embedding": assets.one("incoming_embedding"),
            "slide_embeddings": assets.one("slide_embeddings"),
            "slide_projection": assets.one("slide_projection"),
            "gene_regressors": assets.every("gene_regressors"),
            "recoverable_genes": assets.one("recoverable_genes"),
            "expression_clusters": assets.one("expression_clusters"),
            "cluster_expression": assets.one("cluster_expression"),
        },
        partitions=assets.partitions.incoming,
        checks={"slide_is_like_the_training_slides": "The slide lies as close to the training slides as they do."},
    )
    def incoming_prediction(  # noqa: PLR0913 - an input of the asset each
        study: Study,
        context: dg.AssetExecutionContext,
        storage: StorageResource,
        incoming_slide: Incoming,
        incoming_tiles: TileSet,
        incoming_embedding: Matrix,
        slide_embeddings: Matrix,
        slide_projection: Matrix,
        gene_regressors: dict[str, CrossValidation],
        recoverable_genes: Table,
        expression_clusters: Table,
        cluster_expression: Matrix,
    ) -> dg.MaterializeResult:
        """A new slide's tissue, its expression by both ways, heat maps, and how unlike the training slides it is."""
        from histo_assets.core.figures.heatmap import DrawnSlide
        from histo_assets.core.figures.slide_page import slide_page
        from histo_assets.core.incoming.prediction import FinishedStudy, predict_slide
        from histo_assets.core.slides.inspection import IncomingSlide, thumbnail_of

        require_one_origin(
            storage.storage,
            Artefact("selected_model"),
            [
                Artefact("incoming_embedding", context.partition_key),
                Artefact("slide_projection"),
                *[Artefact("gene_regressors", name) for name in gene_regressors],
            ],
        )
        prediction = predict_slide(
            incoming_embedding,
            FinishedStudy(
                slide_embeddings,
                slide_projection,
                gene_regressors,
                recoverable_genes,
                expression_clusters,
                cluster_expression,
            ),
            study.projection,
        )
        incoming = IncomingSlide.from_json(incoming_slide)
        record = incoming.record
        thumbnail = thumbnail_of(incoming, study.resolve(study.incoming.folder), study.slides, max_px=600)
        drawn = DrawnSlide(thumbnail, (record.width, record.height), record.mpp)
        page = slide_page(study.title, incoming.slide, prediction, incoming_tiles.previews, slide_projection, drawn)
        return result(
            page.bundle,
            {
                "tissue": prediction.tissue,
                "probability": prediction.probability,
                "novelty": prediction.novelty_percentile,
                "unlike_training": prediction.unlike_training,
                "cluster": prediction.cluster,
                **{name: picture(image, name) for name, image in page.pictures.items()},
                "top_genes": dg.MetadataValue.md(markdown_table(prediction.genes.head(12))),
            },
            [
                verdict(
                    "slide_is_like_the_training_slides",
                    not prediction.unlike_training,
                    f"further than {prediction.novelty_percentile:.0f} % of the training slides",
                    warn=True,
                )
            ],
        )

    return incoming_prediction
