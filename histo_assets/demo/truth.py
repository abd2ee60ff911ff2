"""The tables of a cohort and its truth: what was planted where."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from histo_assets.core.files import atomic_path
from histo_assets.demo import tables
from histo_assets.demo.anatomy import TISSUES, gland_label
from histo_assets.demo.cohort_plan import (
    LATENTS,
    PICTURE_DIRT,
    CohortPlan,
    SlidePlan,
    mixture_columns,
    slides_per_label,
)
from histo_assets.demo.genes import (
    balanced_tpm,
    extra_rows,
    filter_truth,
    planted_expression,
    planted_genes,
)
from histo_assets.demo.roster import printed_label
from histo_assets.demo.settings import SyntheticSettings


def write_tables(
    settings: SyntheticSettings, plan: CohortPlan, dirt: list[tuple[str, str, int, int, int, int]], folder: Path
) -> None:
    """Write manifest, sample lists, expression and truth of a cohort."""
    samples = sample_table(settings, plan)
    genes = planted_genes(settings.genes, gland_label(list(slides_per_label(settings))))
    log_tpm = planted_expression(samples, genes, settings.seed).T
    extra, extra_log = extra_rows(len(genes), len(samples), settings.seed)
    rows = pd.DataFrame(
        {
            "gene_id": [f"ENSG00000{900_001 + place}.{1 + place % 9}" for place in range(len(genes))],
            "symbol": genes["gene"],
            "kind": genes["block"],
        }
    )
    rows, tpm = balanced_tpm(np.vstack([log_tpm, extra_log]), pd.concat([rows, extra], ignore_index=True))
    order = np.random.default_rng([settings.seed, 8]).permutation(len(rows))
    rows, tpm = rows.iloc[order].reset_index(drop=True), tpm[order]
    names = list(samples["sample"])
    if settings.flavour == "gtex":
        text = tables.printed_tpm(tpm)
        tables.write_portal(folder / "portal.csv", plan)
        tables.write_rna_samples(folder / "rna_samples.txt", plan)
        tables.write_sample_attributes(folder / "sample_attributes.txt", samples)
        tables.write_gct(folder / "gene_tpm.gct.gz", rows, names, text)
        printed = np.log2(1 + np.array(text, dtype=np.float64))
    else:
        kept = rows["kind"] != "par_y"
        rows, tpm = rows[kept].reset_index(drop=True), tpm[kept.to_numpy()]
        counts = sequenced_counts(tpm, settings.seed)
        tables.write_disease_table(folder / "slides.csv", plan)
        tables.write_counts(folder / "counts.csv", list(rows["symbol"]), names, counts)
        printed = np.log2(1 + 1e6 * counts / counts.sum(axis=0))
    _write_truth(folder / "truth", plan, genes, dirt, filter_truth(rows, printed), printed, names)


def sample_table(settings: SyntheticSettings, plan: CohortPlan) -> pd.DataFrame:
    """Return one row an RNA sample, in the matrix's (shuffled) order.

    Columns: sample, donor, label, tissue_name, batch, ischaemia and the latents.
    """
    rng = np.random.default_rng([settings.seed, 7])
    rows = [
        {
            "sample": row.sample,
            "donor": row.donor.id,
            "label": row.label,
            "tissue_name": printed_label(row.label),
            "batch": row.batch,
            "ischaemia": row.ischaemia,
            **row.latents,
        }
        for row in plan.slides
        if row.sample
    ]
    known = {tissue.code: tissue for tissue in TISSUES.values()}
    batch_of = {donor.id: donor.batch for donor in plan.donors}
    for sample, donor, code in plan.stray_samples:
        name = known[code].name if code in known else code.replace("Brain_", "Brain - ").replace("_", " ")
        drawn = dict(zip(LATENTS, rng.normal(size=len(LATENTS)).tolist(), strict=True))
        rows.append(
            {
                "sample": sample,
                "donor": donor,
                "label": code.lower(),
                "tissue_name": name,
                "batch": batch_of[donor],
                "ischaemia": float(rng.uniform(60, 1200)),
                **drawn,
            }
        )
    frame = pd.DataFrame(rows).drop_duplicates("sample")
    return frame.iloc[rng.permutation(len(frame))].reset_index(drop=True)


def sequenced_counts(tpm: np.ndarray, seed: int) -> np.ndarray:
    """Return (genes, samples) whole-number counts of sequencing `tpm` to about 20 million reads a sample."""
    rng = np.random.default_rng([seed, 11])
    depth = 2e7 * np.exp(rng.normal(0, 0.25, tpm.shape[1]))
    return np.asarray(rng.poisson(tpm / tpm.sum(axis=0) * depth[None, :]))


def _write_truth(
    folder: Path,
    plan: CohortPlan,
    genes: pd.DataFrame,
    dirt: list[tuple[str, str, int, int, int, int]],
    rows: pd.DataFrame,
    log_expression: np.ndarray,
    samples: list[str],
) -> None:
    """Write genes, slides, dirt, filter and expression of the truth as parquet."""
    slides = pd.DataFrame([_slide_truth(row) for row in plan.slides])
    expression = pd.DataFrame(log_expression.astype(np.float32), columns=samples)
    expression.insert(0, "gene_id", rows["gene_id"].to_numpy())
    parts = {
        "genes": genes,
        "slides": slides,
        "dirt": pd.DataFrame(dirt, columns=["slide", "kind", "x", "y", "w", "h"]),
        "filter": rows,
        "expression": expression,
    }
    for name, frame in parts.items():
        with atomic_path(folder / f"{name}.parquet") as temporary:
            frame.to_parquet(temporary, index=False)


def _slide_truth(row: SlidePlan) -> dict[str, object]:
    return {
        "slide": row.slide,
        "donor": row.donor.id,
        "tissue": row.label,
        "sample": row.sample or "",
        "file": row.file or "",
        "kind": row.kind,
        "damage": row.damage,
        "dirt": ",".join(row.look.dirt),
        "batch": row.batch,
        "ischaemia": row.ischaemia,
        **row.latents,
        **mixture_columns(row.look),
        "inflammation_level": row.look.inflammation,
        "stain_h": row.look.stain[0],
        "stain_e": row.look.stain[1],
        "hue": row.look.hue,
        **{f"dirt_{kind}": kind in row.look.dirt for kind in PICTURE_DIRT},
    }
