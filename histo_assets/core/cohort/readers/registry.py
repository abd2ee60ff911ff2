"""The readers of manifests that a study can name. This module is light."""

from __future__ import annotations

from histo_assets.core.cohort.readers.gtex import Gtex
from histo_assets.core.cohort.readers.reader import Reader
from histo_assets.core.cohort.readers.table import Table

READERS: dict[str, Reader] = {
    reader.name: reader
    for reader in (
        Gtex(),
        Table(),
    )
}
"""One line a reader."""
