"""LightGBM, one small model a gene, on principal components that are binned once for all genes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from histo_assets.core.prediction.regressors.regressor import Features, ImageModel, Learn, RegressorSettings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

BLOCK = 64
"""Genes of one piece of work for a process."""
GENES_PER_FILE = 256

BoostGenes = Callable[["Floats", "Floats", "Floats", bool], "tuple[Floats, list[str]]"]


@dataclass(frozen=True)
class BoostingModel(ImageModel):
    """Trees on principal components: `components` (d, k), and one LightGBM text a gene."""

    kind = "lightgbm"
    components: Floats
    models: tuple[str, ...]

    def residual(self, standardised: Floats) -> Floats:
        """Return the prediction of the trees from the components."""
        return boosted_predictions(self.models, standardised @ self.components)

    @classmethod
    def joined(cls, blocks: Sequence[BoostingModel]) -> BoostingModel:
        """Return one model of all blocks' genes."""
        return cls(blocks[0].components, tuple(text for block in blocks for text in block.models))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the components."""
        return {"components": self.components}

    def write(self, folder: Path) -> None:
        """Write the trees as LightGBM's text, many genes a file."""
        import gzip
        import json

        for old in folder.glob("models_*.json.gz"):
            old.unlink()
        for number, start in enumerate(range(0, len(self.models), GENES_PER_FILE)):
            block = json.dumps(self.models[start : start + GENES_PER_FILE]).encode()
            (folder / f"models_{number:05d}.json.gz").write_bytes(gzip.compress(block, 4, mtime=0))

    @classmethod
    def read(cls, arrays: dict[str, NDArray[Any]], folder: Path) -> BoostingModel:
        """Return the model of `arrays` and the texts in `folder`."""
        import gzip
        import json

        texts: list[str] = []
        for path in sorted(folder.glob("models_*.json.gz")):
            texts += json.loads(gzip.decompress(path.read_bytes()))
        return cls(arrays["components"], tuple(texts))


class BoostingSettings(RegressorSettings):
    """LightGBM over the tissue mean, on principal components of the slide embedding."""

    kind: Literal["lightgbm"] = Field(default="lightgbm", description="Which regressor these settings are of.")
    components: int = Field(default=40, ge=1, description="Principal components that the trees see.")
    leaves: int = Field(default=8, ge=2, description="Most leaves of a tree.")
    bins: int = Field(default=63, ge=4, description="Most bins of a component's values.")
    trees: int = Field(default=60, ge=1, description="Trees of each gene.")
    learning_rate: float = Field(default=0.05, gt=0, description="Share of each tree that is added.")
    model: ClassVar[type[ImageModel]] = BoostingModel

    @contextmanager
    def learning(self, workers: int = 1, seed: int = 0) -> Iterator[Learn]:
        """Yield the function that learns, its genes dealt to `workers` processes."""
        with gene_booster(self, workers, seed) as boost:

            def learn(features: Features, targets: Floats, keep: bool) -> tuple[Floats, BoostingModel | None]:
                train, test = features.scores(self.components)
                residual, texts = boost(train, targets, test, keep)
                if not keep:
                    return residual, None
                return residual, BoostingModel(features.basis.right[:, : train.shape[1]], tuple(texts))

            yield learn


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
            import numpy as np

            starts = range(0, targets.shape[1], BLOCK)
            jobs = [
                pool.submit(_boosted_block, train, targets[:, at : at + BLOCK].copy(), new, settings, seed, keep)
                for at in starts
            ]
            blocks = [job.result() for job in jobs]
            return np.hstack([block[0] for block in blocks]), [text for block in blocks for text in block[1]]

        yield boost


def boosted_predictions(models: Sequence[str], features: Floats) -> Floats:
    """Return the predictions of stored models (LightGBM text, one a gene) for `features` (m, k): (m, g)."""
    import lightgbm
    import numpy as np

    predictions = np.empty((len(features), len(models)))
    for gene, text in enumerate(models):
        predictions[:, gene] = lightgbm.Booster(model_str=text).predict(features, num_threads=1) if text else 0.0
    return predictions


def _boosted_block(
    train: Floats, targets: Floats, new: Floats, settings: BoostingSettings, seed: int, keep: bool
) -> tuple[Floats, list[str]]:
    import lightgbm
    import numpy as np

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
    import numpy as np

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
