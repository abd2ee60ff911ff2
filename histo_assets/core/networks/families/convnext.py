"""ConvNeXt, whose pooled maps are normalised before they are classified."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from histo_assets.core.networks.families.family import Family

if TYPE_CHECKING:
    from torch import Tensor, nn


class ConvNeXt(Family):
    """ConvNeXt, whose pooled maps are normalised before they are classified."""

    prefix: ClassVar[str] = "convnext_"

    def stages(self, model: Any) -> list[nn.Module]:
        """Return the children of `features`."""
        return list(model.features)

    def pooled(self, model: Any, maps: Tensor) -> Tensor:
        """Return the normalised mean of the maps."""
        from torch import nn

        pooled: Tensor = model.classifier[0](nn.functional.adaptive_avg_pool2d(maps, 1))
        return pooled.flatten(1)

    def classify(self, model: Any, embedding: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = model.classifier[2](embedding)
        return logits
