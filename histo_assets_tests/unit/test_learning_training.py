"""Training, stopping and going on, and the checkpoint that it leaves."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch

from histo_assets.core.learning import training
from histo_assets.core.learning.backbones import build_network
from histo_assets.core.learning.checkpoint import Checkpoint, save_weights
from histo_assets.core.learning.errors import LearningError
from histo_assets.core.learning.monitor import class_weights
from histo_assets.core.learning.resume import STATE_FILE
from histo_assets.core.learning.settings import ExperimentSettings
from histo_assets_tests.unit.learning_cohort import TISSUES, experiment, learning, training_set

TIMES = ["seconds", "cpu_seconds"]


class Killed(BaseException):
    """Stands for the end of the process."""


def trained(folder: Path, chosen: ExperimentSettings, resume: Path | None = None, told=lambda line: None, **changes):
    tiles, reader = training_set(chosen)
    return training.train(chosen, "lite", tiles, reader, folder, TISSUES, learning(chosen, **changes), told, resume)


@pytest.fixture
def killed(monkeypatch):
    """Return a function that trains with a state after every batch and dies as it tells its nth line."""

    def run(folder: Path, chosen: ExperimentSettings, resume: Path, at_line: int) -> list[str]:
        lines: list[str] = []

        def told(line: str) -> None:
            lines.append(line)
            if len(lines) == at_line:
                raise Killed

        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(training, "SAVE_SECONDS", 0.0)
            patch.setattr(training, "TELL_SECONDS", 0.0)
            trained(folder, chosen, resume, told)
        assert not (folder / "checkpoint.json").exists()
        return lines

    return run


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Checkpoint:
    return trained(tmp_path_factory.mktemp("trained"), experiment(epochs=4, checkpoints=(1,)))


def assert_equal(one: Checkpoint, other: Checkpoint) -> None:
    assert one.digests == other.digests
    pd.testing.assert_frame_equal(one.history.drop(columns=TIMES), other.history.drop(columns=TIMES), check_exact=True)


def test_training_learns_what_can_be_seen(tmp_path: Path) -> None:
    chosen = experiment(epochs=4, freeze_up_to=8, learning_rate=0.02)
    assert trained(tmp_path, chosen).history["validation_accuracy"].iloc[-1] > 0.8


def test_history_has_a_row_an_epoch(checkpoint: Checkpoint) -> None:
    history = checkpoint.history
    assert list(history.columns) == list(training.HISTORY)
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
    told = killed(tmp_path / "a", experiment(epochs=1), tmp_path / "state", 2)
    for part in ("lite: epoch 1/1, batch 1/4, ", " tiles/s, loss ", " left"):
        assert part in told[0]
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
    with pytest.raises(LearningError, match=r"the loss is (nan|inf) at epoch 1, batch 2, with the tiles donor\d-"):
        trained(tmp_path, chosen)
    assert not (tmp_path / "checkpoint.json").exists()


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
    tiles, reader = training_set(chosen)
    tiles = tiles.filter(pl.col("side") != "validation")
    checkpoint = training.train(chosen, "lite", tiles, reader, tmp_path, TISSUES, learning(chosen), lambda line: None)
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
