"""What a family of networks is: how a model of torchvision's is seen as stages, an embedding and a classifier.

A family is one file beside this one and a line in `registry.FAMILIES`. Torch is imported inside functions: a
study is read in every process.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from torch import Tensor, nn


class Family(ABC):
    """Models that are built alike. `prefix` is what their names begin with; the longest that fits counts."""

    prefix: ClassVar[str]

    def build(self, name: str, n_classes: int) -> nn.Module:
        """Return the model of that name with random weights; torchvision's by default."""
        from torchvision import models

        model: nn.Module = models.get_model(name, weights=None, num_classes=n_classes)
        return model

    @abstractmethod
    def stages(self, model: Any) -> list[nn.Module]:
        """Return the stages that a tile passes, in order, up to pooling: those that a study's `freeze_up_to` counts."""

    def pooled(self, model: Any, maps: Tensor) -> Tensor:
        """Return the embedding (n, dim) of what the last stage gave (n, dim, height, width): its mean by default."""
        from torch import nn

        return nn.functional.adaptive_avg_pool2d(maps, 1).flatten(1)

    @abstractmethod
    def classify(self, model: Any, embedding: Tensor) -> Tensor:
        """Return the logits (n, n_classes) of embeddings (n, dim)."""
