"""A small graph over every IO manager, for the tests.

Without `from __future__ import annotations`: Dagster refuses a `context` whose annotation is a string.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
from dagster import (
    AllPartitionMapping,
    AssetCheckResult,
    AssetExecutionContext,
    AssetIn,
    AssetSelection,
    DataVersion,
    Definitions,
    JobDefinition,
    MaterializeResult,
    StaticPartitionsDefinition,
    asset,
    asset_check,
    define_asset_job,
)

from histo_assets.storage.digests import content_digest
from histo_assets.storage.io_managers import StorageResource, build_io_managers

STUDY = "demo"
TISSUES = StaticPartitionsDefinition(["heart", "liver"])
EPOCHS = StaticPartitionsDefinition(["epoch_1"])
SEED = "HISTO_TEST_SEED"


class Tiles:
    """A handle of files, as a room of core would give one."""

    def __init__(self, text: str) -> None:
        self.text = text

    def write(self, folder: Path) -> None:
        (folder / "previews").mkdir()
        (folder / "previews" / "a.txt").write_text(self.text)
        (folder / "tiles.txt").write_text(self.text)

    @classmethod
    def read(cls, folder: Path) -> "Tiles":
        assert (folder / "previews" / "a.txt").exists()
        return cls((folder / "tiles.txt").read_text())

    def content_digest(self) -> str:
        return content_digest(self.text)


def result(value: Any) -> MaterializeResult[Any]:
    return MaterializeResult(value=value, data_version=DataVersion(content_digest(value)))


def upstream(name: str, **more: Any) -> AssetIn:
    return AssetIn([STUDY, name], **more)


@asset(key_prefix=STUDY, io_manager_key="tables", code_version="1")
def slide_manifest() -> MaterializeResult[Any]:
    seed = int(os.environ.get(SEED, 0))
    return result(pd.DataFrame({"slide": ["a", "b"], "tissue": ["heart", "liver"], "seed": [seed, seed]}))


@asset(
    key_prefix=STUDY,
    io_manager_key="folders",
    code_version="2",
    partitions_def=TISSUES,
    ins={"slide_manifest": upstream("slide_manifest")},
)
def tiles(context: AssetExecutionContext, slide_manifest: pl.DataFrame) -> MaterializeResult[Any]:
    assert isinstance(slide_manifest, pl.DataFrame)
    return result(Tiles(f"{context.partition_key} {slide_manifest['seed'][0]}"))


@asset(
    key_prefix=STUDY,
    io_manager_key="matrices",
    partitions_def=TISSUES,
    ins={"tiles": upstream("tiles"), "slide_manifest": upstream("slide_manifest")},
)
def tile_embeddings(tiles: Tiles, slide_manifest: pd.DataFrame) -> MaterializeResult[Any]:
    assert isinstance(slide_manifest, pd.DataFrame)
    from anndata import AnnData

    return result(AnnData(np.full((2, 3), len(tiles.text), dtype=np.float32)))


@asset(
    key_prefix=STUDY,
    io_manager_key="json",
    partitions_def=EPOCHS,
    ins={"tiles": upstream("tiles", partition_mapping=AllPartitionMapping())},
)
def choice(tiles: dict[str, Tiles]) -> MaterializeResult[Any]:
    return result({tissue: handle.text for tissue, handle in tiles.items()})


@asset(
    key_prefix=STUDY,
    io_manager_key="json",
    ins={"tile_embeddings": upstream("tile_embeddings"), "choice": upstream("choice")},
)
def summary(tile_embeddings: dict[str, Any], choice: dict[str, Any]) -> MaterializeResult[Any]:
    return result({"sizes": {tissue: a.shape[0] for tissue, a in tile_embeddings.items()}, "choice": choice})


@asset(key_prefix=STUDY, io_manager_key="json", partitions_def=EPOCHS, ins={"choice": upstream("choice")})
def follows_choice(choice: dict[str, Any]) -> MaterializeResult[Any]:
    return result({"choice": choice})


@asset(
    key_prefix=STUDY,
    io_manager_key="json",
    partitions_def=TISSUES,
    ins={"choice": upstream("choice", partition_mapping=AllPartitionMapping())},
)
def all_of_one(choice: Any) -> MaterializeResult[Any]:
    return result({"choice": choice})


@asset(key_prefix=STUDY, io_manager_key="json", deps=[tiles])
def by_name(context: AssetExecutionContext, storage: StorageResource) -> MaterializeResult[Any]:
    return result({"liver": storage.load("tiles", "liver", Tiles, context).text})


@asset_check(asset=summary, additional_ins={"tiles": upstream("tiles")})
def summary_check(summary: dict[str, Any], tiles: dict[str, Tiles]) -> AssetCheckResult:
    return AssetCheckResult(passed=set(summary["sizes"]) == set(tiles))


ASSETS = [slide_manifest, tiles, tile_embeddings, choice, summary, follows_choice, all_of_one, by_name]


def resources(root: str) -> dict[str, Any]:
    return {**build_io_managers(root), "storage": StorageResource(root=root)}


def multiprocess_job() -> JobDefinition:
    """Return a job whose step runs in a process of its own."""
    job = define_asset_job("rooms", selection=AssetSelection.assets(tiles))
    definitions = Definitions(assets=[slide_manifest, tiles], jobs=[job], resources=resources(os.environ["TEST_ROOT"]))
    return definitions.resolve_job_def("rooms")
