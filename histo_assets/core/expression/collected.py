"""What is kept of the blocks of a file: figures of every gene, values of those that are expressed and variable."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd

from histo_assets.core.expression.blocks import GeneBlock
from histo_assets.core.expression.errors import ExpressionError
from histo_assets.core.expression.filters import DOTTED, GeneFilter, gene_filter, genes_by_rule, is_variable
from histo_assets.core.expression.identifiers import unversioned
from histo_assets.core.expression.name_rules.registry import RULES
from histo_assets.core.expression.parsing import compiled, spread_rows
from histo_assets.core.expression.settings import GeneFilterSettings
from histo_assets.core.expression.spreadsheets import genes_of_date, is_date, restored
from histo_assets.core.expression.text import refuse_repeated

Floats = npt.NDArray[np.float64]


@dataclass
class Spread:
    """Maximum, mean and standard deviation of every gene over the first `samples` that are read; NaN over one."""

    samples: int
    ddof: int
    blocks: list[Floats] = field(default_factory=list)

    def add(self, log2: Floats) -> None:
        """Take in (genes, samples read)."""
        figures = np.empty((len(log2), 3))
        free = self.samples - self.ddof if self.samples > 1 else np.nan
        compiled(spread_rows, any_order=True)(log2, self.samples, float(free), figures)
        self.blocks.append(figures)

    @property
    def maximum(self) -> Floats:
        """(genes,) highest value."""
        return np.concatenate(self.blocks)[:, 0]

    @property
    def mean(self) -> Floats:
        """(genes,) mean."""
        return np.concatenate(self.blocks)[:, 1]

    @property
    def sd(self) -> Floats:
        """(genes,) standard deviation."""
        return np.concatenate(self.blocks)[:, 2]


@dataclass
class Collected:
    """Collects block after block.

    `taken` are the places of the result's samples among those that are read, `fitted` how many of these, from the
    first, the filter is fitted on, `read` how many there are.
    """

    settings: GeneFilterSettings
    taken: npt.NDArray[np.int64]
    fitted: int
    read: int
    gene_id: list[str] = field(default_factory=list)
    symbol: list[str] = field(default_factory=list)
    candidates: list[npt.NDArray[np.bool_]] = field(default_factory=list)
    unnamed: int = 0

    def __post_init__(self) -> None:
        """Start with nothing."""
        self.own = Spread(self.fitted, self.settings.ddof)
        self.all_read = Spread(self.read, self.settings.ddof)
        self._whole = np.array_equal(self.taken, np.arange(self.read))

    def add(self, block: GeneBlock, log2: Floats) -> None:
        """Take in a block, `log2`: (genes, samples read)."""
        symbols = [name or unversioned(gene) for gene, name in zip(block.gene_id, block.symbol, strict=True)]
        self.unnamed += block.symbol.count("")
        self.gene_id += block.gene_id
        self.symbol += symbols
        self.own.add(log2)
        if self.fitted < self.read:
            self.all_read.add(log2)
        maximum, _, sd = self.own.blocks[-1].T
        candidate = (maximum > self.settings.min_max) & is_variable(sd, self.settings)
        if RULES[self.settings.names].drops_dotted:
            dotted = [bool(DOTTED.search(symbol)) and not is_date(symbol) for symbol in symbols]
            candidate &= ~np.array(dotted, dtype=np.bool_)
        self.candidates.append(candidate)

    def values(self, log2: Floats) -> npt.NDArray[np.float32]:
        """Return (genes that may stay, samples of the result) of the block that was taken in last."""
        candidate = self.candidates[-1]
        values = log2[candidate] if self._whole else log2[np.ix_(candidate, self.taken)]
        return values.astype(np.float32)

    def restore_names(self) -> list[str]:
        """Return notes on names that a spreadsheet changed; what can be one gene alone is that gene from here."""
        names = restored(self.gene_id, self.symbol)
        self.gene_id, self.symbol = names.gene_id, names.symbol
        return names.notes

    def refuse_repeated_genes(self, path: str) -> None:
        """Raise an ExpressionError if an id occurs twice; where ids are all there is, the name rule may drop them."""
        names_only = self.symbol == [unversioned(gene) for gene in self.gene_id]
        if not names_only or RULES[self.settings.names].may_repeat:
            self._refuse_repeated_dates(path)
            refuse_repeated(self.gene_id, "gene", path)

    def _refuse_repeated_dates(self, path: str) -> None:
        if len(set(self.gene_id)) == len(self.gene_id):
            return
        dates = [gene for gene, times in Counter(self.gene_id).items() if times > 1 and is_date(gene)]
        if dates:
            raise ExpressionError(
                f"{path}: the gene {dates[0]!r} occurs {self.gene_id.count(dates[0])} times: a spreadsheet made this "
                f"date of the names of several genes ({' and '.join(genes_of_date(dates[0])) or 'unknown'}); give the "
                f"file as it was before"
            )

    def notes(self) -> list[str]:
        """Return a note on genes that go by their id because the file names only some."""
        if self.unnamed in (0, len(self.gene_id)):
            return []
        return [f"{self.unnamed:,} of {len(self.gene_id):,} genes have no symbol and go by their id"]

    def chosen(self, path: str) -> GeneFilter:
        """Return which genes stay, after the filter by names, which needs all of them.

        Raises
        ------
        ExpressionError
            The file has no genes, or none stays.
        """
        if not self.gene_id:
            raise ExpressionError(f"{path} has a header and no genes; fetch or write the file again")
        chosen = gene_filter(self.own.maximum, self.own.sd, self.symbol, self.settings)
        if not chosen.kept.any():
            steps = ", ".join(f"{row.genes} {row.step}" for row in chosen.funnel.itertuples())
            raise ExpressionError(
                f"{path}: no gene passes the filter over {self.fitted} samples ({steps}); lower "
                f"`expression.filter.min_max` or `min_sd`, or change `names`"
            )
        return chosen

    def genes(self, chosen: GeneFilter) -> pd.DataFrame:
        """Return gene_id, symbol, max, sd, name_class and kept of every gene."""
        return pd.DataFrame(
            {
                "gene_id": self.gene_id,
                "symbol": self.symbol,
                "max": self.own.maximum,
                "sd": self.own.sd,
                "name_class": chosen.name_class,
                "kept": chosen.kept,
            }
        )

    def var(self, chosen: GeneFilter) -> pd.DataFrame:
        """Return the kept genes as the columns of a matrix are described."""
        kept = chosen.kept
        ids = [gene for gene, stays in zip(self.gene_id, kept, strict=True) if stays]
        symbols = [name for name, stays in zip(self.symbol, kept, strict=True) if stays]
        # Names and ids are never mixed: one symbol that is not unique, and all genes go by their ids.
        names = symbols if len(set(symbols)) == len(symbols) else ids
        return pd.DataFrame(
            {
                "gene_id": ids,
                "gene_id_unversioned": [unversioned(gene) for gene in ids],
                "symbol": symbols,
                "max": self.own.maximum[kept],
                "mean": self.own.mean[kept],
                "sd": self.own.sd[kept],
            },
            index=pd.Index(names, dtype=object),
        )

    def alternatives(self) -> pd.DataFrame:
        """Return how many genes each rule for names would keep, over the filter's and all samples read."""
        spreads = {"of the filter": self.own}
        if self.fitted < self.read:
            spreads["all that are read"] = self.all_read
        rows = [
            {"samples": name, "n_samples": spread.samples, "names": rule, "genes": genes}
            for name, spread in spreads.items()
            for rule, genes in genes_by_rule(spread.maximum, spread.sd, self.symbol, self.settings).items()
        ]
        return pd.DataFrame(rows)
