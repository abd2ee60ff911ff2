"""A fitted regressor of every gene: what it predicts of a new sample, and its files."""

from __future__ import annotations

import gzip
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from histo_assets.core.files import write_json
from histo_assets.core.prediction.adjustment import Adjustment, Effects
from histo_assets.core.prediction.boosting import boosted_predictions
from histo_assets.core.prediction.covariates import CovariateCode, PredictionError

Floats = NDArray[np.float64]
GENES_PER_FILE = 256


@dataclass(frozen=True)
class GeneRegressor(ABC):
    """Predicts expression (log2 units of the training matrix) from the pooled embedding of a sample.

    The prediction is the tissue's mean, plus what covariates say where they are given, plus what the
    image says beyond both.

    Attributes
    ----------
    genes
        Names, in the order of the predictions' columns.
    adjustment
        Tissues, covariates and scale of the training features.
    expression
        Effects of tissue and covariates on the genes: means (t, g) and slopes (c, g).
    """

    genes: tuple[str, ...]
    adjustment: Adjustment
    expression: Effects

    @property
    def tissues(self) -> tuple[str, ...]:
        """Return the tissues, in the order of `predict`'s probabilities."""
        return self.adjustment.tissues

    def predict(
        self,
        X: NDArray[Any],
        tissue_probabilities: NDArray[Any] | pd.DataFrame,
        covariates: pd.DataFrame | None = None,
    ) -> Floats:
        """Return predicted expression (n, g) float64.

        Parameters
        ----------
        X
            (n, d) embeddings, one row a sample.
        tissue_probabilities
            (n, t) in the order of `tissues`, or a DataFrame with a column for each.
        covariates
            The training covariates of these samples; None: average samples of their tissue.
        """
        weights, design, standardised, _ = self._prepared(X, tissue_probabilities, covariates)
        return self.expression.of(weights, design) + self.residual(standardised)

    def tissue_mean(self, tissue_probabilities: NDArray[Any] | pd.DataFrame) -> Floats:
        """Return what the tissue alone says of each gene: (n, g) float64."""
        return self.adjustment.blended(tissue_probabilities) @ self.expression.means

    @abstractmethod
    def residual(self, standardised: Floats) -> Floats:
        """Return what adjusted, standardised features (n, d) say beyond tissue and covariates: (n, g)."""

    def _prepared(
        self, X: NDArray[Any], probabilities: NDArray[Any] | pd.DataFrame, covariates: pd.DataFrame | None
    ) -> tuple[Floats, Floats, Floats, NDArray[np.bool_]]:
        rows = np.atleast_2d(np.asarray(X, dtype=np.float64))
        weights = self.adjustment.blended(probabilities)
        if len(weights) != len(rows):
            raise PredictionError(f"{len(rows)} samples were given with tissue probabilities of {len(weights)}")
        design = self.adjustment.centred_design(covariates, weights)
        standardised, clipped = self.adjustment.standardised(rows, weights, design)
        return weights, design, standardised, clipped

    def write(self, folder: str | Path) -> None:
        """Write the regressor to `folder`: numbers as npz without objects, LightGBM as text, the rest JSON."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        adjustment = self.adjustment
        arrays = {
            "shares": adjustment.shares,
            "design_means": adjustment.design_means,
            "feature_means": adjustment.features.means,
            "feature_slopes": adjustment.features.slopes,
            "scale": adjustment.scale,
            "expression_means": self.expression.means,
            "expression_slopes": self.expression.slopes,
        }
        np.savez(folder / "regressor.npz", **arrays, **self._arrays())  # type: ignore[arg-type]
        self._write_models(folder)
        write_json(
            folder / "regressor.json",
            {
                "kind": "ridge" if isinstance(self, RidgeRegressor) else "lightgbm",
                "genes": self.genes,
                "tissues": adjustment.tissues,
                "covariates": adjustment.code.plain(),
            },
        )

    @abstractmethod
    def _arrays(self) -> dict[str, NDArray[Any]]: ...

    @abstractmethod
    def _write_models(self, folder: Path) -> None: ...

    @staticmethod
    def read(folder: str | Path) -> GeneRegressor:
        """Return the regressor that `write` put in `folder`; it predicts the same numbers, bit for bit."""
        folder = Path(folder)
        try:
            words = json.loads((folder / "regressor.json").read_text())
            with np.load(folder / "regressor.npz", allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
        except (OSError, ValueError) as error:
            raise PredictionError(f"{folder} holds no whole gene regressor ({error}); fit it again") from None
        adjustment = Adjustment(
            tissues=tuple(words["tissues"]),
            shares=arrays["shares"],
            code=CovariateCode.from_plain(words["covariates"]),
            design_means=arrays["design_means"],
            features=Effects(arrays["feature_means"], arrays["feature_slopes"]),
            scale=arrays["scale"],
        )
        expression = Effects(arrays["expression_means"], arrays["expression_slopes"])
        genes = tuple(words["genes"])
        if words["kind"] == "ridge":
            return RidgeRegressor(genes, adjustment, expression, arrays["weights"], arrays["penalties"])
        return BoostingRegressor(genes, adjustment, expression, arrays["components"], tuple(_stored_models(folder)))


@dataclass(frozen=True)
class RidgeRegressor(GeneRegressor):
    """Linear in the standardised features: `weights` (d, g) float32, and the `penalties` (g,) chosen."""

    weights: NDArray[np.float32]
    penalties: Floats

    def residual(self, standardised: Floats) -> Floats:
        """Return the features times the weights."""
        said: Floats = standardised @ self.weights
        return said

    def _arrays(self) -> dict[str, NDArray[Any]]:
        return {"weights": self.weights, "penalties": self.penalties}

    def _write_models(self, folder: Path) -> None:
        """Arrays hold all of it."""


@dataclass(frozen=True)
class BoostingRegressor(GeneRegressor):
    """Trees on principal components: `components` (d, k), and one LightGBM text a gene."""

    components: Floats
    models: tuple[str, ...]

    def residual(self, standardised: Floats) -> Floats:
        """Return what the trees say of the components."""
        return boosted_predictions(self.models, standardised @ self.components)

    def _arrays(self) -> dict[str, NDArray[Any]]:
        return {"components": self.components}

    def _write_models(self, folder: Path) -> None:
        for old in folder.glob("models_*.json.gz"):
            old.unlink()
        for number, start in enumerate(range(0, len(self.models), GENES_PER_FILE)):
            block = json.dumps(self.models[start : start + GENES_PER_FILE]).encode()
            (folder / f"models_{number:05d}.json.gz").write_bytes(gzip.compress(block, 4, mtime=0))


@dataclass(frozen=True)
class TileContributions:
    """Heat map of a sample: `tiles` (m, g), whose mean over the pooled tiles is `prediction` (g,)."""

    tiles: Floats
    prediction: Floats


def tile_contributions(
    regressor: GeneRegressor,
    tile_embeddings: NDArray[Any],
    tissue_probabilities: NDArray[Any] | pd.DataFrame,
    covariates: pd.DataFrame | None = None,
    genes: Sequence[str] | None = None,
    pooled: NDArray[np.bool_] | None = None,
) -> TileContributions:
    """Return what each tile says of each gene, so that the pooled tiles' mean is the sample's prediction.

    A tile's value is the sample's prediction plus the tile's difference from the mean embedding times the
    model's derivative at the sample, which is zero for a feature that is clipped there. Tissue,
    covariates and scale are the sample's; nothing is clamped before averaging.

    Parameters
    ----------
    tile_embeddings
        (m, d), the tiles of one sample.
    tissue_probabilities, covariates
        Of the sample: one row.
    genes
        Which genes; all when None.
    pooled
        (m,) bool: tiles that the sample's embedding is the mean of; the others are placed beside them.

    Raises
    ------
    PredictionError
        The regressor is not a ridge (trees have no derivative), or a gene is not known.
    """
    if not isinstance(regressor, RidgeRegressor):
        raise PredictionError("a heat map of genes needs a ridge regressor: trees have no derivative to follow")
    tiles = np.asarray(tile_embeddings, dtype=np.float64)
    inside = np.ones(len(tiles), dtype=bool) if pooled is None else np.asarray(pooled, dtype=bool)
    if not inside.any():
        raise PredictionError("a heat map needs at least one pooled tile")
    columns = _columns(regressor.genes, genes)
    mean = tiles[inside].mean(axis=0)
    weights, design, standardised, clipped = regressor._prepared(mean[None], tissue_probabilities, covariates)
    loadings = regressor.weights[:, columns].astype(np.float64)
    expression = Effects(regressor.expression.means[:, columns], regressor.expression.slopes[:, columns])
    prediction = (expression.of(weights, design) + standardised @ loadings)[0]
    derivative = np.where(clipped[0], 0.0, 1 / regressor.adjustment.scale)[:, None] * loadings
    return TileContributions(prediction + (tiles - mean) @ derivative, prediction)


def _columns(known: tuple[str, ...], wanted: Sequence[str] | None) -> NDArray[np.int64]:
    if wanted is None:
        return np.arange(len(known))
    places = {gene: place for place, gene in enumerate(known)}
    unknown = [gene for gene in wanted if gene not in places]
    if unknown:
        raise PredictionError(f"gene {unknown[0]!r} is not among the {len(known)} genes of the regressor")
    return np.array([places[gene] for gene in wanted], dtype=np.int64)


def _stored_models(folder: Path) -> Iterator[str]:
    for path in sorted(folder.glob("models_*.json.gz")):
        yield from json.loads(gzip.decompress(path.read_bytes()))
