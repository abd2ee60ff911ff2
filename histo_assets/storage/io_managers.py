"""What Dagster stores and loads artefacts with.

One manager a format, all of one base: a value is written whole, with what it was made from, and is
loaded only while that still stands. Several partitions load as a dict by partition, one as itself.
"""

from __future__ import annotations

import json
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from dagster import (
    AllPartitionMapping,
    AssetExecutionContext,
    ConfigurableIOManager,
    ConfigurableResource,
    DagsterInvariantViolationError,
    InputContext,
    OutputContext,
)

from histo_assets.storage.layout import SHARDS, SHOWN, Artefact, Origin, Pointer, Record, StorageError, StudyStorage
from histo_assets.storage.provenance import Pointers, loads_of, note_load, refuse_stale
from histo_assets.storage.shards import shards_of

VERSION = "histo_assets/version"
"""Metadata of a materialisation: the version folder that it stored."""


@dataclass(frozen=True)
class AssetOutput:
    """What an asset made, on its way into the storage: the value, its data version, and what the step knows of it.

    `shown` is what the asset shows of it, as JSON holds it: it stays beside the value, whatever becomes of Dagster.
    """

    value: Any
    data_version: str
    record: Record = field(default_factory=Record)
    shown: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class StoredOutput:
    """Stands for a value that is stored already, as its pointer says."""

    pointer: Pointer


class ArtefactIOManager(ConfigurableIOManager):
    """Base of the four: stores into and loads from the study's folder `root`, a path or fsspec URL."""

    root: str
    format: ClassVar[str]

    def handle_output(self, context: OutputContext, obj: Any) -> None:
        """Store one output, whole or not at all, with what its step loaded."""
        storage = StudyStorage(self.root)
        artefact = Artefact(context.asset_key.path[-1], _output_partition(context))
        pointer = obj.pointer if isinstance(obj, StoredOutput) else self._publish(context, storage, artefact, obj)
        context.add_output_metadata(
            {
                "dagster/uri": storage.location(artefact, pointer),
                "size_bytes": pointer.size,
                VERSION: pointer.version,
            }
        )

    def _publish(self, context: OutputContext, storage: StudyStorage, artefact: Artefact, obj: Any) -> Pointer:
        from histo_assets.storage.digests import content_digest

        output = obj if isinstance(obj, AssetOutput) else AssetOutput(obj, content_digest(obj))
        record = output.record
        if shards := shards_of(storage, output.value):
            record = record.model_copy(update={"shards": shards})
        made_from = loads_of(context.step_context)
        made_from.pop(artefact.name, None)  # its own last version is no parent
        try:
            return storage.publish(
                artefact,
                lambda folder: self._write(output, folder),
                format=self.format,
                data_version=output.data_version,
                origin=Origin(context.asset_spec.code_version, made_from, context.run_id),
                record=record,
            )
        except StorageError as error:
            raise _naming(storage, artefact, error) from error

    def _write(self, output: AssetOutput, folder: Path) -> None:
        from histo_assets.storage import formats

        if output.record.table:
            formats.refuse_undeclared(output.value, output.record.table)
        formats.write(self.format, output.value, folder, output.data_version)
        if output.shown:
            (folder / SHOWN).write_text(json.dumps(dict(output.shown)), encoding="utf-8")

    def load_input(self, context: InputContext) -> Any:
        """Return an upstream value: itself, or a dict by partition where the step asks for several."""
        asset = context.asset_key.path[-1]
        step = _step(context)
        pointers = Pointers(StudyStorage(self.root))
        wanted = context.dagster_type.typing_type
        if not context.has_asset_partitions:
            return load(pointers, Artefact(asset), wanted, step)
        keys = context.asset_partition_keys
        if not self._by_partition(context, keys, wanted):
            return load(pointers, Artefact(asset, keys[0]), wanted, step)
        if _is_dict(wanted):
            wanted = (*typing.get_args(wanted), Any, Any)[1]
        return {key: load(pointers, Artefact(asset, key), wanted, step) for key in keys}

    def _by_partition(self, context: InputContext, keys: Sequence[str], wanted: Any) -> bool:
        """Return whether an input of a partitioned asset is a dict even where it has one partition."""
        asked_for = _is_dict(wanted) and self.format != "json"  # a JSON value is a dict itself
        return len(keys) != 1 or asked_for or not context.has_partition_key or _takes_all(context)


class TableIOManager(ArtefactIOManager):
    """pandas or polars tables as parquet; the parameter's annotation says which comes back."""

    format = "tables"


class MatrixIOManager(ArtefactIOManager):
    """AnnData as h5ad, always opened from a local copy."""

    format = "matrices"


class DirectoryIOManager(ArtefactIOManager):
    """Handles with `write(folder)` and a class method `read(folder)`; the class is the parameter's annotation."""

    format = "folders"


class JsonIOManager(ArtefactIOManager):
    """Dicts of plain values as JSON."""

    format = "json"


class StorageResource(ConfigurableResource):  # type: ignore[type-arg]
    """The study's storage for an asset's own use: shards, scratch folders, artefacts by name."""

    root: str

    @property
    def storage(self) -> StudyStorage:
        """The artefacts of the study."""
        return StudyStorage(self.root)

    def shard_root(self, asset: str) -> str:
        """Return the path or URL below which `asset` keeps its shards."""
        return str(self.storage.root / SHARDS / asset)

    def scratch(self, name: str) -> Path:
        """Return this machine's folder `name` for files that only let a killed step go on."""
        folder = self.storage.local_folder("scratch") / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def load(
        self, asset: str, partition: str | None = None, wanted: Any = Any, context: AssetExecutionContext | None = None
    ) -> Any:
        """Return an artefact by name, as an IO manager would.

        Parameters
        ----------
        wanted
            The table's or the handle's class.
        context
            The context of the asset that loads, so that its output records what it was made from.
        """
        step = context.get_step_execution_context() if context is not None else None
        return load(Pointers(self.storage), Artefact(asset, partition), wanted, step)


def load(pointers: Pointers, artefact: Artefact, wanted: Any = Any, step: Any = None) -> Any:
    """Return the value that counts as `artefact` now, noted for `step` where one is given.

    Raises
    ------
    MissingArtefactError
        It has not been made.
    ProvenanceError
        Something that it was made from has since become something else.
    StorageError
        It is not what its table declares now.
    """
    from histo_assets.storage import formats

    pointer = pointers.require(artefact)
    refuse_stale(pointers, artefact)
    folder = pointers.storage.fetch(artefact, pointer)
    try:
        value = formats.read(pointer.format, folder, wanted)
        if pointer.table:
            formats.refuse_undeclared(value, pointer.table)
    except StorageError as error:
        raise _naming(pointers.storage, artefact, error) from error
    if step is not None:
        note_load(step, artefact, pointer)
    return value.located(str(pointers.storage.root / SHARDS)) if hasattr(value, "located") else value


def build_io_managers(root: str) -> dict[str, ArtefactIOManager]:
    """Return the IO managers of the study whose storage is `root`, by the key that assets name them by."""
    managers = (TableIOManager, MatrixIOManager, DirectoryIOManager, JsonIOManager)
    return {manager.format: manager(root=root) for manager in managers}


def _naming(storage: StudyStorage, artefact: Artefact, error: StorageError) -> StorageError:
    """Return `error` as a sentence that begins with the artefact's name."""
    label = storage.label(artefact)
    return error if str(error).startswith(label) else type(error)(f"{label}: {error}")


def _output_partition(context: OutputContext) -> str | None:
    if not context.has_asset_partitions:
        return None
    keys = context.asset_partition_keys
    if len(keys) != 1:
        raise StorageError(f"{context.asset_key.to_user_string()}: run one partition at a time, not {len(keys)}")
    return keys[0]


def _step(context: InputContext) -> Any:
    """Return the step that loads, or None where somebody loads outside of a run."""
    try:
        return context.step_context
    except DagsterInvariantViolationError:
        return None


def _is_dict(wanted: Any) -> bool:
    origin = typing.get_origin(wanted) or wanted
    return isinstance(origin, type) and issubclass(origin, Mapping)


def _takes_all(context: InputContext) -> bool:
    """Return whether the loading asset declares that it takes all partitions of this input."""
    step = _step(context)
    if step is None:
        return False
    assets_def = step.job_def.asset_layer.get_assets_def_for_node(step.node_handle)
    mapping = assets_def.get_partition_mapping_for_dep(context.asset_key) if assets_def else None
    return isinstance(mapping, AllPartitionMapping)
