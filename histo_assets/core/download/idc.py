"""NCI Imaging Data Commons: public DICOM slides on S3, without credentials.

The package `idc-index-data` knows the series of every collection; which glass slide a series shows is
in a table of the same release, which is fetched once.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path
from urllib.parse import quote

from histo_assets.core.download.errors import DownloadError
from histo_assets.core.download.http import RemoteFile, fetch_file
from histo_assets.core.download.settings import SourceSettings
from histo_assets.core.files import cache_root

RELEASES = "https://github.com/ImagingDataCommons/idc-index-data/releases/download"
_S3 = "{http://s3.amazonaws.com/doc/2006-03-01/}"


def series_of_slides(settings: SourceSettings) -> dict[str, str]:
    """Return slide -> `s3://bucket/prefix/` for every slide of a collection, frozen sections left out."""
    import polars as pl

    series = (
        pl.scan_parquet(_index_path())
        .filter((pl.col("collection_id") == settings.collection) & (pl.col("Modality") == "SM"))
        .filter(~pl.col("SeriesDescription").fill_null("").str.starts_with("FZ"))
        .select("SeriesInstanceUID", "series_aws_url")
        .collect()
    )
    if series.is_empty():
        raise DownloadError(f"Imaging Data Commons has no slides of collection {settings.collection}; correct its name")
    names = pl.read_parquet(_slide_table(settings), columns=["SeriesInstanceUID", "ContainerIdentifier"])
    named = series.join(names, on="SeriesInstanceUID").drop_nulls()
    locations: dict[str, str] = {}
    for slide, location in (
        named.select("ContainerIdentifier", "series_aws_url").sort("ContainerIdentifier").iter_rows()
    ):
        if slide in locations:
            raise DownloadError(f"Imaging Data Commons has two series of slide {slide}; fetch the right one by hand")
        locations[slide] = location.removesuffix("*")
    return locations


def series_files(location: str, settings: SourceSettings) -> tuple[RemoteFile, ...]:
    """Return the files below `s3://bucket/prefix/`, by listing the bucket over HTTPS."""
    bucket, _, prefix = location.removeprefix("s3://").partition("/")
    endpoint = settings.endpoint.format(bucket=bucket).rstrip("/")
    files: list[RemoteFile] = []
    token = ""
    while True:
        page = _page(f"{endpoint}/?list-type=2&prefix={quote(prefix)}{token}", settings)
        for entry in page.iter(f"{_S3}Contents"):
            key, etag = entry.findtext(f"{_S3}Key", ""), entry.findtext(f"{_S3}ETag", "").strip('"')
            size = int(entry.findtext(f"{_S3}Size", "0"))
            # An ETag with a dash is not the content's md5: the object was uploaded in parts.
            md5 = etag if etag and "-" not in etag else None
            files.append(RemoteFile(f"{endpoint}/{quote(key)}", Path(key).name, size, None, md5))
        following = page.findtext(f"{_S3}NextContinuationToken")
        if not following:
            break
        token = f"&continuation-token={quote(following, safe='')}"
    if not files:
        raise DownloadError(
            f"{location} holds no files; the index may be older than the archive: upgrade idc-index-data"
        )
    return tuple(files)


def _index_path() -> Path:
    try:
        import idc_index_data
    except ImportError:
        raise DownloadError(
            "slides of Imaging Data Commons need the extra `idc`: pip install 'histo_assets[idc]'"
        ) from None
    return Path(str(idc_index_data.IDC_INDEX_PARQUET_FILEPATH))


def _slide_table(settings: SourceSettings) -> Path:
    """Return the table that names the glass slide of every series."""
    if settings.slide_index:
        path = Path(settings.slide_index)
        if not path.is_file():
            raise DownloadError(f"slides.source.slide_index names {path}, which is missing; correct it")
        return path
    import idc_index_data

    version = idc_index_data.__version__
    target = cache_root() / "idc" / version / "sm_index.parquet"
    if not target.exists():
        fetch_file(RemoteFile(f"{RELEASES}/{version}/sm_index.parquet", target.name), target)
    return target


def _page(url: str, settings: SourceSettings) -> ElementTree.Element:
    import requests

    try:
        answer = requests.get(url, timeout=settings.timeout_seconds)
    except requests.RequestException as error:
        raise DownloadError(f"{url} cannot be listed ({' '.join(str(error).split())[:160]}); try again later") from None
    if answer.status_code != 200:
        raise DownloadError(f"{url} cannot be listed (the server answered {answer.status_code}); try again later")
    try:
        return ElementTree.fromstring(answer.content)
    except ElementTree.ParseError:
        raise DownloadError(f"{url} did not answer with a list of files; correct slides.source.endpoint") from None
