"""The families of networks that are trained here. This module is light: it imports no torch."""

from __future__ import annotations

from histo_assets.core.networks.errors import LearningError
from histo_assets.core.networks.families.convnext import ConvNeXt
from histo_assets.core.networks.families.densenet import DenseNet
from histo_assets.core.networks.families.efficientnet import EfficientNet
from histo_assets.core.networks.families.efficientnet_lite import EfficientNetLite
from histo_assets.core.networks.families.family import Family
from histo_assets.core.networks.families.resnet import ResNet

FAMILIES: tuple[Family, ...] = (
    EfficientNet(),
    EfficientNetLite(),
    ResNet(),
    DenseNet(),
    ConvNeXt(),
)
"""One line a family."""


def family_of(name: str) -> Family:
    """Return the family of a network: the one with the longest prefix of its name.

    Raises
    ------
    LearningError
        No family knows how to take it apart.
    """
    fitting = [family for family in FAMILIES if name.startswith(family.prefix)]
    if not fitting:
        known = ", ".join(f"{family.prefix}*" for family in FAMILIES)
        raise LearningError(
            f"backbone {name!r} belongs to none of the families {known}; say in a file of "
            "core/networks/families what its stages, embedding and classifier are"
        )
    return max(fitting, key=lambda family: len(family.prefix))
