"""One HTML page that opens anywhere: sections of paragraphs, tables and pictures, nothing outside the file."""

from __future__ import annotations

import base64
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import pandas as pd

from histo_assets.core.figures.style import FigureError
from histo_assets.core.files import slug


@dataclass(frozen=True)
class Paragraph:
    """A paragraph of plain text. `tone`: 'plain', or 'note' or 'warning' for one in a box."""

    text: str
    tone: Literal["plain", "note", "warning"] = "plain"
    kind: str = field(default="text", init=False)


@dataclass(frozen=True)
class ListBlock:
    """A list of plain sentences."""

    sentences: Sequence[str]
    kind: str = field(default="list", init=False)


@dataclass(frozen=True, eq=False)
class TableBlock:
    """The first `most` rows of a table, floats with `digits` decimals.

    `names` gives columns another heading; without it underscores become spaces.
    """

    table: pd.DataFrame
    caption: str = ""
    most: int = 30
    digits: int = 3
    names: Mapping[str, str] = field(default_factory=dict)
    kind: str = field(default="table", init=False)

    @property
    def headings(self) -> list[tuple[str, bool]]:
        """Each column's heading, and whether it holds numbers."""
        numeric = [
            pd.api.types.is_numeric_dtype(kind) and not pd.api.types.is_bool_dtype(kind) for kind in self.table.dtypes
        ]
        names = [self.names.get(str(c), str(c).replace("_", " ")) for c in self.table.columns]
        return list(zip(names, numeric, strict=True))

    @property
    def rows(self) -> list[list[str]]:
        """The shown rows as texts; missing values are '-'."""
        shown = self.table.head(self.most).itertuples(index=False, name=None)
        return [[_cell(value, self.digits) for value in row] for row in shown]

    @property
    def left_out(self) -> int:
        """How many rows are not shown."""
        return max(len(self.table) - self.most, 0)


@dataclass(frozen=True)
class PictureBlock:
    """A PNG or JPEG with its caption; `half` pictures stand two in a row where the screen is wide enough."""

    image: bytes
    caption: str
    half: bool = False
    kind: str = field(default="picture", init=False)

    @property
    def url(self) -> str:
        """The image as a data URL."""
        return f"data:{_media_type(self.image)};base64,{base64.b64encode(self.image).decode()}"

    @property
    def width(self) -> int | None:
        """Width of a PNG in px, from its header; None for a JPEG."""
        return int(struct.unpack(">I", self.image[16:20])[0]) if self.image[:4] == b"\x89PNG" else None

    @property
    def height(self) -> int | None:
        """Height of a PNG in px, from its header; None for a JPEG."""
        return int(struct.unpack(">I", self.image[20:24])[0]) if self.image[:4] == b"\x89PNG" else None


Block = Paragraph | ListBlock | TableBlock | PictureBlock


@dataclass(frozen=True)
class Section:
    """A chapter of the page."""

    title: str
    blocks: Sequence[Block]


def render_page(
    title: str,
    subtitle: str,
    sections: Sequence[Section],
    *,
    key_figures: Mapping[str, str] | None = None,
    footer: str = "",
) -> str:
    """Return one self-contained HTML page with a table of contents. All texts are escaped.

    `key_figures`: what stands out at the head of the page, by what it counts (underscores become spaces).

    Raises
    ------
    FigureError
        A picture is neither PNG nor JPEG.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("histo_assets.core.figures", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    anchored = [(f"s{place}-{slug(section.title)}", section) for place, section in enumerate(sections, 1)]
    named = {label.replace("_", " "): value for label, value in (key_figures or {}).items()}
    return environment.get_template("page.html.jinja").render(
        title=title, subtitle=subtitle, sections=anchored, key_figures=named, footer=footer
    )


def _cell(value: object, digits: int) -> str:
    if value is None or value is pd.NA or value is pd.NaT or value != value:
        return "-"
    if isinstance(value, bool) or type(value).__name__ in {"bool", "bool_"}:
        return "yes" if value else "no"
    if isinstance(value, float) or type(value).__name__ in {"float32", "float16"}:
        number = float(value)  # type: ignore[arg-type]
        return f"{number:.2e}" if number and abs(number) < 0.5 * 10**-digits else f"{number:,.{digits}f}"
    if isinstance(value, int) or type(value).__name__.startswith(("int", "uint")):
        return f"{value:,}"
    return str(value)


def _media_type(image: bytes) -> str:
    if image[:4] == b"\x89PNG":
        return "image/png"
    if image[:2] == b"\xff\xd8":
        return "image/jpeg"
    raise FigureError(f"a picture of the page is neither PNG nor JPEG: it begins with {image[:8]!r}")
