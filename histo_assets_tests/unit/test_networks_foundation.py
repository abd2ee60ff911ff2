"""Foundation models: built as published, loaded from files, pooled by their rule, refused where they may not serve."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save_file
from torch import nn

from histo_assets.core.embedding.tile_embeddings import embed_tiles
from histo_assets.core.networks import registry
from histo_assets.core.networks.backbones import build_network
from histo_assets.core.networks.errors import LearningError
from histo_assets.core.networks.foundation import FoundationNetwork, foundation_network, untrained
from histo_assets.core.networks.inference import Inference
from histo_assets.core.networks.published import published_weights
from histo_assets.core.networks.registry import BACKBONES, Backbone
from histo_assets.core.training.frozen import FrozenModel, frozen_model
from histo_assets.core.training.settings import FrozenSettings, LearningSettings
from histo_assets_tests.unit.training_cohort import tile_index

# Millions of parameters, from the papers and pages of the models.
PUBLISHED = {
    "uni": 303,
    "uni2_h": 681,
    "virchow": 631,
    "virchow2": 631,
    "h_optimus_0": 1135,
    "prov_gigapath": 1135,
    "phikon": 86,
    "phikon_v2": 303,
    "midnight": 1136,
}
SMALL = {
    "uni": {"embed_dim": 32, "depth": 2, "num_heads": 2},
    "virchow2": {"embed_dim": 32, "depth": 2, "num_heads": 2},
    "phikon": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64},
    "midnight": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 224},
}


def small(name: str) -> Backbone:
    """Return a row of the registry with the same architecture, two layers deep and 32 wide."""
    known = BACKBONES[name]
    dim = 64 if known.pooling == "class+mean" else 32
    return replace(known, name=f"small_{name}", dim=dim, options={**known.options, **SMALL[name]})


@pytest.fixture(params=sorted(SMALL))
def row(request, monkeypatch) -> Backbone:
    made = small(request.param)
    monkeypatch.setitem(BACKBONES, made.name, made)
    return made


def test_every_foundation_model_is_one_of_those_counted() -> None:
    assert set(PUBLISHED) == {name for name, backbone in BACKBONES.items() if backbone.is_foundation}


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_an_architecture_has_the_published_parameters_and_length_of_embedding(name: str) -> None:
    backbone = BACKBONES[name]
    with torch.device("meta"):
        network = FoundationNetwork(backbone, untrained(backbone))
        tokens = network.stages[0](torch.zeros(1, 3, 224, 224))
    assert round(sum(p.numel() for p in network.parameters()) / 1e6) == PUBLISHED[name]
    assert network.head().embed(tokens).shape == (1, backbone.dim)


def written(row: Backbone, folder: Path, seed: int = 5) -> Path:
    """Write random weights as the hub has them: a state dict for timm, a folder for transformers."""
    model: Any = foundation_network(row, None, seed).model
    if row.source.startswith("transformers:"):
        model.save_pretrained(folder)
        return folder
    save_file(model.state_dict(), folder / "model.safetensors")
    return folder / "model.safetensors"


def test_weights_from_a_file_are_those_that_were_written_and_give_the_pooled_tokens(row: Backbone, tmp_path) -> None:
    network = foundation_network(row, written(row, tmp_path), seed=0)
    original = foundation_network(row, None, seed=5)
    other = foundation_network(row, None, seed=0)
    tiles = torch.randn(2, 3, 224, 224)
    tokens, again, different = (each.stages[0](tiles) for each in (original, network, other))
    assert torch.equal(tokens, again) and not torch.equal(tokens, different)
    patches = (224 // (16 if row.name in ("small_uni", "small_phikon") else 14)) ** 2
    assert tokens.shape[1] == row.prefix + patches
    pooled = network.head().embed(tokens)
    assert torch.equal(pooled[:, :32], tokens[:, 0])
    if row.pooling == "class+mean":
        assert torch.allclose(pooled[:, 32:], tokens[:, -patches:].mean(1))


def test_tiles_are_embedded_by_a_frozen_model_scaled_as_it_wants_them(row: Backbone, tmp_path: Path) -> None:
    model = frozen_model(FrozenSettings(backbone=row.name, weights=str(written(row, tmp_path))))
    index, reader = tile_index()
    exact = Inference(224, batch_size=4, precision="float32")
    vectors, scores = embed_tiles(model.network(), index[:6], reader, exact, row.name)
    assert vectors.shape == (6, row.dim) and scores.shape == (6, 0)
    from histo_assets.core.networks.pixels import TilePixels

    pixels = TilePixels(index[:6], reader, 224).read(np.arange(6))
    scaled = (torch.from_numpy(pixels).float() / 255 - torch.tensor(row.mean)) / torch.tensor(row.std)
    network = foundation_network(row, Path(model.weights))
    with torch.inference_mode():
        wanted = network.head().embed(network.stages[0](scaled.permute(0, 3, 1, 2)))
    assert np.allclose(vectors, wanted.numpy(), atol=2e-4)


def test_a_frozen_model_comes_back_as_it_was_and_sees_that_its_weights_were_swapped(row: Backbone, tmp_path) -> None:
    weights = written(row, tmp_path)
    model = frozen_model(FrozenSettings(backbone=row.name, weights=str(weights)))
    kept = tmp_path / "kept"
    kept.mkdir()
    model.write(kept)
    assert FrozenModel.read(kept) == model
    assert model.labels == () and model.licence == row.licence
    written(row, tmp_path, seed=6)
    with pytest.raises(LearningError, match="have changed since selected_model was made"):
        model.network()


def test_weights_of_another_architecture_are_refused(row: Backbone, tmp_path: Path) -> None:
    weights = written(row, tmp_path)
    file = weights / "model.safetensors" if weights.is_dir() else weights
    save_file({"a.weight": torch.zeros(2)}, file, {"format": "pt"})
    with pytest.raises(LearningError, match=r"are not those of small_.* of its tensors are absent or of another shape"):
        foundation_network(row, weights)
    file.write_bytes(b"no tensors at all")
    with pytest.raises(LearningError, match="cannot be read"):
        foundation_network(row, weights)
    with pytest.raises(LearningError, match="there is no "):
        frozen_model(FrozenSettings(backbone=row.name, weights=str(tmp_path / "nowhere.bin")))


def test_a_package_that_is_not_installed_is_named_with_the_extra(row: Backbone, monkeypatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, row.source.partition(":")[0], None)
    with pytest.raises(LearningError, match=r"pip install 'histo_assets\[foundation\]'"):
        foundation_network(row, None)


def test_a_backbone_that_is_trained_here_may_serve_untrained_too() -> None:
    model = frozen_model(FrozenSettings(backbone="efficientnet_lite0"))
    index, reader = tile_index()
    vectors, _ = embed_tiles(model.network(), index[:3], reader, Inference(64), "efficientnet_lite0")
    assert vectors.shape == (3, 1280) and model.revision == ""
    random = frozen_model(FrozenSettings(backbone="efficientnet_lite0", weights="random", seed=3))
    assert random.weights_digest != model.weights_digest
    assert isinstance(random.network(), nn.Module)


def in_cache(repository: str, files: dict[str, bytes], commit: str, home: Path) -> None:
    """Lay files out as the hub's own cache has them."""
    folder = home / "hub" / f"models--{repository.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(commit)
    for name, content in files.items():
        path = folder / "snapshots" / commit / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


@pytest.fixture
def hub(monkeypatch, tmp_path: Path) -> Path:
    """Return an empty cache of the hub."""
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path


def test_offline_published_weights_come_from_the_hubs_cache_with_their_commit(hub: Path, monkeypatch) -> None:
    row = small("uni")
    monkeypatch.setitem(BACKBONES, row.name, row)
    commit = "0123456789abcdef0123456789abcdef01234567"
    made = hub / "made"
    made.mkdir()
    in_cache("MahmoodLab/UNI", {"model.safetensors": written(row, made).read_bytes()}, commit, hub)
    model = frozen_model(FrozenSettings(backbone=row.name), offline=True)
    assert model.revision == commit
    assert isinstance(model.network(), FoundationNetwork)


@pytest.mark.parametrize("name", ["uni", "phikon_v2", "resnet50"])
def test_offline_weights_that_are_not_there_name_the_command_that_fetches_them(hub, monkeypatch, name: str) -> None:
    monkeypatch.setenv("TORCH_HOME", str(hub))
    with pytest.raises(LearningError, match="`histo-assets fetch-weights` where there is a network"):
        published_weights(BACKBONES[name], offline=True)


def test_a_licence_that_was_not_accepted_and_a_hub_out_of_reach_are_two_sentences(monkeypatch) -> None:
    import huggingface_hub

    def gated(*_: object, **__: object) -> str:
        response: Any = httpx.Response(403, request=httpx.Request("GET", "https://huggingface.co"))
        raise huggingface_hub.errors.GatedRepoError("403", response=response)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", gated)
    with pytest.raises(LearningError, match=r"accepted their licence \(CC-BY-NC-ND-4.0\).*HF_TOKEN"):
        published_weights(BACKBONES["uni"])

    def unreachable(*_: object, **__: object) -> str:
        raise huggingface_hub.errors.LocalEntryNotFoundError("no connection and nothing in the cache")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", unreachable)
    with pytest.raises(LearningError, match=r"could not be fetched from https://huggingface.co/owkin/phikon-v2"):
        published_weights(BACKBONES["phikon_v2"])


def test_a_commercial_study_refuses_weights_whose_licence_forbids_it() -> None:
    for name, backbone in BACKBONES.items():
        settings = {"frozen": {"backbone": name}, "commercial": True}
        if backbone.commercial:
            assert LearningSettings.model_validate(settings).frozen is not None
        else:
            with pytest.raises(ValidationError, match=f"'{name}' is under .* and the study is `commercial`"):
                LearningSettings.model_validate(settings)


def test_a_frozen_study_trains_nothing_and_sees_tiles_at_the_models_size() -> None:
    experiments = {"b0": {"backbone": "efficientnet_b0", "epochs": 5}}
    learning = LearningSettings.model_validate(
        {"frozen": {"backbone": "uni"}, "experiments": experiments, "studied": "b0", "input_px": 448}
    )
    assert learning.experiments == {} and learning.input_px == 224
    lite = LearningSettings.model_validate({"frozen": {"backbone": "efficientnet_lite0"}, "input_px": 448})
    assert lite.input_px == 448


def test_foundation_models_are_not_trained_and_unknown_ones_are_answered_with_the_list() -> None:
    with pytest.raises(ValidationError, match="'uni' is not trained here"):
        LearningSettings.model_validate({"experiments": {"a": {"backbone": "uni", "epochs": 1}}, "studied": "a"})
    with pytest.raises(ValidationError, match="'vgg' is none of efficientnet_lite0, "):
        LearningSettings.model_validate({"frozen": {"backbone": "vgg"}})
    with pytest.raises(ValidationError, match="there is none; name one, or a `frozen` backbone"):
        LearningSettings.model_validate({})
    with pytest.raises(LearningError, match="foundation model and is not trained here"):
        build_network("phikon", 3)
    assert registry.find_backbone("uni").gated
