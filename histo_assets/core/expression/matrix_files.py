"""Expression in CSV, TSV, parquet and h5ad files, with genes in rows or samples in rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import polars as pl

from histo_assets.core.delimited import PLAIN, Layout, Numbers, Separator, read_layout
from histo_assets.core.expression.blocks import GeneBlock
from histo_assets.core.expression.columns import columns_of, is_text, numbers_in, place_of
from histo_assets.core.expression.errors import ExpressionError
from histo_assets.core.expression.streams import first_lines, whole_content
from histo_assets.core.expression.text import TextSource, left_out_columns, refuse_repeated

if TYPE_CHECKING:
    from anndata import AnnData

SAMPLE_NAMES = ("sample", "sample_id", "__index_level_0__")
# The names that variables of an AnnData were looked at from the first.
_SYMBOLS_OF_ANNDATA = ("symbol", "gene_symbol", "gene_name", "hgnc_symbol", "description")
_GENES_AT_ONCE = 2000
_ROWS_LOOKED_AT = 50


def open_delimited(path: str, usual: Separator) -> TextSource:
    """Return a text table with genes in rows as a source of blocks; `usual` is the separator that its format promises.

    The gene's id is the column `gene_id`, `gene` or `name`, else the first; its name is `symbol`, `gene_symbol`,
    `gene_name` or `description` if there is one. Columns about genes (`Chr`, `Length`, text) are left out; every other
    column is a sample.

    Raises
    ------
    ExpressionError
        The file has no samples, or a sample has two columns.
    """
    layout = _layout(path, usual)
    where = f"{path}, line {layout.header_line}"
    found = columns_of(layout.columns, layout.rows, where)
    about = [layout.columns[i] for i in found.about_genes]
    if not found.samples:
        line = "its first line" if layout.header_line == 1 else f"line {layout.header_line}"
        also = f", beside {', '.join(about)}, which say something about genes" if about else ""
        raise ExpressionError(
            f"{path} has no columns of samples in {line} ({layout.line[:40]!r}){also}; begin with the names of the "
            "columns, separated by commas, tabs or semicolons"
        )
    samples = [layout.columns[i] for i in found.samples]
    refuse_repeated(samples, "sample column", path)
    return TextSource(
        path=path,
        columns=layout.columns,
        sample_places=found.samples,
        gene=found.gene,
        symbol=found.symbol,
        header_lines=layout.header_line,
        separator=layout.separator,
        numbers=numbers_in(layout.rows, found.samples, path),
        about_genes=found.about_genes,
        length_column=None if found.length is None else layout.columns[found.length],
        oddities=left_out_columns(about),
    )


def open_samples_in_rows(path: str, usual: Separator) -> MatrixSource:
    """Return a text table with one sample a row, which is read whole; `usual` is as for `open_delimited`.

    The sample is the column `sample` or `sample_id`, else the first; every other column is a gene.

    Raises
    ------
    ExpressionError
        The file is no table, a gene or sample occurs twice, or a value is no number.
    """
    layout = _layout(path, usual)
    refuse_repeated([column or "(first)" for column in layout.columns], "gene column", path)
    key = place_of(layout.columns, SAMPLE_NAMES) or 0
    numbers = numbers_in(layout.rows, [i for i in range(len(layout.columns)) if i != key], path)
    content = whole_content(path)
    try:
        frame = pl.read_csv(
            content,
            separator=layout.separator,
            has_header=False,
            skip_lines=layout.header_line,
            new_columns=layout.columns,
            infer_schema=numbers == PLAIN,
            schema_overrides={layout.columns[key]: pl.String},
        )
    except pl.exceptions.PolarsError:
        frame = _all_text(content, layout, path)
    return _by_sample(frame, layout.columns[key], path, numbers)


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
        return _by_sample(frame, frame.columns[place_of(frame.columns, SAMPLE_NAMES) or 0], path, PLAIN)
    return _by_gene(frame, path)


def open_h5ad(path: str, layer: str | None = None) -> MatrixSource:
    """Return an AnnData file: samples are its observations, genes its variables, values its X (read when asked for).

    Parameters
    ----------
    layer
        Another matrix than X: one of the file's layers, or `raw`, which has genes of its own.

    Raises
    ------
    ExpressionError
        The file is no h5ad, has no such matrix, or a gene or sample occurs twice.
    """
    import anndata

    try:
        stored = anndata.read_h5ad(path, backed="r")
    except FileNotFoundError:
        raise ExpressionError(f"{path} does not exist; put it there or correct `expression.file`") from None
    except (OSError, KeyError) as error:
        raise ExpressionError(f"{path} is no h5ad file ({error}); write it again with anndata") from None
    layers = [*stored.layers, *(["raw"] if stored.raw is not None else [])]
    if layer is not None and layer not in layers:
        raise ExpressionError(
            f"{path} has no layer {layer!r}; it has {', '.join(layers) or 'none'}, name one of these as "
            f"`expression.layer` or drop it for X"
        )
    if layer is None and stored.X is None:
        named = f", or name one of its layers as `expression.layer`: {', '.join(layers)}" if layers else ""
        raise ExpressionError(f"{path} has no X; store the expression there{named}")
    variables = stored.raw.var if layer == "raw" else stored.var
    named_so = [column.lower() for column in variables.columns]
    symbol = next((named_so.index(name) for name in _SYMBOLS_OF_ANNDATA if name in named_so), None)
    symbols = [""] * len(variables) if symbol is None else variables.iloc[:, symbol].astype(str).tolist()
    return MatrixSource(
        path,
        stored.obs_names.astype(str).tolist(),
        variables.index.astype(str).tolist(),
        symbols,
        stored.raw.X if layer == "raw" else stored.X if layer is None else stored.layers[layer],
        log1p=_log1p(stored) if layer is None else "",
        layers=[name for name in layers if name != layer],
    )


def _log1p(stored: AnnData) -> str:
    """Return the logarithm that scanpy says it took of X, in the words of `expression.units`; '' for none."""
    said = stored.uns.get("log1p")
    if said is None:
        return ""
    base = said.get("base") if isinstance(said, dict) else None
    return {2.0: "log2", 10.0: "log10"}.get(float(base), "ln") if base else "ln"


@dataclass(frozen=True)
class MatrixSource:
    """Expression whose samples are taken by row: `matrix` is (samples, genes), dense or sparse, in memory or HDF5.

    `oddities` are sentences on what was found, `log1p` the logarithm of 1 + x that the file says was
    taken, `layers` the names of its other matrices.
    """

    path: str
    samples: list[str]
    gene_id: list[str]
    symbol: list[str]
    matrix: Any
    oddities: list[str] = field(default_factory=list)
    length_column: str | None = None
    log1p: str = ""
    layers: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Refuse samples that occur twice."""
        refuse_repeated(self.samples, "sample", self.path)

    @property
    def others(self) -> list[str]:
        """Nothing: what is no sample is not kept."""
        return []

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
        """Return what is odd about the file."""
        return self.oddities


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


def _layout(path: str, usual: Separator) -> Layout:
    try:
        return read_layout(first_lines(path), usual)
    except ExpressionError:
        raise
    except ValueError as error:
        raise ExpressionError(f"{path} {error}; put the table there, one row a line") from None


def _all_text(content: bytes, layout: Layout, path: str) -> pl.DataFrame:
    """Return the table as text, so that the value that is no number can be named."""
    try:
        return pl.read_csv(
            content,
            separator=layout.separator,
            has_header=False,
            skip_lines=layout.header_line,
            new_columns=layout.columns,
            infer_schema=False,
        )
    except pl.exceptions.PolarsError as error:
        reason = str(error).strip().split("\n", 1)[0]
        raise ExpressionError(f"{path} is no readable table: {reason}") from None


def _by_sample(frame: pl.DataFrame, key: str, path: str, numbers: Numbers) -> MatrixSource:
    others = [column for column in frame.columns if column != key]
    text = [column for column in others if is_text(_start(frame, column))]
    genes = [column for column in others if column not in set(text)]
    samples = frame[key].cast(pl.String).fill_null("").to_list()
    if not genes or not samples:
        raise ExpressionError(
            f"{path} has no {'samples' if genes else 'column of numbers'} below {key!r}; put a sample on each line"
        )
    noted = [f"{len(text)} columns hold no numbers and are no genes: {', '.join(text)}"] if text else []
    values = _values(frame.select(genes), samples, "gene", path, numbers)
    return MatrixSource(path, samples, genes, [""] * len(genes), values, noted)


def _by_gene(frame: pl.DataFrame, path: str) -> MatrixSource:
    rows = [["" if cell is None else str(cell) for cell in row] for row in frame.head(_ROWS_LOOKED_AT).iter_rows()]
    found = columns_of(frame.columns, rows, path)
    names = [frame.columns[i] for i in (found.gene, *([] if found.symbol is None else [found.symbol]))]
    genes, *symbols = (frame[name].cast(pl.String).fill_null("").to_list() for name in names)
    about = [frame.columns[i] for i in found.about_genes]
    samples = [frame.columns[i] for i in found.samples]
    if not samples:
        raise ExpressionError(f"{path} has no columns of samples (it has {', '.join(frame.columns)}); add them")
    return MatrixSource(
        path,
        samples,
        genes,
        symbols[0] if symbols else [""] * len(genes),
        _values(frame.select(samples), genes, "sample", path, PLAIN).T,
        left_out_columns(about),
        length_column=None if found.length is None else frame.columns[found.length],
    )


def _start(frame: pl.DataFrame, column: str) -> list[str]:
    """Return the first values of a column that could be text."""
    series = frame[column]
    return [] if series.dtype.is_numeric() else series.head(_ROWS_LOOKED_AT).cast(pl.String).fill_null("").to_list()


def _values(
    frame: pl.DataFrame, rows: list[str], column_is: str, path: str, numbers: Numbers
) -> npt.NDArray[np.float64]:
    """Return the table as (rows, columns) float64; what is no number is named."""
    for series in frame:
        if numbers == PLAIN and not series.cast(pl.Float64, strict=False).is_null().any():
            continue
        values = np.empty(len(series))
        for row, cell in enumerate(series):
            try:
                values[row] = numbers.value(str(cell))
            except ValueError:
                raise ExpressionError(
                    f"{path}, row of {rows[row]}, {column_is} {series.name}: {cell!r} is no number; "
                    f"write 0, or drop the row or the column"
                ) from None
        frame = frame.with_columns(pl.Series(series.name, values))
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
