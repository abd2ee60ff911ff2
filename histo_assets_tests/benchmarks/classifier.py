"""The demo's classifier on three seeds: donors and tiles split, and the confusions that the cohort was made for.

    .venv/bin/python -m histo_assets_tests.benchmarks.classifier --study demo [--seeds 0 1 2] [--epochs 3] [--json]

For every seed donors are split anew, and each fold stands once for validation: which donors judge would else say more
than how tiles are split. The studied experiment is trained twice a fold on the finished study's tiles: once with donors
split, once with the same tiles shuffled over train and validation. Accuracy is that of the validation tiles of all
folds after the last epoch. A designed confusion is the share of one tissue's tiles that is taken for its look-alike,
both ways together, beside the median over all pairs of tissues.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl

from histo_assets.core.cohort.splits import split_donors
from histo_assets.core.evaluation.classification import confusion
from histo_assets.core.evaluation.look_alikes import present
from histo_assets.core.tiling.tile_set import TileReader
from histo_assets.core.training.datasets import TrainingTiles, build_training_set
from histo_assets.core.training.loop import train
from histo_assets.core.training.settings import LearningSettings
from histo_assets.definitions import storage_root
from histo_assets.storage.io_managers import StorageResource
from histo_assets.studies.study import Study, load_study
from histo_assets_tests.benchmarks.measure import line


def validation_tiles(study: Study, storage: StorageResource, seed: int, epochs: int) -> dict[str, pd.DataFrame]:
    """Return, by what is split, what the studied experiment says of the validation tiles of all folds."""
    tissues = study.selection.tissues
    selected = pd.concat([storage.load("selected_slides", tissue) for tissue in tissues])
    sets = [storage.load("tiles", tissue) for tissue in tissues]
    index = pl.concat([part.index for part in sets])
    changes = {"seed": seed, "epochs": epochs, "checkpoints": ()}
    base = study.learning.experiments[study.learning.studied].model_copy(update=changes)
    experiments = {unit: base.model_copy(update={"split": unit}) for unit in ("donor", "tile")}
    values = study.learning.model_dump() | {"experiments": experiments, "studied": "donor", "selected": None}
    learning = LearningSettings.model_validate(values | {"seed": seed})
    predictions: dict[str, list[pd.DataFrame]] = {unit: [] for unit in experiments}
    for fold in range(study.split.folds):
        settings = study.split.model_copy(update={"seed": seed, "validation_fold": fold})
        rows = build_training_set(index, split_donors(selected, settings), tissues, learning, settings)
        for unit in experiments:
            with tempfile.TemporaryDirectory() as folder:
                tiles = TrainingTiles(rows, TileReader(sets), tissues)
                made = train(unit, tiles, learning, Path(folder), lambda text: None)
                predictions[unit].append(made.validation())
    return {unit: pd.concat(tables, ignore_index=True) for unit, tables in predictions.items()}


def figures(study: Study, storage: StorageResource, seeds: list[int], epochs: int) -> Iterator[dict[str, Any]]:
    """Yield every figure of every seed, and the means over the seeds."""
    tissues = list(study.selection.tissues)
    leaks = []
    for seed in seeds:
        predictions = validation_tiles(study, storage, seed, epochs)
        accuracy = {unit: float((table["predicted"] == table["tissue"]).mean()) for unit, table in predictions.items()}
        for unit, value in accuracy.items():
            yield _figure(f"seed {seed}: accuracy, {unit}s split", value)
        leaks.append(accuracy["tile"] - accuracy["donor"])
        yield _figure(f"seed {seed}: what splitting tiles adds", leaks[-1], above=0.0)
        counts = confusion(predictions["donor"], tissues).to_numpy(float)
        share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
        places = {tissue: place for place, tissue in enumerate(tissues)}
        mixed = {}
        for one, other in combinations(tissues, 2):
            here, there = places[one], places[other]
            mixed[frozenset((one, other))] = share[here, there] + share[there, here]
        median = float(np.median(list(mixed.values())))
        for group in present(study.learning.look_alikes, tissues):
            for pair in combinations(group, 2):
                yield _figure(f"seed {seed}: {' / '.join(pair)}", mixed[frozenset(pair)], above=median)
    yield _figure("mean over seeds: what splitting tiles adds", float(np.mean(leaks)), above=0.0)


def _figure(name: str, value: float, above: float | None = None) -> dict[str, Any]:
    return {"name": name, "value": value, "above": above, "met": None if above is None else value > above}


def main() -> None:
    """Print every figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", default="demo")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    study = load_study(options.study)
    storage = StorageResource(root=str(Path(storage_root()) / study.name))
    rows = []
    for figure in figures(study, storage, options.seeds, options.epochs):
        rows.append(figure)
        if not options.json:
            target = "" if figure["above"] is None else f"> {figure['above']:.3f}"
            print(line(figure["name"], figure["value"], "", target, figure["met"]), flush=True)
    if options.json:
        print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
