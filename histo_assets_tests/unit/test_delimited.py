"""What separates the fields of a text table."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from histo_assets.core.delimited import Header, read_header

SEPARATORS = ["\t", ",", ";"]
names = st.text(st.characters(codec="utf-8", exclude_characters='\r\n\t,;#"\ufeff'), min_size=1, max_size=8)


def table(columns: list[str], separator: str, start: str = "", end: str = "\r\n") -> io.BytesIO:
    text = io.StringIO()
    csv.writer(text, delimiter=separator, lineterminator=end).writerow(columns)
    return io.BytesIO(f"{start}{text.getvalue()}1{separator}2{end}".encode())


@given(
    st.lists(names, min_size=2, max_size=6),
    st.sampled_from(SEPARATORS),
    st.sampled_from([None, *SEPARATORS]),
    st.sampled_from(["", "\ufeff"]),
    st.sampled_from(["\n", "\r\n"]),
)
def test_columns_that_hold_no_separator_come_back_whatever_was_promised(columns, separator, usual, start, end) -> None:
    header = read_header(table(columns, separator, start, end), usual)
    assert (header.separator, header.columns) == (separator, columns)


@given(st.lists(names, min_size=2, max_size=4), st.sampled_from(SEPARATORS), st.sampled_from(SEPARATORS))
def test_the_promised_separator_goes_before_others_in_the_names_of_columns(columns, usual, other) -> None:
    columns = [f"{name}{other}{name}{other}x" for name in columns]
    assert read_header(table(columns, usual), usual).columns == columns


@pytest.mark.parametrize(
    ("line", "separator"),
    [
        ("a\tb, c\td", "\t"),
        ("a,b\tc,d", ","),
        ("a\tb,c", "\t"),
        ("a;b,c", ","),
        ("a;b\tc", "\t"),
        ("a;b", ";"),
        ("a", ","),
        ("", ","),
    ],
)
def test_without_a_promise_tabs_go_before_as_many_commas_and_semicolons_are_the_last(line: str, separator: str) -> None:
    assert read_header(io.BytesIO(line.encode())).separator == separator


def test_a_single_column_keeps_what_was_promised() -> None:
    assert read_header(io.BytesIO(b"slide\na, b\n"), "\t") == Header("slide", "\t", ["slide"])


def test_a_comment_in_the_first_line_promises_nothing() -> None:
    header = read_header(io.BytesIO(b'# Program:featureCounts; Command:"-a","genes.gtf"\n'), "\t")
    assert header.separator == "\t" and len(header.columns) == 1
