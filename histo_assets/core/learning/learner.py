"""A network that learns behind its frozen stages. Imports torch: import this inside functions."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor
from torch.nn import functional

from histo_assets.core.learning.backbones import build_network
from histo_assets.core.learning.errors import LearningError
from histo_assets.core.learning.forward import FastStages, as_tensor, choose_device, fast_precision
from histo_assets.core.learning.pixels import Tiles
from histo_assets.core.learning.settings import ExperimentSettings, LearningSettings


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
        self.network = build_network(experiment.backbone, n_classes, experiment.weights, seed=experiment.seed)
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
        self.optimizer = self.new_optimizer()

    def new_optimizer(self) -> torch.optim.Optimizer:
        """Return AdamW over what learns, without a memory."""
        learning = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        rate, decay = self.experiment.learning_rate, self.experiment.weight_decay
        return torch.optim.AdamW(learning, lr=rate, weight_decay=decay, fused=True)

    @property
    def has_frozen_stages(self) -> bool:
        """Whether some stages never change."""
        return self._frozen > 0

    def frozen_maps(self, tiles: Tiles) -> Tensor:
        """Return what the frozen stages make of scaled tiles (the tiles themselves where none is frozen)."""
        given = as_tensor(tiles, self.device)
        return given if self._trunk is None else self._trunk(given)

    def step(self, tiles: Tiles, targets: Tensor, rate: float, seed: int) -> tuple[float, int]:
        """Learn from one batch; return its loss before the step and how many tiles were right.

        `seed` decides dropout. Nothing is learnt where the loss is not finite.
        """
        torch.manual_seed(seed)
        if not self.network.training:
            self.network.train()
            for stage in self.network.stages[: self._frozen]:
                stage.eval()
        targets = targets.to(self.device)
        logits = self._logits(self.frozen_maps(tiles))
        loss = functional.cross_entropy(logits, targets, weight=self._class_weights)
        value = float(loss.detach())
        if value - value == 0.0:
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
        return value, int((logits.detach().argmax(1) == targets).sum())

    def judge(self, maps: Tensor, targets: Tensor) -> tuple[float, int]:
        """Return the summed cross-entropy (nats, classes unweighted) and the number of right tiles.

        `maps` are what `frozen_maps` returned. The network is in evaluation mode.
        """
        self.network.eval()
        targets = targets.to(self.device)
        with torch.no_grad():
            logits = self._logits(maps.to(self.device))
        loss = functional.cross_entropy(logits, targets, reduction="sum")
        return float(loss), int((logits.argmax(1) == targets).sum())

    def _logits(self, maps: Tensor) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._mixed):
            for stage in self.network.stages[self._frozen :]:
                maps = stage(maps)
            return self.network.classify(self.network.embed(maps)).float()


def batch_seed(seed: int, epoch: int, batch: int) -> int:
    """Return the seed of a batch's dropout."""
    digest = hashlib.blake2b(f"{seed}/{epoch}/{batch}".encode(), digest_size=7).digest()
    return int.from_bytes(digest, "little")
