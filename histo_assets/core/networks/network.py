"""The network itself: torchvision's models behind one face. Imports torch: import this inside functions."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from histo_assets.core.networks.families.registry import family_of
from histo_assets.core.networks.registry import Backbone


class Network(nn.Module):
    """A torchvision model seen as stages, a pooled embedding and a linear classifier.

    `stages` are what a study's `freeze_up_to` counts, as the network's family says. Tensors keep torchvision's
    names in `model`.
    """

    def __init__(self, backbone: Backbone, model: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.model = model
        self._family = family_of(backbone.name)

    @property
    def stages(self) -> list[nn.Module]:
        """The convolutional stages, in the order in which a tile passes them."""
        return self._family.stages(self.model)

    @property
    def n_classes(self) -> int:
        """Number of outputs."""
        return int(list(self.model.state_dict().values())[-1].shape[0])

    def embed(self, maps: Tensor) -> Tensor:
        """Return the pooled embedding (n, dim) of what the last stage gave."""
        return self._family.pooled(self.model, maps)

    def classify(self, embedding: Tensor) -> Tensor:
        """Return the logits (n, n_classes) of embeddings (n, dim)."""
        return self._family.classify(self.model, embedding)

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
        return Network(backbone, family_of(backbone.name).build(backbone.name, n_classes)).eval()


def tensor_shapes(backbone: Backbone, n_classes: int) -> dict[str, tuple[int, ...]]:
    """Return the names and shapes of a network's tensors without making them, where that can be."""
    family = family_of(backbone.name)
    try:
        with torch.device("meta"):
            model = family.build(backbone.name, n_classes)
    except (NotImplementedError, RuntimeError):  # a family that reckons with tensors while it is built
        model = family.build(backbone.name, n_classes)
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
