"""Embeddings of tiles, and slides pooled from them."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from histo_assets.core import progress
from histo_assets.core.embedding.pooling import pool_log_probabilities, pool_slides
from histo_assets.core.embedding.tile_embeddings import embed_tiles
from histo_assets.core.networks.backbones import build_network
from histo_assets.core.networks.errors import LearningError
from histo_assets.core.networks.inference import Inference
from histo_assets.core.networks.pixels import TilePixels, scaled
from histo_assets_tests.unit.training_cohort import tile_index

LITE = "efficientnet_lite0"
EXACT = Inference(48, batch_size=7, precision="float32")


@pytest.fixture(scope="module")
def network():
    return build_network(LITE, 3)


def test_embeddings_are_the_networks_own(network) -> None:
    index, reader = tile_index()
    rows = index[10:25]
    embeddings, log_probabilities = embed_tiles(network, rows, reader, EXACT, LITE)
    tiles = torch.from_numpy(scaled(TilePixels(rows, reader, 48).read(np.arange(15)), network.backbone))
    with torch.no_grad():
        expected = network.features(tiles.permute(0, 3, 1, 2))
        logits = network.classify(expected)
    assert embeddings.dtype == log_probabilities.dtype == np.float32
    assert np.allclose(embeddings, expected.numpy(), atol=1e-3)
    assert np.allclose(log_probabilities, torch.log_softmax(logits, 1).numpy(), atol=1e-3)
    assert network.backbone.dim == embeddings.shape[1]


def test_bfloat16_is_close_and_the_same_every_time_whatever_the_batches_and_workers(network) -> None:
    index, reader = tile_index()
    rows = index[:20]
    exact, _ = embed_tiles(network, rows, reader, EXACT, LITE)
    first, _ = embed_tiles(network, rows, reader, Inference(48, batch_size=20), LITE)
    again, _ = embed_tiles(network, rows, reader, Inference(48, batch_size=6, workers=2), LITE)
    assert np.linalg.norm(first - exact) / np.linalg.norm(exact) < 0.1
    assert np.allclose(first, again, atol=0.02 * np.abs(exact).max())


def test_no_tiles_give_empty_embeddings_of_the_right_width(network) -> None:
    index, reader = tile_index()
    embeddings, log_probabilities = embed_tiles(network, index[:0], reader, EXACT, LITE)
    assert embeddings.shape == (0, 1280) and log_probabilities.shape == (0, 3)


def test_tiles_too_small_for_the_network_are_refused(network) -> None:
    index, reader = tile_index()
    with pytest.raises(LearningError, match="nothing but zeros at input_px 32"):
        embed_tiles(network, index[:4], reader, replace(EXACT, input_px=32), LITE)


def test_a_network_of_another_backbone_is_refused(network) -> None:
    index, reader = tile_index()
    with pytest.raises(LearningError, match="efficientnet_lite0, but embeddings of resnet50"):
        embed_tiles(network, index, reader, EXACT, "resnet50")


def test_progress_tells_tiles_speed_and_time_left(network, monkeypatch) -> None:
    monkeypatch.setattr(progress, "SECONDS", 0.0)
    index, reader = tile_index()
    lines: list[str] = []
    embed_tiles(network, index[:10], reader, replace(EXACT, batch_size=4), LITE, lines.append)
    assert [line.split(" tiles, ")[0] for line in lines] == ["4 of 10", "8 of 10", "10 of 10"]
    assert all(re.fullmatch(r".* tiles, \d+ tiles/s, \d+:\d\d left", line) for line in lines)


@settings(max_examples=25, deadline=None)
@given(arrays(np.float32, (12, 3), elements=st.floats(-50, 50, width=32)), st.permutations(range(12)))
def test_pooling_is_the_mean_over_a_slides_tiles_in_any_order(values, order) -> None:
    slides = np.array(["b", "a", "b", "c"] * 3)
    ids, pooled = pool_slides(values, slides)
    assert ids == ["a", "b", "c"] and pooled.dtype == np.float32
    for slide, row in zip(ids, pooled, strict=True):
        assert np.allclose(row, values[slides == slide].mean(0), atol=1e-4)
    again = pool_slides(values[list(order)], slides[list(order)])
    assert again[0] == ids and np.allclose(again[1], pooled, atol=1e-5)
    _, log_probabilities = pool_log_probabilities(values, slides)
    assert np.allclose(np.exp(log_probabilities).sum(1), 1, atol=1e-5)


def test_pooling_refuses_slides_that_do_not_count_the_tiles() -> None:
    with pytest.raises(LearningError, match="3 tiles are to be pooled, but 2 slide ids"):
        pool_slides(np.zeros((3, 2)), ["a", "b"])
    assert pool_slides(np.zeros((0, 2)), [])[1].shape == (0, 2)
