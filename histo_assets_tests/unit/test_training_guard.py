"""The model looks at the tiles itself: missing ones, failed checks and other settings are refused by name."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import polars as pl
import pytest

from histo_assets.core.files import settings_digest
from histo_assets.core.networks.errors import LearningError
from histo_assets.core.slides.settings import SlideSettings
from histo_assets.core.tiling.settings import TilingSettings
from histo_assets.core.tiling.tile_set import TileSet, TilingError
from histo_assets.core.training.guard import refuse_unfit_tiles
from histo_assets_tests.unit.training_cohort import TISSUES, tile_index

TILING, SLIDES = TilingSettings(), SlideSettings()


def tile_sets() -> dict[str, TileSet]:
    index, _ = tile_index()
    parameters = settings_digest(TILING, SLIDES.max_lost_share)
    return {
        tissue: TileSet(
            index=index.filter(pl.col("tissue") == tissue),
            funnel=pd.DataFrame(),
            tissue=tissue,
            parameters=parameters,
            shard_root="/nowhere",
            quarantined={},
            complete=True,
            previews={},
            rejected={},
            decisions=pl.DataFrame(),
            lost_storage_tiles={},
        )
        for tissue in TISSUES
    }


def test_whole_tiles_of_every_tissue_pass() -> None:
    refuse_unfit_tiles(tile_sets(), TISSUES, 9, TILING, SLIDES)


def test_a_tissue_without_tiles_is_named() -> None:
    tiles = tile_sets()
    del tiles["liver"]
    with pytest.raises(TilingError, match="no tiles of liver"):
        refuse_unfit_tiles(tiles, TISSUES, 1, TILING, SLIDES)


def test_a_tissue_whose_check_failed_is_named_with_its_slides() -> None:
    tiles = tile_sets()
    few = tiles["skin"].index.filter(pl.col("donor").is_in(["donor0", "donor1"]))
    tiles["skin"] = replace(tiles["skin"], index=few)
    with pytest.raises(LearningError, match=r"tiles of skin failed their check: they are of 2 slides, .* at least 3"):
        refuse_unfit_tiles(tiles, TISSUES, 3, TILING, SLIDES)
    refuse_unfit_tiles(tiles, TISSUES, 2, TILING, SLIDES)


def test_a_tissue_cut_under_other_settings_than_the_rest_is_named() -> None:
    tiles = tile_sets()
    tiles["colon"] = replace(tiles["colon"], parameters="0123")
    with pytest.raises(TilingError, match="tiles of colon were cut under other settings than the rest"):
        refuse_unfit_tiles(tiles, TISSUES, 1, TILING, SLIDES)


def test_tiles_that_all_are_of_other_settings_than_the_studys_are_refused() -> None:
    with pytest.raises(LearningError, match="under other settings than the study's"):
        refuse_unfit_tiles(tile_sets(), TISSUES, 1, TILING.model_copy(update={"tile_px": 72}), SLIDES)
    with pytest.raises(LearningError, match="under other settings than the study's"):
        refuse_unfit_tiles(tile_sets(), TISSUES, 1, TILING, SLIDES.model_copy(update={"max_lost_share": 0.5}))
