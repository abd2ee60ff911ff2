"""The values of the genes that may stay, set aside gene by gene and handed out sample by sample."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

# Genes that are turned at once; also the width of the chunks of a stored matrix.
GENES_AT_ONCE = 128
_SAMPLES_IN_CHUNK = 512

Floats32 = npt.NDArray[np.float32]


class SetAside:
    """Rows of genes, in a temporary file of `folder`, so that memory does not grow with them, or in memory."""

    def __init__(self, samples: int, folder: Path | None = None) -> None:
        self.samples, self.genes = samples, 0
        self._file: Any = io.BytesIO() if folder is None else tempfile.TemporaryFile(dir=folder)  # noqa: SIM115

    def __enter__(self) -> SetAside:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, values: Floats32) -> None:
        """Append (genes, samples) float32."""
        self.genes += len(values)
        self._file.write(np.ascontiguousarray(values).data)

    def fill(self, matrix: Any, kept: npt.NDArray[np.bool_]) -> None:
        """Write the `kept` genes ((genes,) bool) into `matrix`, (samples, kept genes), an array or an HDF5 data set."""
        self._file.seek(0)
        column = 0
        for genes in self._kept(kept):
            matrix[:, column : column + len(genes)] = genes.T
            column += len(genes)

    def _kept(self, kept: npt.NDArray[np.bool_]) -> Iterator[Floats32]:
        """Yield the genes that are kept, `GENES_AT_ONCE` of them at a time."""
        block = np.empty((GENES_AT_ONCE, self.samples), dtype=np.float32)
        filled = 0
        for stays in kept:
            self._file.readinto(block[filled])
            filled += bool(stays)
            if filled == GENES_AT_ONCE:
                yield block
                filled = 0
        if filled:
            yield block[:filled]


def stored_matrix(group: Any, samples: int, genes: int) -> Any:
    """Return a new data set `X` of an h5ad file, (samples, genes) float32, still to be filled."""
    chunk = (max(1, min(samples, _SAMPLES_IN_CHUNK)), max(1, min(genes, GENES_AT_ONCE)))
    matrix = group.create_dataset("X", (samples, genes), np.float32, chunks=chunk)
    matrix.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
    return matrix
