"""Training one experiment. Imports torch: import this inside functions."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import torch

from histo_assets.core.files import atomic_path, file_digest
from histo_assets.core.learning.checkpoint import Checkpoint, save_weights, weights_name
from histo_assets.core.learning.datasets import epoch_order
from histo_assets.core.learning.errors import LearningError, TileBytes
from histo_assets.core.learning.forward import threads
from histo_assets.core.learning.learner import Learner, batch_seed
from histo_assets.core.learning.monitor import Monitor, class_weights, train_sample
from histo_assets.core.learning.pixels import Positions, TilePixels, Tiles, augmented, batch_plan, in_order, scaled
from histo_assets.core.learning.resume import (
    Progress,
    describe_environment,
    differences,
    network_digest,
    read_state,
    save_state,
    training_set_digest,
)
from histo_assets.core.learning.settings import ExperimentSettings, LearningSettings

REVISION = 1
SAVE_SECONDS = 180.0
TELL_SECONDS = 5.0
HISTORY = (
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
)


def train(
    experiment: ExperimentSettings,
    name: str,
    training_set: pl.DataFrame,
    reader: TileBytes,
    folder: Path,
    labels: Sequence[str],
    settings: LearningSettings,
    progress: Callable[[str], None],
    resume_folder: Path | None = None,
) -> Checkpoint:
    """Return the checkpoint of an experiment, trained into `folder`.

    On the CPU the result is the same bit for bit for the same inputs, processor type, versions and
    number of threads, however many workers there are and however often the run was killed:
    augmentation is drawn from (seed, epoch, tile), dropout from (seed, epoch, batch), and the state
    in `resume_folder`, written after every epoch and every three minutes, holds everything else.

    Parameters
    ----------
    training_set
        What `build_training_set` returned.
    labels
        The tissues in the order of their labels.
    progress
        Called every few seconds with a line on epoch, batch, speed, loss and time left.
    resume_folder
        Where the unfinished state is. A state of other settings or other tiles is not used, and a
        line says what differs. The caller removes the folder once the checkpoint is published.

    Raises
    ------
    LearningError
        The loss is not finite (the message names the tiles of the batch), weights or an epoch's
        order are missing, or a tile cannot be decoded.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with threads(settings.threads), torch.random.fork_rng(devices=[]):
        run = _Run(experiment, name, training_set, reader, tuple(labels), settings, progress)
        work = Path(resume_folder or folder)
        run.resume(work)
        run.finish(work)
        return run.publish(work, folder)


class _Run:
    """One training run: what it is made of, and how far it is."""

    def __init__(
        self,
        experiment: ExperimentSettings,
        name: str,
        training_set: pl.DataFrame,
        reader: TileBytes,
        labels: tuple[str, ...],
        settings: LearningSettings,
        told: Callable[[str], None],
    ) -> None:
        self.experiment, self.name, self.labels, self.settings, self.told = experiment, name, labels, settings, told
        self.plans = [
            batch_plan(epoch_order(training_set, epoch), settings.batch_size)
            for epoch in range(1, experiment.epochs + 1)
        ]
        weights = class_weights(training_set, len(labels)) if settings.class_weights else None
        self.learner = Learner(experiment, settings, len(labels), weights)
        self.pixels = TilePixels(training_set, reader, settings.input_px)
        self.targets = torch.from_numpy(training_set["label"].to_numpy().copy())
        watched = {
            "train_eval": train_sample(training_set, settings.seed),
            "validation": np.flatnonzero(training_set["side"].to_numpy() == "validation"),
        }
        self.monitors = {
            side: Monitor(self.learner, self.pixels, self.targets, rows, settings.batch_size)
            for side, rows in watched.items()
        }
        self.identity = {
            "revision": REVISION,
            "labels": list(labels),
            "training_set": training_set_digest(training_set),
            "initial_network": network_digest(self.learner.network),
            **experiment.model_dump(mode="json"),
            **{f"all.{key}": getattr(settings, key) for key in ("input_px", "batch_size", "augment", "class_weights")},
            "all.seed": settings.seed,
        }
        self.environment = describe_environment(self.learner.device, settings.threads, self.learner.precision)
        self.at = Progress()
        self._started = self._told_at = self._saved_at = time.monotonic()
        self._trained = 0

    def resume(self, work: Path) -> None:
        """Take up the unfinished state in `work`, if there is one that fits."""
        state = read_state(work)
        if state is None:
            return
        if isinstance(state, str):
            self.told(f"{self.name}: {state}; starting from the first epoch")
            return
        changed = differences(state.identity, self.identity)
        saved = [epoch for epoch in self.experiment.saved_epochs if epoch < state.progress.epoch]
        gone = [epoch for epoch in saved if not (work / weights_name(epoch)).exists()]
        if changed or gone:
            why = f"was made from something else ({changed})" if changed else f"lacks the weights of epochs {gone}"
            self.told(f"{self.name}: the unfinished state in {work} {why}; starting from the first epoch")
            return
        state.restore(self.learner.network, self.learner.optimizer)
        self.at = state.progress
        moved = differences(state.environment, self.environment)
        inexact = f", no longer exactly as an unbroken run, for it began elsewhere ({moved})" if moved else ""
        self.told(f"{self.name}: resumed at epoch {self.at.epoch}, batch {self.at.batches + 1}{inexact}")

    def finish(self, work: Path) -> None:
        """Train the epochs that are left, keeping weights and state in `work`."""
        while self.at.epoch <= self.experiment.epochs:
            at = self.at
            if at.batches == 0 and self.experiment.mode == "restart":
                self.learner.optimizer = self.learner.new_optimizer()
            clock = _Clock(at)
            self._train_epoch(clock, work)
            row = self._epoch_row(clock)
            at.history.append(row)
            self.told(
                f"{self.name}: epoch {at.epoch}/{self.experiment.epochs} done in {row['seconds']:.0f} s, accuracy "
                f"{row['train_eval_accuracy']:.3f} on train, {row['validation_accuracy']:.3f} on validation"
            )
            if at.epoch in self.experiment.saved_epochs:
                save_weights(self.learner.network, work / weights_name(at.epoch))
            self.at = Progress(epoch=at.epoch + 1, history=at.history)
            self._save_state(work)

    def publish(self, work: Path, folder: Path) -> Checkpoint:
        """Return the finished checkpoint, written whole into `folder`."""
        digests = {}
        for epoch in self.experiment.saved_epochs:
            target = folder / weights_name(epoch)
            if work != folder:
                with atomic_path(target) as temporary:
                    shutil.copyfile(work / target.name, temporary)
            digests[epoch] = file_digest(target)
        checkpoint = Checkpoint(
            folder=folder,
            name=self.name,
            experiment=self.experiment,
            labels=self.labels,
            input_px=self.settings.input_px,
            digests=digests,
            training_set=str(self.identity["training_set"]),
            environment=self.environment,
        )
        history = pd.DataFrame(self.at.history, columns=list(HISTORY))
        checkpoint.describe(history.astype({"epoch": "int64", "tiles": "int64"}))
        return checkpoint

    def _train_epoch(self, clock: _Clock, work: Path) -> None:
        at = self.at
        rest = self.plans[at.epoch - 1][at.batches :]
        for positions, tiles in zip(rest, in_order(self._augmented, rest, self.settings.workers), strict=True):
            seed = batch_seed(self.experiment.seed, at.epoch, at.batches)
            loss, correct = self.learner.step(tiles, self.targets[positions], self._learning_rate(), seed)
            if not math.isfinite(loss):
                names = ", ".join(self.pixels.tiles[position] for position in positions)
                raise LearningError(
                    f"{self.name}: the loss is {loss} at epoch {at.epoch}, batch {at.batches + 1}, with the tiles "
                    f"{names}; lower `learning_rate` or look at these tiles"
                )
            at.batches += 1
            at.loss_sum += loss * len(positions)
            at.correct += correct
            at.seen += len(positions)
            self._trained += len(positions)
            clock.stamp(at)
            self._tell()
            if time.monotonic() - self._saved_at >= SAVE_SECONDS:
                self._save_state(work)

    def _augmented(self, positions: Positions) -> Tiles:
        pixels = self.pixels.read(positions)
        backbone = self.learner.network.backbone
        if not self.settings.augment:
            return scaled(pixels, backbone)
        names = [self.pixels.tiles[position] for position in positions]
        return augmented(pixels, backbone, names, self.experiment.seed, self.at.epoch)

    def _learning_rate(self) -> float:
        if self.experiment.schedule == "constant":
            return self.experiment.learning_rate
        done = sum(len(plan) for plan in self.plans[: self.at.epoch - 1]) + self.at.batches
        share = done / sum(len(plan) for plan in self.plans)
        return self.experiment.learning_rate * 0.5 * (1 + math.cos(math.pi * share))

    def _epoch_row(self, clock: _Clock) -> dict[str, float]:
        at = self.at
        row: dict[str, float] = {
            "epoch": at.epoch,
            "train_loss": at.loss_sum / at.seen,
            "train_accuracy": at.correct / at.seen,
            "learning_rate": float(self.learner.optimizer.param_groups[0]["lr"]),
            "tiles": at.seen,
        }
        for side, monitor in self.monitors.items():
            row[f"{side}_loss"], row[f"{side}_accuracy"] = monitor.loss_and_accuracy()
        clock.stamp(at)
        return row | {"seconds": at.seconds, "cpu_seconds": at.cpu_seconds}

    def _tell(self) -> None:
        now, at = time.monotonic(), self.at
        if now - self._told_at < TELL_SECONDS:
            return
        self._told_at = now
        speed = self._trained / (now - self._started)
        plans = [self.plans[at.epoch - 1][at.batches :], *self.plans[at.epoch :]]
        left = int(sum(len(batch) for plan in plans for batch in plan) / speed)
        self.told(
            f"{self.name}: epoch {at.epoch}/{self.experiment.epochs}, batch {at.batches}/"
            f"{len(self.plans[at.epoch - 1])}, {speed:.0f} tiles/s, loss {at.loss_sum / at.seen:.3f}, "
            f"{left // 60}:{left % 60:02d} left"
        )

    def _save_state(self, work: Path) -> None:
        learner = self.learner
        save_state(work, learner.network, learner.optimizer, self.at, self.identity, self.environment)
        self._saved_at = time.monotonic()


class _Clock:
    """Adds the time since it was made to what an epoch had taken before."""

    def __init__(self, at: Progress) -> None:
        self._wall, self._cpu = time.monotonic() - at.seconds, time.process_time() - at.cpu_seconds

    def stamp(self, at: Progress) -> None:
        """Write the epoch's time so far into `at`."""
        at.seconds, at.cpu_seconds = time.monotonic() - self._wall, time.process_time() - self._cpu
