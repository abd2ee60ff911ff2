"""Room `report`: the whole study on one page."""

from typing import Any

import dagster as dg

from histo_assets.defs.metadata import picture
from histo_assets.defs.study_assets import StudyAssets, result, verdict
from histo_assets.defs.types import CrossValidation, LargeTable, Matrix, SelectedModel, Table, TileSet

ROOM = "report"


def build(assets: StudyAssets) -> list[Any]:
    """Return the asset of the room."""
    study = assets.study
    epochs = assets.partitions.epochs.get_partition_keys()

    @assets.asset(
        ROOM,
        "folders",
        kinds={"html"},
        settings=[study],
        ins={
            **{
                name: assets.one(name)
                for name in (
                    "slide_manifest",
                    "slide_pairs",
                    "donor_split",
                    "expression_matrix",
                    "expression_projection",
                    "training_set",
                    "experiment_comparison",
                    "selected_model",
                    "model_evaluation",
                    "tile_projection",
                    "slide_projection",
                    "joint_projection",
                    "recoverable_genes",
                    "expression_clusters",
                    "cluster_expression",
                    "prediction_comparison",
                )
            },
            **{name: assets.every(name) for name in ("raw_slides", "tiles", "gene_regressors")},
            "epoch_projection": assets.only("epoch_projection", *epochs),
        },
        checks={"page_opens_anywhere": "The page refers to nothing outside itself."},
    )
    def study_report(
        slide_manifest: Table,
        slide_pairs: Table,
        donor_split: Table,
        raw_slides: dict[str, Table],
        tiles: dict[str, TileSet],
        expression_matrix: Matrix,
        expression_projection: Matrix,
        training_set: LargeTable,
        experiment_comparison: Table,
        selected_model: SelectedModel,
        model_evaluation: Table,
        tile_projection: Matrix,
        slide_projection: Matrix,
        epoch_projection: dict[str, Matrix],
        joint_projection: Matrix,
        gene_regressors: dict[str, CrossValidation],
        recoverable_genes: Table,
        expression_clusters: Table,
        cluster_expression: Matrix,
        prediction_comparison: Table,
    ) -> dg.MaterializeResult:
        """The whole study on one HTML page that opens anywhere."""
        import pandas as pd

        from histo_assets.core.figures.study_page import StudyTables, study_page
        from histo_assets.core.files import Bundle
        from histo_assets.core.learning.report import confusion_of, headline
        from histo_assets.core.tiling.pictures import contact_sheet
        from histo_assets.core.tiling.shards import TileReader, with_reasons

        reader = TileReader(list(tiles.values()))
        some = training_set.sample(min(40, len(training_set)), seed=0)
        tables = StudyTables(
            manifest=slide_manifest,
            pairs=slide_pairs,
            split=donor_split,
            raw_slides=pd.concat(
                [with_reasons(slides, tiles[tissue].quarantined) for tissue, slides in raw_slides.items()],
                ignore_index=True,
            ),
            funnel=pd.concat([t.funnel.assign(tissue=key) for key, t in tiles.items()], ignore_index=True),
            contact_sheet=contact_sheet(reader, some),
            expression=expression_matrix,
            min_max=study.expression.filter.min_max,
            min_sd=study.expression.filter.min_sd,
            expression_projection=expression_projection,
            experiments=experiment_comparison,
            studied=study.learning.studied,
            chosen=f"{selected_model.name}, epoch {selected_model.epoch}: {selected_model.why}",
            evaluation=model_evaluation,
            headline=headline(model_evaluation, study.split.unit),
            confusions={level: confusion_of(model_evaluation, level) for level in ("slide", "tile")},
            tile_projection=tile_projection,
            slide_projection=slide_projection,
            epoch_projections=epoch_projection,
            joint_projection=joint_projection,
            gene_figures={name: fitted.figures for name, fitted in gene_regressors.items()},
            recoverable=recoverable_genes,
            clusters=expression_clusters,
            cluster_expression=cluster_expression,
            comparison=prediction_comparison,
        )
        page = study_page(study.title, study.description, study.assumptions, tables)
        outside = page.html.count('src="http') + page.html.count('href="http')
        return result(
            Bundle({"report.html": page.html.encode()}),
            {**page.key_figures, "megabytes": len(page.html) / 1e6, "preview": picture(page.cover, "key pictures")},
            [verdict("page_opens_anywhere", outside == 0, f"{outside} references to elsewhere")],
        )

    return [study_report]
