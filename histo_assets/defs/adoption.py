"""What version 0.1.0 would have recorded for a study, so that its results are adopted and not made again.

Pointers of that version hold a code version alone: the revision of the asset's code, and a digest of the settings
that it read. This module computes it as that version did. It changes no more; a setting that has come since is
left out.
"""

from __future__ import annotations

from typing import Any

from histo_assets.core.files import Settings, settings_digest
from histo_assets.studies.study import Study

_FIELDS = {
    name: frozenset(fields.split())
    for name, fields in {
        "TableColumns": "slide donor label sample",
        "CohortSettings": "reader manifest rna_samples columns",
        "SelectionSettings": "tissues rule slides_per_tissue min_slides seed",
        "SplitSettings": "unit test_share folds validation_fold seed",
        "EmbeddingSettings": "batch_size precision",
        "GeneFilterSettings": "min_max min_sd ddof names fit_on",
        "ExpressionSettings": "file release format units samples_in gene_lengths filter",
        "ExperimentSettings": (
            "backbone weights epochs checkpoints learning_rate schedule mode freeze_up_to weight_decay "
            "label_smoothing clip_norm patience split seed order"
        ),
        "FrozenSettings": "backbone weights revision seed",
        "LearningSettings": (
            "experiments studied frozen commercial offline selected input_px batch_size augment "
            "class_weights device threads workers seed look_alikes"
        ),
        "RidgeSettings": "kind penalties",
        "BoostingSettings": "kind components leaves bins trees learning_rate",
        "PredictionSettings": "regressors covariates clusters bootstraps permutations min_r2_within max_q seed",
        "ProjectionSettings": "components neighbors min_dist perplexity max_points seed",
        "SourceSettings": (
            "kind url suffix listing collection endpoint slide_index keep parallel attempts timeout_seconds"
        ),
        "SlideSettings": "folder source assume_mpp max_lost_share max_upsampling",
        "QualitySettings": (
            "min_jpeg_bytes_per_pixel min_piece_sd min_channel_sd min_sharpness max_pen_share per_tissue"
        ),
        "TilingSettings": (
            "tile_px mpp tiles_per_slide tiles_per_tissue mask_mpp min_tissue_share jpeg_quality quality seed"
        ),
        "SyntheticSettings": "flavour tissues donors slides genes slide_px dirt seed",
        "IncomingSettings": "folder",
        "ResourceSettings": "workers worker_megabytes",
        "Study": (
            "name title description synthetic cohort selection split slides tiling expression learning "
            "embedding projection prediction incoming resources assumptions"
        ),
    }.items()
}
"""The settings of version 0.1.0, by the class that held them."""

_NOT_TRAINED: dict[str, Any] = {"selected": None, "studied": "", "workers": 0, "look_alikes": ()}
_SOURCE_HOW = {"keep", "parallel", "attempts", "timeout_seconds"}


def adopted_code_versions(study: Study) -> dict[str, str]:
    """Return asset -> the code version that version 0.1.0 gave it in this study."""
    read = {**_cohort_to_expression(study), **_model(study), **_embeddings_to_report(study)}
    return {
        asset: f"{revision}.{settings_digest(*map(_plain, settings))}" for asset, (revision, settings) in read.items()
    }


_Read = dict[str, tuple[int, list[Any]]]


def _cohort_to_expression(study: Study) -> _Read:
    tissues, slides = sorted(study.selection.tissues), _slides(study)
    lost, coarse, least = study.slides.max_lost_share, study.slides.max_upsampling, study.selection.min_slides
    return {
        "slide_manifest": (1, [study.cohort, []]),
        "slide_pairs": (2, [study.cohort, []]),
        "selected_slides": (1, [study.selection.model_copy(update={"tissues": ()}), []]),
        "donor_split": (1, [study.split, tissues]),
        "raw_slides": (1, [slides, least, []]),
        "tiles": (2, [study.tiling, lost, coarse, least, []]),
        "expression_matrix": (2, [study.expression, tissues]),
        "expression_projection": (1, [study.projection, []]),
        "incoming_slide": (1, [slides, study.incoming, []]),
        "incoming_tiles": (2, [study.tiling, lost, coarse, []]),
    }


def _model(study: Study) -> _Read:
    tissues, learning = study.selection.tissues, study.learning
    if learning.frozen:
        return {"selected_model": (1, [learning.frozen, []])}
    experiments = sorted(learning.experiments)
    orders = [[*key, epochs] for key, epochs in learning.orders.items()]
    evaluated = [
        learning.batch_size,
        learning.input_px,
        study.prediction.bootstraps,
        study.prediction.seed,
        study.split.unit,
        learning.look_alikes,
    ]
    return {
        "training_set": (1, [study.split, learning.seed, orders, tissues, sorted(tissues)]),
        "trained_model": (2, [learning.model_copy(update=_NOT_TRAINED), tissues, []]),
        "experiment_comparison": (2, [learning.studied, study.split.unit, experiments]),
        "selected_model": (1, [learning.selected, experiments]),
        "model_evaluation": (2, [*evaluated, []]),
    }


def _embeddings_to_report(study: Study) -> _Read:
    tissues, regressors = sorted(study.selection.tissues), sorted(study.prediction.regressors)
    projection, prediction, unit = study.projection, study.prediction, study.split.unit
    embedded = [study.embedding, study.learning.input_px]
    unread: dict[str, Any] = {"clusters": None, "min_r2_within": 0, "max_q": 0, "regressors": {}}
    named = {name: str(regressor) for name, regressor in prediction.regressors.items()}  # as it was digested then
    fitted = [prediction.model_copy(update=unread), named, unit]
    recovered = [prediction.min_r2_within, prediction.max_q, list(prediction.regressors), unit]
    compared = [prediction.covariates, prediction.clusters, prediction.bootstraps, prediction.seed]
    experiments = [] if study.learning.frozen else list(study.learning.experiments)
    return {
        "tile_embeddings": (2, [*embedded, []]),
        "slide_embeddings": (2, [tissues]),
        "tile_projection": (1, [projection, tissues]),
        "slide_projection": (1, [projection, []]),
        "epoch_projection": (1, [projection, *embedded, study.learning.studied, tissues]),
        "joint_projection": (1, [projection, []]),
        "gene_regressors": (1, [*fitted, []]),
        "recoverable_genes": (1, [*recovered, regressors]),
        "expression_clusters": (1, [prediction.clusters or len(tissues), prediction.seed, []]),
        "cluster_expression": (1, [[]]),
        "prediction_comparison": (1, [*compared, regressors]),
        "incoming_embedding": (2, [*embedded, []]),
        "incoming_prediction": (1, [projection, prediction.seed, regressors]),
        "study_report": (1, [study, sorted({*tissues, *regressors, *experiments})]),
    }


def _slides(study: Study) -> dict[str, Any]:
    plain = _plain(study.slides)
    source = {name: value for name, value in plain["source"].items() if name not in _SOURCE_HOW}
    return {**plain, "source": source}


def _plain(value: Any) -> Any:
    """Return settings as version 0.1.0 digested them."""
    if isinstance(value, Settings):
        known = _FIELDS.get(type(value).__name__, type(value).model_fields)  # a later kind had no digest then
        dumped = value.model_dump(mode="json")
        fields = [field for field in type(value).model_fields if field in known]
        return {field: _plain(getattr(value, field)) if _nests(value, field) else dumped[field] for field in fields}
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value


def _nests(settings: Settings, field: str) -> bool:
    value = getattr(settings, field)
    return isinstance(value, Settings) or (
        isinstance(value, dict) and any(isinstance(item, Settings) for item in value.values())
    )
