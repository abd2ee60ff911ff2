"""Training, stopping and going on, and the checkpoint that it leaves."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from torch import nn

from histo_assets.core import progress
from histo_assets.core.cohort.settings import SplitSettings
from histo_assets.core.files import file_digest
from histo_assets.core.networks.backbones import build_network
from histo_assets.core.networks.errors import LearningError
from histo_assets.core.networks.forward import fast_precision
from histo_assets.core.networks.pixels import plain
from histo_assets.core.training import loop
from histo_assets.core.training.checkpoint import Checkpoint, save_weights
from histo_assets.core.training.datasets import TrainingTiles, build_training_set
from histo_assets.core.training.kept import is_over
from histo_assets.core.training.learner import Learner, Step, batch_seed
from histo_assets.core.training.monitor import Monitor, class_weights
from histo_assets.core.training.resume import STATE_FILE
from histo_assets.core.training.settings import ExperimentSettings
from histo_assets_tests.unit.training_cohort import (
    TISSUES,
    donor_split,
    experiment,
    learning,
    predicted_tiles,
    tile_index,
    training_set,
    training_tiles,
)

TIMES = ["seconds", "cpu_seconds"]


class Killed(BaseException):
    """Stands for the end of the process."""


def trained(
    folder: Path, chosen: ExperimentSettings, resume: Path | None = None, progress=lambda line: None, **changes
):
    return loop.train("lite", training_tiles(chosen), learning(chosen, **changes), folder, progress, resume)


@pytest.fixture
def killed(monkeypatch):
    """Return a function that trains with a state after every batch and dies as it reports its nth line."""

    def run(folder: Path, chosen: ExperimentSettings, resume: Path, at_line: int) -> list[str]:
        lines: list[str] = []

        def report(line: str) -> None:
            lines.append(line)
            if len(lines) == at_line:
                raise Killed

        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(loop, "SAVE_SECONDS", 0.0)
            patch.setattr(progress, "SECONDS", 0.0)
            trained(folder, chosen, resume, report)
        assert not (folder / "checkpoint.json").exists()
        return lines

    return run


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Checkpoint:
    return trained(tmp_path_factory.mktemp("trained"), experiment(epochs=4, checkpoints=(1,)))


def classifier(learner: Learner) -> nn.Linear:
    layer = learner.network.model.get_submodule("classifier.1")
    assert isinstance(layer, nn.Linear)
    return layer


def assert_equal(one: Checkpoint, other: Checkpoint) -> None:
    assert one.digests == other.digests
    pd.testing.assert_frame_equal(one.history.drop(columns=TIMES), other.history.drop(columns=TIMES), check_exact=True)


def test_training_learns_what_can_be_seen(tmp_path: Path) -> None:
    chosen = experiment(epochs=4, freeze_up_to=8, learning_rate=0.02)
    assert trained(tmp_path, chosen).history["validation_accuracy"].iloc[-1] > 0.8


def test_history_has_a_row_an_epoch(checkpoint: Checkpoint) -> None:
    history = checkpoint.history
    assert list(history.columns) == [
        "epoch",
        "train_loss",
        "train_accuracy",
        "train_eval_accuracy",
        "train_eval_loss",
        "validation_accuracy",
        "validation_loss",
        "seconds",
        "cpu_seconds",
        "learning_rate",
        "tiles",
    ]
    assert history["epoch"].to_list() == [1, 2, 3, 4]
    assert (history["tiles"] == 60).all()
    assert history["train_loss"].iloc[-1] < history["train_loss"].iloc[0]
    assert history[["train_eval_accuracy", "validation_accuracy"]].map(lambda share: 0 <= share <= 1).all(axis=None)
    assert (history[TIMES] > 0).all(axis=None)


def test_frozen_stages_stay_and_the_rest_learns(checkpoint: Checkpoint) -> None:
    before = build_network("efficientnet_lite0", 3, seed=0).model.state_dict()
    after = checkpoint.network().model.state_dict()
    changed = {key.split(".")[1] for key in before if not torch.equal(before[key], after[key])}
    assert changed == {"7", "8", "1"}  # two stages of features, and the linear layer of the classifier


def test_saved_epochs_differ_and_have_names_and_digests(checkpoint: Checkpoint) -> None:
    assert checkpoint.epochs == (1, 4)
    assert checkpoint.weights_path(1).name == "epoch_001.safetensors"
    assert checkpoint.weights_digest(1) != checkpoint.weights_digest()
    with pytest.raises(LearningError, match="epoch 2 of lite was not saved; saved are \\[1, 4\\]"):
        checkpoint.network(2)


def test_a_checkpoint_reads_back_as_it_was_written(checkpoint: Checkpoint) -> None:
    again = Checkpoint.read(checkpoint.folder)
    assert again == checkpoint
    assert again.labels == TISSUES
    tiles = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(again.network()(tiles), checkpoint.network()(tiles))
    assert not again.network().training


@pytest.mark.parametrize(
    ("changes", "deaths"),
    [
        ({"epochs": 2, "mode": "at_once", "schedule": "cosine", "checkpoints": (1,)}, (2, 4)),
        ({"epochs": 2, "mode": "restart"}, (6,)),
        ({"epochs": 1, "weights": "random", "freeze_up_to": None}, (3,)),
    ],
)
def test_a_killed_and_resumed_run_equals_the_unbroken_one_bit_for_bit(tmp_path: Path, killed, changes, deaths) -> None:
    chosen = experiment(**changes)
    for death in deaths:
        killed(tmp_path / "broken", chosen, tmp_path / "state", death)
    lines: list[str] = []
    broken = trained(tmp_path / "broken", chosen, tmp_path / "state", lines.append)
    assert lines[0].startswith("lite: resumed at epoch ")
    assert_equal(trained(tmp_path / "whole", chosen), broken)


def test_workers_change_nothing(tmp_path: Path) -> None:
    chosen = experiment(epochs=1)
    assert_equal(trained(tmp_path / "none", chosen), trained(tmp_path / "two", chosen, workers=2))


def test_training_leaves_the_random_state_and_threads_of_torch_alone(tmp_path: Path) -> None:
    before = torch.random.get_rng_state(), torch.get_num_threads()
    trained(tmp_path, experiment(epochs=1), threads=1)
    assert torch.equal(torch.random.get_rng_state(), before[0])
    assert torch.get_num_threads() == before[1]


def test_an_unfinished_state_that_does_not_fit_is_left_or_used_and_said(tmp_path: Path, killed) -> None:
    first = killed(tmp_path / "a", experiment(epochs=1), tmp_path / "state", 2)
    for part in ("lite: epoch 1/1, batch 1/4, ", " tiles/s, loss ", " left"):
        assert part in first[0]
    state = tmp_path / "state" / STATE_FILE
    whole = state.read_bytes()

    lines: list[str] = []
    trained(tmp_path / "b", experiment(epochs=1), tmp_path / "state", lines.append, threads=2)
    assert "resumed at epoch 1, batch 2, no longer exactly" in lines[0] and "threads: 1 -> 2" in lines[0]

    state.write_bytes(whole)
    lines.clear()
    other = trained(tmp_path / "c", experiment(epochs=1, learning_rate=1e-3), tmp_path / "state", lines.append)
    assert "learning_rate: 0.003 -> 0.001" in lines[0] and "starting from the first epoch" in lines[0]
    assert other.history["tiles"].to_list() == [60]

    state.write_bytes(whole[:-1000])
    lines.clear()
    trained(tmp_path / "d", experiment(epochs=1), tmp_path / "state", lines.append)
    assert "cannot be read" in lines[0] and "starting from the first epoch" in lines[0]


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_tiles(tmp_path: Path) -> None:
    chosen = experiment(learning_rate=1e30)
    with pytest.raises(
        LearningError, match=r"the loss is (nan|inf) at epoch 1, batch 2; .*no epoch is done.*: donor\d-"
    ):
        trained(tmp_path, chosen)
    assert not (tmp_path / "checkpoint.json").exists()


@pytest.mark.parametrize(("step", "what"), [(Step(math.nan, 1.0, 0), "loss is nan"), (Step(1.0, math.inf, 0), "inf")])
def test_the_last_good_checkpoint_outlives_a_loss_or_gradient_that_is_not_finite(
    tmp_path: Path, monkeypatch, step: Step, what: str
) -> None:
    chosen = experiment(epochs=3)
    whole = trained(tmp_path / "whole", experiment(epochs=3, checkpoints=(1,)))
    learn = Learner.step

    def breaks(self, batch, targets, rate, seed):
        second_epoch = seed == batch_seed(chosen.seed, 2, 1)
        return step if second_epoch else learn(self, batch, targets, rate, seed)

    monkeypatch.setattr(Learner, "step", breaks)
    with pytest.raises(LearningError, match=rf"{what} at epoch 2, batch 2; .*the weights after epoch 1 are kept in"):
        trained(tmp_path / "folder", chosen, tmp_path / "state")
    assert file_digest(tmp_path / "state" / "epoch_001.safetensors") == whole.weights_digest(1)


def test_a_gradient_that_is_not_finite_is_not_learnt_from() -> None:
    chosen = experiment(weights="random")
    learner = Learner(chosen, learning(chosen), 3, None)
    before = {name: tensor.clone() for name, tensor in learner.network.state_dict().items() if "num_" not in name}
    blank = plain(np.full((4, 48, 48, 3), 128, np.uint8), learner.network.backbone)
    classifier(learner).weight.register_hook(lambda gradient: gradient * math.nan)
    assert not learner.step(blank, torch.tensor([0, 1, 2, 0]), 1e-3, 0).is_finite
    after = learner.network.state_dict()
    assert all(torch.equal(before[n], after[n]) for n, p in learner.network.named_parameters())


def test_clipped_gradients_have_the_length_asked_for_and_smaller_ones_stay() -> None:
    lengths = {}
    for clip in (None, 1e-3, 1e6):
        chosen = experiment(weights="random", clip_norm=clip)
        learner = Learner(chosen, learning(chosen), 3, None)
        blank = plain(np.arange(4 * 48 * 48 * 3).reshape(4, 48, 48, 3).astype(np.uint8), learner.network.backbone)
        learner.step(blank, torch.tensor([0, 1, 2, 0]), 0.0, 0)
        gradients = [p.grad for p in learner.network.parameters() if p.grad is not None]
        lengths[clip] = float(torch.nn.utils.get_total_norm(gradients))
    assert lengths[1e-3] == pytest.approx(1e-3, rel=1e-3)
    assert lengths[None] == lengths[1e6] > 1e-3


def test_smoothed_labels_make_a_sure_network_pay() -> None:
    losses = []
    for smoothing in (0.0, 0.2):
        chosen = experiment(weights="random", label_smoothing=smoothing)
        learner = Learner(chosen, learning(chosen), 3, None)
        with torch.no_grad():
            classifier(learner).bias[:] = torch.tensor([20.0, 0.0, 0.0])
        blank = plain(np.full((4, 48, 48, 3), 128, np.uint8), learner.network.backbone)
        losses.append(learner.step(blank, torch.zeros(4, dtype=torch.int64), 0.0, 0).loss)
    assert losses[0] < 0.01 and losses[1] > 1.0


def test_a_run_stops_when_validation_gets_no_better_and_keeps_its_best_epoch(tmp_path: Path, monkeypatch) -> None:
    accuracies = iter([0.5, 0.7, 0.6, 0.7, 0.9, 0.9])
    judge = Monitor.loss_and_accuracy

    def scripted(self, log_probabilities):
        return (1.0, next(accuracies)) if len(self.rows) == 24 else judge(self, log_probabilities)

    monkeypatch.setattr(Monitor, "loss_and_accuracy", scripted)
    lines: list[str] = []
    chosen, studied = experiment(epochs=6, checkpoints=(1,), patience=2), experiment(epochs=6)
    settings = learning(studied, experiments={"lite": chosen, "studied": studied}, studied="studied")
    checkpoint = loop.train("lite", training_tiles(studied), settings, tmp_path, lines.append)
    assert checkpoint.epochs == (1, 2, 4)  # named, best, last
    assert len(checkpoint.history) == 4
    assert "stopped after epoch 4" in lines[-1]
    assert {path.name for path in tmp_path.glob("epoch_*.safetensors")} == {
        f"epoch_00{epoch}.safetensors" for epoch in (1, 2, 4)
    }
    assert Checkpoint.read(tmp_path) == checkpoint


def test_an_experiment_without_validation_tiles_never_stops_early() -> None:
    history = [{"validation_accuracy": math.nan, "validation_loss": math.nan}] * 5
    assert not is_over(experiment(epochs=6, patience=1), history)
    assert is_over(experiment(epochs=5, patience=1), history)


def test_a_studied_experiment_that_may_stop_early_is_refused() -> None:
    with pytest.raises(ValueError, match="may stop early"):
        learning(experiment(patience=2))


def test_a_checkpoint_holds_what_its_networks_say_of_every_validation_tile(checkpoint: Checkpoint) -> None:
    tiles, reader = training_set(experiment(epochs=4))
    validation = tiles.filter(pl.col("side") == "validation")
    for epoch in checkpoint.epochs:
        predictions = checkpoint.validation(epoch)
        assert predictions["tile"].to_list() == validation["tile"].to_list()
        again = predicted_tiles(checkpoint.network(epoch), validation, reader)
        is_rounded = fast_precision(torch.device("cpu")) is torch.bfloat16  # the frozen stages, where it is native
        assert np.allclose(predictions["confidence"], again["confidence"], atol=0.1 if is_rounded else 1e-4)
        accuracy = checkpoint.history.set_index("epoch")["validation_accuracy"][epoch]
        assert (predictions["predicted"] == predictions["tissue"]).mean() == pytest.approx(accuracy)


def test_what_was_trained_before_with_the_same_settings_and_tiles_is_not_trained_again(
    tmp_path: Path, checkpoint: Checkpoint
) -> None:
    chosen = experiment(epochs=4, checkpoints=(1,))
    leak = experiment(epochs=9, split="tile", order=2)
    index, reader = tile_index()
    settings = learning(chosen, experiments={"lite": chosen, "leak": leak})
    rows = build_training_set(index, donor_split(), TISSUES, settings, SplitSettings())
    lines: list[str] = []

    def again(folder: str, chosen: ExperimentSettings) -> Checkpoint:
        lines.clear()
        settings = learning(chosen, experiments={"lite": chosen, "leak": leak})
        tiles = TrainingTiles(rows, reader, TISSUES)
        return loop.train("lite", tiles, settings, tmp_path / folder, lines.append, earlier=checkpoint)

    assert_equal(again("same", chosen), checkpoint)
    assert len(lines) == 1 and "trained before" in lines[0]
    changed = again("changed", chosen.model_copy(update={"epochs": 1, "checkpoints": (), "seed": 5}))
    assert "trained before" not in lines[0] and changed.epochs == (1,)


@pytest.mark.parametrize("stage", [9, -2])
def test_freezing_stages_that_the_backbone_has_not_is_refused(tmp_path: Path, stage: int) -> None:
    with pytest.raises(LearningError, match="has the stages 0 to 8"):
        trained(tmp_path, experiment(freeze_up_to=stage))


def test_a_whole_network_that_is_frozen_trains_the_classifier_alone(tmp_path: Path) -> None:
    checkpoint = trained(tmp_path, experiment(epochs=1, freeze_up_to=8))
    before, after = build_network("efficientnet_lite0", 3).model.state_dict(), checkpoint.network().model.state_dict()
    assert {key for key in before if not torch.equal(before[key], after[key])} == {
        "classifier.1.weight",
        "classifier.1.bias",
    }


def test_without_validation_tiles_its_figures_are_nan(tmp_path: Path) -> None:
    chosen = experiment(epochs=1)
    rows, reader = training_set(chosen)
    rows = rows.filter(pl.col("side") != "validation")
    tiles = TrainingTiles(rows, reader, TISSUES)
    checkpoint = loop.train("lite", tiles, learning(chosen), tmp_path, lambda line: None)
    assert checkpoint.history["validation_accuracy"].isna().all()


def test_classes_weigh_inversely_to_their_tiles_and_one_on_average() -> None:
    tiles = pl.DataFrame({"label": [0] * 6 + [2] * 2 + [1] * 5, "side": ["train"] * 8 + ["test"] * 5})
    weights = class_weights(tiles, 4).numpy()
    assert np.allclose(weights, [8 / 6 / 2, 0, 8 / 2 / 2, 0])
    assert np.isclose((weights[[0] * 6 + [2] * 2]).mean(), 1)


@pytest.fixture
def copied(checkpoint: Checkpoint, tmp_path: Path) -> Path:
    for file in checkpoint.folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


def test_weights_of_another_architecture_in_a_checkpoint_are_refused_with_both_names(copied: Path) -> None:
    save_weights(build_network("efficientnet_lite1", 3, "random"), copied / "epoch_004.safetensors")
    with pytest.raises(
        LearningError, match=r"epoch_004\.safetensors holds weights of efficientnet_lite1, not of eff.*lite0"
    ):
        Checkpoint.read(copied)


def test_weights_for_other_labels_in_a_checkpoint_are_refused(copied: Path) -> None:
    save_weights(build_network("efficientnet_lite0", 5, "random"), copied / "epoch_004.safetensors")
    with pytest.raises(LearningError, match="another number of classes than the 3 labels"):
        Checkpoint.read(copied)


def test_a_damaged_or_missing_file_of_a_checkpoint_is_named(copied: Path) -> None:
    weights = copied / "epoch_001.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:5000])
    with pytest.raises(LearningError, match=r"epoch_001\.safetensors cannot be read"):
        Checkpoint.read(copied)
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(LearningError, match=r"epoch_001\.safetensors is not the file that was saved"):
        Checkpoint.read(copied).network(1)
    weights.unlink()
    with pytest.raises(LearningError, match=r"epoch_001\.safetensors cannot be read"):
        Checkpoint.read(copied)


def test_a_damaged_or_missing_description_of_a_checkpoint_is_named(copied: Path) -> None:
    description = copied / "checkpoint.json"
    content = json.loads(description.read_text())
    for damaged in ("{", "[]", json.dumps(content | {"labels": None}), json.dumps(content | {"experiment": {"a": 1}})):
        description.write_text(damaged)
        with pytest.raises(LearningError, match=r"checkpoint\.json is damaged"):
            Checkpoint.read(copied)
    description.unlink()
    with pytest.raises(LearningError, match="holds no finished checkpoint"):
        Checkpoint.read(copied)
