"""Room `embeddings`: tiles and slides as vectors, and pictures of their space."""

from typing import Any

import dagster as dg

from histo_assets.defs.metadata import model_metadata, picture
from histo_assets.defs.partitions import epoch_of
from histo_assets.defs.projections import projection_result
from histo_assets.defs.study_assets import StudyAssets, result, verdict
from histo_assets.defs.tiles import IMAGES, verdict_on_images
from histo_assets.defs.types import Checkpoint, Matrix, SelectedModel, Table, TileSet
from histo_assets.studies.study import Study

ROOM = "embeddings"
CHECKS = {"numbers_are_finite": "No coordinate is missing or infinite."}


def build(assets: StudyAssets) -> list[Any]:
    """Return the assets of the room."""
    epochs = [] if assets.study.learning.frozen else [_epochs(assets)]
    return [*_embeddings(assets), *_projections(assets), *epochs]


def _embeddings(assets: StudyAssets) -> list[Any]:
    @assets.asset(
        ROOM,
        "matrices",
        table="embedding.EmbeddedTiles",
        kinds={"pytorch", "anndata"},
        revision=2,
        reads=["embedding", "learning.input_px"],
        ins={"tiles": assets.one("tiles"), "selected_model": assets.one("selected_model")},
        partitions=assets.partitions.tissues,
        pool="gpu",
        checks={"numbers_are_finite": "Every tile has a vector of finite numbers."},
        blocking=["numbers_are_finite"],
    )
    def tile_embeddings(
        study: Study, context: dg.AssetExecutionContext, tiles: TileSet, selected_model: SelectedModel
    ) -> dg.MaterializeResult:
        """The selected network's vector for every tile of one tissue, and its log-probabilities."""
        import numpy as np

        from histo_assets.core.embedding.matrices import tile_matrix
        from histo_assets.core.figures.evaluation import tissue_mix_figure

        adata = tile_matrix(selected_model, tiles, study.embedding, study.learning.input_px, context.log.info)
        finite = bool(np.isfinite(adata.X).all())
        predicted = adata.obs["predicted"].value_counts()
        right = float((adata.obs["predicted"] == context.partition_key).mean()) if adata.n_obs else float("nan")
        return result(
            adata,
            {
                "tiles": adata.n_obs,
                "dimensions": adata.n_vars,
                **model_metadata(selected_model),
                **(
                    {
                        "taken_for_its_tissue": right,
                        "preview": picture(
                            tissue_mix_figure(predicted, context.partition_key), "what tiles are taken for"
                        ),
                    }
                    if len(selected_model.labels)
                    else {}
                ),
            },
            [verdict("numbers_are_finite", finite and adata.n_obs == len(tiles.index), f"{adata.n_obs} tiles")],
        )

    @assets.asset(
        ROOM,
        "matrices",
        table="embedding.EmbeddedSlides",
        kinds={"anndata"},
        revision=2,
        reads=["selection.tissues"],
        ins={
            "tile_embeddings": assets.every("tile_embeddings"),
            "donor_split": assets.one("donor_split"),
            "tiles": assets.every("tiles"),
        },
        formerly={"tiles": "donor_split"},  # earlier versions did not look for images under two donors
        checks={
            "every_tissue_is_present": "Every tissue has slides with a vector.",
            IMAGES: "No two slides hold one image under two donors, so that no image stands on two sides.",
        },
        blocking=["every_tissue_is_present", IMAGES],
    )
    def slide_embeddings(
        study: Study, tile_embeddings: dict[str, Matrix], donor_split: Table, tiles: dict[str, TileSet]
    ) -> dg.MaterializeResult:
        """The mean vector of every slide's tiles, and the mean of their log-probabilities."""
        from histo_assets.core.embedding.matrices import slide_matrix
        from histo_assets.core.figures.projection import scatter
        from histo_assets.core.projection.project import component_scores, fit_pca

        adata = slide_matrix(list(tile_embeddings.values()), donor_split)
        absent = sorted(set(study.selection.tissues) - set(adata.obs["tissue"]))
        mean, components, _ = fit_pca(adata.X, 2)
        plane = component_scores(adata.X, mean, components)
        return result(
            adata,
            {
                "slides": adata.n_obs,
                "dimensions": adata.n_vars,
                "taken_for_their_tissue": float((adata.obs["predicted"] == adata.obs["tissue"]).mean()),
                "taken_for_their_tissue_off_training": _right_off_training(adata.obs),
                **adata.uns["model"],
                "preview": picture(
                    scatter(plane, adata.obs["tissue"].to_numpy(), "Slides, first two components", axis="PC"),
                    "slides",
                ),
            },
            [
                verdict("every_tissue_is_present", not absent, f"absent: {', '.join(absent) or 'none'}"),
                verdict_on_images(tiles),
            ],
        )

    return [tile_embeddings, slide_embeddings]


def _right_off_training(obs: Any) -> float:
    """Return the share of slides of donors that were not trained on which are taken for their tissue."""
    apart = obs[obs["side"] != "train"]
    return float((apart["predicted"] == apart["tissue"]).mean()) if len(apart) else float("nan")


def _projections(assets: StudyAssets) -> list[Any]:

    @assets.asset(
        ROOM,
        "matrices",
        table="projection.ProjectedRows",
        kinds={"anndata", "umap"},
        reads=["projection"],
        ins={"tile_embeddings": assets.every("tile_embeddings"), "donor_split": assets.one("donor_split")},
        checks=CHECKS,
    )
    def tile_projection(study: Study, tile_embeddings: dict[str, Matrix], donor_split: Table) -> dg.MaterializeResult:
        """PCA (fitted on training donors), UMAP and t-SNE of tile embeddings."""
        from histo_assets.core.embedding.matrices import stacked

        X, obs = stacked(list(tile_embeddings.values()), donor_split)
        return projection_result(X, obs, study.projection, "Tiles")

    @assets.asset(
        ROOM,
        "matrices",
        table="projection.ProjectedRows",
        kinds={"anndata", "umap"},
        reads=["projection"],
        ins={"slide_embeddings": assets.one("slide_embeddings")},
        checks=CHECKS,
    )
    def slide_projection(study: Study, slide_embeddings: Matrix) -> dg.MaterializeResult:
        """PCA (fitted on training donors), UMAP and t-SNE of slide embeddings."""
        return projection_result(slide_embeddings.X, slide_embeddings.obs, study.projection, "Slides")

    return [tile_projection, slide_projection]


def _epochs(assets: StudyAssets) -> Any:
    studied = assets.study.learning.studied

    @assets.asset(
        ROOM,
        "matrices",
        table="projection.ProjectedRows",
        kinds={"pytorch", "anndata", "umap"},
        reads=["projection", "embedding", "learning.input_px", "learning.studied"],
        ins={
            "trained_model": assets.only("trained_model", studied),
            "tiles": assets.every("tiles"),
            "donor_split": assets.one("donor_split"),
        },
        partitions=assets.partitions.epochs,
        pool="gpu",
        checks=CHECKS,
    )
    def epoch_projection(
        study: Study,
        context: dg.AssetExecutionContext,
        trained_model: dict[str, Checkpoint],
        tiles: dict[str, TileSet],
        donor_split: Table,
    ) -> dg.MaterializeResult:
        """The slide space of the studied experiment at one of its checkpoint epochs."""
        from histo_assets.core.embedding.matrices import slide_matrix, tile_matrix
        from histo_assets.core.training.selected import SelectedModel as Model

        epoch = epoch_of(context.partition_key)
        model = Model(trained_model[study.learning.studied], epoch, "checkpoint epoch of the study")
        matrices = [
            tile_matrix(model, tile_set, study.embedding, study.learning.input_px, context.log.info)
            for tile_set in tiles.values()
        ]
        slides = slide_matrix(matrices, donor_split)
        return projection_result(slides.X, slides.obs, study.projection, f"Slides after epoch {epoch}")

    return epoch_projection
