"""Writes the cohort of `make real`: real crops as slides, each with a real sample of the same organ."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd

from histo_assets.demo.svs import Scan, write_svs

GTEX_TISSUE = {
    "bladder": "Bladder",
    "breast": "Breast_Mammary_Tissue",
    "colon": "Colon_Transverse",
    "kidney": "Kidney_Cortex",
    "lung": "Lung",
    "prostate": "Prostate",
    "stomach": "Stomach",
}


def write_real_cohort(real_data: Path, folder: Path) -> Path:
    """Write slides, table, counts and study file below `folder`; return the study file."""
    from PIL import Image

    (folder / "slides").mkdir(parents=True)
    (folder / "incoming").mkdir()
    labels = pd.read_csv(real_data / "tiles" / "monuseg" / "labels.csv")
    samples = pd.read_csv(real_data / "gtex" / "GTEx_Analysis_v8_RNAseq_samples.txt", sep="\t")
    taken = dict.fromkeys(GTEX_TISSUE.values(), 0)
    rows = []
    for label in labels.sort_values("file").to_dict("records"):
        stem = Path(label["file"]).stem
        pixels = np.asarray(Image.open(real_data / "tiles" / "monuseg" / label["file"]).convert("RGB"))
        write_svs(folder / "slides" / f"{stem}.svs", pixels, Scan(mpp=0.25, app_mag=40))
        tissue = GTEX_TISSUE[label["organ"]]
        sample = samples.loc[samples["tissue_id"] == tissue, "sample_id"].iloc[taken[tissue]]
        taken[tissue] += 1
        rows.append({"slide": stem, "donor": label["tcga_case"], "organ": label["organ"], "sample": sample})
    pd.DataFrame(rows).to_csv(folder / "slides.csv", index=False)
    shutil.copyfile(real_data / "expression" / "acmg59_v8_reads.gct.gz", folder / "counts.gct.gz")
    study = folder / "real.yaml"
    shutil.copyfile(Path(__file__).with_name("real.yaml"), study)
    return study
