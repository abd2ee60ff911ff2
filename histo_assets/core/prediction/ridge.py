"""Ridge regression of many genes on one set of features: one eigendecomposition serves them all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Spectrum:
    """The singular value decomposition of features (n, d): left (n, r), singular (r,), right (d, r)."""

    left: Floats
    singular: Floats
    right: Floats


def spectrum(features: Floats) -> Spectrum:
    """Return the decomposition of `features` (n, d), by the eigenvectors of the smaller Gram matrix.

    Directions with less than 1e-10 of the strongest one's power are dropped.
    """
    from scipy.linalg import eigh

    rows, columns = features.shape
    wide = columns >= rows
    power, vectors = eigh(features @ features.T if wide else features.T @ features)
    kept = power > 1e-10 * max(float(power[-1]), np.finfo(float).tiny)
    singular, vectors = np.sqrt(power[kept][::-1]), vectors[:, kept][:, ::-1]
    if wide:
        return Spectrum(vectors, singular, features.T @ vectors / singular)
    return Spectrum(features @ vectors / singular, singular, vectors)


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
    rotated = basis.left.T @ targets
    total = np.einsum("ng,ng->g", targets, targets)
    chosen = gcv_choices(rotated, total, basis.singular, penalties, len(targets) - spent)
    gains = np.array([basis.singular / (basis.singular**2 + penalty) for penalty in penalties])
    return gains[chosen].T * rotated, np.array(penalties, dtype=np.float64)[chosen]
