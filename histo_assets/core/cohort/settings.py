"""What a study decides about its cohort."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from histo_assets.core.files import Settings
from histo_assets.core.settings import PLACE


class TableColumns(Settings):
    """The names that a `table` cohort's file uses; every other column is kept under its own name."""

    slide: str = "slide"
    donor: str = "donor"
    label: str = "label"
    sample: str | None = None


class CohortSettings(Settings):
    """Where the cohort's tables are and how to read them.

    Paths are relative to the study file's folder (packaged studies: `HISTO_COHORTS`).
    """

    reader: Literal["gtex", "table"]
    manifest: Annotated[str, PLACE]
    rna_samples: Annotated[str | None, PLACE] = None
    columns: TableColumns = TableColumns()


class SelectionSettings(Settings):
    """Which paired slides a study takes.

    `tissues` are partition keys (slugs) in the order of the partitions. `rule` is `first` (manifest
    order) or `stable_hash` (by the hash of the slide's id, so that a new slide displaces at most one).
    """

    tissues: tuple[str, ...] = Field(min_length=1)
    rule: Literal["first", "stable_hash"] = "stable_hash"
    slides_per_tissue: int | None = Field(default=50, ge=1)
    min_slides: int = Field(default=1, ge=1)
    seed: int = 0


class SplitSettings(Settings):
    """How donors (or, to show the leak, tiles) are divided."""

    unit: Literal["donor", "tile"] = "donor"
    test_share: float = Field(default=0.15, ge=0, lt=1)
    folds: int = Field(default=5, ge=2)
    validation_fold: int = 0
    seed: int = 0
