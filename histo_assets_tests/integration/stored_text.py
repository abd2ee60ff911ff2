"""What a storage says in clear: all text in its files, compressed or not."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np


def files_that_name(folder: Path, places: Iterable[str]) -> list[str]:
    """Return the files below `folder` that hold one of `places`, tables and matrices read first."""
    needles = [place.encode() for place in places]
    return [
        path.relative_to(folder).as_posix()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and any(needle in content for content in _contents(path) for needle in needles)
    ]


def _contents(path: Path) -> Iterator[bytes]:
    yield path.read_bytes()
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        yield str(pq.read_table(path).to_pylist()).encode()
    elif path.suffix == ".gz":
        yield gzip.decompress(path.read_bytes())
    elif path.suffix == ".h5ad":
        import h5py

        with h5py.File(path) as file:
            yield from _of_h5(file)
    elif path.suffix == ".npz":
        with np.load(path) as arrays:
            yield from (arrays[name].tobytes() for name in arrays)


def _of_h5(group: Any) -> Iterator[bytes]:
    yield str(dict(group.attrs)).encode()
    for item in group.values():
        if hasattr(item, "values"):
            yield from _of_h5(item)
            continue
        yield str(dict(item.attrs)).encode()
        content = np.asarray(item[()])
        yield str(content.tolist()).encode() if content.dtype.kind in "OS" else content.tobytes()
