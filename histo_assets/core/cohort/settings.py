"""What a study decides about its cohort."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from histo_assets.core.cohort.readers.registry import READERS
from histo_assets.core.files import Settings
from histo_assets.core.settings import PLACE, one_of_names


class TableColumns(Settings):
    """The names that a `table` cohort's file uses; every other column is kept under its own name."""

    slide: str = Field(default="slide", description="Column of slide ids.")
    donor: str = Field(default="donor", description="Column of donor ids.")
    label: str = Field(default="label", description="Column of labels, called tissues from there on.")
    sample: str | None = Field(
        default=None, description="Column of RNA sample ids; None: `sample` where the file has it, else no sample."
    )


class CohortSettings(Settings):
    """Where the cohort's tables are and how to read them.

    Paths are relative to the study file's folder (packaged studies: `HISTO_COHORTS`).
    """

    reader: Annotated[str, one_of_names(READERS, "reader")] = Field(
        description="; ".join(f"`{reader.name}`: {reader.description}" for reader in READERS.values()) + "."
    )
    manifest: Annotated[str, PLACE] = Field(description="The table of slides: CSV, TSV or parquet.")
    rna_samples: Annotated[str | None, PLACE] = Field(
        default=None, description="The table of RNA samples; None: the manifest names the sample of each slide."
    )
    columns: TableColumns = Field(default=TableColumns(), description="Column names of a `table` manifest.")


class SelectionSettings(Settings):
    """Which paired slides a study takes."""

    tissues: tuple[str, ...] = Field(
        min_length=1, description="Labels as partition keys (slugs), in the order of the partitions."
    )
    rule: Literal["first", "stable_hash"] = Field(
        default="stable_hash",
        description="`first`: manifest order; `stable_hash`: by the hash of the slide's id, "
        "so that a new slide displaces at most one.",
    )
    slides_per_tissue: int | None = Field(
        default=50, ge=1, description="Most slides that a tissue gives; None: every paired one."
    )
    min_slides: int = Field(default=1, ge=1, description="A tissue with fewer slides fails its check.")
    seed: int = Field(default=0, description="Decides the order of `stable_hash`.")


class SplitSettings(Settings):
    """How donors (or, to show the leak, tiles) are divided."""

    unit: Literal["donor", "tile"] = Field(
        default="donor", description="What stands on one side only; `tile` lets a donor stand on several."
    )
    test_share: float = Field(
        default=0.15, ge=0, lt=1, description="Share of the donors (or tiles) that is locked for the test."
    )
    folds: int = Field(default=5, ge=2, description="Number of folds of the donors that are not locked.")
    validation_fold: int = Field(
        default=0, description="Fold that chooses epoch and experiment, counted from 0; the others train."
    )
    seed: int = Field(default=0, description="Decides who stands on which side.")
