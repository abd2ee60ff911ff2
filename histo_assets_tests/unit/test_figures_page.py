"""The page opens anywhere, escapes what it is given, and needs nothing outside itself."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from histo_assets.core.figures.page import (
    ListBlock,
    Paragraph,
    PictureBlock,
    Section,
    TableBlock,
    render_page,
)
from histo_assets.core.figures.style import FigureError, new_figure, png


def page(*blocks: Paragraph | ListBlock | TableBlock | PictureBlock, title: str = "A study") -> str:
    return render_page(title, "A subtitle", [Section("Results", blocks)], key_figures={"slide_accuracy": "0.91"})


class Tags(HTMLParser):
    """Counts opened and closed tags."""

    VOID = frozenset({"meta", "img", "br", "link"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_every_tag_is_closed() -> None:
    table = pd.DataFrame({"gene": ["A"], "r2": [0.5]})
    tags = Tags()
    tags.feed(page(Paragraph("x"), ListBlock(["y"]), TableBlock(table), PictureBlock(png(new_figure(1, 1)), "z")))
    assert tags.open == []


def test_texts_are_escaped() -> None:
    table = pd.DataFrame({"<th>": ["<script>alert(1)</script>"]})
    picture = PictureBlock(png(new_figure(1, 1)), '"><script>')
    html = page(Paragraph("<b>bold</b>"), ListBlock(["<i>"]), TableBlock(table, "<u>"), picture, title="<h1>&")
    assert "<script>" not in html and "<b>bold" not in html and "<u>" not in html
    assert "&lt;h1&gt;&amp;" in html


def test_nothing_is_fetched_from_elsewhere() -> None:
    html = page(PictureBlock(png(new_figure(1, 1)), "A picture"))
    assert not re.search(r"(src|href)=\"(?!data:image/png;base64,|#)", html)
    assert "http" not in html and "@import" not in html and "<script" not in html


def test_the_contents_point_to_the_sections() -> None:
    sections = [Section("Cohort", []), Section("Genes & more", []), Section("Cohort", [])]
    html = render_page("Study", "", sections)
    targets = re.findall(r'href="#([^"]+)"', html)
    assert len(set(targets)) == 3
    assert all(f'id="{target}"' in html for target in targets)


def test_key_figures_are_named_in_words() -> None:
    assert re.search(r"<b>0.91</b><span>slide accuracy</span>", page())


def test_a_long_table_says_how_many_rows_it_leaves_out() -> None:
    html = page(TableBlock(pd.DataFrame({"n": range(45)}), most=30))
    assert "and 15 more rows" in html and html.count("<tr>") == 31


def test_an_empty_table_says_so() -> None:
    assert "No rows." in page(TableBlock(pd.DataFrame({"gene": []})))


def test_cells_are_written_for_people() -> None:
    table = pd.DataFrame(
        {
            "share": [0.12345, np.nan, 0.00001],
            "count": np.array([12_345, 1, 0]),
            "passed": [True, False, True],
            "gene": ["KRT5", None, "ACTB"],
        }
    )
    block = TableBlock(table, names={"share": "r2"})
    assert block.rows == [
        ["0.123", "12,345", "yes", "KRT5"],
        ["-", "1", "no", "-"],
        ["1.00e-05", "0", "yes", "ACTB"],
    ]
    assert block.headings == [("r2", True), ("count", True), ("passed", False), ("gene", False)]


def test_a_picture_that_is_no_picture_is_refused() -> None:
    with pytest.raises(FigureError, match="neither PNG nor JPEG"):
        page(PictureBlock(b"<svg>", "A drawing"))
