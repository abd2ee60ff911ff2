"""Reading GCT files, good and bad."""

from __future__ import annotations

import gzip
import re
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from histo_assets.core.expression import blocks as blocks_module
from histo_assets.core.expression.errors import ExpressionError
from histo_assets.core.expression.gct import open_gct
from histo_assets.core.expression.reading import read_expression
from histo_assets.core.expression.settings import ExpressionSettings, GeneFilterSettings

SETTINGS = ExpressionSettings(file="x", filter=GeneFilterSettings(min_max=-1, min_sd=0, names="all"))
BODY = ["ENSG01.1\tA\t1.5\t20\t0", "ENSG02.1\tB\t2\t0.25\t1e2", "ENSG03.1\tC\t3\t7\t0.1"]


def gct(tmp_path, rows=BODY, samples=("s1", "s2", "s3"), head=None, end="\n", name="x.gct"):
    head = head or ["#1.2", f"{len(rows)}\t{len(samples)}", "\t".join(["Name", "Description", *samples])]
    text = (end.join([*head, *rows]) + end).encode()
    path = tmp_path / name
    path.write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    return str(path)


def values(path, samples=None):
    source = open_gct(path)
    return np.concatenate([block.values for block in source.blocks(samples or source.samples)])


EXPECTED = np.array([[1.5, 20, 0], [2, 0.25, 100], [3, 7, 0.1]])


@pytest.mark.parametrize(
    ("name", "end"), [("x.gct", "\n"), ("x.gct", "\r\n"), ("x.gct.gz", "\n"), ("x.gct.gz", "\r\n")]
)
def test_plain_and_zipped_files_with_either_line_end_read_alike(tmp_path, name, end):
    assert np.array_equal(values(gct(tmp_path, name=name, end=end)), EXPECTED)


def test_a_last_line_without_an_end_and_empty_lines_do_no_harm(tmp_path):
    path = tmp_path / "x.gct"
    path.write_text("#1.2\n3\t3\nName\tDescription\ts1\ts2\ts3\n\n" + "\n\n".join(BODY))
    assert np.array_equal(values(str(path)), EXPECTED)


@settings(deadline=None, max_examples=40)
@given(
    st.lists(
        st.lists(
            st.floats(0, 1e300, allow_subnormal=True).flatmap(
                lambda x: st.sampled_from(
                    [repr(x), f"{x:.4f}", f"{x:.6g}", f"{x:e}", str(int(x)), f" {x}", f"+{x:.3G}"]
                )
            ),
            min_size=3,
            max_size=3,
        ),
        min_size=1,
        max_size=8,
    ),
    st.sampled_from([16, 64, 1 << 20]),
)
def test_every_number_reads_as_python_reads_it_whatever_the_block(tmp_path_factory, cells, block_bytes):
    rows = [f"G{i}\tN{i}\t" + "\t".join(row) for i, row in enumerate(cells)]
    path = gct(tmp_path_factory.mktemp("gct"), rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks_module, "BLOCK_BYTES", block_bytes)
        assert np.array_equal(values(path), np.array([[float(cell) for cell in row] for row in cells]))


DIGITS = st.text("0123456789", max_size=20)
SIGNS = st.sampled_from(["e", "E", "e+", "E-", "e-"])
EXPONENTS = st.one_of(st.just(""), st.builds("{}{}".format, SIGNS, st.integers(0, 40)))
TEXTS = st.builds("{}{}{}{}".format, DIGITS, st.sampled_from(["", "."]), DIGITS, EXPONENTS)


def number(text):
    try:
        return float(text)
    except ValueError:
        return None


@settings(deadline=None, max_examples=200)
@given(st.lists(TEXTS.filter(lambda text: number(text) is not None), min_size=1, max_size=30))
def test_decimals_and_scientific_texts_are_parsed_within_a_millionth(tmp_path_factory, texts):
    path = gct(tmp_path_factory.mktemp("gct"), ["G\tN\t" + "\t".join(texts)], [f"s{i}" for i in range(len(texts))])
    with np.errstate(over="ignore"):
        parsed = values(path)[0].astype(np.float32)
    exact = np.array([number(text) for text in texts])
    inside = (exact > 1e-37) & (exact < 1e38)  # what float32 holds with all its digits
    assert np.abs(parsed[inside] / exact[inside] - 1).max(initial=0) < 1e-6
    assert (parsed[exact == 0] == 0).all()


@st.composite
def tables(draw):
    """Rows of numbers, and some of their columns in any order."""
    width = draw(st.integers(1, 12))
    cell = st.integers(0, 10**6).map(lambda thousandths: thousandths / 1000)
    rows = draw(st.lists(st.lists(cell, min_size=width, max_size=width), min_size=1))
    return np.array(rows), draw(st.permutations(range(width)))[: draw(st.integers(1, width))]


@settings(deadline=None, max_examples=60)
@given(tables(), st.sampled_from(["\n", "\r\n"]), st.booleans(), st.sampled_from([24, 100, 1 << 20]))
def test_any_columns_in_any_order_read_as_in_the_whole(tmp_path_factory, table, end, spaced, block_bytes):
    rows, order = table
    lines = [f"G{i}\tN{i}\t" + "\t".join(map(str, row)) for i, row in enumerate(rows.tolist())]
    if spaced:
        lines = [part for line in lines for part in (line, "")]
    samples = [f"s{i}" for i in range(rows.shape[1])]
    path = gct(tmp_path_factory.mktemp("gct"), lines, samples, end=end)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks_module, "BLOCK_BYTES", block_bytes)
        blocks = list(open_gct(path).blocks([samples[place] for place in order]))
    assert np.array_equal(np.concatenate([block.values for block in blocks]), rows[:, order])
    assert [gene for block in blocks for gene in block.gene_id] == [f"G{i}" for i in range(len(rows))]
    assert [name for block in blocks for name in block.symbol] == [f"N{i}" for i in range(len(rows))]


@pytest.mark.parametrize("row", ["G9\tN\t1\t2\t", "G9\tN\t1\t2\t3\t", "G9\tN\t1", "G9\tN", "G9"])
@pytest.mark.parametrize("wanted", [["s1"], ["s3"], ["s1", "s2", "s3"]])
def test_a_ragged_row_is_found_whichever_samples_are_read(tmp_path, row, wanted):
    path = gct(tmp_path, [*BODY, row, BODY[0]])
    if row == "G9\tN\t1\t2\t" and wanted == ["s1"]:
        assert len(values(path, wanted)) == 5  # the empty value belongs to a sample that is not read
        return
    with pytest.raises(ExpressionError, match=r"line 7, gene G9"):
        values(path, wanted)


def test_columns_go_by_name_so_an_additional_id_column_and_a_wrong_header_are_only_noted(tmp_path):
    head = ["#1.3", "9\t6\t0\t0", "id\tName\tDescription\ts1\ts2\ts3"]
    path = gct(tmp_path, [f"{i}\t{row}" for i, row in enumerate(BODY)], head=head)
    assert np.array_equal(values(path, ["s3", "s1"]), EXPECTED[:, [2, 0]])
    notes = read_expression(path, SETTINGS, None, None).notes
    assert notes == [
        "the first line says #1.3, the rest was read as GCT #1.2",
        "the header says 9 genes, the file has 3",
        "the header says 6 samples, the file has 3",
    ]


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (["gene,s1", "a,1", "b,2"], r"x\.gct, line 1 is 'gene,s1', where a GCT file says #1\.2"),
        (["#1.2", "many", "Name\tDescription\ts1"], "line 2 is 'many', where a GCT file gives the numbers"),
        (["#1.2", "3\t3", "Gene\tDescription\ts1"], "line 3 has no column 'Name' .*starts with 'Gene, Description"),
        (["#1.2", "3\t3", "Name\tSymbol\ts1"], "line 3 has no column 'Description'"),
        (["#1.2", "3\t3", "Name\tDescription\ts1\ts2\ts1"], "sample column 's1' occurs 2 times"),
        (["#1.2", "3\t3", "Name\tDescription\ts1\t\ts3"], "sample column number 2 has no name"),
    ],
)
def test_a_wrong_header_is_named_by_its_line(tmp_path, head, words):
    with pytest.raises(ExpressionError, match=words):
        open_gct(gct(tmp_path, head=head))


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("ENSG09.1\tN\t1\t2", "line 5, gene ENSG09.1 N: 4 columns where the header names 5"),
        ("ENSG09.1\tN\t1\t2\t3\t4", "line 5, gene ENSG09.1 N: 6 columns where the header names 5"),
        ("ENSG09.1\tN\t1\tabc\t3", "line 5, gene ENSG09.1 N, sample s2: 'abc' is no number"),
        ("ENSG09.1\tN\t1\t\t3", "line 5, gene ENSG09.1 N, sample s2: '' is no number"),
        ("ENSG09.1\tN\t1\t1.2.3\t3", "sample s2: '1.2.3' is no number"),
        ("ENSG09.1\tN\t1\t1e\t3", "sample s2: '1e' is no number"),
        ("ENSG09.1\tN\t1\tNA\t3", "sample s2: 'NA' is no number"),
        ("ENSG09.1\tN\t1\tnan\t3", "sample s2: 'nan' is no number"),
        ("ENSG09.1\tN\t1\t2\t-0.5", "line 5, gene ENSG09.1 N, sample s3: '-0.5' is negative"),
        ("ENSG09.1\tN\tinf\t2\t3", "line 5, gene ENSG09.1 N, sample s1: 'inf' is infinite"),
        ("ENSG09.1\tN\t1e999\t2\t3", "sample s1: '1e999' is infinite"),
    ],
)
def test_a_bad_row_is_named_by_line_gene_and_sample(tmp_path, row, words):
    path = gct(tmp_path, [BODY[0], row, BODY[1]])
    with pytest.raises(ExpressionError, match=words):
        values(path)


def test_line_numbers_are_right_beyond_the_first_block(tmp_path, monkeypatch):
    monkeypatch.setattr(blocks_module, "BLOCK_BYTES", 100)
    rows = [f"G{i}\tN\t1\t2\t3" for i in range(50)]
    rows[40] = "G40\tN\t1\tx\t3"
    with pytest.raises(ExpressionError, match="line 44, gene G40"):
        values(gct(tmp_path, rows))


def test_a_bad_value_of_a_sample_that_is_not_read_costs_nothing(tmp_path):
    path = gct(tmp_path, [BODY[0], "ENSG09.1\tN\t1\tabc\t3"])
    assert values(path, ["s1", "s3"]).tolist() == [[1.5, 0], [1, 3]]


def test_a_truncated_gzip_is_named_by_the_last_whole_line_and_its_gene(tmp_path):
    path = gct(tmp_path, [f"G{i}\tN\t{i}\t{i * 7 % 13}\t3" for i in range(2000)], name="x.gct.gz")
    packed = (tmp_path / "x.gct.gz").read_bytes()
    (tmp_path / "x.gct.gz").write_bytes(packed[: len(packed) // 2])
    whole_lines = zlib.decompressobj(31).decompress(packed[: len(packed) // 2]).count(b"\n")
    with pytest.raises(ExpressionError, match=r"x\.gct\.gz is cut off, its gzip stream has no end, after") as caught:
        values(path)
    match = re.search(r"after line (\d+), gene G(\d+) N; fetch the file again", str(caught.value))
    assert match is not None
    line, gene = match.groups()
    assert whole_lines / 2 < int(line) <= whole_lines
    assert int(gene) == int(line) - 4


def test_a_gzip_that_ends_within_the_header_says_so(tmp_path):
    path = gct(tmp_path, samples=[f"sample{i}" for i in range(5000)], name="x.gct.gz")
    packed = (tmp_path / "x.gct.gz").read_bytes()
    (tmp_path / "x.gct.gz").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(ExpressionError, match=r"x\.gct\.gz is cut off: its gzip stream has no end; fetch"):
        open_gct(path)


def test_a_damaged_gzip_says_so(tmp_path):
    path = gct(tmp_path, [f"G{i}\tN\t{i}\t{i * 7 % 13}\t3" for i in range(2000)], name="x.gct.gz")
    whole = bytearray((tmp_path / "x.gct.gz").read_bytes())
    whole[len(whole) // 2 : len(whole) // 2 + 40] = b"\xff" * 40
    (tmp_path / "x.gct.gz").write_bytes(whole)
    with pytest.raises(ExpressionError, match=r"x\.gct\.gz"):
        values(path)


def test_a_missing_file_and_one_without_genes_each_say_so(tmp_path):
    with pytest.raises(ExpressionError, match=r"nowhere\.gct does not exist"):
        open_gct(str(tmp_path / "nowhere.gct"))
    with pytest.raises(ExpressionError, match="has a header and no genes"):
        read_expression(gct(tmp_path, []), SETTINGS, None, None)


def test_a_gene_that_occurs_twice_is_named(tmp_path):
    with pytest.raises(ExpressionError, match=r"gene 'ENSG01\.1' occurs 2 times"):
        read_expression(gct(tmp_path, [*BODY, BODY[0]]), SETTINGS, None, None)
