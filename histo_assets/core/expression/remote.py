"""Where an expression file is on this machine; one behind a URL or of a known release is fetched once."""

from __future__ import annotations

import hashlib
from pathlib import Path

from upath import UPath

from histo_assets.core.expression.errors import ExpressionError
from histo_assets.core.expression.releases import RELEASES, fetch_release_file, in_words
from histo_assets.core.expression.settings import ExpressionSettings
from histo_assets.core.files import cache_root, local_copy
from histo_assets.core.progress import ByteProgress, Progress, silent


def local_expression(path: str, settings: ExpressionSettings, progress: Progress = silent) -> str:
    """Return the local path of an expression file.

    A file behind http(s) is fetched into the cache, resumed where it broke off; other URLs (s3 and so on) are copied
    there. The file of the study's release is fetched to `path` itself if it is not there.

    Raises
    ------
    ExpressionError, DownloadError
        It cannot be had.
    """
    if path.startswith(("http://", "https://")):
        return str(_fetched(path, in_words(path, progress)))
    if "://" in path:
        return str(_copied(path))
    if settings.release is not None:
        fetch_release_file(RELEASES[settings.release].tpm, Path(path), in_words(path, progress))
    return path


def _fetched(url: str, progress: ByteProgress) -> Path:
    """Return a file behind http(s) in the cache: the version that the server names, or the last one if it is away."""
    from histo_assets.core.download.http import RemoteFile, fetch_file

    name = UPath(url).name or "expression"
    folder = cache_root() / hashlib.sha256(url.encode()).hexdigest()[:32]
    version = _version(url)
    if version is None:
        known = sorted(folder.glob(f"*/{name}"), key=lambda path: path.stat().st_mtime)
        if known:
            return known[-1]
    target = folder / hashlib.sha256((version or "").encode()).hexdigest()[:16] / name
    return target if target.exists() else fetch_file(RemoteFile(url=url, name=name), target, progress=progress).path


def _version(url: str) -> str | None:
    """Return what a server calls the version of a file, '' if nothing; None if it does not answer."""
    import requests

    try:
        answer = requests.head(url, timeout=30, allow_redirects=True)
    except requests.RequestException:
        return None
    headers = answer.headers if answer.ok else {}
    return headers.get("ETag") or f"{headers.get('Last-Modified', '')} {headers.get('Content-Length', '')}".strip()


def _copied(url: str) -> Path:
    try:
        location = UPath(url)
        return local_copy(location, f"{url}@{location.fs.ukey(location.path)}")
    except FileNotFoundError:
        raise ExpressionError(f"{url} does not exist; put it there or correct `expression.file`") from None
    except ImportError as error:
        raise ExpressionError(f"{url} cannot be read: {error}; install it, or fetch the file first") from None
