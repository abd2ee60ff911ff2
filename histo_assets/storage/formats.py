"""The four kinds of artefact on disk: tables, matrices, folders and JSON.

Nothing here is executed on load: parquet, h5ad and JSON, and what a handle writes by itself.
"""

from __future__ import annotations

import errno
import importlib
import io
import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd
import polars as pl

from histo_assets.storage.digests import as_arrow, content_digest
from histo_assets.storage.layout import StorageError

if TYPE_CHECKING:
    from anndata import AnnData

Format = Literal["tables", "matrices", "folders", "json"]
FORMATS: tuple[Format, ...] = ("tables", "matrices", "folders", "json")

_TABLE, _MATRIX, _JSON = "table.parquet", "matrix.h5ad", "content.json"
_HANDLE, _FILES = "handle.json", "files"

HELD_IN_MEMORY = 500_000_000
"""Bytes up to which a matrix is put together in memory: HDF5 ends the process where it meets a full disk."""

HANDLES = {
    "Bundle": "histo_assets.core.files",
    "Checkpoint": "histo_assets.core.training.checkpoint",
    "CrossValidation": "histo_assets.core.prediction.crossval",
    "FrozenModel": "histo_assets.core.training.frozen",
    "SelectedModel": "histo_assets.core.training.selected",
    "TileSet": "histo_assets.core.tiling.tile_set",
}
"""Class -> module of the handles that a folder may be read by where nobody names the class."""


def write(format: str, value: Any, folder: Path, version: str | None = None) -> None:
    """Write `value` into the local folder `folder`, and read it back to see that nothing was lost.

    `version` is its content digest, where that is known already.

    Raises
    ------
    StorageError
        `value` is not of this format, or would not come back as it is.
    """
    if format == "tables":
        _write_table(value, folder / _TABLE)
    elif format == "matrices":
        _write_matrix(value, folder / _MATRIX)
    elif format == "json":
        _write_json(value, folder / _JSON)
    else:
        _write_folder(value, folder)
        return  # a handle vouches for its own files
    if content_digest(read(format, folder, type(value))) != (version or content_digest(value)):
        raise StorageError(f"this {type(value).__name__} does not survive being stored as {format}")


def read(format: str, folder: Path, wanted: Any = Any) -> Any:
    """Return what was written into the local folder `folder`.

    Parameters
    ----------
    wanted
        The type that is asked for: `pd.DataFrame` or `pl.DataFrame` for a table (anything else gives
        the one that was written), the handle's class for a folder.
    """
    if format == "tables":
        return _read_table(folder / _TABLE, wanted)
    if format == "matrices":
        import anndata

        return anndata.read_h5ad(folder / _MATRIX)
    if format == "json":
        return json.loads((folder / _JSON).read_text(encoding="utf-8"))
    if format == "folders":
        return handle_class(folder, wanted).read(folder / _FILES)
    raise StorageError(f"unknown format {format!r}, known are {', '.join(FORMATS)}")


def refuse_undeclared(value: Any, name: str) -> None:
    """Raise where a table, or the rows of a matrix, are not what the table `name` declares.

    Raises
    ------
    StorageError
        In one sentence: which column, and where in it.
    """
    from histo_assets.core.tables import TableError, as_table, declared_table, validate

    try:
        table = declared_table(name)
        validate(as_table(value, table), table)
    except TableError as error:
        raise StorageError(f"it is no table `{name}`: {error}; materialise it again") from error


def _write_table(value: Any, path: Path) -> None:
    if isinstance(value, pl.DataFrame):
        value.write_parquet(path, compression="zstd")
    elif isinstance(value, pd.DataFrame):
        import pyarrow.parquet as pq

        pq.write_table(as_arrow(value), path, compression="zstd")
    else:
        raise StorageError(f"a table is a pandas or polars DataFrame, not a {type(value).__name__}")


def _read_table(path: Path, wanted: Any) -> pd.DataFrame | pl.DataFrame:
    if wanted is not pd.DataFrame and wanted is not pl.DataFrame:
        import pyarrow.parquet as pq

        wanted = pd.DataFrame if b"pandas" in (pq.read_schema(path).metadata or {}) else pl.DataFrame
    return pd.read_parquet(path) if wanted is pd.DataFrame else pl.read_parquet(path)


def _write_matrix(value: Any, path: Path) -> None:
    if not hasattr(value, "obsm"):
        raise StorageError(f"a matrix is an AnnData, not a {type(value).__name__}")
    storable, compressed = _storable(value), {"compression": "gzip", "compression_opts": 1}
    if _bytes_of(value) > HELD_IN_MEMORY:
        _refuse_without_room(path, _bytes_of(value))
        storable.write_h5ad(path, **compressed, convert_strings_to_categoricals=False)
        return
    import h5py
    from anndata.io import write_elem

    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        write_elem(file, "/", storable, dataset_kwargs=compressed)
    path.write_bytes(content.getbuffer())


def _bytes_of(adata: AnnData) -> int:
    """Return about how many bytes a matrix holds, uncompressed."""
    arrays = [adata.X, *adata.layers.values(), *adata.obsm.values(), *adata.varm.values()]
    plain = [array if hasattr(array, "nbytes") else getattr(array, "data", None) for array in arrays]
    return sum(int(getattr(array, "nbytes", 0)) for array in plain)


def _refuse_without_room(path: Path, needed: int) -> None:
    """Raise where the disk has no room: HDF5 ends the process when it finds out by itself."""
    free = shutil.disk_usage(path.parent).free
    if free < needed:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def _storable(adata: AnnData) -> AnnData:
    """Return an AnnData over the same arrays whose labels every reader of h5ad understands."""
    import anndata

    if adata.X is None:
        raise StorageError("a matrix needs its X; tools that open h5ad files expect one")
    if adata.raw is not None:
        raise StorageError("a matrix is stored without .raw; make it a layer or drop it")
    fields = {field: dict(getattr(adata, field)) for field in ("obsm", "varm", "obsp", "varp", "layers")}
    return anndata.AnnData(
        X=adata.X, obs=_plain_labels(adata.obs), var=_plain_labels(adata.var), uns=dict(adata.uns), **fields
    )


def _plain_labels(frame: pd.DataFrame) -> pd.DataFrame:
    """Return `frame` with plain strings, categorical where some are missing; never nullable strings."""
    frame = frame.copy(deep=False)
    frame.index = frame.index.astype(str).astype(object)
    for name in frame.columns:
        column = frame[name]
        if isinstance(column.dtype, pd.StringDtype):
            column = column.astype(object)
        if column.dtype == object and column.isna().any():
            column = column.astype("category")
        if isinstance(column.dtype, pd.CategoricalDtype):
            categories = column.cat.categories
            if isinstance(categories.dtype, pd.StringDtype) or len(categories) == 0:
                column = column.cat.set_categories(categories.astype(object))
        frame[name] = column
    return frame


def _write_json(value: Any, path: Path) -> None:
    def number(item: Any) -> Any:
        if hasattr(item, "tolist"):
            return item.tolist()
        raise StorageError(f"JSON cannot hold a {type(item).__name__}; use numbers, strings, lists and dicts")

    try:
        text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False, default=number)
    except ValueError as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError("JSON has no NaN and no infinity; use None for a number that is not there") from error
    path.write_text(text + "\n", encoding="utf-8")


def _write_folder(value: Any, folder: Path) -> None:
    if not hasattr(value, "write") or not hasattr(type(value), "read"):
        raise StorageError(f"a {type(value).__name__} has no write(folder) and read(folder); it is no handle of files")
    (folder / _FILES).mkdir()
    value.write(folder / _FILES)
    (folder / _HANDLE).write_text(json.dumps({"handle": type(value).__name__}) + "\n")


def handle_class(folder: Path, wanted: Any = Any) -> Any:
    """Return the class that is asked for, else the one that wrote the folder."""
    if hasattr(wanted, "read"):
        return wanted
    name = json.loads((folder / _HANDLE).read_text())["handle"]
    if name not in HANDLES:
        raise StorageError(f"a folder is read by its handle's class; {name!r} is none of {', '.join(HANDLES)}")
    return getattr(importlib.import_module(HANDLES[name]), name)
