"""A fitted regressor of every gene: what it predicts of a new sample, and its files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from histo_assets.core.files import write_json
from histo_assets.core.prediction.adjustment import Adjustment, Effects
from histo_assets.core.prediction.covariates import Column, CovariateCode, PredictionError
from histo_assets.core.prediction.regressors.registry import model_of
from histo_assets.core.prediction.regressors.regressor import ImageModel

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class _Names:
    """What `regressor.json` holds of a regressor beside its numbers.

    Attributes
    ----------
    kind
        That of the model of the image.
    genes, tissues
        In the order of the columns of the predictions and of the tissues' probabilities.
    covariates
        How each becomes columns of the design.
    """

    kind: str
    genes: tuple[str, ...]
    tissues: tuple[str, ...]
    covariates: tuple[Column, ...]

    @classmethod
    def read(cls, path: Path) -> _Names:
        content = json.loads(path.read_text())
        covariates = (Column(**{**column, "levels": tuple(column["levels"])}) for column in content["covariates"])
        return cls(content["kind"], tuple(content["genes"]), tuple(content["tissues"]), tuple(covariates))


@dataclass(frozen=True)
class GeneRegressor:
    """Predicts expression (log2 units of the training matrix) from the pooled embedding of a sample.

    The prediction is the tissue's mean, plus the part of covariates where there are any, plus the image's part
    beyond both.

    Attributes
    ----------
    genes
        Names, in the order of the predictions' columns.
    adjustment
        Tissues, covariates and scale of the training features.
    expression
        Effects of tissue and covariates on the genes: means (t, g) and slopes (c, g).
    image
        The image's part beyond both.
    """

    genes: tuple[str, ...]
    adjustment: Adjustment
    expression: Effects
    image: ImageModel

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
        return self.expression.of(weights, design) + self.image.residual(standardised)

    def tissue_mean(self, tissue_probabilities: NDArray[Any] | pd.DataFrame) -> Floats:
        """Return the prediction of each gene by the tissue alone: (n, g) float64."""
        return self.adjustment.blended(tissue_probabilities) @ self.expression.means

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
        """Write the regressor to `folder`: numbers as npz without objects, the rest JSON or text."""
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
        np.savez(folder / "regressor.npz", **arrays, **self.image.arrays())  # type: ignore[arg-type]
        self.image.write(folder)
        names = _Names(self.image.kind, self.genes, adjustment.tissues, adjustment.code.columns)
        write_json(folder / "regressor.json", asdict(names))

    @staticmethod
    def read(folder: str | Path) -> GeneRegressor:
        """Return the regressor that `write` put in `folder`; it predicts the same numbers, bit for bit."""
        folder = Path(folder)
        try:
            names = _Names.read(folder / "regressor.json")
            with np.load(folder / "regressor.npz", allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
        except (OSError, ValueError) as error:
            raise PredictionError(f"{folder} holds no whole gene regressor ({error}); fit it again") from None
        adjustment = Adjustment(
            tissues=names.tissues,
            shares=arrays["shares"],
            code=CovariateCode(names.covariates),
            design_means=arrays["design_means"],
            features=Effects(arrays["feature_means"], arrays["feature_slopes"]),
            scale=arrays["scale"],
        )
        expression = Effects(arrays["expression_means"], arrays["expression_slopes"])
        try:
            model = model_of(names.kind)
        except KeyError:
            raise PredictionError(
                f"{folder} holds a regressor of kind {names.kind!r}, which this version does not know; "
                "read it with the version that made it, or fit it again"
            ) from None
        return GeneRegressor(names.genes, adjustment, expression, model.read(arrays, folder))


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
    """Return the prediction of each gene for each tile; the pooled tiles' mean is the sample's prediction.

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
        The regressor has no derivative (trees have none), or a gene is not known.
    """
    slopes = regressor.image.slopes()
    if slopes is None:
        raise PredictionError(
            f"a heat map of genes needs a regressor with a derivative to follow, as ridge has; "
            f"{regressor.image.kind} has none"
        )
    tiles = np.asarray(tile_embeddings, dtype=np.float64)
    inside = np.ones(len(tiles), dtype=bool) if pooled is None else np.asarray(pooled, dtype=bool)
    if not inside.any():
        raise PredictionError("a heat map needs at least one pooled tile")
    columns = _columns(regressor.genes, genes)
    mean = tiles[inside].mean(axis=0)
    weights, design, standardised, clipped = regressor._prepared(mean[None], tissue_probabilities, covariates)
    loadings = slopes[:, columns]
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
