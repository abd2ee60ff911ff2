"""The post's experiments, and what it takes to add one."""

from __future__ import annotations

from pathlib import Path

import pytest

from histo_assets.core.training.settings import ExperimentSettings
from histo_assets.defs.partitions import StudyPartitions
from histo_assets.studies.study import load_study


@pytest.fixture(scope="module")
def experiments() -> dict[str, ExperimentSettings]:
    return load_study("gtex_post").learning.experiments


def alike(experiments: dict[str, ExperimentSettings], *but: str) -> list[ExperimentSettings]:
    """Return the experiments that are the post's standard one but for the named fields."""
    standard = experiments["efficientnet_b0"]
    return [e for e in experiments.values() if e.model_dump(exclude=set(but)) == standard.model_dump(exclude=set(but))]


def test_the_posts_four_architectures_are_trained_alike(experiments) -> None:
    backbones = {experiment.backbone for experiment in alike(experiments, "backbone")}
    assert backbones == {"efficientnet_b0", "resnet50", "densenet121", "convnext_tiny"}


def test_learning_rates_lie_on_both_sides_of_the_posts_and_one_changes(experiments) -> None:
    rates = {e.learning_rate for e in alike(experiments, "learning_rate")}
    assert min(rates) < 1e-4 < max(rates) and len(rates) == 5
    assert [e for e in alike(experiments, "learning_rate", "schedule") if e.schedule == "cosine"]


def test_restart_stands_beside_at_once(experiments) -> None:
    assert {(e.mode, e.epochs) for e in alike(experiments, "mode")} == {("at_once", 5), ("restart", 5)}


def test_thirty_epochs_have_the_posts_checkpoints(experiments) -> None:
    assert load_study("gtex_post").learning.studied == "efficientnet_b0_30"
    assert experiments["efficientnet_b0_30"].saved_epochs == (5, 10, 20, 30)


def test_five_first_epochs_differ_in_seed_and_order_alone(experiments) -> None:
    first = [e for e in alike(experiments, "seed", "order", "epochs") if e.epochs == 1]
    assert len({e.seed for e in first}) == len({e.order for e in first}) == len(first) == 5


def test_the_leak_has_a_twin_without_it(experiments) -> None:
    assert load_study("gtex_post").split.unit == "tile"
    assert {e.split for e in alike(experiments, "split")} == {None, "donor"}


def test_an_experiment_more_is_a_line_of_yaml_and_a_partition(tmp_path: Path) -> None:
    demo = load_study("demo")
    lines = [f"    {name}: {experiment.model_dump_json()}" for name, experiment in demo.learning.experiments.items()]
    study = tmp_path / "mine.yaml"
    study.write_text(
        "extends: demo\nname: mine\nlearning:\n  experiments:\n"
        + "\n".join([*lines, "    smooth: {backbone: efficientnet_lite0, epochs: 2, label_smoothing: 0.1}"])
        + "\n"
    )
    keys = StudyPartitions(load_study(study)).experiments.get_partition_keys()
    assert keys == [*demo.learning.experiments, "smooth"]
