"""Every setting of a study: which assets a change of it makes due, and no other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, get_args

import pytest

from histo_assets.core.files import Settings
from histo_assets.defs.rooms import study_assets
from histo_assets.studies.study import Study, load_study

TILES = {"tiles", "training_set", "incoming_tiles"}
PROJECTIONS = {
    "expression_projection",
    "tile_projection",
    "slide_projection",
    "epoch_projection",
    "joint_projection",
    "incoming_prediction",
}
EMBEDDED = {"tile_embeddings", "epoch_projection", "incoming_embedding"}
NOTHING: set[str] = set()

# By hand, from what each asset is; the longest beginning of a setting's name counts.
READ_BY: dict[str, set[str]] = {
    "name": NOTHING,
    "title": {"study_report", "incoming_prediction"},
    "description": {"study_report"},
    "assumptions": {"study_report"},
    "cohort.reader": {"slide_manifest"},
    "cohort.columns": {"slide_manifest"},
    "cohort.manifest": NOTHING,
    "cohort.rna_samples": NOTHING,
    "selection.rule": {"selected_slides"},
    "selection.slides_per_tissue": {"selected_slides"},
    "selection.seed": {"selected_slides"},
    "selection.min_slides": {"selected_slides", "raw_slides", "tiles", "training_set"},
    "split": {"donor_split", "training_set"},
    "split.unit": {
        "donor_split",
        "training_set",
        "experiment_comparison",
        "model_evaluation",
        "gene_regressors",
        "recoverable_genes",
        "study_report",
    },
    "slides.folder": NOTHING,
    "slides.file_name": {"selected_slides"},
    "slides.source": {"raw_slides"},
    "slides.source.url": NOTHING,
    "slides.source.listing": NOTHING,
    "slides.source.endpoint": NOTHING,
    "slides.source.slide_index": NOTHING,
    "slides.source.keep": NOTHING,
    "slides.source.parallel": NOTHING,
    "slides.source.attempts": NOTHING,
    "slides.source.timeout_seconds": NOTHING,
    "slides.assume_mpp": {"raw_slides", "incoming_slide", "incoming_prediction"},
    "slides.image": {"raw_slides", "incoming_slide"},
    "slides.max_lost_share": TILES,
    "slides.max_upsampling": {"tiles", "incoming_tiles"},
    "tiling": TILES,
    "expression": {"expression_matrix"},
    "expression.file": NOTHING,
    "expression.layer": {"expression_matrix"},
    "expression.gene_lengths": NOTHING,
    "expression.filter": {"expression_matrix", "study_report"},
    "learning.commercial": NOTHING,
    "learning.offline": NOTHING,
    "learning.workers": NOTHING,
    "learning.selected": {"selected_model"},
    "learning.input_px": {"trained_model", "model_evaluation", *EMBEDDED},
    "learning.batch_size": {"trained_model", "model_evaluation"},
    "learning.augment": {"trained_model"},
    "learning.class_weights": {"trained_model"},
    "learning.device": {"trained_model", "model_evaluation"},
    "learning.threads": {"trained_model", "model_evaluation"},
    "learning.seed": {"trained_model", "training_set"},
    "learning.look_alikes": {"model_evaluation"},
    "embedding": EMBEDDED,
    "projection": PROJECTIONS,
    "prediction.covariates": {"gene_regressors", "prediction_comparison"},
    "prediction.clusters": {"expression_clusters", "prediction_comparison"},
    "prediction.bootstraps": {"gene_regressors", "prediction_comparison", "model_evaluation"},
    "prediction.permutations": {"gene_regressors"},
    "prediction.min_r2_within": {"recoverable_genes"},
    "prediction.max_q": {"recoverable_genes"},
    "prediction.seed": {"gene_regressors", "expression_clusters", "prediction_comparison", "model_evaluation"},
    "incoming": NOTHING,
    "resources": NOTHING,
}

# Mappings whose entries have tests of their own, and what decides which partitions there are.
APART = {
    "selection.tissues",
    "learning.experiments",
    "learning.studied",
    "learning.frozen",
    "prediction.regressors",
    "tiling.quality.per_tissue",
    "synthetic",
}


def leaves(settings: Settings, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield name and value of every setting."""
    for field in type(settings).model_fields:
        name, value = f"{path}{field}", getattr(settings, field)
        if name in APART:
            continue
        if isinstance(value, Settings):
            yield from leaves(value, f"{name}.")
        else:
            yield name, value


def other(name: str, value: Any, annotation: Any) -> Any:
    """Return another value of a setting, of a kind that its annotation allows."""
    options = [option for option in get_args(annotation) if isinstance(option, str) and option != value]
    if options:
        return options[0]
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, str):
        return f"{value}_other"
    if isinstance(value, tuple):
        return (*value, *(value[:1] or ("sex",)))
    allowed = str(annotation)
    if "Settings" in allowed:
        return {"x": 1}
    return 3.0 if "float" in allowed else "other" if "str" in allowed else 3


def changed(settings: Any, name: str, value: Any) -> Any:
    """Return a copy of `settings` in which the setting `name` has another value; nothing is validated."""
    first, _, rest = name.partition(".")
    if isinstance(settings, Mapping):
        return {**settings, first: changed(settings[first], rest, value) if rest else value}
    inner = changed(getattr(settings, first), rest, value) if rest else value
    copy = settings.model_copy(update={first: inner})
    if isinstance(settings, Study):
        copy._base = settings._base
    return copy


def due_after(before: Study, after: Study) -> set[str]:
    """Return the artefacts whose recorded settings would differ, the new slide `S1` among them."""
    incoming = {
        name: ["S1"] for name in ("incoming_slide", "incoming_tiles", "incoming_embedding", "incoming_prediction")
    }
    old, new = (
        {need.artefact: need.settings for need in study_assets(study).needs(incoming)} for study in (before, after)
    )
    return {str(artefact) for artefact in old.keys() & new.keys() if old[artefact] != new[artefact]}


def assets_of(artefacts: set[str]) -> set[str]:
    return {name.split(" ")[0] for name in artefacts}


STUDY = load_study("tiny")
LEAVES = dict(leaves(STUDY))


def annotation_of(name: str) -> Any:
    model: Any = Study
    for part in name.split("."):
        field = model.model_fields[part]
        model = field.annotation
    return model


def test_every_setting_stands_in_the_table() -> None:
    assert [name for name in LEAVES if expected(name) is None] == []


def expected(name: str) -> set[str] | None:
    parts = name.split(".")
    beginnings = [".".join(parts[:count]) for count in range(len(parts), 0, -1)]
    return next((READ_BY[beginning] for beginning in beginnings if beginning in READ_BY), None)


@pytest.mark.parametrize("name", sorted(LEAVES))
def test_a_changed_setting_makes_due_exactly_what_reads_it(name: str) -> None:
    value = other(name, LEAVES[name], annotation_of(name))
    assert value != LEAVES[name]
    assert assets_of(due_after(STUDY, changed(STUDY, name, value))) == expected(name)


def test_every_partition_of_a_room_is_due_where_the_setting_is_not_of_one() -> None:
    due = due_after(STUDY, changed(STUDY, "tiling.tile_px", 72))
    assert {f"tiles [{tissue}]" for tissue in STUDY.selection.tissues} <= due


def test_one_tissues_threshold_makes_that_tissue_due() -> None:
    due = due_after(STUDY, changed(STUDY, "tiling.quality.per_tissue", {"liver": {"min_piece_sd": 3.0}}))
    assert due == {"tiles [liver]", "training_set", "incoming_tiles [S1]"}


def test_one_regressors_setting_makes_that_regressor_due_and_another_one_nothing() -> None:
    regressors = STUDY.prediction.regressors
    forest = regressors["lightgbm"].model_copy(update={"trees": 9})
    edited = changed(STUDY, "prediction.regressors", {**regressors, "lightgbm": forest})
    assert due_after(STUDY, edited) == {"gene_regressors [lightgbm]"}
    added = changed(STUDY, "prediction.regressors", {**regressors, "lightgbm_9": forest})
    assert due_after(STUDY, added) == {"recoverable_genes"}  # which compares them all


def test_one_experiments_setting_makes_that_experiment_due_and_another_one_none() -> None:
    experiments = STUDY.learning.experiments
    longer = experiments["lite0"].model_copy(update={"learning_rate": 1e-3})
    edited = changed(STUDY, "learning.experiments", {"lite0": longer})
    assert due_after(STUDY, edited) == {"trained_model [lite0]", "experiment_comparison"}
    added = changed(STUDY, "learning.experiments", {**experiments, "faster": longer})
    assert due_after(STUDY, added) == {"experiment_comparison"}


def test_the_recipe_of_a_synthetic_cohort_is_read_by_nothing() -> None:
    assert STUDY.synthetic is not None
    other_seed = STUDY.synthetic.model_copy(update={"seed": 99})
    assert due_after(STUDY, changed(STUDY, "synthetic", other_seed)) == set()


def test_which_experiment_is_studied_concerns_its_comparison_its_epochs_and_the_page() -> None:
    experiments = {**STUDY.learning.experiments, "other": STUDY.learning.experiments["lite0"]}
    two = changed(STUDY, "learning.experiments", experiments)
    due = due_after(two, changed(two, "learning.studied", "other"))
    assert due == {"experiment_comparison", "epoch_projection [epoch_001]", "study_report"}


def test_a_study_that_extends_from_another_folder_has_the_same_settings(tmp_path: Any) -> None:
    (tmp_path / "child.yaml").write_text("extends: tiny\nname: tiny\n")
    child = load_study(tmp_path / "child.yaml")
    assert child.cohort.manifest != STUDY.cohort.manifest
    assert due_after(STUDY, child) == set()
    codes = [{n: a.code_version(d) for n, d in a.declared.items()} for a in map(study_assets, (STUDY, child))]
    assert codes[0] == codes[1]
