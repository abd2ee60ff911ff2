"""Pathology foundation models, as they are: nothing of them is trained. Imports torch: import this inside functions.

The models come from timm or transformers (extra `foundation`); what a repository of the hub holds is
read as tensors, none of its code is run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from histo_assets.core.networks.errors import LearningError
from histo_assets.core.networks.registry import Backbone
from histo_assets.core.networks.weights import read_weights


class TokenPooling(nn.Module):
    """What is made of a transformer's tokens: the class token, or with it the mean of the patches'."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def embed(self, tokens: Tensor) -> Tensor:
        """Return the embedding (n, dim) of tokens (n, prefix + patches, width)."""
        if self.backbone.pooling == "class":
            return tokens[:, 0]
        return torch.cat([tokens[:, 0], tokens[:, self.backbone.prefix :].mean(1)], 1)

    def classify(self, embedding: Tensor) -> Tensor:
        """Return (n, 0): a foundation model knows no tissues."""
        return embedding[:, :0]


class FoundationNetwork(nn.Module):
    """A foundation model behind the face that embedding needs: stages, and a head that pools."""

    n_classes = 0

    def __init__(self, backbone: Backbone, model: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.model = model

    @property
    def stages(self) -> list[nn.Module]:
        """The whole model, from tiles (n, 3, px, px) to tokens."""
        return [_Tokens(self.model)]

    def head(self) -> TokenPooling:
        """Return the module that pools the tokens."""
        return TokenPooling(self.backbone)


class _Tokens(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, tiles: Tensor) -> Tensor:
        model = cast(Any, self.model)
        if hasattr(model, "forward_features"):
            return cast(Tensor, model.forward_features(tiles))
        return cast(Tensor, model(pixel_values=tiles).last_hidden_state)


def foundation_network(backbone: Backbone, weights: Path | None, seed: int = 0) -> FoundationNetwork:
    """Return a foundation model in evaluation mode, on the CPU.

    Parameters
    ----------
    weights
        Of a timm model the file of its state dict, of a transformers model the folder of its
        `config.json` and `model.safetensors`; None for random ones, decided by `seed`.

    Raises
    ------
    LearningError
        timm or transformers is not installed, or the weights are absent, unreadable or of another
        architecture.
    """
    kind = backbone.source.partition(":")[0]
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            if weights is None:
                model = untrained(backbone)
            else:
                model = _timm_from(backbone, weights) if kind == "timm" else _transformers_from(backbone, weights)
    except ImportError:
        raise LearningError(
            f"backbone {backbone.name} needs {kind}, which is not installed; "
            f"run `pip install 'histo_assets[foundation]'`"
        ) from None
    return FoundationNetwork(backbone, model.eval().requires_grad_(False))


def untrained(backbone: Backbone) -> nn.Module:
    """Return a model of the registry's architecture with random weights, without what stands behind its tokens."""
    return _timm(backbone) if backbone.source.startswith("timm:") else _transformers(backbone)


def _timm(backbone: Backbone) -> nn.Module:
    import timm
    from timm import layers

    named = {"mlp_layer": layers, "act_layer": nn}
    options = {key: getattr(named[key], value) if key in named else value for key, value in backbone.options.items()}
    return timm.create_model(backbone.architecture, pretrained=False, **options)


def _timm_from(backbone: Backbone, file: Path) -> nn.Module:
    model = _timm(backbone)
    own, tensors = model.state_dict(), read_weights(file)
    wrong = [name for name, tensor in own.items() if name not in tensors or tensors[name].shape != tensor.shape]
    if wrong:
        raise _unlike(backbone, file, len(wrong), wrong[0])
    model.load_state_dict({name: tensors[name] for name in own})
    return model


def _transformers(backbone: Backbone) -> nn.Module:
    import transformers

    build = getattr(transformers, backbone.architecture)
    model: nn.Module = build(build.config_class(**backbone.options), **_pooler(backbone))
    return model


def _transformers_from(backbone: Backbone, folder: Path) -> nn.Module:
    """Return a model sized as the folder's configuration says; transformers knows the names that older files have."""
    import transformers

    if not (folder / "config.json").is_file():
        raise LearningError(
            f"there is no {folder / 'config.json'}; `weights` of {backbone.name} is published, random or the path of a "
            f"folder that holds config.json and model.safetensors"
        )
    build: Any = getattr(transformers, backbone.architecture)
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    options = {"local_files_only": True, "use_safetensors": True, "output_loading_info": True, **_pooler(backbone)}
    try:
        model, loading = build.from_pretrained(folder, **options)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise LearningError(f"the weights in {folder} cannot be read ({reason}); fetch them again") from None
    wrong = [*loading["missing_keys"], *(key[0] for key in loading["mismatched_keys"])]
    if wrong:
        raise _unlike(backbone, folder, len(wrong), str(wrong[0]))
    return cast(nn.Module, model)


def _pooler(backbone: Backbone) -> dict[str, bool]:
    return {"add_pooling_layer": False} if backbone.architecture == "ViTModel" else {}


def _unlike(backbone: Backbone, path: Path, wrong: int, first: str) -> LearningError:
    return LearningError(
        f"the weights in {path} are not those of {backbone.name}: {wrong} of its tensors are absent or of another "
        f"shape, {first} for one; name another `backbone` or other `weights`"
    )
