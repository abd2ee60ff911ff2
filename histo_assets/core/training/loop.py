"""Training one experiment. Imports torch: import this inside functions."""

from __future__ import annotations

import math
import shutil
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from histo_assets.core.files import atomic_path, file_digest, settings_digest
from histo_assets.core.networks.errors import LearningError
from histo_assets.core.networks.forward import threads
from histo_assets.core.networks.pixels import Batch, Positions, TilePixels, augmented, batch_plan, in_order, plain
from histo_assets.core.networks.predictions import prediction_table
from histo_assets.core.networks.tables import TilePredictions
from histo_assets.core.progress import EveryFewSeconds, Progress, minutes
from histo_assets.core.tables import write_table
from histo_assets.core.training.checkpoint import Checkpoint, predictions_name, save_weights, weights_name
from histo_assets.core.training.datasets import TrainingTiles, epoch_order, training_rows
from histo_assets.core.training.kept import is_over, kept_epochs, remove_epochs
from histo_assets.core.training.learner import Learner, Step, batch_seed
from histo_assets.core.training.memory import ran_out_of_memory, smaller_batch
from histo_assets.core.training.monitor import Monitor, class_weights, train_sample
from histo_assets.core.training.resume import (
    Clock,
    TrainingProgress,
    describe_environment,
    differences,
    network_digest,
    read_state,
    save_state,
    training_set_digest,
)
from histo_assets.core.training.settings import LearningSettings
from histo_assets.core.training.tables import History

REVISION = 2
SAVE_SECONDS = 180.0


def train(
    name: str,
    tiles: TrainingTiles,
    settings: LearningSettings,
    folder: Path,
    progress: Progress,
    resume_folder: Path | None = None,
    earlier: Checkpoint | None = None,
) -> Checkpoint:
    """Return the checkpoint of the experiment `name`, trained into `folder`.

    On the CPU the result is the same bit for bit for the same inputs, processor type, versions and
    number of threads, however many workers there are and however often the run was killed:
    augmentation is drawn from (seed, epoch, tile), dropout from (seed, epoch, batch), and the state
    in `resume_folder`, written after every epoch and every three minutes, holds everything else.
    That is why this loop is plain PyTorch: what it draws, and when, is all in sight.

    Parameters
    ----------
    name
        Of one of the experiments of `settings`.
    progress
        Called every few seconds with a line on epoch, batch, speed, loss and time left.
    resume_folder
        Where the unfinished state is. A state of other settings or other tiles is not used, and a
        line says what differs. The caller removes the folder once the checkpoint is published.
    earlier
        The experiment's checkpoint as it stands: copied, not trained again, where all that decides
        it is the same.

    Raises
    ------
    LearningError
        The loss is not finite (the message names the tiles of the batch and the weights that are
        kept), memory is too little (it says which batch size fits), weights or an epoch's order are
        missing, or a tile cannot be decoded.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with threads(settings.threads), torch.random.fork_rng(devices=[]):
        run = _Run(name, tiles, settings, progress)
        if earlier is not None and earlier.identity == settings_digest(run.identity):
            progress(f"{name}: trained before with these very settings and tiles; taken as it is")
            earlier.write(folder)
            return Checkpoint.read(folder)
        work = Path(resume_folder or folder)
        run.resume(work)
        if _too_much_for_memory(run, work):
            raise LearningError(f"{name}: {smaller_batch(run.learner, settings)}")
        return run.publish(work, folder)


def _too_much_for_memory(run: _Run, work: Path) -> bool:
    """Finish the run, and return whether memory was too little for it.

    The error is gone when this returns, and with it what the failed step still held.
    """
    try:
        run.finish(work)
    except Exception as error:
        if not ran_out_of_memory(error):
            raise
        return True
    return False


class _Run:
    """One training run: what it is made of, and how far it is."""

    def __init__(
        self,
        name: str,
        tiles: TrainingTiles,
        settings: LearningSettings,
        progress: Progress,
    ) -> None:
        experiment, labels = settings.experiments[name], tuple(tiles.labels)
        self.experiment, self.name, self.labels, self.settings = experiment, name, labels, settings
        self.progress, self._say = progress, EveryFewSeconds(progress)
        rows = training_rows(tiles.rows, experiment)
        self.rows = rows
        self.plans = [
            batch_plan(epoch_order(rows, epoch), settings.batch_size) for epoch in range(1, experiment.epochs + 1)
        ]
        weights = class_weights(rows, len(labels)) if settings.class_weights else None
        self.learner = Learner(experiment, settings, len(labels), weights)
        self.pixels = TilePixels(rows, tiles.reader, settings.input_px)
        self.targets = torch.from_numpy(rows["label"].to_numpy().copy())
        watched = {
            "train_eval": train_sample(rows, settings.seed),
            "validation": np.flatnonzero(rows["side"].to_numpy() == "validation"),
        }
        self.monitors = {
            side: Monitor(self.learner, self.pixels, self.targets.numpy(), positions, settings.batch_size)
            for side, positions in watched.items()
        }
        self.identity = {
            "revision": REVISION,
            "labels": list(labels),
            "training_set": training_set_digest(rows),
            "initial_network": network_digest(self.learner.network),
            **experiment.model_dump(mode="json"),
            **{f"all.{key}": getattr(settings, key) for key in ("input_px", "batch_size", "augment", "class_weights")},
            "all.seed": settings.seed,
        }
        self.environment = describe_environment(self.learner.device, settings.threads, self.learner.precision)
        self.at = TrainingProgress()
        self._saved_at = time.monotonic()
        self._trained = 0

    def resume(self, work: Path) -> None:
        """Take up the unfinished state in `work`, if there is one that fits."""
        state = read_state(work)
        if state is None:
            return
        if isinstance(state, str):
            self.progress(f"{self.name}: {state}; starting from the first epoch")
            return
        changed = differences(state.identity, self.identity)
        kept = kept_epochs(self.experiment, state.progress.history)
        gone = [epoch for epoch in kept if not (work / weights_name(epoch)).exists()]
        if changed or gone:
            why = f"was made from something else ({changed})" if changed else f"lacks the weights of epochs {gone}"
            self.progress(f"{self.name}: the unfinished state in {work} {why}; starting from the first epoch")
            return
        state.restore(self.learner.network, self.learner.optimizer)
        self.at = state.progress
        moved = differences(state.environment, self.environment)
        inexact = f", no longer exactly as an unbroken run, for it began elsewhere ({moved})" if moved else ""
        self.progress(f"{self.name}: resumed at epoch {self.at.epoch}, batch {self.at.batches + 1}{inexact}")

    def finish(self, work: Path) -> None:
        """Train the epochs that are left, keeping weights and state in `work`."""
        while not is_over(self.experiment, self.at.history):
            at = self.at
            if at.batches == 0 and self.experiment.mode == "restart":
                self.learner.optimizer = self.learner.new_optimizer()
            clock = Clock(at)
            self._train_epoch(clock, work)
            self._end_epoch(clock, work)
            self.at = TrainingProgress(epoch=at.epoch + 1, history=at.history)
            self._save_state(work)
            remove_epochs(work, kept_epochs(self.experiment, at.history))
        if len(self.at.history) < self.experiment.epochs:
            self.progress(f"{self.name}: stopped after epoch {len(self.at.history)}, for validation got no better")

    def publish(self, work: Path, folder: Path) -> Checkpoint:
        """Return the finished checkpoint, written whole into `folder`."""
        digests = {}
        for epoch in kept_epochs(self.experiment, self.at.history):
            for name in (weights_name(epoch), predictions_name(epoch)):
                if work != folder and (work / name).exists():
                    with atomic_path(folder / name) as temporary:
                        shutil.copyfile(work / name, temporary)
            digests[epoch] = file_digest(folder / weights_name(epoch))
        checkpoint = Checkpoint(
            folder=folder,
            name=self.name,
            experiment=self.experiment,
            labels=self.labels,
            input_px=self.settings.input_px,
            digests=digests,
            training_set=str(self.identity["training_set"]),
            environment=self.environment,
            identity=settings_digest(self.identity),
        )
        history = pd.DataFrame(self.at.history, columns=[column.name for column in History.columns()])
        checkpoint.describe(history.astype({"epoch": "int64", "tiles": "int64"}))
        return checkpoint

    def _train_epoch(self, clock: Clock, work: Path) -> None:
        at = self.at
        rest = self.plans[at.epoch - 1][at.batches :]
        for positions, tiles in zip(rest, in_order(self._augmented, rest, self.settings.workers), strict=True):
            seed = batch_seed(self.experiment.seed, at.epoch, at.batches)
            step = self.learner.step(tiles, self.targets[positions], self._learning_rate(at.batches), seed)
            if not step.is_finite:
                raise self._not_finite(step, positions, work)
            at.batches += 1
            at.loss_sum += step.loss * len(positions)
            at.correct += step.correct
            at.seen += len(positions)
            self._trained += len(positions)
            clock.stamp(at)
            self._say(self._line)
            if time.monotonic() - self._saved_at >= SAVE_SECONDS:
                self._save_state(work)

    def _not_finite(self, step: Step, positions: Positions, work: Path) -> LearningError:
        """Return the error of a batch that cannot be learnt from; the last whole epoch's weights stay in `work`."""
        what = f"loss is {step.loss}" if not math.isfinite(step.loss) else f"gradient's length is {step.gradient}"
        done = len(self.at.history)
        kept = f"the weights after epoch {done} are kept in {work / weights_name(done)}" if done else "no epoch is done"
        names = ", ".join(self.pixels.tiles[position] for position in positions)
        return LearningError(
            f"{self.name}: the {what} at epoch {self.at.epoch}, batch {self.at.batches + 1}; nothing was learnt from "
            f"it, and {kept}; lower `learning_rate`, set `clip_norm`, or look at the tiles of this batch: {names}"
        )

    def _augmented(self, positions: Positions) -> Batch:
        pixels = self.pixels.read(positions)
        backbone = self.learner.network.backbone
        if not self.settings.augment:
            return plain(pixels, backbone)
        names = [self.pixels.tiles[position] for position in positions]
        return augmented(pixels, backbone, names, self.experiment.seed, self.at.epoch)

    def _learning_rate(self, batch: int) -> float:
        """Return the learning rate of a batch (from 0) of this epoch."""
        if self.experiment.schedule == "constant":
            return self.experiment.learning_rate
        done = sum(len(plan) for plan in self.plans[: self.at.epoch - 1]) + batch
        share = done / sum(len(plan) for plan in self.plans)
        return self.experiment.learning_rate * 0.5 * (1 + math.cos(math.pi * share))

    def _end_epoch(self, clock: Clock, work: Path) -> None:
        """Judge the network as it is now, add the epoch to the history, and write weights and predictions."""
        at = self.at
        row: dict[str, float] = {
            "epoch": at.epoch,
            "train_loss": at.loss_sum / at.seen,
            "train_accuracy": at.correct / at.seen,
            "learning_rate": self._learning_rate(at.batches - 1),
            "tiles": at.seen,
        }
        log_probabilities = {side: monitor.log_probabilities() for side, monitor in self.monitors.items()}
        for side, monitor in self.monitors.items():
            row[f"{side}_loss"], row[f"{side}_accuracy"] = monitor.loss_and_accuracy(log_probabilities[side])
        validation = self.rows[self.monitors["validation"].rows].select("tile", "slide", "donor", "tissue", "side")
        with atomic_path(work / predictions_name(at.epoch)) as temporary:
            write_table(
                prediction_table(validation, log_probabilities["validation"], self.labels), temporary, TilePredictions
            )
        save_weights(self.learner.network, work / weights_name(at.epoch))
        clock.stamp(at)
        at.history.append(row | {"seconds": at.seconds, "cpu_seconds": at.cpu_seconds})
        self.progress(
            f"{self.name}: epoch {at.epoch}/{self.experiment.epochs} done in {at.seconds:.0f} s, accuracy "
            f"{row['train_eval_accuracy']:.3f} on train, {row['validation_accuracy']:.3f} on validation"
        )

    def _line(self, seconds: float) -> str:
        at, speed = self.at, self._trained / seconds
        plans = [self.plans[at.epoch - 1][at.batches :], *self.plans[at.epoch :]]
        left = sum(len(batch) for plan in plans for batch in plan) / speed
        return (
            f"{self.name}: epoch {at.epoch}/{self.experiment.epochs}, batch {at.batches}/"
            f"{len(self.plans[at.epoch - 1])}, {speed:.0f} tiles/s, loss {at.loss_sum / at.seen:.3f}, "
            f"{minutes(left)} left"
        )

    def _save_state(self, work: Path) -> None:
        learner = self.learner
        save_state(work, learner.network, learner.optimizer, self.at, self.identity, self.environment)
        self._saved_at = time.monotonic()
