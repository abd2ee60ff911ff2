"""Digests of content: equal for equal values, before and after they were stored."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import polars as pl

from histo_assets.core.files import folder_digest
from histo_assets.storage.layout import StorageError

if TYPE_CHECKING:
    import pyarrow as pa


def content_digest(value: Any) -> str:
    """Return 32 hexadecimal characters that change when the content of `value` does.

    Parameters
    ----------
    value
        A pandas or polars table (without regard to its index, or to which of the two it is), an
        AnnData, an array, a handle with its own `content_digest()` or a `write(folder)`, or
        numbers, strings, lists and dicts of these (without regard to the order of keys).

    Raises
    ------
    StorageError
        `value` is of another kind, or a table with an index or column names that cannot be stored.
    """
    return hashlib.sha256(_canonical(value)).hexdigest()[:32]


def as_arrow(table: pd.DataFrame) -> pa.Table:
    """Return a pandas table as it is stored: without its index, a column of nothing but nulls as string."""
    import pyarrow as pa

    if not all(isinstance(name, str) for name in table.columns) or not table.columns.is_unique:
        raise StorageError(f"a table's column names must be distinct strings, found {list(table.columns)}")
    if any(name is not None for name in table.index.names):
        raise StorageError(f"a table cannot be stored with its index {table.index.names}; make it a column")
    arrow = pa.Table.from_pandas(table, preserve_index=False)
    for i, field in enumerate(arrow.schema):
        if pa.types.is_null(field.type):
            arrow = arrow.set_column(i, field.name, arrow.column(i).cast(pa.string()))
    return arrow


def _canonical(value: Any) -> bytes:
    """Return bytes that are equal for equal content."""
    if isinstance(value, pd.DataFrame):
        return _of_columns(as_arrow(value))
    if isinstance(value, pl.DataFrame):
        return _of_columns(value.to_arrow())
    if isinstance(value, Mapping):
        parts = {str(key): item for key, item in value.items()}
        if len(parts) < len(value):
            raise StorageError(f"keys of a dict must differ as text, found {list(value)}")
        return _of_parts("dict", parts)
    if isinstance(value, np.ndarray | np.generic):
        return _of_array(np.asarray(value))
    if value is None or isinstance(value, str | bool | int | float):
        return _of_array(np.asarray(value))
    if isinstance(value, list | tuple):
        uniform = len({type(item) for item in value}) <= 1 and not any(
            isinstance(item, list | tuple | Mapping) for item in value
        )
        return _of_array(np.asarray(value)) if uniform else _joined("list", *(_canonical(item) for item in value))
    if hasattr(value, "content_digest"):
        return _joined("handle", str(value.content_digest()).encode())
    if hasattr(value, "obsm"):
        return _of_anndata(value)
    if hasattr(value, "tocsr"):
        return _of_sparse(value)
    if hasattr(value, "write"):
        return _of_folder(value)
    raise StorageError(f"no digest of a {type(value).__name__}; give it a method content_digest()")


def _joined(kind: str, *parts: bytes) -> bytes:
    return b"".join([kind.encode(), b":", *(len(part).to_bytes(8, "little") + part for part in parts)])


def _of_parts(kind: str, parts: Mapping[str, Any]) -> bytes:
    digests = [key.encode() + b"=" + hashlib.sha256(_canonical(parts[key])).digest() for key in sorted(parts)]
    return _joined(kind, *digests)


def _of_array(array: np.ndarray[Any, Any]) -> bytes:
    """Return an array's shape, type and values; a scalar is an array of no dimension."""
    if array.dtype.kind in "OUT":
        return _joined("text", json.dumps(array.tolist(), default=str).encode())
    if array.dtype.names or array.dtype.kind not in "biufcmMS":
        raise StorageError(f"no digest of an array of {array.dtype}")
    wide = array.ndim == 0 and array.dtype.kind in "iuf"
    array = array.astype({"f": "<f8", "i": "<i8", "u": "<i8"}[array.dtype.kind]) if wide else array
    array = array.astype(array.dtype.newbyteorder("<"))
    return _joined(f"array {array.dtype.str} {array.shape}", np.ascontiguousarray(array).tobytes())


def _of_sparse(matrix: Any) -> bytes:
    rows = matrix.tocsr(copy=True)
    rows.sum_duplicates()
    return _joined(
        f"sparse {rows.shape} {rows.dtype.str}",
        rows.indptr.astype("<i8").tobytes(),
        rows.indices.astype("<i8").tobytes(),
        rows.data.tobytes(),
    )


def _of_anndata(adata: Any) -> bytes:
    parts = {
        "X": adata.X,
        "obs": _with_index(adata.obs),
        "var": _with_index(adata.var),
        "uns": dict(adata.uns),
        **{field: dict(getattr(adata, field)) for field in ("obsm", "varm", "obsp", "varp", "layers")},
    }
    return _of_parts("anndata", parts)


def _with_index(frame: pd.DataFrame) -> dict[str, Any]:
    names = np.asarray(frame.index.astype(str), dtype=object)
    return {"names": names, "columns": frame.reset_index(drop=True).rename_axis(index=None)}


def _of_folder(handle: Any) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        handle.write(Path(folder))
        return _joined("folder", folder_digest(folder).encode())


def _of_columns(table: pa.Table) -> bytes:
    columns = [_joined(name, *_of_column(table.column(name))) for name in table.column_names]
    return _joined(f"table {table.num_rows}", *columns)


def _of_column(column: pa.ChunkedArray) -> tuple[bytes, ...]:
    """Return a column's kind, where it has values, and the values; NaN counts as no value."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if pa.types.is_dictionary(kind):
        return _of_column(column.cast(kind.value_type))
    if pa.types.is_null(kind):
        return _of_column(column.cast(pa.large_string()))
    absent = pc.is_null(column, nan_is_null=True).to_numpy()
    mask = np.packbits(absent).tobytes()
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        words = [word.encode() for word in column.fill_null("").cast(pa.large_string()).to_pylist()]
        lengths = np.array([len(word) for word in words], dtype="<i8")
        return b"string", mask, lengths.tobytes(), b"".join(words)
    if pa.types.is_temporal(kind):
        kind_of_numbers = pa.int32() if kind.bit_width == 32 else pa.int64()
        numbers = column.cast(kind_of_numbers).fill_null(0).to_numpy()
    elif pa.types.is_boolean(kind):
        numbers = column.cast(pa.uint8()).fill_null(0).to_numpy()
    elif pa.types.is_integer(kind) or pa.types.is_floating(kind):
        numbers = column.fill_null(0).to_numpy()
        numbers = np.where(absent, np.zeros((), numbers.dtype), numbers)
    else:
        return b"other", mask, json.dumps(column.to_pylist(), default=str).encode()
    return str(kind).encode(), mask, np.ascontiguousarray(numbers).tobytes()
