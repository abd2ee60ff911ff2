"""GCT files: `#1.2` or `#1.3`, the numbers of genes and samples, then one column a sample.

1.2 begins each row with Name and Description. 1.3 begins it with `id` and columns about the genes, and has rows about
the samples below its header (https://clue.io/connectopedia/gct_format).
"""

from __future__ import annotations

from dataclasses import dataclass

from histo_assets.core.expression.columns import SYMBOL_NAMES, about_genes, numbers_in, place_of
from histo_assets.core.expression.errors import ExpressionError
from histo_assets.core.expression.streams import first_lines
from histo_assets.core.expression.text import TextSource, left_out_columns, refuse_repeated


@dataclass(frozen=True)
class _Head:
    """The first lines of a GCT: its version, the numbers of its second line, the columns, fields of the first rows."""

    version: str
    counts: list[int]
    columns: list[str]
    rows: list[list[str]]

    @property
    def has_metadata(self) -> bool:
        """Whether it says how many columns are about genes, and how many rows about samples."""
        return self.version == "#1.3" and len(self.counts) == 4 and any(self.counts[2:])


def open_gct(path: str) -> TextSource:
    """Return a GCT file as a source of blocks of genes.

    Columns go by their names in any case and order, so an additional `id` column does no harm; a header that claims
    other numbers of genes or samples than the file has is only noted. What GCT 1.3 says of genes and samples is left
    out of the values. CRLF line ends and gzip are recognised.

    Raises
    ------
    ExpressionError
        The first three lines are not those of a GCT file, or a sample has two columns.
    """
    head = _head(path)
    source = _with_metadata(head, path) if head.has_metadata else _plain(head, path)
    refuse_repeated(source.samples, "sample column", path)
    refuse_repeated(source.columns, "column", path)
    return source


def _plain(head: _Head, path: str) -> TextSource:
    lowered = [column.lower() for column in head.columns]
    for name in ("Name", "Description"):
        if name.lower() not in lowered:
            raise ExpressionError(
                f"{path}, line 3 has no column {name!r} (it starts with {', '.join(head.columns[:4])!r}); "
                f"a GCT file names its columns Name, Description and the samples, separated by tabs"
            )
    gene, symbol = lowered.index("name"), lowered.index("description")
    samples = [i for i in range(len(lowered)) if i not in (gene, symbol) and head.columns[i] != "id"]
    about: list[int] = []
    if len(samples) > head.counts[1]:
        about = about_genes(head.columns, head.rows, samples)
        samples = [i for i in samples if i not in set(about)]
    noted = [] if head.version == "#1.2" else [f"the first line says {head.version}, the rest was read as GCT #1.2"]
    return TextSource(
        path=path,
        columns=head.columns,
        sample_places=samples,
        gene=gene,
        symbol=symbol,
        header_lines=3,
        numbers=numbers_in(head.rows, samples, path),
        about_genes=about,
        declared=(head.counts[0], head.counts[1]),
        oddities=[*noted, *left_out_columns([head.columns[i] for i in about])],
    )


def _with_metadata(head: _Head, path: str) -> TextSource:
    genes, samples, of_genes, about_samples = head.counts
    if len(head.columns) != 1 + of_genes + samples:
        raise ExpressionError(
            f"{path}, line 2 says {of_genes} columns about genes and {samples} samples, and line 3 names "
            f"{len(head.columns)} columns where that makes {1 + of_genes + samples}; correct the numbers of line 2"
        )
    about = list(range(1, 1 + of_genes))
    named = place_of(head.columns[1 : 1 + of_genes], SYMBOL_NAMES)
    symbol = None if named is None else named + 1
    left = [head.columns[i] for i in about if i != symbol]
    below = [row[0] for row in head.rows[:about_samples] if row[0]]
    noted = [f"{len(below)} rows of GCT 1.3 say something about samples: {', '.join(below)}"] if below else []
    places = list(range(1 + of_genes, len(head.columns)))
    return TextSource(
        path=path,
        columns=head.columns,
        sample_places=places,
        gene=0,
        symbol=symbol,
        header_lines=3 + about_samples,
        numbers=numbers_in(head.rows[about_samples:], places, path),
        declared=(genes, samples),
        oddities=[*left_out_columns(left), *noted],
    )


def _head(path: str) -> _Head:
    """Return the first lines, or raise an ExpressionError where they are not those of a GCT file."""
    version, sizes, header, *rows = [*first_lines(path, at_least=3), "", "", ""]
    version = version.strip().strip('"')
    if not version.startswith("#1."):
        raise ExpressionError(
            f"{path}, line 1 is {version[:60]!r}, where a GCT file says #1.2; "
            f"correct it, or name the format as `expression.format`"
        )
    counts = sizes.split()
    if len(counts) < 2 or not all(count.isdecimal() for count in counts):
        raise ExpressionError(
            f"{path}, line 2 is {sizes[:60]!r}, where a GCT file gives the numbers of genes and samples; correct it"
        )
    columns = [column.strip().strip('"') for column in header.split("\t")]
    return _Head(version, [int(count[:18]) for count in counts[:4]], columns, [row.split("\t") for row in rows])
