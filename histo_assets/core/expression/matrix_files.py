"""Expression in CSV, TSV, parquet and h5ad files, with genes in rows or samples in rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from histo_assets.core.delimited import Header, Separator, read_header
from histo_assets.core.expression.blocks import GeneBlock
from histo_assets.core.expression.errors import ExpressionError
from histo_assets.core.expression.text import TextSource, opened, refuse_repeated

GENE_NAMES = ("gene_id", "gene", "name", "id", "ensembl_id", "__index_level_0__")
SYMBOL_NAMES = ("symbol", "gene_symbol", "gene_name", "hgnc_symbol", "description")
SAMPLE_NAMES = ("sample", "sample_id", "__index_level_0__")
_GENES_AT_ONCE = 2000


def open_delimited(path: str, usual: Separator) -> TextSource:
    """Return a text table with genes in rows as a source of blocks; `usual` is the separator that its format promises.

    The gene's id is the column `gene_id`, `gene` or `name`, else the first; its name is `symbol`, `gene_symbol`,
    `gene_name` or `description` if there is one. Every other column is a sample.

    Raises
    ------
    ExpressionError
        The file has no samples, or a sample has two columns.
    """
    header = _header(path, usual)
    columns = [column.strip() for column in header.columns]
    gene = _place(columns, GENE_NAMES) or 0
    symbol = _place(columns, SYMBOL_NAMES)
    symbol = None if symbol == gene else symbol
    samples = [column for i, column in enumerate(columns) if i not in (gene, symbol)]
    if not samples:
        raise ExpressionError(
            f"{path} has no columns of samples in its first line ({header.line[:40]!r}); begin with the names of the "
            "columns, separated by commas, tabs or semicolons"
        )
    refuse_repeated(samples, "sample column", path)
    return TextSource(path, columns, samples, gene, symbol, header_lines=1, separator=header.separator)


def open_samples_in_rows(path: str, usual: Separator) -> MatrixSource:
    """Return a text table with one sample a row, which is read whole; `usual` is as for `open_delimited`.

    The sample is the column `sample` or `sample_id`, else the first; every other column is a gene.

    Raises
    ------
    ExpressionError
        The file is no table, a gene or sample occurs twice, or a value is no number.
    """
    header = _header(path, usual)
    columns = [column.strip() for column in header.columns]
    refuse_repeated([column or "(first)" for column in columns], "gene column", path)
    key = _place(columns, SAMPLE_NAMES) or 0
    with opened(path) as stream:
        content = stream.read()
    try:
        frame = pl.read_csv(
            content, separator=header.separator, schema_overrides={columns[key]: pl.String}, new_columns=columns
        )
    except pl.exceptions.PolarsError:
        frame = _all_text(content, header.separator, columns, path)
    return _by_sample(frame, columns[key], path)


def open_parquet(path: str, samples_in: str) -> MatrixSource:
    """Return a parquet file, which is read whole; columns are named as in the text tables.

    Raises
    ------
    ExpressionError
        The file is no parquet, a gene or sample occurs twice, or a value is no number.
    """
    try:
        frame = pl.read_parquet(path)
    except FileNotFoundError:
        raise ExpressionError(f"{path} does not exist; put it there or correct `expression.file`") from None
    except (OSError, pl.exceptions.PolarsError) as error:
        reason = str(error).split("\n", 1)[0]
        raise ExpressionError(f"{path} is no parquet file ({reason}); write it again") from None
    if samples_in == "rows":
        return _by_sample(frame, frame.columns[_place(frame.columns, SAMPLE_NAMES) or 0], path)
    return _by_gene(frame, path)


def open_h5ad(path: str) -> MatrixSource:
    """Return an AnnData file: samples are its observations, genes its variables, values its X (read when asked for).

    Raises
    ------
    ExpressionError
        The file is no h5ad, or a gene or sample occurs twice.
    """
    import anndata

    try:
        stored = anndata.read_h5ad(path, backed="r")
    except FileNotFoundError:
        raise ExpressionError(f"{path} does not exist; put it there or correct `expression.file`") from None
    except (OSError, KeyError) as error:
        raise ExpressionError(f"{path} is no h5ad file ({error}); write it again with anndata") from None
    if stored.X is None:
        raise ExpressionError(f"{path} has no X; store the expression there and not in a layer")
    symbol = _place(list(stored.var.columns), SYMBOL_NAMES)
    symbols = [""] * stored.n_vars if symbol is None else stored.var.iloc[:, symbol].astype(str).tolist()
    return MatrixSource(
        path, stored.obs_names.astype(str).tolist(), stored.var_names.astype(str).tolist(), symbols, stored.X
    )


@dataclass(frozen=True)
class MatrixSource:
    """Expression whose samples are taken by row: `matrix` is (samples, genes), dense or sparse, in memory or HDF5."""

    path: str
    samples: list[str]
    gene_id: list[str]
    symbol: list[str]
    matrix: Any

    def __post_init__(self) -> None:
        """Refuse samples that occur twice."""
        refuse_repeated(self.samples, "sample", self.path)

    def blocks(self, samples: Sequence[str], signed: bool = False) -> Iterator[GeneBlock]:
        """Yield all genes with the values of `samples`, some thousand genes at a time."""
        place = {sample: i for i, sample in enumerate(self.samples)}
        rows = np.array([place[sample] for sample in samples], dtype=np.int64)
        # HDF5 reads rows in rising order only.
        taken, back = self.matrix[np.sort(rows)], np.argsort(np.argsort(rows))
        for start in range(0, len(self.gene_id), _GENES_AT_ONCE):
            stop = start + _GENES_AT_ONCE
            part = taken[:, start:stop]
            part = part.toarray() if hasattr(part, "toarray") else np.asarray(part)
            block = GeneBlock(
                self.gene_id[start:stop],
                self.symbol[start:stop],
                np.ascontiguousarray(part[back].T, dtype=np.float64),
            )
            refuse_impossible(block, samples, signed, self.path)
            yield block

    def notes(self, genes: int) -> list[str]:
        """Return nothing: a table claims nothing about itself."""
        return []


def refuse_impossible(block: GeneBlock, samples: Sequence[str], signed: bool, path: str) -> None:
    """Raise an ExpressionError if a value is no finite number, or negative where it must not be."""
    bad = ~np.isfinite(block.values)
    if not signed:
        bad |= block.values < 0
    if bad.any():
        gene, sample = (int(place[0]) for place in np.nonzero(bad))
        value = block.values[gene, sample]
        what = "negative, so no expression unless `expression.units` is log2" if value < 0 else "no finite number"
        raise ExpressionError(
            f"{path}, gene {block.gene_id[gene]}, sample {samples[sample]}: {value:g} is {what}; correct or drop it"
        )


def _header(path: str, usual: Separator) -> Header:
    with opened(path) as stream:
        header = read_header(stream, usual)
    if not header.line:
        raise ExpressionError(f"{path} is empty; put the table there")
    return header


def _place(columns: Sequence[str], names: Sequence[str]) -> int | None:
    """Return the place of the first of `names` that is a column, whatever its case."""
    lowered = [column.lower() for column in columns]
    return next((lowered.index(name) for name in names if name in lowered), None)


def _all_text(content: bytes, separator: str, columns: list[str], path: str) -> pl.DataFrame:
    """Return the table as text, so that the value that is no number can be named."""
    try:
        return pl.read_csv(content, separator=separator, infer_schema=False, new_columns=columns)
    except pl.exceptions.PolarsError as error:
        reason = str(error).strip().split("\n", 1)[0]
        raise ExpressionError(f"{path} is no readable table: {reason}") from None


def _by_sample(frame: pl.DataFrame, key: str, path: str) -> MatrixSource:
    genes = [column for column in frame.columns if column != key]
    samples = frame[key].cast(pl.String).fill_null("").to_list()
    return MatrixSource(path, samples, genes, [""] * len(genes), _numbers(frame.select(genes), samples, "gene", path))


def _by_gene(frame: pl.DataFrame, path: str) -> MatrixSource:
    gene = frame.columns[_place(frame.columns, GENE_NAMES) or 0]
    place = _place(frame.columns, SYMBOL_NAMES)
    symbol = None if place is None or frame.columns[place] == gene else frame.columns[place]
    genes = frame[gene].cast(pl.String).fill_null("").to_list()
    symbols = [""] * len(genes) if symbol is None else frame[symbol].cast(pl.String).fill_null("").to_list()
    samples = [column for column in frame.columns if column not in (gene, symbol)]
    return MatrixSource(path, samples, genes, symbols, _numbers(frame.select(samples), genes, "sample", path).T)


def _numbers(frame: pl.DataFrame, rows: list[str], column_is: str, path: str) -> npt.NDArray[np.float64]:
    """Return the table as (rows, columns) float64; what is no number is named."""
    for series in frame:
        wrong = series.cast(pl.Float64, strict=False).is_null()
        if wrong.any():
            row = int(wrong.arg_max() or 0)
            raise ExpressionError(
                f"{path}, row of {rows[row]}, {column_is} {series.name}: {series[row]!r} is no number; "
                f"write 0, or drop the row or the column"
            )
    return frame.cast(pl.Float64).to_numpy()


def format_by_name(path: str) -> str:
    """Return the format by a file's name: gct, csv, tsv, parquet or h5ad.

    Raises
    ------
    ExpressionError
        It is none of them by its name.
    """
    suffix = Path(path.removesuffix(".gz")).suffix.lower().lstrip(".")
    known = {
        "gct": "gct",
        "csv": "csv",
        "tsv": "tsv",
        "txt": "tsv",
        "parquet": "parquet",
        "pq": "parquet",
        "h5ad": "h5ad",
    }
    if suffix not in known:
        raise ExpressionError(
            f"{path}: its name tells no format; name one of {', '.join(known)} as `expression.format`"
        )
    return known[suffix]
