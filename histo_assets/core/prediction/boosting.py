"""LightGBM, one small model a gene, on principal components that are binned once for all genes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histo_assets.core.prediction.settings import BoostingSettings

Floats = NDArray[np.float64]
BLOCK = 64
"""Genes of one piece of work for a process."""

BoostGenes = Callable[[Floats, Floats, Floats, bool], "tuple[Floats, list[str]]"]


@contextmanager
def gene_booster(settings: BoostingSettings, workers: int = 1, seed: int = 0) -> Iterator[BoostGenes]:
    """Yield a function (train (n, k), targets (n, g), new (m, k), keep) -> predictions (m, g), model texts.

    The texts are empty unless `keep`, as writing them takes time. Genes are dealt to `workers` processes in
    blocks; the result does not depend on how many there are.
    """
    if workers <= 1:
        yield lambda train, targets, new, keep: _boosted_block(train, targets, new, settings, seed, keep)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:

        def boost(train: Floats, targets: Floats, new: Floats, keep: bool) -> tuple[Floats, list[str]]:
            starts = range(0, targets.shape[1], BLOCK)
            jobs = [
                pool.submit(_boosted_block, train, targets[:, at : at + BLOCK].copy(), new, settings, seed, keep)
                for at in starts
            ]
            blocks = [job.result() for job in jobs]
            return np.hstack([block[0] for block in blocks]), [text for block in blocks for text in block[1]]

        yield boost


def boosted_predictions(models: Sequence[str], features: Floats) -> Floats:
    """Return what stored models (LightGBM text, one a gene) say of `features` (m, k): (m, g)."""
    import lightgbm

    predictions = np.empty((len(features), len(models)))
    for gene, text in enumerate(models):
        predictions[:, gene] = lightgbm.Booster(model_str=text).predict(features, num_threads=1) if text else 0.0
    return predictions


def _boosted_block(
    train: Floats, targets: Floats, new: Floats, settings: BoostingSettings, seed: int, keep: bool
) -> tuple[Floats, list[str]]:
    import lightgbm

    parameters = _parameters(len(train), settings, seed)
    dataset = lightgbm.Dataset(train, label=targets[:, 0], params=parameters, free_raw_data=False).construct()
    predictions, texts = np.zeros((len(new), targets.shape[1])), []
    for gene in range(targets.shape[1]):
        dataset.set_label(targets[:, gene])
        model = lightgbm.Booster(parameters, dataset)
        for _ in range(settings.trees):
            if model.update():
                break
        if len(new):
            predictions[:, gene] = model.predict(new, num_threads=1)
        texts.append(model.model_to_string() if keep else "")
    return predictions, texts


def _parameters(rows: int, settings: BoostingSettings, seed: int) -> dict[str, Any]:
    return {
        "objective": "regression",
        "num_leaves": settings.leaves,
        "max_bin": settings.bins,
        "learning_rate": settings.learning_rate,
        "min_data_in_leaf": int(np.clip(rows // 10, 3, 20)),
        "num_threads": 1,
        "force_row_wise": True,
        "deterministic": True,
        "boost_from_average": False,
        "seed": seed,
        "verbosity": -1,
    }
