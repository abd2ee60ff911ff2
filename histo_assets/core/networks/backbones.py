"""How a network that is trained here is built with its weights. Torch is imported when one is built."""

from __future__ import annotations

from typing import TYPE_CHECKING

from histo_assets.core.networks.errors import LearningError
from histo_assets.core.networks.registry import find_backbone

if TYPE_CHECKING:
    from histo_assets.core.networks.network import Network


def build_network(
    backbone: str, n_classes: int, weights: str = "imagenet", *, seed: int = 0, offline: bool = False
) -> Network:
    """Return a network whose classifier is new and whose every other tensor comes from `weights`.

    Parameters
    ----------
    backbone
        A name of `registry.BACKBONES`.
    n_classes
        Number of outputs.
    weights
        `imagenet` (the package or torchvision's download), `random`, or the path of a `.pth` state
        dict or a `.safetensors` file of the same architecture, whatever its number of classes.
    seed
        Decides the new classifier (and all tensors where `weights` is `random`).
    offline
        Take weights from this machine alone.

    Raises
    ------
    LearningError
        The backbone is unknown or a foundation model, or the weights are absent, unreadable or of
        another architecture.
    """
    from histo_assets.core.networks.network import initial_network
    from histo_assets.core.networks.weights import load_weights

    chosen = find_backbone(backbone)
    if chosen.is_foundation:
        raise LearningError(
            f"backbone {backbone} is a foundation model and is not trained here; serve it as it is: "
            f"`learning: {{frozen: {{backbone: {backbone}}}}}`"
        )
    network = initial_network(chosen, n_classes, seed)
    if weights != "random":
        load_weights(network, weights, offline)
    return network
