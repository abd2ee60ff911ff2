"""Code versions and data versions: what makes an edited study look stale."""

from __future__ import annotations

from typing import Any

import dagster as dg

from histo_assets.core.files import settings_digest


def code_version(revision: int, *settings: Any) -> str:
    """Return the version of an asset: the revision of its code and the digest of the settings it reads."""
    return f"{revision}.{settings_digest(*settings)}"


def data_version(content: Any) -> dg.DataVersion:
    """Return the digest of an asset's content as its data version."""
    from histo_assets.storage.digests import content_digest

    return dg.DataVersion(content_digest(content))
