"""Text files with genes in rows: GCT, CSV and TSV, plain or gzipped."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from histo_assets.core.expression.blocks import GeneBlock, RowFormat, gene_blocks
from histo_assets.core.expression.errors import ExpressionError
from histo_assets.core.expression.parsing import GENE, SKIP, SYMBOL


@contextmanager
def opened(path: str) -> Iterator[BinaryIO]:
    """Yield the bytes of a plain or gzipped local file; a damaged gzip is an error of one sentence."""
    from isal import igzip, isal_zlib

    damage: Any = (igzip.BadGzipFile, isal_zlib.error)
    unzipped: Callable[..., Any] = igzip.open
    try:
        with open(path, "rb") as file:
            zipped = file.read(2) == b"\x1f\x8b"
        with unzipped(path, "rb") if zipped else open(path, "rb") as stream:
            yield stream
    except FileNotFoundError:
        raise ExpressionError(f"{path} does not exist; put it there or correct `expression.file`") from None
    except EOFError:
        raise ExpressionError(f"{path} is cut off: its gzip stream has no end; fetch the file again") from None
    except damage as error:
        raise ExpressionError(f"{path} is damaged gzip ({error}); fetch the file again") from None
    except OSError as error:
        raise ExpressionError(f"{path} cannot be read ({error}); correct `expression.file`") from None


@dataclass(frozen=True)
class TextSource:
    """A text file with genes in rows, known by its header; `blocks` reads it from the start each time.

    `gene` and `symbol` are the places of those columns, `declared` the genes and samples that a GCT header claims.
    """

    path: str
    columns: list[str]
    samples: list[str]
    gene: int
    symbol: int | None
    header_lines: int
    separator: str = "\t"
    declared: tuple[int, int] | None = None
    version: str = ""

    def blocks(self, samples: Sequence[str], signed: bool = False) -> Iterator[GeneBlock]:
        """Yield all genes with the values of `samples`, in blocks of about 8 MB of text."""
        roles = np.full(len(self.columns), SKIP, dtype=np.int64)
        roles[self.gene] = GENE
        if self.symbol is not None:
            roles[self.symbol] = SYMBOL
        place = {column: i for i, column in enumerate(self.columns)}
        roles[[place[sample] for sample in samples]] = np.arange(len(samples))
        layout = RowFormat(self.path, self.columns, roles, self.header_lines + 1, self.separator, signed)
        with opened(self.path) as stream:
            for _ in range(self.header_lines):
                stream.readline()
            yield from gene_blocks(stream, layout)

    def notes(self, genes: int) -> list[str]:
        """Return where the header of a GCT and its body disagree."""
        notes = []
        if self.version not in ("", "#1.2"):
            notes.append(f"the first line says {self.version}, the rest was read as GCT #1.2")
        if self.declared is not None and self.declared[0] != genes:
            notes.append(f"the header says {self.declared[0]:,} genes, the file has {genes:,}")
        if self.declared is not None and self.declared[1] != len(self.samples):
            notes.append(f"the header says {self.declared[1]:,} samples, the file has {len(self.samples):,}")
        return notes


def refuse_repeated(names: Sequence[str], what: str, path: str) -> None:
    """Raise an ExpressionError if one of `names` is empty or occurs twice."""
    if "" in names:
        raise ExpressionError(f"{path}: {what} number {list(names).index('') + 1} has no name; name it or drop it")
    if len(set(names)) < len(names):
        seen: set[str] = set()
        repeated = next(name for name in names if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ExpressionError(f"{path}: {what} {repeated!r} occurs {list(names).count(repeated)} times; keep one")
