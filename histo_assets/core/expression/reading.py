"""The expression matrix of a study: read, checked, made logarithms of and filtered in one pass over the file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from histo_assets.core.expression.blocks import ExpressionSource, GeneBlock
from histo_assets.core.expression.collected import Collected
from histo_assets.core.expression.errors import ExpressionError
from histo_assets.core.expression.gct import open_gct
from histo_assets.core.expression.identifiers import refuse_mixed_ids
from histo_assets.core.expression.lengths import GeneLengths, read_gene_lengths
from histo_assets.core.expression.logarithm_check import refuse_log1p, taken_back
from histo_assets.core.expression.logarithms import logarithm_of
from histo_assets.core.expression.matrix_files import (
    format_by_name,
    open_delimited,
    open_h5ad,
    open_parquet,
    open_samples_in_rows,
)
from histo_assets.core.expression.not_genes import NoGenes
from histo_assets.core.expression.releases import refuse_missing_samples, refuse_other_gencode
from histo_assets.core.expression.remote import local_expression
from histo_assets.core.expression.sample_names import changed_by_r, named_in_file
from histo_assets.core.expression.settings import ExpressionSettings, quantity
from histo_assets.core.expression.units import UnitCheck, log2_expression, refuse_empty, scalable
from histo_assets.core.expression.unlike import Unlike
from histo_assets.core.expression.values import SetAside, stored_matrix
from histo_assets.core.files import atomic_path
from histo_assets.core.progress import Progress, silent

if TYPE_CHECKING:
    from anndata import AnnData

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ExpressionReport:
    """The content of an expression file.

    Attributes
    ----------
    samples
        Samples of the matrix, in its order.
    var
        Kept genes, in order: gene_id, gene_id_unversioned, symbol, and max, mean and sd of log2 over the samples that
        the filter was fitted on. Indexed by symbol where every kept gene has its own, else by gene_id.
    funnel
        step (str), genes (int): how many genes each step of the filter left.
    alternatives
        samples ('of the filter', 'all that are read'), n_samples, names (the rule), genes: how many would stay.
    notes
        What is odd about the file, in sentences.
    missing_samples
        Samples that were asked for and are not in the file.
    genes
        gene_id, symbol, max, sd, name_class ('standard', 'dotted' or 'repeated'), kept: all genes of the file.
    """

    samples: list[str]
    var: pd.DataFrame
    funnel: pd.DataFrame
    alternatives: pd.DataFrame
    notes: list[str]
    missing_samples: list[str]
    genes: pd.DataFrame


@dataclass(frozen=True)
class ExpressionTable(ExpressionReport):
    """The same with `adata`: samples x kept genes, X float32 log2."""

    adata: AnnData


def read_expression(
    path: str,
    settings: ExpressionSettings,
    samples: Sequence[str] | None,
    filter_samples: Sequence[str] | None,
    progress: Progress = silent,
) -> ExpressionTable:
    """Return the expression of `samples`, with the genes that pass a filter fitted on `filter_samples`.

    Text files are read in blocks, so memory holds the kept genes of the wanted samples, whatever the file's size.

    Parameters
    ----------
    path
        Local path or URL.
    settings
        Format, units and gene filter; `gene_lengths` is a path from here.
    samples
        In the order of the result, repeats are dropped; None for all samples of the file.
    filter_samples
        The samples that maximum and standard deviation run over, training donors' in a rigorous study; None for
        those of the result.
    progress
        Called with a line on how far the reading is.

    Raises
    ------
    ExpressionError
        The file is malformed, not in the declared units or of another release, holds none of the samples, or no
        gene passes.
    """
    from anndata import AnnData

    reading = _Reading(path, settings, samples, filter_samples, progress)
    with SetAside(len(reading.taken)) as aside:
        report, kept = reading.report(aside)
        matrix = np.empty((len(report.samples), len(report.var)), dtype=np.float32)
        aside.fill(matrix, kept)
    return ExpressionTable(**vars(report), adata=AnnData(matrix, _obs(report.samples), report.var, _uns(settings)))


def write_expression(
    path: str,
    settings: ExpressionSettings,
    samples: Sequence[str] | None,
    filter_samples: Sequence[str] | None,
    target: Path,
    progress: Progress = silent,
    describe: Callable[[list[str]], pd.DataFrame] | None = None,
) -> ExpressionReport:
    """Write the same matrix to an h5ad file, whole or not at all; it never is in memory as a whole.

    Parameters
    ----------
    target
        The file to write; its folder is also where values wait while the file is read.
    describe
        Returns the table of the result's samples, indexed by them, that becomes `obs`.

    The other parameters, and what is raised, are those of `read_expression`.
    """
    import h5py
    from anndata import AnnData

    reading = _Reading(path, settings, samples, filter_samples, progress)
    obs = (describe or _obs)(reading.taken)
    with atomic_path(target) as temporary, SetAside(len(reading.taken), temporary.parent) as aside:
        report, kept = reading.report(aside)
        tables = {"gene_filter": report.genes, "funnel": report.funnel, "alternatives": report.alternatives}
        AnnData(obs=obs, var=report.var, uns={**_uns(settings), **tables}).write_h5ad(temporary)
        with h5py.File(temporary, "r+") as stored:
            stored.pop("X", None)
            aside.fill(stored_matrix(stored, len(report.samples), len(report.var)), kept)
    return report


def filter_expression(
    path: str,
    settings: ExpressionSettings,
    samples: Sequence[str] | None = None,
    filter_samples: Sequence[str] | None = None,
) -> ExpressionReport:
    """Return the report that `read_expression` would give, without the matrix; the parameters are the same."""
    return _Reading(path, settings, samples, filter_samples, silent).report()[0]


def open_expression(path: str, settings: ExpressionSettings, progress: Progress = silent) -> ExpressionSource:
    """Return an expression file as a source of blocks, by the study's format or the file's name."""
    kind = settings.format or format_by_name(path)
    local = local_expression(path, settings, progress)
    if kind == "gct":
        return open_gct(local)
    if kind == "h5ad":
        return open_h5ad(local, settings.layer)
    if settings.layer is not None:
        raise ExpressionError(f"{path} is {kind} and has no layers; drop `expression.layer: {settings.layer}`")
    if kind == "parquet":
        return open_parquet(local, settings.samples_in)
    opening = open_delimited if settings.samples_in == "columns" else open_samples_in_rows
    return opening(local, "," if kind == "csv" else "\t")


class _Reading:
    """One pass over a file, two where values are scaled to a million.

    `taken` are the samples of the result, `fitted` those of the filter.
    """

    def __init__(
        self,
        path: str,
        settings: ExpressionSettings,
        samples: Sequence[str] | None,
        filter_samples: Sequence[str] | None,
        progress: Progress,
    ) -> None:
        self.path, self.settings = path, settings
        self.units, self.logarithm = quantity(settings.units), logarithm_of(settings.units)
        self.progress = progress
        self.source = open_expression(path, settings, progress)
        self.own_names: dict[str, str] = {}
        self.notes = changed_by_r(self.source.samples) if samples is None else []
        self.taken, self.missing = self._found(samples)
        refuse_missing_samples(settings.release, self.missing, len(self.taken) + len(self.missing), path)
        self.fitted, self.unfitted = self._found(self.taken if filter_samples is None else filter_samples)
        # Those of the filter come first: lying side by side they are looked at without a copy.
        self.read = list(dict.fromkeys([*self.fitted, *self.taken]))
        self.no_genes = NoGenes()
        self.unlike = Unlike(self.read) if samples is None else None
        self.lengths: GeneLengths | None = None
        if settings.gene_lengths:
            self.lengths = read_gene_lengths(settings.gene_lengths)

    def report(self, aside: SetAside | None = None) -> tuple[ExpressionReport, npt.NDArray[np.bool_]]:
        """Return the report, and which of the genes that were set aside stay."""
        notes, totals = self._totals()
        place = {sample: i for i, sample in enumerate(self.read)}
        taken = np.array([place[sample] for sample in self.taken], dtype=np.int64)
        collected = Collected(self.settings.filter, taken, len(self.fitted), len(self.read))
        check = UnitCheck(self.settings.units, self.read, self.path)
        for block in self._blocks():
            check.add(block)
            lengths = self._lengths_of(block)
            log2 = log2_expression(block.values, self.units, totals, lengths)
            collected.add(block, log2)
            if self.unlike is not None:
                self.unlike.add(log2)
            if aside is not None:
                aside.add(collected.values(log2))
            self.progress(f"{check.genes:,} genes read")
        genes = collected.gene_id
        refuse_log1p(self.source.log1p, self.source.layers, self.settings.units, check.is_whole, self.path)
        dates = collected.restore_names()
        collected.refuse_repeated_genes(self.path)
        refuse_other_gencode(self.settings.release, genes, self.path)
        notes = [
            *self.source.notes(len(genes) + self.no_genes.rows),
            *self.no_genes.notes(),
            *check.notes(self.lengths is not None),
            *notes,
            *refuse_mixed_ids(genes, self.path),
            *dates,
            *collected.notes(),
            *self._notes_on_samples(),
            *self._notes_on_lengths(),
        ]
        chosen = collected.chosen(self.path)
        report = ExpressionReport(
            samples=self.taken,
            var=collected.var(chosen),
            funnel=chosen.funnel,
            alternatives=collected.alternatives(),
            notes=notes,
            missing_samples=self.missing,
            genes=collected.genes(chosen),
        )
        return report, chosen.kept[np.concatenate(collected.candidates)]

    def _totals(self) -> tuple[list[str], Floats]:
        """Return notes on lengths, and the sum of every sample over all genes, where values are scaled by it."""
        totals, genes, unknown = np.zeros(len(self.read)), 0, list[str]()
        if self.units not in ("fpkm", "counts"):
            return [], totals
        for block in self._blocks():
            lengths = self._lengths_of(block)
            totals += scalable(block.values, lengths).sum(axis=0)
            genes += len(block.gene_id)
            if lengths is not None:
                unknown += [block.gene_id[place] for place in np.flatnonzero(np.isnan(lengths))]
            self.progress(f"{genes:,} genes summed")
        notes = self.lengths.refuse_unknown(unknown, genes, self.path) if self.lengths else []
        refuse_empty(totals, self.read, self.path)
        return notes, totals

    def _found(self, names: Sequence[str] | None) -> tuple[list[str], list[str]]:
        """Return which of the names are samples of the file, and which are not."""
        source = self.source
        if names is None:
            self.own_names.update({name: name for name in source.samples})
            return source.samples, []
        wanted = list(dict.fromkeys(names))
        named = named_in_file(wanted, source.samples, source.others)
        if not named.found:
            open_names = f"; {named.open[0]}" if named.open else ""
            raise ExpressionError(
                f"{source.path} holds none of the {len(wanted)} samples asked for (such as "
                f"{', '.join(wanted[:2]) or 'none'}); its own are called {', '.join(source.samples[:2])}: "
                f"name them alike in the cohort's tables{open_names}"
            )
        self.own_names.update(named.found)
        self.notes += [note for note in (*named.notes, *named.open) if note not in self.notes]
        return list(named.found), [name for name in wanted if name not in named.found]

    def _blocks(self) -> Iterator[GeneBlock]:
        """Yield the genes of the file in its units, a logarithm that was named in full taken back."""
        own = [self.own_names[name] for name in self.read]
        signed = self.logarithm is not None or self.units == "log2"
        for block in self.no_genes.genes_of(self.source.blocks(own, signed=signed), self.path):
            if self.logarithm is None:
                yield block
            else:
                yield replace(block, values=taken_back(block, self.logarithm, self.read, self.path))

    def _lengths_of(self, block: GeneBlock) -> Floats | None:
        return None if self.lengths is None else self.lengths.of(block.gene_id, block.symbol)

    def _notes_on_samples(self) -> list[str]:
        notes = [*self.notes, *(self.unlike.notes() if self.unlike else [])]
        if self.missing:
            count = len(self.taken) + len(self.missing)
            notes.append(f"{len(self.missing)} of {count} samples are not in the file, such as {self.missing[0]}")
        if self.unfitted:
            such = self.unfitted[0]
            notes.append(f"{len(self.unfitted)} samples to fit the gene filter on are not in the file, such as {such}")
        if len(self.fitted) == 1:
            such = self.fitted[0]
            notes.append(f"the gene filter was fitted on one sample, {such}, so no gene was dropped for its variance")
        return notes

    def _notes_on_lengths(self) -> list[str]:
        column = self.source.length_column
        if column is None or self.units != "counts" or self.lengths is not None:
            return []
        return [
            f"the column {column} gives the genes' base pairs: with this file as `expression.gene_lengths` too, "
            f"counts become TPM"
        ]


def _obs(samples: list[str]) -> pd.DataFrame:
    return pd.DataFrame({"sample": samples}, index=pd.Index(samples, dtype=object))


def _uns(settings: ExpressionSettings) -> dict[str, str]:
    return {"units": settings.units, "names": settings.filter.names}
