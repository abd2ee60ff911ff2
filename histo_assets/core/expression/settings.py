"""What a study decides about expression."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from histo_assets.core.files import Settings


class GeneFilterSettings(Settings):
    """The post's three filters.

    A gene stays when max log2(1+TPM) > `min_max` in at least one sample, its standard deviation
    (`ddof`) is > `min_sd`, and its name passes `names`: `drop_dotted_and_repeated` (every row of a
    repeated name goes), `keep_first` (dotted go, the first of a repeated name stays), `all`.
    `fit_on` says over which samples: those of training donors, or all paired ones.
    """

    min_max: float = 5.0
    min_sd: float = Field(default=0.5, ge=0)
    ddof: int = Field(default=1, ge=0, le=1)
    names: Literal["drop_dotted_and_repeated", "keep_first", "all"] = "drop_dotted_and_repeated"
    fit_on: Literal["training_donors", "all_paired"] = "training_donors"


class ExpressionSettings(Settings):
    """Which file, in which units.

    `file` is relative to the study file's folder (packaged studies: `HISTO_COHORTS`).
    `format`: `gct` (plain or gz), `csv`, `tsv`, `parquet`, `h5ad`, or None to go by the name.
    Tables have genes in rows and samples in columns, or the reverse (`samples_in: rows`).
    `units`: TPM, FPKM and counts become log2(1+TPM) (counts: CPM, no gene lengths here), `log2` is
    taken as it is, `log2_counts` becomes log2(1+count) without scaling (for a handful of genes).
    """

    file: str
    format: Literal["gct", "csv", "tsv", "parquet", "h5ad"] | None = None
    units: Literal["tpm", "fpkm", "counts", "log2", "log2_counts"] = "tpm"
    samples_in: Literal["rows", "columns"] = "columns"
    filter: GeneFilterSettings = GeneFilterSettings()
