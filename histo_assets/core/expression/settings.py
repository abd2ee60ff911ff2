"""What a study decides about expression."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, get_args

from pydantic import AfterValidator, Field, model_validator

from histo_assets.core.expression.logarithms import logarithm_of
from histo_assets.core.expression.name_rules.registry import RULES
from histo_assets.core.expression.releases import RELEASES, release_in_name
from histo_assets.core.files import Settings
from histo_assets.core.settings import LATER, PLACE, one_of_names

Units = Literal["tpm", "fpkm", "counts", "log2", "log2_counts"]
UNITS_IN_WORDS = f"{', '.join(get_args(Units))}, or a logarithm such as log2(tpm+0.001), ln(counts+1), log10(fpkm+1)"
SamplesIn = Literal["rows", "columns"]


def known_units(units: str) -> str:
    """Return the units without spaces and in small letters, or raise a ValueError if they are none."""
    plain = units.replace(" ", "").lower()
    if plain not in get_args(Units) and logarithm_of(plain) is None:
        raise ValueError(f"{units} is no unit that is read; say {UNITS_IN_WORDS}")
    return plain


def quantity(units: str) -> str:
    """Return the units that values have once a logarithm that was named in full is taken back.

    >>> quantity("log2(fpkm+1)"), quantity("log2")
    ('fpkm', 'log2')
    """
    logarithm = logarithm_of(units)
    return units if logarithm is None else logarithm.quantity


class GeneFilterSettings(Settings):
    """The post's three filters; a gene stays that passes them all."""

    min_max: float = Field(default=5.0, description="Value that a gene exceeds in some sample, in log2(1+TPM).")
    min_sd: float = Field(default=0.5, ge=0, description="Standard deviation that a gene exceeds, in log2(1+TPM).")
    ddof: int = Field(
        default=1, ge=0, le=1, description="1: standard deviation of a sample (n - 1); 0: of the whole (n)."
    )
    names: Annotated[str, one_of_names(RULES, "rule for names")] = Field(
        default="drop_dotted_and_repeated",
        description="; ".join(f"`{rule.name}`: {rule.description}" for rule in RULES.values()) + ".",
    )
    fit_on: Literal["training_donors", "all_paired"] = Field(
        default="training_donors", description="Over whose samples: those of training donors, or all paired ones."
    )


class ExpressionSettings(Settings):
    """Which file, in which units."""

    file: Annotated[str, PLACE] = Field(
        description="The matrix, relative to the study file's folder (packaged studies: `HISTO_COHORTS`); with a "
        "`release` it may be left out (`gtex/` and the release's own name)."
    )
    release: Literal["gtex_v8", "gtex_v10"] | None = Field(
        default=None,
        description="A known release: its file of TPM is fetched once to `file`, and a file of another one is refused. "
        "None: nothing is fetched.",
    )
    format: Literal["gct", "csv", "tsv", "parquet", "h5ad"] | None = Field(
        default=None,
        description="Format of the file, `gct` plain or gz; None: by its name. A table whose first line has no comma, "
        "or no tab for `tsv`, is separated by what that line does have: commas, tabs or semicolons.",
    )
    units: Annotated[str, AfterValidator(known_units)] = Field(
        default="tpm",
        description="TPM, FPKM and counts become log2(1+TPM) (counts without `gene_lengths` log2(1+CPM)), `log2` is "
        "log2(1+TPM) and taken as it is, `log2_counts` becomes log2(1+count) without scaling (for a handful of genes). "
        "Another logarithm is named in full and taken back first: `log2(tpm+0.001)`, `ln(counts+1)`, `log10(fpkm+1)`.",
    )
    samples_in: SamplesIn = Field(
        default="columns", description="Where a table has its samples; its genes are the other way."
    )
    layer: Annotated[str | None, LATER] = Field(
        default=None,
        description="Which matrix of an h5ad file is read, one of its layers or `raw`; None: its X.",
    )
    gene_lengths: Annotated[str | None, PLACE] = Field(
        default=None,
        description="For counts: a table of gene and length in base pairs, or the GTF that the reads were counted on. "
        "None: lengths do not count.",
    )
    filter: GeneFilterSettings = Field(default=GeneFilterSettings(), description="Which genes stay.")

    @model_validator(mode="before")
    @classmethod
    def _file_of_the_release(cls, values: Any) -> Any:
        """Return the settings with the file that a release has where none is named."""
        if isinstance(values, dict) and str(values.get("release")) in RELEASES and not values.get("file"):
            return {**values, "file": f"gtex/{RELEASES[values['release']].tpm.name}"}
        return values

    @model_validator(mode="after")
    def _settings_agree(self) -> Self:
        if self.release and self.units != "tpm":
            raise ValueError(f"the file of {self.release} is in TPM; drop `units`, or drop `release`")
        named = release_in_name(self.file)
        if self.release and named not in (None, self.release):
            raise ValueError(f"{self.file} is of {named} by its name and `release` says {self.release}; correct one")
        if self.gene_lengths and quantity(self.units) != "counts":
            raise ValueError(f"`gene_lengths` make TPM of counts, `units` says {self.units}; drop one of the two")
        return self
