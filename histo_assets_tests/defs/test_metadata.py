"""What every asset of a finished study shows of itself."""

from __future__ import annotations

import dagster as dg
import pytest

from histo_assets.defs.metadata import EVENT_BUDGET, IMAGE_BUDGET
from histo_assets_tests.conftest import FinishedStudy

pytestmark = pytest.mark.study


def test_every_asset_shows_a_preview_and_figures_within_the_budget(tiny: FinishedStudy) -> None:
    driver = tiny.driver()
    for asset in [name for stage in driver.stages() for name in stage.assets]:
        event = tiny.instance.get_latest_materialization_event(dg.AssetKey([tiny.study.name, asset]))
        assert event is not None and event.asset_materialization is not None, asset
        metadata = event.asset_materialization.metadata
        assert "data:image/" in str(metadata["preview"].value), asset
        numbers = [v for v in metadata.values() if isinstance(v, dg.IntMetadataValue | dg.FloatMetadataValue)]
        assert numbers, asset
        pictures = [len(str(v.value)) for v in metadata.values() if isinstance(v, dg.MarkdownMetadataValue)]
        assert max(pictures) <= IMAGE_BUDGET * 4 / 3 + 1000, asset
        assert sum(pictures) <= EVENT_BUDGET, asset
