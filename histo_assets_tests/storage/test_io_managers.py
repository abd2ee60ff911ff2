"""What Dagster stores and loads, through real runs on a real instance."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from anndata import AnnData
from dagster import (
    AssetKey,
    AssetSelection,
    DagsterInstance,
    DataVersion,
    Definitions,
    ExecuteInProcessResult,
    MaterializeResult,
    RetryPolicy,
    RetryRequested,
    asset,
    execute_job,
    materialize,
    reconstructable,
)

from histo_assets.core.cohort import tables
from histo_assets.core.tables import Number, column
from histo_assets.storage.digests import content_digest
from histo_assets.storage.io_managers import AssetOutput, StorageResource
from histo_assets.storage.layout import Artefact, MissingArtefactError, Record, StorageError, StudyStorage
from histo_assets.storage.provenance import ProvenanceError
from histo_assets_tests.storage import graph
from histo_assets_tests.storage.graph import SEED, STUDY, Tiles, multiprocess_job, resources

Run = Any
QUIET = {"telemetry": {"enabled": False}}
LOCAL = pytest.mark.parametrize("root", ["local"], indirect=True)


def runner(root: str, instance: DagsterInstance) -> Run:
    def materialise(asset: Any, partition: str | None = None) -> ExecuteInProcessResult:
        return materialize(
            [*graph.ASSETS, asset],
            selection=[asset],
            partition_key=partition,
            instance=instance,
            resources=resources(root),
        )

    return materialise


@pytest.fixture
def run(root: str, instance: DagsterInstance) -> Run:
    return runner(root, instance)


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Materialise the rooms up to `choice`, once for all tests."""
    root = tmp_path_factory.mktemp("rooms") / STUDY
    with DagsterInstance.ephemeral(settings=QUIET) as instance:
        run = runner(str(root), instance)
        run(graph.slide_manifest)
        for tissue in ("heart", "liver"):
            run(graph.tiles, tissue)
            run(graph.tile_embeddings, tissue)
        run(graph.choice, "epoch_1")
    return root


@pytest.fixture
def study(rooms: Path, run: Run, root: str) -> Run:
    """Return how to go on from the rooms up to `choice`, in a storage of its own."""
    storage = StudyStorage(root)
    if not storage.remote:
        shutil.copytree(rooms, root)
        return run
    for path in rooms.rglob("*"):
        if path.is_file():
            storage.root.fs.put_file(str(path), (storage.root / path.relative_to(rooms).as_posix()).path)
    return run


def stored(root: str, name: str, partition: str | None = None) -> Any:
    return StorageResource(root=root).load(name, partition)


def test_every_kind_goes_through_a_whole_graph(study: Run, root: str) -> None:
    study(graph.summary)
    assert stored(root, "summary") == {
        "sizes": {"heart": 2, "liver": 2},
        "choice": {"epoch_1": {"heart": "heart 0", "liver": "liver 0"}},
    }


@LOCAL
def test_one_partition_loads_as_itself_where_the_partitions_are_the_same(study: Run, root: str) -> None:
    study(graph.follows_choice, "epoch_1")
    assert stored(root, "follows_choice", "epoch_1") == {"choice": {"heart": "heart 0", "liver": "liver 0"}}


@LOCAL
def test_all_partitions_load_as_a_dict_even_where_there_is_one(study: Run, root: str) -> None:
    study(graph.all_of_one, "liver")
    assert set(stored(root, "all_of_one", "liver")["choice"]) == {"epoch_1"}


def test_a_pointer_records_what_its_step_loaded(study: Run, root: str) -> None:
    storage = StudyStorage(root)

    def version(name: str, partition: str | None = None) -> str:
        return storage.require(Artefact(name, partition)).data_version

    embeddings = storage.require(Artefact("tile_embeddings", "liver"))
    assert embeddings.made_from == {
        "tiles/liver": version("tiles", "liver"),
        "slide_manifest": version("slide_manifest"),
    }
    assert storage.require(Artefact("choice", "epoch_1")).made_from == {
        f"tiles/{tissue}": version("tiles", tissue) for tissue in ("heart", "liver")
    }
    tiles = storage.require(Artefact("tiles", "liver"))
    assert (tiles.code_version, tiles.data_version) == ("2", content_digest(Tiles("liver 0")))


def test_the_version_dagster_knows_is_the_one_that_the_pointer_records(
    study: Run, root: str, instance: DagsterInstance
) -> None:
    study(graph.choice, "epoch_1")
    event = instance.get_latest_materialization_event(AssetKey([STUDY, "choice"]))
    assert event is not None
    assert event.asset_materialization is not None
    pointer = StudyStorage(root).require(Artefact("choice", "epoch_1"))
    assert event.asset_materialization.tags is not None
    assert event.asset_materialization.tags["dagster/data_version"] == pointer.data_version
    assert event.run_id == pointer.run_id
    metadata = event.asset_materialization.metadata
    assert str(metadata["dagster/uri"].value).endswith(f"demo/choice/epoch_1/{pointer.version}/content.json")
    assert metadata["size_bytes"].value == pointer.size


def test_what_was_made_from_something_else_is_refused(study: Run, root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SEED, "1")
    study(graph.slide_manifest)
    with pytest.raises(ProvenanceError, match=r"demo/tiles \[liver\] was made from slide_manifest .*, which is now"):
        study(graph.tile_embeddings, "liver")
    study(graph.tiles, "liver")
    study(graph.tile_embeddings, "liver")
    with pytest.raises(ProvenanceError, match=r"demo/tiles \[heart\]"):
        study(graph.choice, "epoch_1")


@LOCAL
def test_a_parent_made_again_as_it_was_is_accepted(study: Run) -> None:
    study(graph.slide_manifest)
    assert study(graph.tile_embeddings, "liver").success


def test_a_missing_upstream_is_named_with_its_partition_and_the_command(run: Run) -> None:
    run(graph.slide_manifest)
    run(graph.tiles, "heart")
    with pytest.raises(MissingArtefactError) as caught:
        run(graph.choice, "epoch_1")
    assert str(caught.value) == ("demo/tiles [liver] has not been made; run `histo-assets materialize --select tiles`")


@LOCAL
def test_an_asset_that_loads_by_name_records_it_too(study: Run, root: str) -> None:
    study(graph.by_name)
    assert stored(root, "by_name") == {"liver": "liver 0"}
    assert set(StudyStorage(root).require(Artefact("by_name")).made_from) == {"tiles/liver"}


@LOCAL
def test_a_check_loads_by_the_same_rules(study: Run, root: str, instance: DagsterInstance) -> None:
    study(graph.summary)
    checked = materialize(
        [*graph.ASSETS, graph.summary_check],
        selection=AssetSelection.checks_for_assets(graph.summary),
        instance=instance,
        resources=resources(root),
    )
    assert [evaluation.passed for evaluation in checked.get_asset_check_evaluations()] == [True]


@LOCAL
@pytest.mark.parametrize("wanted", [pd.DataFrame, pl.DataFrame])
def test_definitions_load_a_value_outside_of_a_run(run: Run, root: str, instance: DagsterInstance, wanted: Any) -> None:
    run(graph.slide_manifest)
    definitions = Definitions(assets=graph.ASSETS, resources=resources(root))
    value = definitions.load_asset_value([STUDY, "slide_manifest"], instance=instance, python_type=wanted)
    assert isinstance(value, wanted)


@LOCAL
def test_a_failed_step_leaves_what_was_there(run: Run, root: str) -> None:
    @asset(name="slide_manifest", key_prefix=STUDY, io_manager_key="tables")
    def broken() -> MaterializeResult[Any]:
        return MaterializeResult(value={"no": "table"})

    run(graph.slide_manifest)
    before = StudyStorage(root).require(Artefact("slide_manifest"))
    with pytest.raises(StorageError, match="demo/slide_manifest: a table is a pandas or polars DataFrame, not a dict"):
        materialize([broken], resources=resources(root), instance=DagsterInstance.ephemeral(settings=QUIET))
    assert StudyStorage(root).require(Artefact("slide_manifest")) == before


@LOCAL
def test_a_retried_step_records_the_load_of_its_last_attempt(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    attempts: list[int] = []

    @asset(
        key_prefix=STUDY,
        io_manager_key="json",
        ins={"slide_manifest": graph.upstream("slide_manifest")},
        retry_policy=RetryPolicy(max_retries=1),
    )
    def flaky(slide_manifest: pd.DataFrame) -> MaterializeResult[Any]:
        attempts.append(int(slide_manifest.seed[0]))
        if len(attempts) == 1:
            monkeypatch.setenv(SEED, "5")
            materialize([graph.slide_manifest], resources=resources(root), instance=quiet())
            raise RetryRequested(max_retries=1)
        return graph.result({"seed": attempts[-1]})

    def quiet() -> DagsterInstance:
        return DagsterInstance.ephemeral(settings=QUIET)

    materialize([graph.slide_manifest], resources=resources(root), instance=quiet())
    materialize([graph.slide_manifest, flaky], selection=[flaky], resources=resources(root), instance=quiet())
    assert attempts == [0, 5]
    manifest = StudyStorage(root).require(Artefact("slide_manifest"))
    assert StudyStorage(root).require(Artefact("flaky")).made_from == {"slide_manifest": manifest.data_version}


@LOCAL
def test_an_asset_that_reads_its_own_last_version_is_not_its_own_parent(root: str, instance: DagsterInstance) -> None:
    @asset(key_prefix=STUDY, io_manager_key="json")
    def counter(context, storage: StorageResource) -> MaterializeResult[Any]:
        seen = storage.storage.pointer(Artefact("counter"))
        return graph.result({"n": 1 + (storage.load("counter", context=context)["n"] if seen else 0)})

    for _ in range(3):
        materialize([counter], resources=resources(root), instance=instance)
    assert stored(root, "counter") == {"n": 3}


def test_provenance_is_recorded_where_each_step_has_its_own_process(
    tmp_path: Path, instance_on_disk: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "storage" / STUDY
    monkeypatch.setenv("TEST_ROOT", str(root))
    materialize(
        [graph.slide_manifest], resources=resources(str(root)), instance=DagsterInstance.ephemeral(settings=QUIET)
    )
    job = reconstructable(multiprocess_job)
    with execute_job(job, instance=instance_on_disk, tags={"dagster/partition": "liver"}) as ended:
        assert ended.success
    storage = StudyStorage(root)
    assert set(storage.require(Artefact("tiles", "liver")).made_from) == {"slide_manifest"}


def test_shards_and_scratch_have_places_of_their_own(root: str, own_cache: Path) -> None:
    storage = StorageResource(root=root)
    assert storage.shard_root("tiles") == f"{root}/shards/tiles"
    scratch = storage.scratch("trained_model-restart")
    assert scratch.is_dir()
    assert own_cache in scratch.parents
    assert scratch == StorageResource(root=root).scratch("trained_model-restart")
    assert scratch != StorageResource(root=f"{root}/other").scratch("trained_model-restart")


def declared(value: Any, table: str) -> Any:
    """Return an asset that stores `value` as the table of that name."""

    @asset(name="donor_split", key_prefix=STUDY, io_manager_key="tables" if hasattr(value, "columns") else "matrices")
    def made() -> MaterializeResult[Any]:
        version = content_digest(value)
        return MaterializeResult(
            value=AssetOutput(value, version, Record(table=table)), data_version=DataVersion(version)
        )

    return made


def split() -> pd.DataFrame:
    return pd.DataFrame({"donor": ["a", "b"], "fold": [-1, 0], "side": ["test", "validation"], "slides": [1, 2]})


@LOCAL
def test_a_table_that_is_not_as_declared_is_not_stored(run: Run, root: str) -> None:
    run(declared(split(), "cohort.DonorSplit"))
    with pytest.raises(StorageError) as raised:
        run(declared(split().assign(side=["test", "somewhere"]), "cohort.DonorSplit"))
    assert str(raised.value) == (
        "demo/donor_split: it is no table `cohort.DonorSplit`: column `side` is somewhere in row 2 (donor b), and must"
        " be one of train, validation, test; materialise it again"
    )
    pd.testing.assert_frame_equal(stored(root, "donor_split"), split())


@LOCAL
def test_a_table_that_is_no_longer_as_declared_is_not_loaded(
    run: Run, root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(declared(split(), "cohort.DonorSplit"))

    class Later(tables.DonorSplit):
        """The table as a later version declares it."""

        weight: Number = column("What the donor counts.")

    monkeypatch.setattr(tables, "DonorSplit", Later)
    with pytest.raises(StorageError, match=r"demo/donor_split: .* there is no column `weight`; materialise it again"):
        stored(root, "donor_split")


@LOCAL
def test_a_table_that_was_stored_without_a_declaration_is_loaded_as_it_is(run: Run, root: str) -> None:
    run(declared(split().drop(columns="fold"), ""))
    pd.testing.assert_frame_equal(stored(root, "donor_split"), split().drop(columns="fold"))


@LOCAL
def test_a_table_of_a_later_version_is_one_sentence(run: Run, root: str) -> None:
    run(declared(split(), ""))
    storage, artefact = StudyStorage(root), Artefact("donor_split")
    storage.rewrite(artefact, storage.require(artefact).model_copy(update={"table": "cohort.DonorFolds"}))
    with pytest.raises(StorageError, match=r"donor_split: .*`cohort.DonorFolds`: this version .* does not know"):
        stored(root, "donor_split")


@LOCAL
def test_the_rows_of_a_matrix_are_judged(run: Run, root: str) -> None:
    clusters = pd.DataFrame({"name": ["0: liver"], "slides": [2], "samples": [0]}, index=["0"])
    run(declared(AnnData(np.ones((1, 2), np.float32), obs=clusters), "prediction.ClusterMeans"))
    assert stored(root, "donor_split").obs["slides"].tolist() == [2]
    with pytest.raises(StorageError, match=r"column `slides` is -1 in row 1 \(cluster 0\)"):
        run(declared(AnnData(np.ones((1, 2), np.float32), obs=clusters.assign(slides=-1)), "prediction.ClusterMeans"))
