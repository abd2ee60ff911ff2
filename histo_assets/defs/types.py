"""Names for what travels between assets.

Dagster resolves annotations when a code location loads; the real classes would pull in pandas,
anndata and torch then. To a type checker these are the classes, at run time they are `Any`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    from anndata import AnnData

    from histo_assets.core.prediction.crossval import CrossValidation
    from histo_assets.core.tiling.shards import TileSet
    from histo_assets.core.training.checkpoint import Checkpoint
    from histo_assets.core.training.frozen import FrozenModel
    from histo_assets.core.training.selected import SelectedModel

    Table = pd.DataFrame
    LargeTable = pl.DataFrame
    Matrix = AnnData
    Incoming = dict[str, Any]
else:
    Table = LargeTable = Matrix = TileSet = Checkpoint = SelectedModel = FrozenModel = CrossValidation = Any
    Incoming = Any

__all__ = [
    "Checkpoint",
    "CrossValidation",
    "FrozenModel",
    "Incoming",
    "LargeTable",
    "Matrix",
    "SelectedModel",
    "Table",
    "TileSet",
]
