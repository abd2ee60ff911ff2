"""The network itself: torchvision's models behind one face. Imports torch: import this inside functions."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.models import efficientnet

from histo_assets.core.networks.registry import Backbone


class Network(nn.Module):
    """A torchvision model seen as stages, a pooled embedding and a linear classifier.

    `stages` are what a study's `freeze_up_to` counts: the children of torchvision's `features`
    (for ResNet the stem and its four layers). Tensors keep torchvision's names in `model`.
    """

    def __init__(self, backbone: Backbone, model: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.model = model

    @property
    def stages(self) -> list[nn.Module]:
        """The convolutional stages, in the order in which a tile passes them."""
        model = cast(Any, self.model)
        if self.backbone.name.startswith("resnet"):
            stem = nn.Sequential(model.conv1, model.bn1, model.relu, model.maxpool)
            return [stem, model.layer1, model.layer2, model.layer3, model.layer4]
        return list(model.features)

    @property
    def n_classes(self) -> int:
        """Number of outputs."""
        return int(list(self.model.state_dict().values())[-1].shape[0])

    def embed(self, maps: Tensor) -> Tensor:
        """Return the pooled embedding (n, dim) of what the last stage gave."""
        if self.backbone.name.startswith("densenet"):
            maps = nn.functional.relu(maps)
        pooled = nn.functional.adaptive_avg_pool2d(maps, 1)
        if self.backbone.name.startswith("convnext"):
            pooled = cast(Any, self.model).classifier[0](pooled)
        return pooled.flatten(1)

    def classify(self, embedding: Tensor) -> Tensor:
        """Return the logits (n, n_classes) of embeddings (n, dim)."""
        model = cast(Any, self.model)
        if self.backbone.name.startswith("resnet"):
            return cast(Tensor, model.fc(embedding))
        if self.backbone.name.startswith("convnext"):
            return cast(Tensor, model.classifier[2](embedding))
        return cast(Tensor, model.classifier(embedding))

    def head(self) -> Network:
        """Return a copy of its own: what comes after the stages is pooled and classified with."""
        return copy.deepcopy(self).eval()

    def features(self, tiles: Tensor) -> Tensor:
        """Return the pooled embedding (n, dim) of tiles (n, 3, height, width), scaled by mean and std."""
        for stage in self.stages:
            tiles = stage(tiles)
        return self.embed(tiles)

    def forward(self, tiles: Tensor) -> Tensor:
        """Return the logits (n, n_classes) of tiles (n, 3, height, width), scaled by mean and std."""
        return self.classify(self.features(tiles))


def initial_network(backbone: Backbone, n_classes: int, seed: int) -> Network:
    """Return a network with random weights decided by `seed`, in evaluation mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Network(backbone, _architecture(backbone.name)(n_classes)).eval()


def tensor_shapes(backbone: Backbone, n_classes: int) -> dict[str, tuple[int, ...]]:
    """Return the names and shapes of a network's tensors without making them."""
    with torch.device("meta"):
        model = _architecture(backbone.name)(n_classes)
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def _architecture(name: str) -> Callable[[int], nn.Module]:
    if name in _LITE_DEPTHS:
        return partial(_efficientnet_lite, _LITE_DEPTHS[name])
    return lambda n_classes: cast(nn.Module, models.get_model(name, weights=None, num_classes=n_classes))


_LITE_DEPTHS = {"efficientnet_lite0": 1.0, "efficientnet_lite1": 1.1}


class _NoSqueeze(nn.Identity):
    """Stands where EfficientNet has its squeeze-and-excitation block."""

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__()


def _efficientnet_lite(depth: float, n_classes: int) -> nn.Module:
    """Return EfficientNet-Lite: B0 without squeeze-and-excitation, with ReLU6 for SiLU.

    Source: github.com/tensorflow/tpu, models/official/efficientnet/lite. The first and last stage
    are not deepened.
    """
    stages: Sequence[Any] = [
        efficientnet.MBConvConfig(*row, block=partial(efficientnet.MBConv, se_layer=_NoSqueeze))
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


def _replace_silu(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.SiLU):
            setattr(module, name, nn.ReLU6(inplace=True))
        else:
            _replace_silu(child)
