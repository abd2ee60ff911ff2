"""EfficientNet, with what lies after the pooling as its classifier."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from histo_assets.core.networks.families.family import Family

if TYPE_CHECKING:
    from torch import Tensor, nn


class EfficientNet(Family):
    """EfficientNet, with what lies after the pooling as its classifier."""

    prefix: ClassVar[str] = "efficientnet_"

    def stages(self, model: Any) -> list[nn.Module]:
        """Return the children of `features`."""
        return list(model.features)

    def classify(self, model: Any, embedding: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = model.classifier(embedding)
        return logits
