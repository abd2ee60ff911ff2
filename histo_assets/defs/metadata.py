"""What an asset shows of itself in the UI, within a budget.

At most 200 kB an image and 1 MB an event: the event log is read again with every page.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    from matplotlib.figure import Figure

    from histo_assets.core.tables import Column, Table

IMAGE_BUDGET = 200_000
EVENT_BUDGET = 1_000_000
PREVIEW_ROWS = 8


def picture(source: Figure | bytes, title: str = "preview") -> dg.MarkdownMetadataValue:
    """Return a figure, or the bytes of a PNG or JPEG, as a Markdown value with the image inside."""
    if not isinstance(source, bytes):
        from histo_assets.core.figures.style import png

        source = png(source)
    if len(source) > IMAGE_BUDGET:
        raise ValueError(f"picture {title!r} has {len(source):,} bytes; draw it smaller than {IMAGE_BUDGET:,}")
    kind = "png" if source.startswith(b"\x89PNG") else "jpeg"
    return dg.MetadataValue.md(f"![{title}](data:image/{kind};base64,{base64.b64encode(source).decode()})")


def declared_metadata(value: Any, name: str) -> dict[str, Any]:
    """Return what the UI shows of the table, or of the rows of the matrix, that the table `name` declares."""
    from histo_assets.core.tables import as_table, declared_table

    table = declared_table(name)
    return table_metadata(as_table(value, table), table)


def table_metadata(frame: pd.DataFrame | pl.DataFrame, table: type[Table]) -> dict[str, Any]:
    """Return row count, columns as `table` declares them and the first rows of a table, as the UI understands them."""
    head: Any = frame.head(PREVIEW_ROWS)
    declared = table.columns()
    columns = []
    for name, kind in zip(frame.columns, frame.dtypes):
        known = next((column for column in declared if column.matches(str(name))), None)
        columns.append(_undeclared(str(name), kind) if known is None else _shown(str(name), known))
    return {
        "dagster/row_count": len(frame),
        "dagster/column_schema": dg.TableSchema(columns=columns),
        "rows": dg.MetadataValue.md(markdown_table(head if hasattr(head, "iloc") else head.to_pandas())),
    }


def _shown(name: str, column: Column) -> dg.TableColumn:
    constraints = dg.TableColumnConstraints(nullable=column.missing, unique=column.unique, other=list(column.rules))
    description = f"{column.description} Unit: {column.unit}." if column.unit else column.description
    return dg.TableColumn(name, column.kind, description, constraints)


def _undeclared(name: str, kind: Any) -> dg.TableColumn:
    return dg.TableColumn(name, str(kind), "Of the cohort's own tables.")


def markdown_table(frame: pd.DataFrame, columns: int = 12) -> str:
    """Return the first `columns` columns of a small table as Markdown."""
    names = list(map(str, frame.columns[:columns]))
    lines = ["| " + " | ".join(names) + " |", "|" + " --- |" * len(names)]
    for row in frame.iloc[:, :columns].itertuples(index=False):
        lines.append("| " + " | ".join(_cell(value) for value in row) + " |")
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.4g}"
    return "" if value is None else str(value).replace("|", "\\|").replace("\n", " ")[:80]


def within_budget(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return `metadata`, the preview first, without the last pictures where the whole would exceed the budget."""
    kept: dict[str, Any] = {}
    spent, dropped = 0, []
    for name, value in sorted(metadata.items(), key=lambda item: item[0] != "preview"):
        size = len(value.md_str or "") if isinstance(value, dg.MarkdownMetadataValue) else 200
        if spent + size > EVENT_BUDGET:
            dropped.append(name)
            continue
        spent += size
        kept[name] = finite(value)
    if dropped:
        kept["left_out"] = f"over {EVENT_BUDGET:,} bytes: {', '.join(dropped)}"
    return kept


def finite(value: Any) -> Any:
    """Return `value`, or None for a float that JSON cannot hold; numpy numbers become plain ones."""
    plain = value.item() if hasattr(value, "item") and not isinstance(value, dg.MetadataValue) else value
    return None if isinstance(plain, float) and not math.isfinite(plain) else plain


def as_stored(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return metadata as JSON holds it: Markdown and column schemas marked as such, the rest as plain values."""
    return {name: _as_stored(value) for name, value in metadata.items()}


def from_stored(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata that `as_stored` was given."""
    return {name: _from_stored(value) for name, value in stored.items()}


def _as_stored(value: Any) -> Any:
    if isinstance(value, dg.MarkdownMetadataValue):
        return {"markdown": value.md_str}
    if isinstance(value, dg.TableSchema):
        return {"columns": [_stored_column(column) for column in value.columns]}
    plain = value.value if isinstance(value, dg.MetadataValue) else value
    return plain if isinstance(plain, str | bool | int | float) or plain is None else str(plain)


def _from_stored(value: Any) -> Any:
    if isinstance(value, dict) and "markdown" in value:
        return dg.MetadataValue.md(value["markdown"])
    if isinstance(value, dict) and "columns" in value:
        return dg.TableSchema([_column_of(*column) for column in value["columns"]])
    return value


def _stored_column(column: dg.TableColumn) -> list[Any]:
    rules = column.constraints
    return [column.name, column.type, column.description, rules.nullable, rules.unique, list(rules.other or ())]


def _column_of(
    name: str, kind: str, description: str | None = None, nullable: bool = True, unique: bool = False, rules: Any = ()
) -> dg.TableColumn:
    """Return a stored column; earlier versions stored name and type alone."""
    return dg.TableColumn(name, kind, description, dg.TableColumnConstraints(nullable, unique, list(rules)))


def model_metadata(model: Any) -> dict[str, Any]:
    """Return which network made an embedding, from which weights, under which licence."""
    epoch = f", epoch {model.epoch}" if model.epoch else ""
    return {
        "model": f"{model.name}{epoch}",
        "backbone": model.backbone,
        "licence": model.licence,
        "revision": model.revision or "none: not from a hub",
        "weights": model.weights_digest,
    }
