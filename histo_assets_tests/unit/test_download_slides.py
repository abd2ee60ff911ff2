"""Slides from a URL template and from Imaging Data Commons, kept within a budget."""

from __future__ import annotations

import hashlib
from pathlib import Path

import polars as pl
import pytest
from pydantic import ValidationError

from histo_assets.core.download.errors import DownloadError
from histo_assets.core.download.fetched import (
    FetchedSlide,
    drop_over_budget,
    drop_slide,
    fetch_slide,
    fetched_slide,
    fetched_slides,
    user_files,
    write_record,
)
from histo_assets.core.download.idc import series_files, series_of_slides
from histo_assets.core.download.settings import SourceSettings
from histo_assets.core.download.slide_source import SlideSource
from histo_assets_tests.unit.lying_server import Request, dropping, serving

ROW = {"slide": "GTEX-1117F-0126", "donor": "GTEX-1117F", "tissue": "adipose tissue", "sample": "s/1"}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HISTO_CACHE", str(tmp_path / "cache"))


def test_a_template_is_filled_with_what_is_known_of_the_slide() -> None:
    source = SlideSource(SourceSettings(kind="url", url="https://x/{donor}/{tissue}/{slide}?s={sample}"))
    (file,) = source.find(ROW).files
    assert file.url == "https://x/GTEX-1117F/adipose%20tissue/GTEX-1117F-0126?s=s%2F1"
    assert file.name == "GTEX-1117F-0126.svs"


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"kind": "url", "url": "https://x/{slid}"}, "unknown placeholder {slid}; allowed are {slide}, {donor}"),
        ({"kind": "url", "url": "https://x/{donor}"}, "every slide would be the same file"),
        ({"kind": "url"}, "needs 'url'"),
        ({"keep": "20 bananas"}, "'keep' is 'all', 'none' or a budget such as '200 GB'"),
    ],
)
def test_an_impossible_source_is_refused_with_what_is_allowed(settings: dict[str, str], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        SourceSettings(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("keep", "budget"), [("all", None), ("none", 0), ("1.5 GB", 1_500_000_000), ("20MB", 2 * 10**7)]
)
def test_a_budget_is_read_in_its_unit(keep: str, budget: int | None) -> None:
    assert SourceSettings(keep=keep).keep_bytes == budget


def test_a_listing_s_sizes_and_digests_are_verified(tmp_path: Path) -> None:
    content = b"slide" * 1000
    listing = tmp_path / "slides.csv"
    with serving({"/one": content, "/two": content}) as server:
        listing.write_text(
            f"slide,url,bytes,sha256\na,{server.address}/one,{len(content)},{hashlib.sha256(content).hexdigest()}\n"
            f"b,{server.address}/two,{len(content)},{'0' * 64}\n"
        )
        settings = SourceSettings(kind="url", listing=str(listing))
        source = SlideSource(settings)
        assert fetch_slide(source.find({"slide": "a"}), tmp_path, settings).bytes == len(content)
        with pytest.raises(DownloadError, match=r"b.svs from .* has sha256"):
            fetch_slide(source.find({"slide": "b"}), tmp_path, settings)
        with pytest.raises(DownloadError, match="slide c has no url in the listing"):
            source.find({"slide": "c"})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("l.csv", "slide,url\na,http://x/a;b\n"),
        ("l.tsv", "slide\turl\na\thttp://x/a;b\n"),
        ("l.txt", "slide\turl, whole\turl\na\t-\thttp://x/a;b\n"),
        ("l.csv", "slide\turl\na\thttp://x/a;b\n"),
        ("l.csv", '\ufeffslide;url\na;"http://x/a;b"\n'),
    ],
)
def test_a_listing_is_separated_by_commas_tabs_or_semicolons(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    source = SlideSource(SourceSettings(kind="url", listing=str(tmp_path / name)))
    assert source.find({"slide": "a"}).files[0].url == "http://x/a;b"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("name,url\na,b\n", "has no column 'slide'; it has name, url"),
        ("slide,bytes\na,12 kB\n", "line 2: slide a has '12 kB' bytes"),
        ("slide,bytes\na,12\na,13\n", "line 3: slide a is listed twice"),
    ],
)
def test_a_malformed_listing_is_told_by_file_and_line(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "l.csv").write_text(text)
    with pytest.raises(DownloadError, match=sentence):
        SlideSource(SourceSettings(kind="url", listing=str(tmp_path / "l.csv")))


def url_source(address: str, keep: str = "all") -> SourceSettings:
    return SourceSettings(kind="url", url=address + "/{slide}", keep=keep)


def test_a_slide_that_is_there_is_not_fetched_again(tmp_path: Path) -> None:
    with serving({"/a": b"x" * 5000}) as server:
        settings = url_source(server.address)
        remote = SlideSource(settings).find({"slide": "a"})
        first = fetch_slide(remote, tmp_path, settings)
        assert fetch_slide(remote, tmp_path, settings) == first
        assert len(server.asked) == 1
    assert first.sha256 == hashlib.sha256(b"x" * 5000).hexdigest()
    assert fetched_slide(tmp_path, "a") == first


def test_a_file_of_the_user_s_is_neither_replaced_nor_dropped(tmp_path: Path) -> None:
    (tmp_path / "a.svs").write_bytes(b"mine")
    with serving({"/a": b"x" * 5000}) as server:
        settings = url_source(server.address)
        with pytest.raises(DownloadError, match=r"a.svs was not fetched from"):
            fetch_slide(SlideSource(settings).find({"slide": "a"}), tmp_path, settings)
    assert (tmp_path / "a.svs").read_bytes() == b"mine"
    assert drop_over_budget(tmp_path, SourceSettings(keep="none")) == []
    assert (tmp_path / "a.svs").exists()


def test_a_fetched_slide_that_the_user_changed_is_not_dropped(tmp_path: Path) -> None:
    record = fetched(tmp_path, "a", 100, tiled=True)
    (tmp_path / "a.svs").write_bytes(b"changed by hand")
    assert not drop_slide(tmp_path, record)
    assert (tmp_path / "a.svs").exists()


def fetched(folder: Path, slide: str, size: int, tiled: bool = False, used: float = 0) -> FetchedSlide:
    """Return the record of a slide that lies in `folder` as if it had been fetched."""
    path = folder / f"{slide}.svs"
    path.write_bytes(b"s" * size)
    record = FetchedSlide(slide, path.name, (), size, "0" * 64, path.stat().st_mtime_ns, used, tiled)
    write_record(folder, record)
    return record


def test_tiled_slides_are_dropped_first_and_the_longest_unused_of_them(tmp_path: Path) -> None:
    for place, slide in enumerate("abcd"):
        fetched(tmp_path, slide, 1_000_000, tiled=slide in "bcd", used=-place)
    assert drop_over_budget(tmp_path, SourceSettings(keep="2 MB")) == ["d", "c"]
    assert sorted(path.name for path in tmp_path.glob("*.svs")) == ["a.svs", "b.svs"]
    # Rows and digests stay.
    assert [record.slide for record in fetched_slides(tmp_path)] == list("abcd")


def test_a_slide_without_tiles_goes_only_where_the_budget_is_too_small_for_it(tmp_path: Path) -> None:
    for slide in "ab":
        fetched(tmp_path, slide, 1_000_000)
    assert drop_over_budget(tmp_path, SourceSettings(keep="none")) == []
    assert drop_over_budget(tmp_path, SourceSettings(keep="1 MB"), only_tiled=True) == []
    assert drop_over_budget(tmp_path, SourceSettings(keep="1 MB"), sparing={"a"}) == ["b"]


def test_only_the_user_s_own_files_are_observed(tmp_path: Path) -> None:
    fetched(tmp_path, "a", 100)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "one.dcm").write_bytes(b"mine")
    (tmp_path / ".c.svs.part").write_bytes(b"arriving")
    assert user_files(tmp_path) == [tmp_path / "b" / "one.dcm"]
    drop_slide(tmp_path, fetched_slides(tmp_path)[0])
    assert user_files(tmp_path) == [tmp_path / "b" / "one.dcm"]
    (tmp_path / "a.svs").write_bytes(b"put there by hand")
    assert user_files(tmp_path) == [tmp_path / "a.svs", tmp_path / "b" / "one.dcm"]


def test_all_keeps_all(tmp_path: Path) -> None:
    fetched(tmp_path, "a", 100, tiled=True)
    assert drop_over_budget(tmp_path, SourceSettings()) == []


BUCKET = "idc-open-data"
FILES = {"b1.dcm": b"first" * 2000, "b2.dcm": b"second" * 3000, "b3.dcm": b"third" * 10}


def bucket_page(files: dict[str, bytes], prefix: str, more: str = "") -> bytes:
    entries = "".join(
        f"<Contents><Key>{prefix}/{name}</Key><Size>{len(content)}</Size>"
        f"<ETag>&quot;{hashlib.md5(content).hexdigest()}&quot;</ETag></Contents>"
        for name, content in files.items()
    )
    following = f"<NextContinuationToken>{more}</NextContinuationToken>" if more else ""
    return (
        '<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"{entries}{following}</ListBucketResult>"
    ).encode()


def bucket(files: dict[str, bytes], prefix: str = "uuid") -> dict[str, bytes]:
    """Return what a bucket serves by path: files below `prefix`, and their listing on two pages."""
    *first, last = files
    page = f"/{BUCKET}/?list-type=2&prefix={prefix}/"
    pages = {
        page: bucket_page({name: files[name] for name in first}, prefix, more="t/1"),
        f"{page}&continuation-token=t%2F1": bucket_page({last: files[last]}, prefix),
    }
    return {f"/{BUCKET}/{prefix}/{name}": content for name, content in files.items()} | pages


def test_a_series_is_listed_page_by_page_with_sizes_and_digests() -> None:
    with serving(bucket(FILES)) as server:
        files = series_files(f"s3://{BUCKET}/uuid/", SourceSettings(endpoint=server.address + "/{bucket}"))
    assert [file.name for file in files] == list(FILES)
    assert [file.bytes for file in files] == [len(content) for content in FILES.values()]
    assert files[0].md5 == hashlib.md5(FILES["b1.dcm"]).hexdigest()


def test_a_bucket_that_answers_with_something_else_is_one_sentence() -> None:
    for answer, message in ((b"<html>", "did not answer with a list"), (bucket_page({}, ""), "holds no files")):
        contents = {f"/{BUCKET}/?list-type=2&prefix=uuid/": answer}
        with serving(contents) as server, pytest.raises(DownloadError, match=message):
            series_files(f"s3://{BUCKET}/uuid/", SourceSettings(endpoint=server.address + "/{bucket}"))


@pytest.fixture
def idc_index(tmp_path: Path) -> SourceSettings:
    names = ["GTEX-AAAA-0125", "GTEX-BBBB-0325", "GTEX-BBBB-0326", "GTEX-CCCC-0001", "GTEX-DDDD-0126"]
    return idc_source(tmp_path / "sm_index.parquet", names)


def idc_source(table: Path, names: list[str]) -> SourceSettings:
    """Return a source whose table of slides gives `names` to real series of the index, the last to a frozen one."""
    idc = pytest.importorskip("idc_index_data")
    series = (
        pl.scan_parquet(idc.IDC_INDEX_PARQUET_FILEPATH)
        .filter(pl.col("collection_id") == "gtex")
        .select("SeriesInstanceUID", "SeriesDescription")
        .collect()
    )
    whole = series.filter(pl.col("SeriesDescription") == "PG PE HE")["SeriesInstanceUID"].head(len(names) - 1).to_list()
    frozen = series.filter(pl.col("SeriesDescription").str.starts_with("FZ"))["SeriesInstanceUID"].head(1).to_list()
    pl.DataFrame({"SeriesInstanceUID": whole + frozen, "ContainerIdentifier": names}).write_parquet(table)
    return SourceSettings(kind="idc", slide_index=str(table))


def test_slides_of_the_archive_are_found_by_name_without_frozen_ones(idc_index: SourceSettings) -> None:
    series = series_of_slides(idc_index)
    assert sorted(series) == ["GTEX-AAAA-0125", "GTEX-BBBB-0325", "GTEX-BBBB-0326", "GTEX-CCCC-0001"]
    assert all(location.startswith(f"s3://{BUCKET}/") for location in series.values())


def test_a_slide_takes_its_sibling_s_series_unless_that_is_another_slide_of_the_cohort(
    idc_index: SourceSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("histo_assets.core.download.idc.series_files", lambda location, settings: (location,))
    series = SlideSource(idc_index).find({"slide": "GTEX-AAAA-0126"})
    assert series.name == "GTEX-AAAA-0126"
    assert list(map(str, series.files)) == [series_of_slides(idc_index)["GTEX-AAAA-0125"]]
    with pytest.raises(DownloadError, match="GTEX-AAAA-0126 is not in collection gtex"):
        SlideSource(idc_index, {"GTEX-AAAA-0125", "GTEX-AAAA-0126"}).find({"slide": "GTEX-AAAA-0126"})


def test_a_slide_that_the_archive_lacks_is_named(idc_index: SourceSettings) -> None:
    with pytest.raises(DownloadError, match="slide GTEX-ZZZZ-0126 is not in collection gtex"):
        SlideSource(idc_index).find({"slide": "GTEX-ZZZZ-0126"})


def test_a_series_becomes_a_folder_that_appears_whole_and_resumes(tmp_path: Path, idc_index: SourceSettings) -> None:
    prefix = series_of_slides(idc_index)["GTEX-CCCC-0001"].removeprefix(f"s3://{BUCKET}/").rstrip("/")
    slides = tmp_path / "slides"
    contents = bucket(FILES, prefix)
    with serving(contents) as server:
        settings = idc_index.model_copy(update={"endpoint": server.address + "/{bucket}", "attempts": 1})
        source = SlideSource(settings)
        remote = source.find({"slide": "GTEX-CCCC-0001"})
        server.answers += [Request.serve] * len(server.asked) + [Request.serve, dropping(100), dropping(0)]
        with pytest.raises(DownloadError, match=r"b2.dcm could not be fetched"):
            fetch_slide(remote, slides, settings)
        assert not (slides / "GTEX-CCCC-0001").exists()
        asked = len(server.asked)
        server.answers.clear()
        record = fetch_slide(remote, slides, settings)
        again = [path for path, _ in server.asked[asked:]]
    assert [path.rsplit("/", 1)[-1] for path in again] == ["b2.dcm", "b3.dcm"]
    folder = slides / "GTEX-CCCC-0001"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == FILES
    assert record.bytes == sum(map(len, FILES.values()))
    assert record.is_there(slides)
    assert drop_slide(slides, record)
    assert not folder.exists()
    with serving(contents) as server:
        files = tuple(
            file.__class__(**{**file.__dict__, "url": f"{server.address}/{BUCKET}/{prefix}/{file.name}"})
            for file in record.files
        )
        refetched = fetch_slide(record.remote.__class__(record.slide, record.name, files), slides, settings)
    assert refetched.sha256 == record.sha256


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "idc_index_data", None)
    with pytest.raises(DownloadError, match=r"pip install 'histo_assets\[idc\]'"):
        series_of_slides(SourceSettings(kind="idc"))
