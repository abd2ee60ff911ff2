"""What Dagster sees of a study, before anything is made."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import polars as pl
import pytest

from histo_assets.core.training.frozen import FrozenModel
from histo_assets.definitions import build_definitions
from histo_assets.defs.automation import JOBS, settled_files
from histo_assets.studies.study import load_study, packaged_studies

GRAPH = {
    "cohort": {"slide_manifest", "slide_pairs", "selected_slides", "donor_split"},
    "slides": {"raw_slides"},
    "tiles": {"tiles"},
    "expression": {"expression_matrix", "expression_projection"},
    "model": {"training_set", "trained_model", "experiment_comparison", "selected_model", "model_evaluation"},
    "embeddings": {"tile_embeddings", "slide_embeddings", "tile_projection", "slide_projection", "epoch_projection"},
    "integration": {
        "paired_samples",
        "joint_projection",
        "gene_regressors",
        "recoverable_genes",
        "expression_clusters",
        "cluster_expression",
        "prediction_comparison",
    },
    "incoming": {"incoming_slide", "incoming_tiles", "incoming_embedding", "incoming_prediction"},
    "report": {"study_report"},
}


@pytest.fixture(scope="module")
def definitions() -> dg.Definitions:
    return build_definitions(load_study("tiny"), "/nowhere")


def test_the_graph_has_the_rooms_and_assets_of_the_design(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    rooms: dict[str, set[str]] = {}
    for key in graph.materializable_asset_keys:
        rooms.setdefault(str(graph.get(key).group_name), set()).add(key.path[-1])
    assert rooms == GRAPH


def test_every_asset_says_what_it_is_who_owns_it_and_which_code_made_it(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    for key in graph.materializable_asset_keys:
        node = graph.get(key)
        assert node.description and len(node.description) > 30, key
        assert node.kinds and node.owners and node.code_version, key
        assert key.path[0] == "tiny"


@pytest.mark.parametrize("name", packaged_studies())
def test_the_definitions_of_every_packaged_study_resolve(name: str) -> None:
    definitions = build_definitions(load_study(name), "/nowhere")
    dg.Definitions.validate_loadable(definitions)
    for job in JOBS:
        assert definitions.resolve_job_def(f"{name}_{job}")
    assert definitions.resolve_job_def(f"{name}_whole_study")


def test_inputs_have_the_types_that_load_and_refuse_others(definitions: dg.Definitions) -> None:
    inputs = {
        (asset.key.path[-1], definition.name): definition.dagster_type
        for asset in definitions.get_repository_def().assets_defs_by_key.values()
        if asset.is_executable
        for definition in asset.op.input_defs
    }
    untyped = {asset for (asset, _), kind in inputs.items() if kind.display_name == "Any"}
    assert untyped == {"study_report"}, "the report takes whatever the study has"
    table, tiles = inputs["slide_pairs", "slide_manifest"], inputs["training_set", "tiles"]
    assert (table.display_name, tiles.display_name) == ("DataFrame", "Dict[String,TileSet]")
    context: Any = dg.build_op_context()
    assert table.type_check(context, pd.DataFrame()).success
    assert not table.type_check(context, {"slide": []}).success
    assert inputs["trained_model", "training_set"].type_check(context, pl.DataFrame()).success
    assert not inputs["trained_model", "training_set"].type_check(context, pd.DataFrame()).success
    serving = inputs["tile_embeddings", "selected_model"]
    assert serving.type_check(context, FrozenModel.__new__(FrozenModel)).success, "a frozen backbone serves as well"


def test_every_asset_belongs_to_exactly_one_job() -> None:
    of_jobs = [asset for _, assets in JOBS.values() for asset in assets]
    assert sorted(of_jobs) == sorted(asset for assets in GRAPH.values() for asset in assets)


def test_schedule_and_sensor_are_off_by_default(definitions: dg.Definitions) -> None:
    schedule = definitions.resolve_schedule_def("tiny_nightly_tissues")
    sensor = definitions.resolve_sensor_def("tiny_incoming_slides")
    assert schedule.default_status == dg.DefaultScheduleStatus.STOPPED
    assert sensor.default_status == dg.DefaultSensorStatus.STOPPED


def test_the_schedule_asks_for_every_tissue_once_a_night(definitions: dg.Definitions) -> None:
    schedule = definitions.resolve_schedule_def("tiny_nightly_tissues")
    night = datetime(2026, 1, 2, tzinfo=UTC)
    repository = definitions.get_repository_def()
    context = dg.build_schedule_context(scheduled_execution_time=night, repository_def=repository)
    requests = schedule.evaluate_tick(context).run_requests
    assert [r.partition_key for r in requests or []] == list(load_study("tiny").selection.tissues)
    assert len({r.run_key for r in requests or []}) == len(requests or [])


def test_definitions_load_without_heavy_libraries() -> None:
    heavy = ("torch", "umap", "lightgbm", "sklearn", "slideio", "matplotlib", "pandas", "polars", "pandera", "anndata")
    code = f"import sys, histo_assets.definitions; print([name for name in {heavy} if name in sys.modules])"
    environment = {**os.environ, "HISTO_STUDY": "demo"}
    ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_a_new_slide_is_taken_when_it_stood_still_and_only_once(tmp_path: Path) -> None:
    slide = tmp_path / "GTEX-1117F-0126.svs"
    slide.write_bytes(b"first half")
    ready, cursor = settled_files(tmp_path, None)
    assert ready == []
    slide.write_bytes(b"first half and second half")
    ready, cursor = settled_files(tmp_path, cursor)
    assert ready == []
    ready, cursor = settled_files(tmp_path, cursor)
    assert [key for key, _ in ready] == ["GTEX-1117F-0126"]
    ready, cursor = settled_files(tmp_path, cursor)
    assert ready == []
    slide.write_bytes(b"another slide under the same name")
    _, cursor = settled_files(tmp_path, cursor)
    ready, _ = settled_files(tmp_path, cursor)
    assert [key for key, _ in ready] == ["GTEX-1117F-0126"]


def test_a_look_takes_no_more_than_it_should_and_the_rest_next_time(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"slide-{number}.svs").write_bytes(b"x")
    (tmp_path / "notes.txt").write_bytes(b"x")
    _, cursor = settled_files(tmp_path, None, most=3)
    first, cursor = settled_files(tmp_path, cursor, most=3)
    second, cursor = settled_files(tmp_path, cursor, most=3)
    assert len(first) == 3 and len(second) == 2
    assert {key for key, _ in [*first, *second]} == {f"slide-{number}" for number in range(5)}
