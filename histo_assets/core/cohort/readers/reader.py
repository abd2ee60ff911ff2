"""What a reader of manifests is.

A reader is one file beside this one and a line in `registry.READERS`. Pandas is imported when a table is read: a
study is read in every process.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    import pandas as pd

    from histo_assets.core.cohort.settings import CohortSettings


class Reader(ABC):
    """Reads a cohort's manifest. `name` is what a study calls it, `description` says what it reads."""

    name: ClassVar[str]
    description: ClassVar[str]

    @abstractmethod
    def read(self, path: str, settings: CohortSettings) -> pd.DataFrame:
        """Return slide, donor, tissue (partition key), tissue_name (as printed) and what else the file has.

        Parameters
        ----------
        path
            Local path or URL of the file.

        Raises
        ------
        CohortError
            A column is missing, or an id cannot be used; the message names file, row and column.
        """
