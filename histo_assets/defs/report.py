"""Room `report`: the whole study on one page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dagster as dg

from histo_assets.defs.metadata import picture
from histo_assets.defs.study_assets import StudyAssets, result, verdict
from histo_assets.studies.study import Study

if TYPE_CHECKING:
    from histo_assets.core.figures.study_page import StudyTables, TrainingTables

ROOM = "report"

_SINGLE = (
    "slide_manifest",
    "slide_pairs",
    "donor_split",
    "expression_matrix",
    "expression_projection",
    "selected_model",
    "tile_projection",
    "slide_projection",
    "joint_projection",
    "recoverable_genes",
    "expression_clusters",
    "cluster_expression",
    "prediction_comparison",
)
_OF_TRAINING = ("training_set", "experiment_comparison", "model_evaluation")
_EVERY = ("raw_slides", "tiles", "gene_regressors")


def build(assets: StudyAssets) -> list[Any]:
    """Return the asset of the room."""
    trains = assets.study.learning.frozen is None
    epochs = assets.partitions.epochs.get_partition_keys() if trains else []
    single = [*_SINGLE, *(_OF_TRAINING if trains else [])]
    every = [*_EVERY, *(["trained_model"] if trains else [])]

    @assets.asset(
        ROOM,
        "folders",
        kinds={"html"},
        reads=[
            "title",
            "description",
            "assumptions",
            "expression.filter",
            "learning.frozen",
            "learning.studied",
            "selection.tissues",
            "split.unit",
        ],
        ins={
            **{name: assets.one(name) for name in single},
            **{name: assets.every(name) for name in every},
            **({"epoch_projection": assets.only("epoch_projection", *epochs)} if trains else {}),
        },
        checks={"page_opens_anywhere": "The page refers to nothing outside itself."},
    )
    def study_report(study: Study, **loaded: Any) -> dg.MaterializeResult:
        """The whole study on one HTML page that opens anywhere."""
        from histo_assets.core.figures.study_page import study_page
        from histo_assets.core.files import Bundle

        tables = _study_tables(study, loaded)
        page = study_page(study.title, study.description, study.assumptions, tables)
        outside = page.html.count('src="http') + page.html.count('href="http')
        return result(
            Bundle({"report.html": page.html.encode()}),
            {
                **page.key_figures.by_name(),
                "megabytes": len(page.html) / 1e6,
                "preview": picture(page.cover, "key pictures"),
            },
            [verdict("page_opens_anywhere", outside == 0, f"{outside} references to elsewhere")],
        )

    return [study_report]


def _study_tables(study: Study, loaded: dict[str, Any]) -> StudyTables:
    """Return what the page is drawn from; `loaded` holds the study's assets by name."""
    import pandas as pd
    import polars as pl

    from histo_assets.core.figures.study_page import StudyTables
    from histo_assets.core.tiling.pictures import contact_sheet
    from histo_assets.core.tiling.tile_set import TileReader, with_reasons

    tiles, model = loaded["tiles"], loaded["selected_model"]
    if study.learning.frozen is None:
        training = _training_tables(study, loaded)
        some = loaded["training_set"].sample(min(40, len(loaded["training_set"])), seed=0)
    else:
        training = None
        index = pl.concat([part.index for part in tiles.values()])
        some = index.sample(min(40, len(index)), seed=0)
    return StudyTables(
        manifest=loaded["slide_manifest"],
        pairs=loaded["slide_pairs"],
        split=loaded["donor_split"],
        raw_slides=pd.concat(
            [with_reasons(slides, tiles[tissue]) for tissue, slides in loaded["raw_slides"].items()],
            ignore_index=True,
        ),
        funnel=pd.concat([t.funnel.assign(tissue=key) for key, t in tiles.items()], ignore_index=True),
        contact_sheet=contact_sheet(TileReader(list(tiles.values())), some),
        expression=loaded["expression_matrix"],
        min_max=study.expression.filter.min_max,
        min_sd=study.expression.filter.min_sd,
        expression_projection=loaded["expression_projection"],
        chosen=f"{model.name}, epoch {model.epoch}: {model.why}" if training else f"{model.name} ({model.licence})",
        training=training,
        tile_projection=loaded["tile_projection"],
        slide_projection=loaded["slide_projection"],
        joint_projection=loaded["joint_projection"],
        gene_figures={name: fitted.figures for name, fitted in loaded["gene_regressors"].items()},
        recoverable=loaded["recoverable_genes"],
        clusters=loaded["expression_clusters"],
        cluster_expression=loaded["cluster_expression"],
        comparison=loaded["prediction_comparison"],
    )


def _training_tables(study: Study, loaded: dict[str, Any]) -> TrainingTables:
    """Return the training part of the page, where something was trained."""
    from histo_assets.core.evaluation.experiments import answers
    from histo_assets.core.evaluation.model_evaluation import confusion_of, headline, validation_confusions
    from histo_assets.core.figures.study_page import TrainingTables

    evaluation, experiments = loaded["model_evaluation"], loaded["experiment_comparison"]
    return TrainingTables(
        experiments=experiments,
        questions=answers(experiments),
        confusions_by_experiment=validation_confusions(loaded["trained_model"].values(), study.selection.tissues),
        studied=study.learning.studied,
        evaluation=evaluation,
        headline=headline(evaluation, study.split.unit),
        confusions={level: confusion_of(evaluation, level) for level in ("slide", "tile")},
        epoch_projections=loaded["epoch_projection"],
    )
