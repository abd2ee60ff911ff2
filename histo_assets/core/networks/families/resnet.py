"""ResNet: the stem and four layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from histo_assets.core.networks.families.family import Family

if TYPE_CHECKING:
    from torch import Tensor, nn


class ResNet(Family):
    """ResNet: the stem and four layers."""

    prefix: ClassVar[str] = "resnet"

    def stages(self, model: Any) -> list[nn.Module]:
        """Return the stem and its four layers."""
        from torch import nn

        stem = nn.Sequential(model.conv1, model.bn1, model.relu, model.maxpool)
        return [stem, model.layer1, model.layer2, model.layer3, model.layer4]

    def classify(self, model: Any, embedding: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = model.fc(embedding)
        return logits
