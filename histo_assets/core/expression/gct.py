"""GCT files: `#1.2`, the number of genes and samples, then Name, Description and one column a sample."""

from __future__ import annotations

from histo_assets.core.expression.errors import ExpressionError
from histo_assets.core.expression.text import TextSource, opened, refuse_repeated


def open_gct(path: str) -> TextSource:
    """Return a GCT file as a source of blocks of genes.

    Columns go by their names, so an additional `id` column does no harm; a header that claims other numbers of genes
    or samples than the file has is only noted. CRLF line ends and gzip are recognised.

    Raises
    ------
    ExpressionError
        The first three lines are not those of a GCT file, or a sample has two columns.
    """
    with opened(path) as stream:
        version, sizes, header = (stream.readline().decode(errors="replace").rstrip("\r\n") for _ in range(3))
    version = version.removeprefix("\ufeff").strip()
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
    columns = [column.strip() for column in header.split("\t")]
    for name in ("Name", "Description"):
        if name not in columns:
            raise ExpressionError(
                f"{path}, line 3 has no column {name!r} (it starts with {', '.join(columns[:4])!r}); "
                f"a GCT file names its columns Name, Description and the samples, separated by tabs"
            )
    samples = [column for column in columns if column not in ("Name", "Description", "id")]
    refuse_repeated(samples, "sample column", path)
    refuse_repeated(columns, "column", path)
    return TextSource(
        path=path,
        columns=columns,
        samples=samples,
        gene=columns.index("Name"),
        symbol=columns.index("Description"),
        header_lines=3,
        declared=(int(counts[0]), int(counts[1])),
        version=version,
    )
