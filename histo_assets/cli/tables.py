"""The command `tables`: what is in every table that a study stores."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from histo_assets.cli.environment import console, open_study, stop

if TYPE_CHECKING:
    from histo_assets.core.tables import Column, Table
    from histo_assets.studies.study import Study

_HEAD = """# Tables

What every table holds, as `core/<room>/tables.py` declares it (this page: `histo-assets tables --markdown`).
A table is judged when it is stored and when it is loaded. Of a matrix (h5ad) these are the columns of `obs`.
"""


def tables(
    asset: Annotated[str | None, typer.Argument(help="Only the table of this asset, e.g. slide_manifest.")] = None,
    study: Annotated[str | None, typer.Option("--study", help="A packaged study or a YAML file (HISTO_STUDY).")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="As Markdown.")] = False,
) -> None:
    """Say what is in every table that a study stores: columns, kinds of values, units, what is allowed."""
    loaded = open_study(study)
    if markdown:
        print(as_markdown(loaded), end="")
        return
    from rich.table import Table as Printed

    listed = list(stored_tables(loaded))
    known = sorted(name for _, assets in listed for name in assets)
    if asset and asset not in known:
        stop(f"study {loaded.name} stores no table for {asset}; it does for {', '.join(known)}")
    for table, assets in listed:
        if asset and asset not in assets:
            continue
        printed = Printed(title=f"{_title(table)} ({', '.join(assets) or 'within a folder'})", title_justify="left")
        for heading in ("column", "kind", "unit", "what it holds"):
            printed.add_column(heading)
        for column in table.columns():
            printed.add_row(column.name, column.kind, column.unit, _meaning(column))
        console.print(printed)


def stored_tables(study: Study) -> Iterator[tuple[type[Table], list[str]]]:
    """Yield every declared table, room by room, with the assets that store it; none where a folder holds it."""
    from histo_assets import core
    from histo_assets.core.tables import declared_tables
    from histo_assets.defs.rooms import study_assets

    rooms = sorted(path.parent.name for path in Path(core.__path__[0]).glob("*/tables.py"))
    stored: dict[str, list[str]] = {}
    for declaration in study_assets(study).declared.values():
        stored.setdefault(declaration.table, []).append(declaration.name)
    for room in rooms:
        for table in declared_tables(f"{core.__name__}.{room}.tables"):
            yield table, stored.get(f"{room}.{table.__name__}", [])


def as_markdown(study: Study) -> str:
    """Return the page `docs/tables.md`."""
    parts = [_HEAD]
    for table, assets in stored_tables(study):
        where = f"Stored by {', '.join(f'`{name}`' for name in assets)}." if assets else "Stored within a folder."
        lines = ["| column | kind | unit | what it holds |", "| --- | --- | --- | --- |"]
        lines += [
            f"| `{_cell(column.name)}` | {column.kind} | {column.unit} | {_cell(_meaning(column))} |"
            for column in table.columns()
        ]
        parts.append(f"## {_title(table)}\n\n{table.__doc__} {where}\n\n" + "\n".join(lines) + "\n")
    return "\n".join(parts)


def _title(table: type[Table]) -> str:
    return f"{table.__module__.split('.')[-2]}.{table.__name__}"


def _meaning(column: Column) -> str:
    """Return what a column holds, and what its values may be."""
    notes = [*column.rules, *(["no value twice"] if column.unique else [])]
    notes += ["column is optional"] if column.optional else ["may be missing"] if column.missing else []
    return f"{column.description} {'; '.join(notes).capitalize()}." if notes else column.description


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
