"""What every asset of a finished study shows of itself."""

from __future__ import annotations

import dagster as dg
import pytest

from histo_assets.defs.metadata import EVENT_BUDGET, IMAGE_BUDGET, as_stored, from_stored
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


def columns_of(tiny: FinishedStudy, asset: str) -> dict[str, dg.TableColumn]:
    event = tiny.instance.get_latest_materialization_event(dg.AssetKey([tiny.study.name, asset]))
    assert event is not None and event.asset_materialization is not None
    schema = event.asset_materialization.metadata["dagster/column_schema"].value
    assert isinstance(schema, dg.TableSchema)
    return {column.name: column for column in schema.columns}


def test_the_columns_tab_says_what_a_column_holds_in_which_unit(tiny: FinishedStudy) -> None:
    slides = columns_of(tiny, "raw_slides")
    assert slides["mpp"].description == "Resolution at level 0. Unit: um per px."
    assert slides["mpp"].type == "number" and slides["mpp"].constraints.other == ["greater than 0"]
    assert slides["slide"].constraints == dg.TableColumnConstraints(nullable=False, unique=True, other=[])
    assert columns_of(tiny, "tiles")["pen_share"].description == (
        "Measured by the filter `pen`. Its threshold: largest share of the tile that may be ink or dust."
    )
    assert columns_of(tiny, "slide_embeddings")["slide"].description == "Slide."
    assert columns_of(tiny, "slide_manifest")["age"].type == "text or number"


def test_every_table_of_a_study_shows_columns_with_descriptions(tiny: FinishedStudy) -> None:
    with_columns = 0
    for name, declaration in tiny.driver().assets.declared.items():
        if declaration.table and not name.startswith("incoming"):
            with_columns += 1
            assert all(column.description for column in columns_of(tiny, name).values()), name
    assert with_columns >= 18


def test_column_schemas_are_kept_beside_the_value() -> None:
    constraints = dg.TableColumnConstraints(nullable=False, unique=True, other=["at least 0"])
    schema = dg.TableSchema([dg.TableColumn("x", "whole number", "Left edge. Unit: px.", constraints)])
    assert from_stored(as_stored({"dagster/column_schema": schema})) == {"dagster/column_schema": schema}
    earlier = from_stored({"dagster/column_schema": {"columns": [["x", "int64"]]}})["dagster/column_schema"]
    assert [(column.name, column.type, column.description) for column in earlier.columns] == [("x", "int64", None)]
