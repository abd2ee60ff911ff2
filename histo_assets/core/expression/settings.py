"""What a study decides about expression."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from histo_assets.core.expression.releases import RELEASES, release_in_name
from histo_assets.core.files import Settings
from histo_assets.core.settings import PLACE

NameRule = Literal["drop_dotted_and_repeated", "keep_first", "drop_dotted", "all"]
Units = Literal["tpm", "fpkm", "counts", "log2", "log2_counts"]
SamplesIn = Literal["rows", "columns"]


class GeneFilterSettings(Settings):
    """The post's three filters.

    A gene stays when max log2(1+TPM) > `min_max` in at least one sample, its standard deviation
    (`ddof`) is > `min_sd`, and its name passes `names`: `drop_dotted_and_repeated` (every row of a
    repeated name goes), `keep_first` (dotted go, the first of a repeated name stays), `drop_dotted`
    (repeated ones stay), `all`.
    `fit_on` says over which samples: those of training donors, or all paired ones.
    """

    min_max: float = 5.0
    min_sd: float = Field(default=0.5, ge=0)
    ddof: int = Field(default=1, ge=0, le=1)
    names: NameRule = "drop_dotted_and_repeated"
    fit_on: Literal["training_donors", "all_paired"] = "training_donors"


class ExpressionSettings(Settings):
    """Which file, in which units.

    `file` is relative to the study file's folder (packaged studies: `HISTO_COHORTS`).
    `release` names a known one (`gtex_v8`, `gtex_v10`): its file of TPM is fetched once to where `file`
    says (default `gtex/` and its own name), and a file of another release is refused.
    `format`: `gct` (plain or gz), `csv`, `tsv`, `parquet`, `h5ad`, or None to go by the name. A table whose first line
    has no comma, or no tab for `tsv`, is separated by what that line does have: commas, tabs or semicolons.
    Tables have genes in rows and samples in columns, or the reverse (`samples_in: rows`).
    `units`: TPM, FPKM and counts become log2(1+TPM) (counts without `gene_lengths` log2(1+CPM)), `log2`
    is taken as it is, `log2_counts` becomes log2(1+count) without scaling (for a handful of genes).
    `gene_lengths` is a table of gene and length in base pairs, or the GTF that the reads were counted on.
    """

    file: Annotated[str, PLACE]
    release: Literal["gtex_v8", "gtex_v10"] | None = None
    format: Literal["gct", "csv", "tsv", "parquet", "h5ad"] | None = None
    units: Units = "tpm"
    samples_in: SamplesIn = "columns"
    gene_lengths: Annotated[str | None, PLACE] = None
    filter: GeneFilterSettings = GeneFilterSettings()

    @model_validator(mode="before")
    @classmethod
    def _file_of_the_release(cls, given: Any) -> Any:
        """Return the settings with the file that a release has where none is named."""
        if isinstance(given, dict) and str(given.get("release")) in RELEASES and not given.get("file"):
            return {**given, "file": f"gtex/{RELEASES[given['release']].tpm.name}"}
        return given

    @model_validator(mode="after")
    def _settings_agree(self) -> Self:
        if self.release and self.units != "tpm":
            raise ValueError(f"the file of {self.release} is in TPM; drop `units`, or drop `release`")
        named = release_in_name(self.file)
        if self.release and named not in (None, self.release):
            raise ValueError(f"{self.file} is of {named} by its name and `release` says {self.release}; correct one")
        if self.gene_lengths and self.units != "counts":
            raise ValueError(f"`gene_lengths` make TPM of counts, `units` says {self.units}; drop one of the two")
        return self
