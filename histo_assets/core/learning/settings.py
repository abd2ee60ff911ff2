"""What a study decides about networks and their training."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from histo_assets.core.files import Settings


class ExperimentSettings(Settings):
    """One training run.

    `backbone` is a name of `learning.backbones.BACKBONES`. `weights`: `imagenet` (the package or
    torchvision's download), `random`, or a path. `mode` `restart` makes a new optimiser every
    epoch, as the post did. `freeze_up_to` keeps `features[:n+1]` fixed and in evaluation mode.
    """

    backbone: str
    weights: str = "imagenet"
    epochs: int = Field(default=5, ge=1)
    checkpoints: tuple[int, ...] = ()
    learning_rate: float = Field(default=1e-4, gt=0)
    schedule: Literal["constant", "cosine"] = "constant"
    mode: Literal["at_once", "restart"] = "at_once"
    freeze_up_to: int | None = None
    weight_decay: float = Field(default=0.01, ge=0)
    seed: int = 0

    @model_validator(mode="after")
    def _checkpoints_lie_within_the_epochs(self) -> ExperimentSettings:
        wrong = [epoch for epoch in self.checkpoints if not 1 <= epoch <= self.epochs]
        if wrong:
            raise ValueError(f"checkpoints {wrong} lie outside epochs 1 to {self.epochs}")
        return self

    @property
    def saved_epochs(self) -> tuple[int, ...]:
        """Epochs whose weights are kept: the named ones and the last, ascending."""
        return tuple(sorted({*self.checkpoints, self.epochs}))


class LearningSettings(Settings):
    """Experiments and what they share.

    `input_px` is what the network sees of a tile. `studied` is the experiment whose checkpoint
    epochs are compared (`epoch_projection`). `selected` names the experiment that serves, or None
    for the best on validation donors.
    """

    experiments: dict[str, ExperimentSettings]
    studied: str
    selected: str | None = None
    input_px: int = Field(default=224, ge=32)
    batch_size: int = Field(default=32, ge=1)
    augment: bool = True
    class_weights: bool = True
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int = Field(default=1, ge=1)
    workers: int = Field(default=0, ge=0)
    seed: int = 0

    @model_validator(mode="after")
    def _named_experiments_exist(self) -> LearningSettings:
        for field in ("studied", "selected"):
            name = getattr(self, field)
            if name is not None and name not in self.experiments:
                raise ValueError(f"{field}: {name!r} is none of the experiments {sorted(self.experiments)}")
        return self
