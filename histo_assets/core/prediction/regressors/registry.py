"""The regressors that a study can name. This module is light: it imports nothing that computes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from histo_assets.core.prediction.regressors.lightgbm import BoostingSettings
from histo_assets.core.prediction.regressors.ridge import RidgeSettings
from histo_assets.core.settings import one_of

if TYPE_CHECKING:
    from histo_assets.core.prediction.regressors.regressor import ImageModel

KINDS = (
    RidgeSettings,
    BoostingSettings,
)
"""One line a regressor; the first is the default where a study names no `kind`."""

AnyRegressor = one_of(*KINDS)


def model_of(kind: str) -> type[ImageModel]:
    """Return the class of the models of a kind.

    Raises
    ------
    KeyError
        No regressor is of this kind.
    """
    return {settings.model.kind: settings.model for settings in KINDS}[kind]
