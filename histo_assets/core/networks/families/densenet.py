"""DenseNet, whose last maps go through a ReLU before they are pooled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from histo_assets.core.networks.families.family import Family

if TYPE_CHECKING:
    from torch import Tensor, nn


class DenseNet(Family):
    """DenseNet, whose last maps go through a ReLU before they are pooled."""

    prefix: ClassVar[str] = "densenet"

    def stages(self, model: Any) -> list[nn.Module]:
        """Return the children of `features`."""
        return list(model.features)

    def pooled(self, model: Any, maps: Tensor) -> Tensor:
        """Return the mean of the maps behind their ReLU."""
        from torch import nn

        return super().pooled(model, nn.functional.relu(maps))

    def classify(self, model: Any, embedding: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = model.classifier(embedding)
        return logits
