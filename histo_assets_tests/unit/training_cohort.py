"""A cohort of tiny tiles in memory: three tissues that differ in colour, nine donors, one slide each a tissue."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import simplejpeg

from histo_assets.core.cohort.settings import SplitSettings
from histo_assets.core.networks.forward import network_outputs
from histo_assets.core.networks.inference import Inference
from histo_assets.core.networks.network import Network
from histo_assets.core.networks.predictions import prediction_table
from histo_assets.core.training.datasets import TrainingTiles, build_training_set
from histo_assets.core.training.settings import ExperimentSettings, LearningSettings

TISSUES = ("colon", "liver", "skin")
COLOURS = {"colon": (200, 120, 170), "liver": (150, 70, 110), "skin": (235, 190, 215)}
DONORS = tuple(f"donor{number}" for number in range(9))
TILES_PER_SLIDE = 4
TILE_PX = 48


class MemoryReader:
    """Reads tiles from a list; a row's offset is its place in it."""

    def __init__(self, jpegs: list[bytes]) -> None:
        self.jpegs = jpegs

    def read(self, rows: pl.DataFrame) -> list[bytes]:
        return [self.jpegs[offset] for offset in rows["offset"]]


def tile_index() -> tuple[pl.DataFrame, MemoryReader]:
    """Return the index of 108 tiles and a reader of them."""
    rng = np.random.default_rng(3)
    rows, jpegs = [], []
    for tissue in TISSUES:
        for donor in DONORS:
            for x in range(TILES_PER_SLIDE):
                noise = rng.normal(0, 25, (TILE_PX, TILE_PX, 1)) + rng.normal(0, 8, 3)
                pixels = np.clip(np.asarray(COLOURS[tissue]) + noise, 0, 255).astype(np.uint8)
                jpegs.append(simplejpeg.encode_jpeg(pixels, quality=90))
                slide = f"{donor}-{tissue}"
                rows.append((f"{slide}_{x}_0", slide, donor, tissue, f"{slide}.tar", len(jpegs) - 1, len(jpegs[-1])))
    columns = ["tile", "slide", "donor", "tissue", "shard", "offset", "length"]
    return pl.DataFrame(rows, schema=columns, orient="row"), MemoryReader(jpegs)


def donor_split() -> pd.DataFrame:
    """Return two locked donors, two for validation and five to train on."""
    sides = ["test"] * 2 + ["validation"] * 2 + ["train"] * 5
    return pd.DataFrame({"donor": DONORS, "side": sides})


def experiment(**changes: object) -> ExperimentSettings:
    """Return a Lite0 experiment of two epochs behind seven frozen stages, with changes."""
    settings = {"backbone": "efficientnet_lite0", "epochs": 2, "learning_rate": 3e-3, "freeze_up_to": 6}
    return ExperimentSettings.model_validate(settings | changes)


def learning(chosen: ExperimentSettings, **changes: object) -> LearningSettings:
    """Return settings of tiny tiles, small batches and one experiment called `lite`, with changes."""
    settings = {"experiments": {"lite": chosen}, "studied": "lite", "input_px": 48, "batch_size": 16, "device": "cpu"}
    return LearningSettings.model_validate(settings | changes)


def predicted_tiles(network: Network, rows: pl.DataFrame, reader: MemoryReader) -> pd.DataFrame:
    """Return what a network says of rows of the training set, in float32."""
    _, log_probabilities = network_outputs(network, rows, reader, Inference(TILE_PX, 64, "float32", "cpu"))
    return prediction_table(rows.select("tile", "slide", "donor", "tissue", "side"), log_probabilities, TISSUES)


def training_tiles(chosen: ExperimentSettings) -> TrainingTiles:
    """Return the training set of the cohort as what an experiment learns from."""
    return TrainingTiles(*training_set(chosen), TISSUES)


def training_set(chosen: ExperimentSettings, **split: object) -> tuple[pl.DataFrame, MemoryReader]:
    """Return the training set of the cohort and a reader of its tiles."""
    index, reader = tile_index()
    settings = SplitSettings.model_validate(split)
    return build_training_set(index, donor_split(), TISSUES, learning(chosen), settings), reader
