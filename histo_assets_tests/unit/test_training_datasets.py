"""Sides, frozen orders, pixels and augmentation."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import simplejpeg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from histo_assets.core.cohort.settings import SplitSettings
from histo_assets.core.networks.errors import LearningError
from histo_assets.core.networks.forward import as_tensor, lookup
from histo_assets.core.networks.pixels import (
    TilePixels,
    augmentation,
    augmented,
    batch_plan,
    decode_tile,
    in_order,
    scaled,
)
from histo_assets.core.networks.registry import BACKBONES
from histo_assets.core.training.datasets import (
    build_training_set,
    epoch_order,
    standard_batch,
    tile_sides,
    training_rows,
    unjudged_tissues,
)
from histo_assets_tests.unit.training_cohort import (
    DONORS,
    TISSUES,
    donor_split,
    experiment,
    learning,
    tile_index,
    training_set,
)

LITE = BACKBONES["efficientnet_lite0"]
SIDES = ("train", "validation", "test")


def test_a_tile_is_on_the_side_of_its_donor_and_labelled_by_the_place_of_its_tissue() -> None:
    tiles, _ = training_set(experiment())
    side = dict(zip(donor_split()["donor"], donor_split()["side"], strict=True))
    assert tiles["side"].to_list() == [side[donor] for donor in tiles["donor"]]
    assert tiles["label"].to_list() == [TISSUES.index(tissue) for tissue in tiles["tissue"]]
    assert tiles.columns == [
        *("tile", "slide", "donor", "tissue", "label", "side", "shard", "offset", "length"),
        *("epoch_001", "epoch_002"),
    ]
    assert tiles.schema["epoch_001"] == pl.Int32
    assert tiles.schema["label"] == pl.Int64


def test_every_epoch_visits_every_training_tile_once_in_an_order_of_its_own() -> None:
    tiles, _ = training_set(experiment())
    train = np.flatnonzero(tiles["side"].to_numpy() == "train")
    first, second = epoch_order(tiles, 1), epoch_order(tiles, 2)
    assert sorted(first) == sorted(second) == list(train)
    assert list(first) != list(second)
    assert tiles.filter(pl.col("side") != "train")["epoch_001"].null_count() == len(tiles) - len(train)


@settings(max_examples=10, deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_training_set_does_not_depend_on_the_order_of_the_indexes(random) -> None:
    index, _ = tile_index()
    rows = list(range(index.height))
    random.shuffle(rows)
    chosen = learning(experiment())
    expected = build_training_set(index, donor_split(), TISSUES, chosen, SplitSettings())
    assert build_training_set(index[rows], donor_split(), TISSUES, chosen, SplitSettings()).equals(expected)


def test_a_split_by_tile_puts_donors_on_several_sides_in_the_shares_asked_for() -> None:
    tiles, _ = training_set(experiment(), unit="tile", test_share=0.25, folds=3)
    for tissue in TISSUES:
        counts = dict(tiles.filter(pl.col("tissue") == tissue)["side"].value_counts().iter_rows())
        assert counts == {"test": 9, "validation": 9, "train": 18}
    assert tiles.filter(pl.col("donor") == "donor0")["side"].n_unique() > 1


def counts(tiles: pl.DataFrame, side: str) -> pl.DataFrame:
    return tiles.group_by("tissue", side).len().sort("tissue", side).rename({side: "side"})


def test_an_experiment_split_by_tile_has_the_donor_splits_numbers_and_its_donors_on_two_sides() -> None:
    chosen = experiment(split="tile")
    tiles, _ = training_set(chosen)
    seen = training_rows(tiles, chosen)
    assert counts(seen, "side").equals(counts(tiles, "side"))
    free = seen.filter(pl.col("side") != "test")
    assert free.group_by("donor").agg(pl.col("side").n_unique())["side"].max() == 2
    locked = tiles.filter(pl.col("side") == "test")["tile"].to_list()
    assert seen.filter(pl.col("side") == "test")["tile"].to_list() == locked
    train = np.flatnonzero(seen["side"].to_numpy() == "train")
    assert sorted(epoch_order(seen, 2)) == list(train)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(TISSUES), st.sampled_from(["train", "validation", "test"])), min_size=1, max_size=60
    )
)
def test_sides_drawn_by_tile_keep_every_tissues_numbers_and_the_locked_tiles(rows) -> None:
    tiles = pl.DataFrame(rows, schema=["tissue", "side"], orient="row")
    drawn = tiles.with_columns(side=pl.Series(tile_sides(tiles, tiles["side"].to_list(), 3), dtype=pl.String))
    assert counts(drawn, "side").equals(counts(tiles, "side"))
    assert (drawn["side"] == "test").to_list() == (tiles["side"] == "test").to_list()


def test_every_order_is_another_and_an_experiment_sees_its_own_under_plain_names() -> None:
    chosen = {"one": experiment(epochs=1), "two": experiment(epochs=2, order=3), "leak": experiment(split="tile")}
    index, _ = tile_index()
    all_of_them = learning(chosen["one"], experiments=chosen, studied="one")
    tiles = build_training_set(index, donor_split(), TISSUES, all_of_them, SplitSettings())
    views = {name: training_rows(tiles, settings_) for name, settings_ in chosen.items()}
    assert [column for column in views["two"].columns if "epoch" in column] == ["epoch_001", "epoch_002"]
    assert list(epoch_order(views["one"], 1)) != list(epoch_order(views["two"], 1))
    assert sorted(epoch_order(views["one"], 1)) == sorted(epoch_order(views["two"], 1))
    alone, _ = training_set(chosen["one"])
    assert views["one"].equals(training_rows(alone, chosen["one"]))


def test_an_order_that_was_not_frozen_is_refused() -> None:
    tiles, _ = training_set(experiment())
    with pytest.raises(LearningError, match="holds no order_1_epoch_001; make training_set again"):
        training_rows(tiles, experiment(order=1))


def test_an_epoch_that_was_not_frozen_is_refused() -> None:
    tiles, _ = training_set(experiment(epochs=1))
    with pytest.raises(LearningError, match="no order for epoch 2"):
        epoch_order(tiles, 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda index, split: (pl.concat([index, index[:1]]), split), "tile donor0-colon_0_0 stands"),
        (lambda index, split: (index, split[split["donor"] != "donor8"]), "donor donor8 has tiles"),
        (lambda index, split: (index, split.iloc[[0, *range(9)]]), "donor donor0 stands in the split twice"),
        (lambda index, split: (index, split.assign(side="test")), "nothing to learn from"),
        (lambda index, split: (index.with_columns(tissue=pl.lit("lung")), split), "tissue 'lung'"),
    ],
)
def test_a_tile_index_that_does_not_fit_the_split_is_refused_by_name(change, message) -> None:
    index, _ = tile_index()
    tiles, split = change(index, donor_split())
    with pytest.raises(LearningError, match=message):
        build_training_set(tiles, split, TISSUES, learning(experiment()), SplitSettings())


def test_the_standard_batch_is_the_start_of_the_first_epoch() -> None:
    tiles, reader = training_set(experiment())
    batch = standard_batch(tiles, reader, n=6)
    first = tiles[epoch_order(tiles, 1)[:6]]
    assert [tissue for _, tissue in batch] == first["tissue"].to_list()
    assert [jpeg for jpeg, _ in batch] == reader.read(first)


@pytest.mark.parametrize("px", [32, 37, 48, 64])
def test_a_tile_is_decoded_at_the_size_that_the_network_sees(px: int) -> None:
    _, reader = tile_index()
    pixels = decode_tile(reader.jpegs[0], px, "t")
    assert pixels.shape == (px, px, 3)
    full = simplejpeg.decode_jpeg(reader.jpegs[0])
    assert abs(pixels.mean() - full.mean()) < 3


def test_a_damaged_tile_is_named() -> None:
    _, reader = tile_index()
    with pytest.raises(LearningError, match="tile slide_1_2 is no whole JPEG"):
        decode_tile(reader.jpegs[0][:300], 32, "slide_1_2")


@pytest.mark.parametrize("cache_bytes", [0, 1 << 30])
def test_tiles_come_out_the_same_with_and_without_a_cache(cache_bytes: int) -> None:
    index, reader = tile_index()
    pixels = TilePixels(index, reader, 32, cache_bytes)
    for positions in (np.array([5, 2]), np.array([2, 7, 5])):
        expected = [decode_tile(reader.jpegs[position], 32, "t") for position in positions]
        assert np.array_equal(pixels.read(positions), np.stack(expected))


def test_augmentation_follows_seed_epoch_and_tile_and_nothing_else() -> None:
    index, reader = tile_index()
    pixels = TilePixels(index, reader, 32).read(np.arange(8))
    names = index["tile"].to_list()[:8]
    together = augmented(pixels.copy(), LITE, names, seed=1, epoch=2).floats()
    alone = [augmented(pixels[i : i + 1].copy(), LITE, names[i : i + 1], 1, 2).floats() for i in range(8)]
    assert np.array_equal(together, np.concatenate(alone))
    assert not np.array_equal(together, augmented(pixels.copy(), LITE, names, seed=1, epoch=3).floats())
    assert not np.array_equal(together, augmented(pixels.copy(), LITE, names, seed=2, epoch=2).floats())


@given(st.text(max_size=20), st.integers(0, 2**31), st.integers(1, 500))
def test_augmentation_is_mild_and_one_of_eight_symmetries(tile: str, seed: int, epoch: int) -> None:
    symmetry, densities = augmentation(tile, seed, epoch)
    assert symmetry in range(8)
    assert densities.shape == (3,)
    assert (densities >= 0.85).all() and (densities <= 1.16).all()


def test_the_eight_symmetries_all_occur_and_differ() -> None:
    pixels = np.arange(4 * 4 * 3, dtype=np.uint8).reshape(1, 4, 4, 3)
    names = [f"tile{number}" for number in range(100)]
    made = [augmented(pixels.copy(), LITE, [name], 0, 1).pixels[0] for name in names]
    wanted = [np.rot90(square, turns) for square in (pixels[0], pixels[0][:, ::-1]) for turns in range(4)]
    assert {square.tobytes() for square in made} == {square.tobytes() for square in wanted}


def test_a_gpu_looks_up_the_very_numbers_that_opencv_does() -> None:
    index, reader = tile_index()
    pixels = TilePixels(index, reader, 32).read(np.arange(6))
    batch = augmented(pixels, LITE, index["tile"].to_list()[:6], seed=1, epoch=2)
    floats = lookup(torch.from_numpy(batch.pixels), torch.from_numpy(batch.tables))
    assert torch.equal(floats, as_tensor(batch, torch.device("cpu")))
    assert floats.is_contiguous(memory_format=torch.channels_last)


def test_scaling_puts_black_and_white_where_the_backbone_wants_them() -> None:
    pixels = np.stack([np.zeros((2, 2, 3), np.uint8), np.full((2, 2, 3), 255, np.uint8)])
    assert np.allclose(scaled(pixels, LITE), np.array([-1.0, 1.0])[:, None, None, None])
    b0 = BACKBONES["efficientnet_b0"]
    assert np.allclose(scaled(pixels, b0)[1, 0, 0], (1 - np.array(b0.mean)) / np.array(b0.std))


@given(st.integers(1, 200), st.integers(1, 40))
def test_batches_hold_every_tile_once_and_never_end_in_a_lone_one(tiles: int, size: int) -> None:
    order = np.random.default_rng(tiles).permutation(tiles)
    plan = batch_plan(order, size)
    assert np.array_equal(np.concatenate(plan), order)
    assert max(len(batch) for batch in plan) <= size + 1
    if size > 1 and tiles > 1:
        assert min(len(batch) for batch in plan) > 1


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_workers_keep_the_order_and_pass_on_errors(workers: int) -> None:
    plan = [np.array([number]) for number in range(12)]
    assert [int(made) for made in in_order(lambda positions: positions[0] ** 2, plan, workers)] == [
        number**2 for number in range(12)
    ]

    def failing(positions: np.ndarray) -> int:
        if positions[0] == 5:
            raise LearningError("tile five")
        return int(positions[0])

    with pytest.raises(LearningError, match="tile five"):
        list(in_order(failing, plan, workers))


def test_a_tissue_of_one_donor_is_learnt_from_and_said_to_be_unjudged() -> None:
    index, _ = tile_index()
    index = index.filter((pl.col("tissue") != "skin") | (pl.col("donor") == DONORS[-1]))
    rows = build_training_set(index, donor_split(), TISSUES, learning(experiment()), SplitSettings())
    assert unjudged_tissues(rows) == {"skin": 1}
    assert set(rows.filter(pl.col("tissue") == "skin")["side"]) == {"train"}
    assert unjudged_tissues(training_set(experiment())[0]) == {}
