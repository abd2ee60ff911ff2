"""What a finished synthetic study found of what was planted, a line a figure.

    .venv/bin/python -m histo_assets_tests.benchmarks.scores --study demo [--json]

Reads HISTO_STORAGE and HISTO_COHORTS as the command line does; materialise the study first.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl

from histo_assets.core.evaluation.model_evaluation import headline
from histo_assets.core.tiling.tile_set import with_reasons
from histo_assets.definitions import storage_root
from histo_assets.demo.score import score_dirt, score_filter, score_genes, score_quarantine, score_recoverable
from histo_assets.storage.io_managers import StorageResource
from histo_assets.studies.study import Study, load_study


def scores(study: Study, storage: StorageResource) -> dict[str, Any]:
    """Return figure -> value."""
    truth = Path(study.resolve(study.cohort.manifest)).parent / "truth"
    sets = {tissue: storage.load("tiles", tissue) for tissue in study.selection.tissues}
    raw = pd.concat([with_reasons(storage.load("raw_slides", t), s) for t, s in sets.items()])
    index = pl.concat([s.index for s in sets.values()]).to_pandas()
    matrix = storage.load("expression_matrix")
    fitted_on = matrix.obs_names[matrix.obs["side"] == "train"]
    recoverable = storage.load("recoverable_genes")
    ridge = storage.load("gene_regressors", "ridge").figures[["gene", "r2"]]
    genes = ridge.merge(recoverable[["gene", "r2_within", "recoverable"]], on="gene")
    quarantine, survivors = score_quarantine(truth, raw), score_filter(truth, matrix.var["gene_id"], fitted_on)
    dirt = score_dirt(truth, index)
    figures: dict[str, Any] = asdict(headline(storage.load("model_evaluation"), study.split.unit))
    figures |= {
        "slides_rightly_judged": bool(quarantine["right"].dropna().all()),
        "tiles": len(index),
        "tiles_mostly_in_dirt": int(dirt["covered"].sum()),
        "genes_wrongly_kept_or_dropped": int(survivors["missed"].sum() + survivors["wrong"].sum()),
        **{f"genes_{name}": value for name, value in score_recoverable(truth, genes).items()},
    }
    for row in score_genes(truth, genes).to_dict("records"):
        figures[f"{row['block']}_r2_within"] = float(row["r2_within"])
        figures[f"{row['block']}_called"] = f"{row['called']} of {row['scored']}"
    return figures


def main() -> None:
    """Print the scores of the study that is named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", default="demo")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    study = load_study(arguments.study)
    figures = scores(study, StorageResource(root=f"{storage_root()}/{study.name}"))
    if arguments.json:
        print(json.dumps(figures, indent=1, default=str))
        return
    for name, value in figures.items():
        print(f"{name:36} {value:.3f}" if isinstance(value, float) else f"{name:36} {value}")


if __name__ == "__main__":
    main()
