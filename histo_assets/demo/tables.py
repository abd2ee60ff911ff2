"""The cohort's files beside its slides, in the formats that the portal and a hospital would send."""

from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from histo_assets.core.files import atomic_path
from histo_assets.demo.anatomy import TISSUES
from histo_assets.demo.cohort_plan import CohortPlan, SlidePlan
from histo_assets.demo.roster import printed_label

if TYPE_CHECKING:
    from numpy.typing import NDArray


def write_portal(path: Path, plan: CohortPlan) -> None:
    """Write the manifest as the GTEx portal does: every field quoted."""
    rows = [
        {
            "Tissue Sample ID": row.slide,
            "Tissue": printed_label(row.label),
            "Subject ID": row.donor.id,
            "Sex": row.donor.sex,
            "Age Bracket": row.donor.age,
            "Hardy Scale": row.donor.hardy,
            "Pathology Categories": ", ".join(_categories(row)),
            "Pathology Notes": _notes(row),
        }
        for row in plan.slides
    ]
    with atomic_path(path) as temporary:
        pd.DataFrame(rows).to_csv(temporary, index=False, quoting=csv.QUOTE_ALL, lineterminator="\r\n")


def _categories(row: SlidePlan) -> list[str]:
    categories = []
    if row.latents["inflammation"] > 1.3:
        categories.append("inflammation")
    if row.latents["fibrosis"] > 1.3:
        categories.append("fibrosis")
    if row.label == "liver" and row.latents["fat_size"] > 0.9:
        categories.append("steatosis")
    return categories


def _notes(row: SlidePlan) -> str:
    """Return a pathologist's words about the slide."""
    parts = ["1 piece"]
    shares = sorted(((share, name) for name, share in row.look.mixture.items()), reverse=True)
    parts += [f"~{round(share * 100)}% {name}" for share, name in shares[1:3] if share > 0.03]
    if row.latents["autolysis"] > 1.0:
        parts.append("moderate autolysis")
    if row.latents["inflammation"] > 1.3:
        parts.append("focal chronic inflammation")
    return ", ".join(parts)


def write_rna_samples(path: Path, plan: CohortPlan) -> None:
    """Write the list of RNA samples: sample_id, donor_id, has_genotype, tissue_id, tab separated."""
    rows = [(row.sample, row.donor.id, "True", TISSUES[row.label].code) for row in plan.slides if row.sample]
    rows += [(sample, donor, "True", code) for sample, donor, code in plan.stray_samples]
    frame = pd.DataFrame(sorted(rows), columns=["sample_id", "donor_id", "has_genotype", "tissue_id"])
    with atomic_path(path) as temporary:
        frame.to_csv(temporary, sep="\t", index=False)


def write_sample_attributes(path: Path, samples: pd.DataFrame) -> None:
    """Write what is known of each RNA sample, with the columns of GTEx's SampleAttributesDS that matter here."""
    frame = pd.DataFrame(
        {
            "SAMPID": samples["sample"],
            "SMATSSCR": samples["autolysis"].map(lambda z: int(np.clip(round(z + 0.5), 0, 3))),
            "SMCENTER": samples["batch"].map(lambda batch: f"{'BCD'[batch % 3]}1"),
            "SMRIN": (8.2 - 0.6 * samples["autolysis"]).clip(4.5, 10).round(1),
            "SMTS": samples["tissue_name"].str.split(" - ").str[0],
            "SMTSD": samples["tissue_name"],
            "SMTSISCH": samples["ischaemia"].round().astype(int),
            "SMNABTCHD": samples["batch"].map(lambda batch: f"0{batch + 1}/17/2013"),
            "SMNABTCH": samples["batch"].map(lambda batch: f"BP-4{batch}001"),
            "SMAFRZE": "RNASEQ",
        }
    )
    with atomic_path(path) as temporary:
        frame.to_csv(temporary, sep="\t", index=False)


def printed_tpm(tpm: NDArray[np.float64]) -> list[list[str]]:
    """Return (rows, samples) TPM as text, with six figures or four decimals, whichever is longer."""
    return [[f"{value:.4f}" if value < 100 else f"{value:.6g}" for value in row] for row in tpm]


def write_gct(path: Path, rows: pd.DataFrame, samples: list[str], text: list[list[str]]) -> None:
    """Write a gzipped GCT 1.2: `rows` has gene_id and symbol, `text` the printed values, genes by samples."""
    out = io.StringIO()
    out.write(f"#1.2\n{len(rows)}\t{len(samples)}\n")
    out.write("\t".join(["Name", "Description", *samples]) + "\n")
    for gene_id, symbol, values in zip(rows["gene_id"], rows["symbol"], text, strict=True):
        out.write("\t".join([gene_id, symbol, *values]) + "\n")
    with (
        atomic_path(path) as temporary,
        open(temporary, "wb") as raw,
        gzip.GzipFile(fileobj=raw, mode="wb", mtime=0, filename="", compresslevel=6) as packed,
    ):
        packed.write(out.getvalue().encode())


def write_disease_table(path: Path, plan: CohortPlan) -> None:
    """Write slides.csv: slide_id, patient, diagnosis, rna, site, stage."""
    rows = [
        {
            "slide_id": row.slide,
            "patient": row.donor.id,
            "diagnosis": printed_label(row.label),
            "rna": row.sample,
            **dict(row.extra),
        }
        for row in plan.slides
    ]
    with atomic_path(path) as temporary:
        pd.DataFrame(rows).to_csv(temporary, index=False)


def write_counts(path: Path, symbols: list[str], samples: list[str], counts: NDArray[np.int64]) -> None:
    """Write counts.csv: genes in rows, samples in columns, whole numbers, first column `gene`."""
    frame = pd.DataFrame(counts, columns=samples)
    frame.insert(0, "gene", symbols)
    with atomic_path(path) as temporary:
        frame.to_csv(temporary, index=False)
