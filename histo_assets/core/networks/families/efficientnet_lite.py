"""EfficientNet-Lite: B0 without squeeze-and-excitation, with ReLU6 for SiLU.

Source: github.com/tensorflow/tpu, models/official/efficientnet/lite. The first and last stage are not deepened.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from histo_assets.core.networks.families.efficientnet import EfficientNet

if TYPE_CHECKING:
    from torch import nn

DEPTHS = {"efficientnet_lite0": 1.0, "efficientnet_lite1": 1.1}


class EfficientNetLite(EfficientNet):
    """EfficientNet-Lite: B0 without squeeze-and-excitation, with ReLU6 for SiLU."""

    prefix: ClassVar[str] = "efficientnet_lite"

    def build(self, name: str, n_classes: int) -> nn.Module:
        """Return the model with random weights."""
        from torch import nn
        from torchvision.models import efficientnet

        depth = DEPTHS[name]
        stages: Sequence[Any] = [
            efficientnet.MBConvConfig(*row, block=partial(efficientnet.MBConv, se_layer=_no_squeeze))
            for row in (
                (1, 3, 1, 32, 16, 1),
                (6, 3, 2, 16, 24, math.ceil(2 * depth)),
                (6, 5, 2, 24, 40, math.ceil(2 * depth)),
                (6, 3, 2, 40, 80, math.ceil(3 * depth)),
                (6, 5, 1, 80, 112, math.ceil(3 * depth)),
                (6, 5, 2, 112, 192, math.ceil(4 * depth)),
                (6, 3, 1, 192, 320, 1),
            )
        ]
        norm = partial(nn.BatchNorm2d, eps=1e-3, momentum=0.1)
        model: nn.Module = efficientnet.EfficientNet(stages, dropout=0.2, num_classes=n_classes, norm_layer=norm)
        _replace_silu(model)
        return model


def _no_squeeze(*_: Any, **__: Any) -> nn.Module:
    """Return what stands where EfficientNet has its squeeze-and-excitation block."""
    from torch import nn

    return nn.Identity()


def _replace_silu(module: nn.Module) -> None:
    from torch import nn

    for name, child in module.named_children():
        if isinstance(child, nn.SiLU):
            setattr(module, name, nn.ReLU6(inplace=True))
        else:
            _replace_silu(child)
