"""Ridge regression of many genes on one set of features: one eigendecomposition serves them all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from histo_assets.core.prediction.regressors.regressor import Features, ImageModel, Learn, RegressorSettings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from histo_assets.core.prediction.spectrum import Spectrum

    Floats = NDArray[np.float64]

NULL_GENES = 100
"""Genes that are refitted at each permutation; their statistics are pooled, as they are studentised."""


@dataclass(frozen=True)
class RidgeModel(ImageModel):
    """Linear in the standardised features: `weights` (d, g) float32, and the `penalties` (g,) chosen."""

    kind = "ridge"
    weights: NDArray[np.float32]
    penalties: Floats

    def residual(self, standardised: Floats) -> Floats:
        """Return the features times the weights."""
        product: Floats = standardised @ self.weights
        return product

    def slopes(self) -> Floats:
        """Return the weights."""
        return self.weights.astype("float64")

    def gene_columns(self) -> dict[str, NDArray[Any]]:
        """Return the penalty of every gene."""
        return {"penalty": self.penalties}

    @classmethod
    def joined(cls, blocks: Sequence[RidgeModel]) -> RidgeModel:
        """Return one model of all blocks' genes."""
        import numpy as np

        return cls(np.hstack([b.weights for b in blocks]), np.concatenate([b.penalties for b in blocks]))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return weights and penalties."""
        return {"weights": self.weights, "penalties": self.penalties}

    @classmethod
    def read(cls, arrays: dict[str, NDArray[Any]], folder: Path) -> RidgeModel:
        """Return the model of `arrays`."""
        return cls(arrays["weights"], arrays["penalties"])


class RidgeSettings(RegressorSettings):
    """Ridge over the tissue mean."""

    kind: Literal["ridge"] = Field(default="ridge", description="Which regressor these settings are of.")
    penalties: tuple[float, ...] = Field(
        default=(1.0, 10.0, 100.0, 1e3, 1e4, 1e5),
        description="Penalties that are tried for each gene, by generalised cross-validation.",
    )
    model: ClassVar[type[ImageModel]] = RidgeModel
    redraws: ClassVar[bool] = False

    @contextmanager
    def learning(self, workers: int = 1, seed: int = 0) -> Iterator[Learn]:
        """Yield the function that learns; it needs neither processes nor chance."""
        yield self._learn

    def null_genes(self, genes: int) -> int:
        """Return how many genes are refitted at each permutation, whatever their number."""
        return NULL_GENES

    def _learn(self, features: Features, targets: Floats, keep: bool) -> tuple[Floats, RidgeModel | None]:
        coefficients, penalties = ridge_coefficients(features.basis, targets, self.penalties, features.spent)
        residual = features.scores()[1] @ coefficients
        if not keep:
            return residual, None
        return residual, RidgeModel((features.basis.right @ coefficients).astype("float32"), penalties)


def gcv_choices(
    rotated: Floats, total: Floats, singular: Floats, penalties: tuple[float, ...], rows: int
) -> NDArray[np.int64]:
    """Return the index of the penalty that generalised cross-validation chooses for each gene.

    Golub, Heath & Wahba, Technometrics 1979: residual sum of squares over the square of the degrees
    of freedom that are left.

    Parameters
    ----------
    rotated
        (r, g), targets on the left singular vectors.
    total
        (g,), sums of squares of the targets.
    rows
        Degrees of freedom of the targets: rows less what centring has used up.
    """
    import numpy as np

    shrunk = np.array([penalty / (singular**2 + penalty) for penalty in penalties])
    residual = total + (shrunk**2 - 1) @ rotated**2
    left = rows - (1 - shrunk).sum(axis=1)
    scores = np.where(left[:, None] > 0.5, residual / np.maximum(left, 0.5)[:, None] ** 2, np.inf)
    # Where every penalty uses up all freedom, the strongest one is the only safe choice.
    scores[int(np.argmax(penalties))] = np.minimum(scores[int(np.argmax(penalties))], np.finfo(float).max)
    choices: NDArray[np.int64] = scores.argmin(axis=0)
    return choices


def ridge_coefficients(
    basis: Spectrum, targets: Floats, penalties: tuple[float, ...], spent: int = 0
) -> tuple[Floats, Floats]:
    """Return coefficients (r, g) on the right singular vectors, and the penalty (g,) of each gene.

    Parameters
    ----------
    basis
        Decomposition of the features (n, d).
    targets
        (n, g), centred as the features are.
    spent
        Degrees of freedom that centring both sides has used up.
    """
    import numpy as np

    rotated = basis.left.T @ targets
    total = np.einsum("ng,ng->g", targets, targets)
    chosen = gcv_choices(rotated, total, basis.singular, penalties, len(targets) - spent)
    gains = np.array([basis.singular / (basis.singular**2 + penalty) for penalty in penalties])
    return gains[chosen].T * rotated, np.array(penalties, dtype=np.float64)[chosen]
