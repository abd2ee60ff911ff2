"""The expression matrix of a study: read, checked, made logarithms of and filtered in one pass over the file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd
from upath import UPath

from histo_assets.core.expression.blocks import ExpressionSource, GeneBlock
from histo_assets.core.expression.errors import ExpressionError
from histo_assets.core.expression.filters import GeneFilter, gene_filter, is_variable, unversioned
from histo_assets.core.expression.gct import open_gct
from histo_assets.core.expression.settings import ExpressionSettings, GeneFilterSettings
from histo_assets.core.expression.tables import (
    format_by_name,
    open_delimited,
    open_h5ad,
    open_parquet,
    open_samples_in_rows,
)
from histo_assets.core.expression.text import refuse_repeated
from histo_assets.core.expression.units import log2_expression, refuse_other_totals, refuse_other_units
from histo_assets.core.files import local_copy

if TYPE_CHECKING:
    from anndata import AnnData

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ExpressionTable:
    """What was read of an expression file.

    Attributes
    ----------
    adata
        samples x kept genes, X float32 log2; var has gene_id, gene_id_unversioned, symbol, and max, mean and sd over
        the samples that the filter was fitted on. Genes are named by symbol where no other kept gene has it.
    funnel
        step (str), genes (int): how many genes each step of the filter left.
    notes
        What is odd about the file, in sentences.
    missing_samples
        Samples that were asked for and are not in the file.
    genes
        gene_id, symbol, max, sd, name_class ('standard', 'dotted' or 'repeated'), kept: all genes of the file.
    """

    adata: AnnData
    funnel: pd.DataFrame
    notes: list[str]
    missing_samples: list[str]
    genes: pd.DataFrame


def read_expression(
    path: str, settings: ExpressionSettings, samples: Sequence[str] | None, filter_samples: Sequence[str] | None
) -> ExpressionTable:
    """Return the expression of `samples`, with the genes that pass a filter fitted on `filter_samples`.

    Text files are read in blocks, so memory holds the kept genes of the wanted samples, whatever the file's size.

    Parameters
    ----------
    path
        Local path or URL.
    settings
        Format, units and gene filter.
    samples
        In the order of the result, repeats are dropped; None for all samples of the file.
    filter_samples
        The samples that maximum and standard deviation run over, training donors' in a rigorous study; None for
        those of the result.

    Raises
    ------
    ExpressionError
        The file is malformed or not in the declared units, holds none of the samples, or no gene passes.
    """
    source = open_expression(path, settings)
    taken, missing = _found(source, samples)
    fitted, unfitted = _found(source, taken if filter_samples is None else filter_samples)
    reading = list(dict.fromkeys([*taken, *fitted]))
    totals, counted = np.zeros(len(reading)), 0
    if settings.units in ("fpkm", "counts"):
        totals, counted = _totals(source, reading)
        refuse_other_totals(totals, counted, settings.units, reading, path)
    collected = _Collected(settings.filter, _places(reading, taken), _places(reading, fitted))
    sums = np.zeros(len(reading))
    for block in _checked(source, settings.units, reading):
        collected.add(block, log2_expression(block.values, settings.units, totals))
        sums += block.values.sum(axis=0)
    collected.refuse_repeated_genes(path)
    notes = source.notes(len(collected.gene_id))
    notes += refuse_other_totals(sums, len(collected.gene_id), settings.units, reading, path)
    notes += _notes_on_samples(taken, missing, fitted, unfitted)
    return collected.table(settings, path, taken, missing, notes)


def open_expression(path: str, settings: ExpressionSettings) -> ExpressionSource:
    """Return an expression file as a source of blocks, by the study's format or the file's name."""
    local = path
    if "://" in path:
        location = UPath(path)
        local = str(local_copy(location, f"{path}@{location.fs.ukey(location.path)}"))
    kind = settings.format or format_by_name(path)
    if kind == "gct":
        return open_gct(local)
    if kind == "h5ad":
        return open_h5ad(local)
    if kind == "parquet":
        return open_parquet(local, settings.samples_in)
    separator = "," if kind == "csv" else "\t"
    return (
        open_delimited(local, separator) if settings.samples_in == "columns" else open_samples_in_rows(local, separator)
    )


def _found(source: ExpressionSource, names: Sequence[str] | None) -> tuple[list[str], list[str]]:
    """Return which of the names are samples of the file, and which are not."""
    if names is None:
        return source.samples, []
    there = set(source.samples)
    wanted = list(dict.fromkeys(names))
    found = [name for name in wanted if name in there]
    if not found:
        raise ExpressionError(
            f"{source.path} holds none of the {len(wanted)} samples asked for (such as "
            f"{', '.join(wanted[:2]) or 'none'}); its own are called {', '.join(source.samples[:2])}: "
            f"name them alike in the cohort's tables"
        )
    return found, [name for name in wanted if name not in there]


def _places(reading: list[str], names: list[str]) -> npt.NDArray[np.int64]:
    place = {name: i for i, name in enumerate(reading)}
    return np.array([place[name] for name in names], dtype=np.int64)


def _checked(source: ExpressionSource, units: str, samples: list[str]) -> Iterator[GeneBlock]:
    for block in source.blocks(samples, signed=units == "log2"):
        refuse_other_units(block, units, samples, source.path)
        yield block


def _totals(source: ExpressionSource, samples: list[str]) -> tuple[Floats, int]:
    """Return the sum of every sample over all genes, and how many genes there are."""
    totals, genes = np.zeros(len(samples)), 0
    for block in source.blocks(samples):
        totals += block.values.sum(axis=0)
        genes += len(block.gene_id)
    return totals, genes


def _notes_on_samples(taken: list[str], missing: list[str], fitted: list[str], unfitted: list[str]) -> list[str]:
    notes = []
    if missing:
        notes.append(f"{len(missing)} of {len(taken) + len(missing)} samples are not in the file, such as {missing[0]}")
    if unfitted:
        notes.append(f"{len(unfitted)} samples to fit the gene filter on are not in the file, such as {unfitted[0]}")
    if len(fitted) == 1:
        notes.append(f"the gene filter was fitted on one sample, {fitted[0]}, so no gene was dropped for its variance")
    return notes


@dataclass
class _Collected:
    """What is kept of the blocks: figures of every gene, values of those that are expressed and variable."""

    settings: GeneFilterSettings
    taken: npt.NDArray[np.int64]
    fitted: npt.NDArray[np.int64]
    gene_id: list[str] = field(default_factory=list)
    symbol: list[str] = field(default_factory=list)
    maximum: list[Floats] = field(default_factory=list)
    mean: list[Floats] = field(default_factory=list)
    sd: list[Floats] = field(default_factory=list)
    candidates: list[npt.NDArray[np.bool_]] = field(default_factory=list)
    values: list[npt.NDArray[np.float32]] = field(default_factory=list)

    def add(self, block: GeneBlock, log2: Floats) -> None:
        """Take in a block; `log2`: (genes, samples read)."""
        fit = log2[:, self.fitted]
        maximum = fit.max(axis=1)
        single = fit.shape[1] <= self.settings.ddof
        sd = np.full(len(fit), np.nan) if single else fit.std(axis=1, ddof=self.settings.ddof)
        candidate = (maximum > self.settings.min_max) & is_variable(sd, self.settings)
        self.gene_id += block.gene_id
        self.symbol += [name or unversioned(gene) for gene, name in zip(block.gene_id, block.symbol, strict=True)]
        self.maximum.append(maximum)
        self.mean.append(fit.mean(axis=1))
        self.sd.append(sd)
        self.candidates.append(candidate)
        self.values.append(log2[np.ix_(candidate, self.taken)].astype(np.float32))

    def refuse_repeated_genes(self, path: str) -> None:
        """Raise an ExpressionError if an id occurs twice; where ids are all there is, the name rule may drop them."""
        names_only = self.symbol == [unversioned(gene) for gene in self.gene_id]
        if not names_only or self.settings.names == "all":
            refuse_repeated(self.gene_id, "gene", path)

    def table(
        self, settings: ExpressionSettings, path: str, samples: list[str], missing: list[str], notes: list[str]
    ) -> ExpressionTable:
        """Return the result, after the filter by names, which needs all of them."""
        from anndata import AnnData

        if not self.gene_id:
            raise ExpressionError(f"{path} has a header and no genes; fetch or write the file again")
        maximum, mean, sd = (np.concatenate(parts) for parts in (self.maximum, self.mean, self.sd))
        chosen = gene_filter(maximum, sd, self.symbol, self.settings)
        if not chosen.kept.any():
            raise ExpressionError(_nothing_left(path, chosen, len(self.fitted)))
        genes = pd.DataFrame(
            {
                "gene_id": self.gene_id,
                "symbol": self.symbol,
                "max": maximum,
                "sd": sd,
                "name_class": chosen.name_class,
                "kept": chosen.kept,
            }
        )
        var = genes.loc[chosen.kept, ["gene_id", "symbol", "max"]].assign(mean=mean[chosen.kept], sd=sd[chosen.kept])
        var.insert(1, "gene_id_unversioned", var["gene_id"].map(unversioned))
        var.index = pd.Index(_names(var), dtype=object)
        adata = AnnData(
            X=self._matrix(chosen.kept, len(samples)),
            obs=pd.DataFrame({"sample": samples}, index=pd.Index(samples, dtype=object)),
            var=var,
            uns={"units": settings.units},
        )
        return ExpressionTable(adata, chosen.funnel, notes, missing, genes)

    def _matrix(self, kept: npt.NDArray[np.bool_], samples: int) -> npt.NDArray[np.float32]:
        """Return (samples, kept genes); the blocks are given up on the way, so that memory holds one copy."""
        matrix = np.empty((samples, int(kept.sum())), dtype=np.float32)
        first = column = 0
        for candidate, values in zip(self.candidates, self.values, strict=True):
            stay = kept[first : first + len(candidate)][candidate]
            matrix[:, column : column + int(stay.sum())] = values[stay].T
            first += len(candidate)
            column += int(stay.sum())
        return matrix


def _names(var: pd.DataFrame) -> list[str]:
    """Return the symbol of each gene where no other has it, else its id."""
    names = var["symbol"].where(~var["symbol"].duplicated(keep=False), var["gene_id"])
    return list(var["gene_id"] if names.duplicated().any() else names)


def _nothing_left(path: str, chosen: GeneFilter, samples: int) -> str:
    steps = ", ".join(f"{row.genes} {row.step}" for row in chosen.funnel.itertuples())
    return (
        f"{path}: no gene passes the filter over {samples} samples ({steps}); lower `expression.filter.min_max` or "
        f"`min_sd`, or change `names`"
    )
