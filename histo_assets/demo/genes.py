"""What drives each gene, and the expression that follows from the latents.

Belongs here: blocks of genes, log2(1+TPM) of the planted genes, and the rows that real files have
beside them (dotted, repeated, `_PAR_Y`, low and flat ones, and genes at the edge of each filter).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from histo_assets.demo.anatomy import DISEASES, TISSUES

if TYPE_CHECKING:
    from numpy.typing import NDArray

NOISE_SD = 0.66  # with it a strength of .6 / .3 / .1 gives r2_within .45 / .17 / .02
EDGE = 0.006  # how far, as a share, the edge genes lie from their threshold
MIN_MAX, MIN_SD = 5.0, 0.5


@dataclass(frozen=True)
class Block:
    """A kind of gene: prefix of its symbols, share of the genes, latent it follows, strength, what is expected.

    `expectation`: 'recoverable', 'not recoverable', or 'undecided' where the signal lies at the edge
    of what is called recoverable or in one tissue only.
    """

    name: str
    prefix: str
    share: float
    driver: str
    strength: float
    expectation: str
    r2_within: float


BLOCKS = (
    Block("inflammation_strong", "INFS", 0.10, "inflammation", 0.6, "recoverable", 0.44),
    Block("inflammation_medium", "INFM", 0.10, "inflammation", 0.3, "recoverable", 0.18),
    Block("inflammation_weak", "INFW", 0.10, "inflammation", 0.1, "undecided", 0.03),
    Block("gland", "GLND", 0.10, "gland", 0.463, "undecided", 0.33),
    Block("tissue_marker", "TISS", 0.20, "tissue", 0.61, "not recoverable", 0.0),
    Block("null", "NULL", 0.10, "", 0.0, "not recoverable", 0.0),
    Block("hidden", "HIDD", 0.075, "hidden", 0.6, "not recoverable", 0.0),
    Block("donor", "DONR", 0.075, "donor", 0.6, "not recoverable", 0.0),
    Block("batch", "BTCH", 0.05, "batch", 0.6, "not recoverable", 0.0),
    Block("ischaemia", "ISCH", 0.05, "autolysis", 0.6, "not recoverable", 0.0),
    Block("simpson", "SIMP", 0.05, "inflammation", -0.6, "recoverable", 0.44),
)


def planted_genes(count: int, gland_label: str) -> pd.DataFrame:
    """Return one row a gene: gene, block, driver, strength, tissue, expectation, expected_r2_within, recoverable."""
    edges = np.rint(np.cumsum([0.0] + [block.share for block in BLOCKS]) * count).astype(int)
    rows = [
        {
            "gene": f"{block.prefix}{number + 1}",
            "block": block.name,
            "driver": block.driver,
            "strength": block.strength,
            "tissue": gland_label if block.name == "gland" else "",
            "expectation": block.expectation,
            "expected_r2_within": block.r2_within,
            "recoverable": block.expectation == "recoverable",
        }
        for block, start, stop in zip(BLOCKS, edges[:-1], edges[1:], strict=True)
        for number in range(stop - start)
    ]
    return pd.DataFrame(rows)


def planted_expression(samples: pd.DataFrame, genes: pd.DataFrame, seed: int) -> NDArray[np.float64]:
    """Return (samples, genes) log2(1+TPM) of the planted genes.

    Parameters
    ----------
    samples
        One row a sample: label, donor, batch, and the latents inflammation, gland, hidden, autolysis.
    genes
        From `planted_genes`.
    seed
        The cohort's seed.
    """
    rng = np.random.default_rng([seed, 5])
    labels = sorted(set(samples["label"]))
    label_of = samples["label"].map({label: place for place, label in enumerate(labels)}).to_numpy(int)
    donors = sorted(set(samples["donor"]))
    donor_of = samples["donor"].map({donor: place for place, donor in enumerate(donors)}).to_numpy(int)
    base_inflammation = np.array([_base_inflammation(label) for label in labels])
    values = np.empty((len(samples), len(genes)))
    for place, gene in enumerate(genes.to_dict("records")):
        level = rng.normal(6.4, 0.45)
        by_label = _standardised(rng, len(labels))
        by_donor = _standardised(rng, len(donors))
        by_batch = _standardised(rng, int(samples["batch"].max()) + 1)
        noise = rng.normal(0, NOISE_SD, len(samples))
        tissue_sd = 0.61 if gene["block"] == "tissue_marker" else 0.35
        signal = _signal(str(gene["driver"]), samples, donor_of, by_donor, by_batch) * float(gene["strength"])
        if gene["block"] == "gland":
            signal = np.where(samples["label"] == gene["tissue"], signal, 0.0)
        between = tissue_sd * by_label[label_of]
        if gene["block"] == "simpson":
            between = 1.3 * _centred(base_inflammation)[label_of]
        values[:, place] = level + between + signal + noise
    return np.clip(values, 0.0, 13.0)


def _base_inflammation(label: str) -> float:
    known = TISSUES.get(label) or DISEASES.get(label)
    return known.inflammation if known else 0.0


def _standardised(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Return `count` effects of mean 0 and standard deviation 1."""
    return _centred(rng.normal(size=max(2, count)))[:count]


def _centred(effects: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray((effects - effects.mean()) / (effects.std() or 1.0))


def _signal(
    driver: str,
    samples: pd.DataFrame,
    donor_of: NDArray[np.int64],
    by_donor: NDArray[np.float64],
    by_batch: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the (samples,) driver of a gene, of standard deviation about 1."""
    if driver == "donor":
        return by_donor[donor_of]
    if driver == "batch":
        return np.asarray(by_batch[samples["batch"].to_numpy(int)])
    if driver in ("", "tissue"):
        return np.zeros(len(samples))
    return np.asarray(samples[driver], np.float64)


def extra_rows(count: int, n_samples: int, seed: int) -> tuple[pd.DataFrame, NDArray[np.float64]]:
    """Return rows beside the planted genes (gene_id, symbol, kind) and their (rows, samples) log2(1+TPM).

    Kinds: dotted, repeated, par_y, low, flat, and `edge_max_in`, `edge_max_out`, `edge_sd_in`,
    `edge_sd_out`, which lie within 1 % of a filter's threshold, over all samples.
    """
    rng = np.random.default_rng([seed, 6])
    few = max(4, count // 20)
    rows: list[tuple[str, str, str]] = []
    values: list[NDArray[np.float64]] = []
    next_id = 910_000

    def add(symbol: str, kind: str, row: NDArray[np.float64], suffix: str = "") -> None:
        nonlocal next_id
        next_id += 0 if suffix else 1
        rows.append((f"ENSG00000{next_id}.{1 + next_id % 7}{suffix}", symbol, kind))
        values.append(np.clip(row, 0, None))

    def lively() -> NDArray[np.float64]:
        return rng.normal(6.2, 0.75, n_samples)

    for number in range(2 * few):
        add(f"RP{1 + number % 11}-{100 + number}A{number % 9}.{1 + number % 5}", "dotted", lively())
    for _ in range(few):
        add("Y_RNA", "repeated", lively())
    for number in range(few // 2):
        for _ in range(2):
            add(f"TWIN{number + 1}", "repeated", lively())
    for number in range(3):
        add(f"PARG{number + 1}", "par_y", lively())
        add(f"PARG{number + 1}", "par_y", rng.normal(0.01, 0.005, n_samples), "_PAR_Y")
    for number in range(2 * few):
        add(f"LOWG{number + 1}", "low", np.minimum(rng.gamma(1.2, 0.8, n_samples), 4.4))
    for number in range(few):
        add(f"FLAT{number + 1}", "flat", rng.normal(rng.uniform(6, 9), 0.2, n_samples))
    for number in range(3):
        for kind, sign in (("edge_max_in", 1), ("edge_max_out", -1)):
            peak = MIN_MAX * (1 + sign * EDGE)
            add(f"{kind.replace('_', '').upper()}{number + 1}", kind, _with_peak(rng, n_samples, peak))
        for kind, sign in (("edge_sd_in", 1), ("edge_sd_out", -1)):
            row = rng.normal(size=n_samples)
            row = 7 + (row - row.mean()) / row.std(ddof=1) * MIN_SD * (1 + sign * EDGE)
            add(f"{kind.replace('_', '').upper()}{number + 1}", kind, row)
    return pd.DataFrame(rows, columns=["gene_id", "symbol", "kind"]), np.array(values)


def _with_peak(rng: np.random.Generator, n_samples: int, peak: float) -> NDArray[np.float64]:
    """Return values that reach `peak` in a third of the samples, so that it is the maximum of most subsets."""
    row = rng.uniform(0.5, 0.75 * peak, n_samples)
    row[rng.permutation(n_samples)[: max(1, n_samples // 3)]] = peak
    return row


def balanced_tpm(log_tpm: NDArray[np.float64], rows: pd.DataFrame) -> tuple[pd.DataFrame, NDArray[np.float64]]:
    """Return rows and (rows, samples) TPM with mitochondrial rows added so that every column sums to 1e6.

    The other genes keep their TPM exactly: the added ones are large and flat, as in real tissue.
    """
    tpm = np.exp2(log_tpm) - 1
    total = tpm.sum(axis=0)
    if total.max() > 600_000:
        raise ValueError(f"planted genes sum to {total.max():.0f} TPM in one sample; fewer genes are needed")
    shares = np.array([0.28, 0.2, 0.16, 0.13, 0.11, 0.07, 0.05])
    names = ("CO1", "CO2", "CO3", "ATP6", "CYB", "ND1", "ND4")
    filler = pd.DataFrame(
        [(f"ENSG00000{920_000 + place}.2", f"MT-{name}", "flat") for place, name in enumerate(names)],
        columns=["gene_id", "symbol", "kind"],
    )
    added = shares[:, None] * (1e6 - total)[None, :]
    return pd.concat([rows, filler], ignore_index=True), np.vstack([tpm, added])


def filter_truth(rows: pd.DataFrame, log_tpm: NDArray[np.float64]) -> pd.DataFrame:
    """Return rows with max, sd (ddof 1), should_survive and `sensitive` over all samples.

    A row is sensitive where it lies so near a threshold that another choice of samples may decide
    otherwise.
    """
    peak, spread = log_tpm.max(axis=1), log_tpm.std(axis=1, ddof=1)
    dotted = rows["symbol"].str.contains(r"\.\d+$")
    repeated = rows["symbol"].duplicated(keep=False)
    passed = (peak > MIN_MAX) & (spread > MIN_SD)
    near = (np.abs(peak / MIN_MAX - 1) < 0.08) | (np.abs(spread / MIN_SD - 1) < 0.25)
    return rows.assign(
        max=peak,
        sd=spread,
        should_survive=passed & ~dotted & ~repeated,
        sensitive=near & ~dotted & ~repeated,
    )
