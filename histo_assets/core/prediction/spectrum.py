"""The singular value decomposition of features, which every regressor starts from."""

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
