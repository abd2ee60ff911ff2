"""What a regressor is: settings that know how to learn, and a model that predicts every gene from the image.

A regressor is one file beside this one and a line in `registry.KINDS`. Its settings derive from
`RegressorSettings`, its model from `ImageModel`. Heavy imports stay inside functions: a study is read in
every process.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from histo_assets.core.files import Settings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from histo_assets.core.prediction.spectrum import Spectrum

    Floats = NDArray[np.float64]

NULL_SHARE, FEWEST, MOST = 130, 3, 40


@dataclass(frozen=True)
class Features:
    """Features of a training side and of the rows that it predicts, adjusted and standardised.

    Attributes
    ----------
    basis
        Singular value decomposition of the training features (n, d).
    test
        (m, d), the rows to predict.
    spent
        Degrees of freedom of the training rows that centring has used up.
    """

    basis: Spectrum
    test: Floats
    spent: int
    _scores: dict[int, tuple[Floats, Floats]] = field(default_factory=dict, repr=False, compare=False)

    def scores(self, components: int | None = None) -> tuple[Floats, Floats]:
        """Return training (n, k) and test rows (m, k) on the first `components` principal components, or all."""
        kept = min(components or self.basis.right.shape[1], self.basis.right.shape[1])
        if kept not in self._scores:
            train = self.basis.left[:, :kept] * self.basis.singular[:kept]
            self._scores[kept] = (train, self.test @ self.basis.right[:, :kept])
        return self._scores[kept]


class ImageModel(ABC):
    """The part of features in every gene beyond tissue and covariates."""

    kind: ClassVar[str]

    @abstractmethod
    def residual(self, standardised: Floats) -> Floats:
        """Return the prediction from adjusted, standardised features (n, d): (n, g), in the units of the targets."""

    def slopes(self) -> Floats | None:
        """Return the derivative of every gene by every feature (d, g), or None where it is not the same everywhere."""
        return None

    def gene_columns(self) -> dict[str, NDArray[Any]]:
        """Return further figures of every gene (g,), as columns of the table of figures."""
        return {}

    @classmethod
    @abstractmethod
    def joined(cls, blocks: Sequence[Self]) -> Self:
        """Return one model of the genes of several, in their order; all learned on the same features."""

    @abstractmethod
    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the model's arrays, which are kept as npz without objects."""

    def write(self, folder: Path) -> None:  # noqa: B027
        """Write what arrays do not hold; nothing that is executed when it is read. Mostly nothing."""

    @classmethod
    @abstractmethod
    def read(cls, arrays: dict[str, NDArray[Any]], folder: Path) -> Self:
        """Return the model of which `arrays` and `write` kept all."""


Learn = Callable[["Features", "Floats", bool], "tuple[Floats, ImageModel | None]"]
"""(features, targets (n, g), keep) -> the prediction for the test rows (m, g), and the model where it is kept."""


class RegressorSettings(Settings):
    """What a study decides about a regressor; `kind` is its name in the registry."""

    kind: str
    model: ClassVar[type[ImageModel]]
    redraws: ClassVar[bool] = True
    """Whether each permutation refits other genes than the one before, as where few can be refitted."""

    def learning(self, workers: int = 1, seed: int = 0) -> AbstractContextManager[Learn]:
        """Return a context that gives the function that learns blocks of genes.

        Parameters
        ----------
        workers
            Processes that genes may be dealt to; the result does not depend on how many there are.
        seed
            Of whatever is drawn at random.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say how it learns")

    def null_genes(self, genes: int) -> int:
        """Return how many of `genes` are refitted at each permutation of donors."""
        return min(max(genes // NULL_SHARE, FEWEST), MOST)
