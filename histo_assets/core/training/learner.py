"""A network that learns behind its frozen stages. Imports torch: import this inside functions."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from histo_assets.core.networks.backbones import build_network
from histo_assets.core.networks.errors import LearningError
from histo_assets.core.networks.forward import FastStages, as_tensor, choose_device, fast_precision
from histo_assets.core.networks.pixels import Batch
from histo_assets.core.training.settings import ExperimentSettings, LearningSettings


@dataclass(frozen=True)
class Step:
    """The result of one batch: its loss before the step, the length of its gradient, and how many tiles were right."""

    loss: float
    gradient: float
    correct: int

    @property
    def is_finite(self) -> bool:
        """Whether loss and gradient are numbers; where they are not, nothing was learnt."""
        return math.isfinite(self.loss) and math.isfinite(self.gradient)


class Learner:
    """Network and optimiser of an experiment.

    The stages up to `freeze_up_to` run in evaluation mode, without gradients and in the device's
    fastest precision; the rest learns in float32 (on CUDA under bfloat16 autocast).
    """

    def __init__(
        self, experiment: ExperimentSettings, settings: LearningSettings, n_classes: int, class_weights: Tensor | None
    ) -> None:
        self.experiment = experiment
        self.device = choose_device(settings.device)
        self.precision = fast_precision(self.device)
        self.network = build_network(
            experiment.backbone, n_classes, experiment.weights, seed=experiment.seed, offline=settings.offline
        )
        self.network.to(device=self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        stages = self.network.stages
        self._frozen = 0 if experiment.freeze_up_to is None else experiment.freeze_up_to + 1
        if not 0 <= self._frozen <= len(stages):
            raise LearningError(
                f"freeze_up_to: {experiment.freeze_up_to} is impossible; "
                f"{experiment.backbone} has the stages 0 to {len(stages) - 1}"
            )
        for stage in stages[: self._frozen]:
            stage.requires_grad_(False)
        self._trunk = FastStages(stages[: self._frozen], self.precision) if self._frozen else None
        self._mixed = self.precision is torch.bfloat16 and (self.has_frozen_stages or self.device.type == "cuda")
        self._class_weights = None if class_weights is None else class_weights.to(self.device)
        self._learning = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        self.optimizer = self.new_optimizer()

    def new_optimizer(self) -> torch.optim.Optimizer:
        """Return AdamW over what learns, without a memory."""
        rate, decay = self.experiment.learning_rate, self.experiment.weight_decay
        return torch.optim.AdamW(self._learning, lr=rate, weight_decay=decay, fused=True)

    @property
    def has_frozen_stages(self) -> bool:
        """Whether some stages never change."""
        return self._frozen > 0

    def frozen_maps(self, batch: Batch) -> Tensor:
        """Return the maps that the frozen stages make of a batch (the tiles themselves where none is frozen)."""
        tiles = as_tensor(batch, self.device)
        return tiles if self._trunk is None else self._trunk(tiles)

    def step(self, batch: Batch, targets: Tensor, rate: float, seed: int) -> Step:
        """Learn from one batch and return the result.

        `seed` decides dropout. Nothing is learnt where loss or gradient is not finite.
        """
        torch.manual_seed(seed)
        if not self.network.training:
            self.network.train()
            for stage in self.network.stages[: self._frozen]:
                stage.eval()
        targets = targets.to(self.device)
        logits = self._logits(self.frozen_maps(batch))
        smoothing = self.experiment.label_smoothing
        loss = functional.cross_entropy(logits, targets, weight=self._class_weights, label_smoothing=smoothing)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        length = nn.utils.get_total_norm([p.grad for p in self._learning if p.grad is not None])
        correct = (logits.detach().argmax(1) == targets).sum()
        # One transfer for all three: each would make a GPU wait.
        value, gradient, right = torch.stack([loss.detach(), length, correct.float()]).tolist()
        step = Step(value, gradient, int(right))
        if step.is_finite:
            self._move(rate, length)
        return step

    def _move(self, rate: float, length: Tensor) -> None:
        if self.experiment.clip_norm is not None:
            nn.utils.clip_grads_with_norm_(self._learning, self.experiment.clip_norm, length)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()

    def log_probabilities(self, maps: Tensor) -> Tensor:
        """Return the natural log-probabilities (n, classes) float32, on the CPU, of the network in evaluation mode.

        `maps` are what `frozen_maps` returned.
        """
        self.network.eval()
        with torch.no_grad():
            return functional.log_softmax(self._logits(maps.to(self.device)), 1).cpu()

    def _logits(self, maps: Tensor) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._mixed):
            for stage in self.network.stages[self._frozen :]:
                maps = stage(maps)
            return self.network.classify(self.network.embed(maps)).float()


def batch_seed(seed: int, epoch: int, batch: int) -> int:
    """Return the seed of a batch's dropout."""
    digest = hashlib.blake2b(f"{seed}/{epoch}/{batch}".encode(), digest_size=7).digest()
    return int.from_bytes(digest, "little")
