"""Names for what travels between assets.

Dagster resolves annotations when a code location loads; the real classes would pull in pandas, anndata and
torch then. To a type checker these are the classes; to Dagster they are types of its own, which are shown in
the UI and look at what was loaded without importing its library.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import dagster as dg

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    from anndata import AnnData

    from histo_assets.core.prediction.crossval import CrossValidation
    from histo_assets.core.tiling.tile_set import TileSet
    from histo_assets.core.training.checkpoint import Checkpoint
    from histo_assets.core.training.frozen import FrozenModel
    from histo_assets.core.training.selected import SelectedModel

    Table = pd.DataFrame
    LargeTable = pl.DataFrame
    Matrix = AnnData
    Incoming = dict[str, Any]
else:

    def _loaded(name: str, description: str, *places: str) -> dg.DagsterType:
        """Return the type of what is loaded as a class at one of `places`, `module:class`, without importing it."""

        def check(_: Any, value: Any) -> dg.TypeCheck:
            classes = (place.split(":") for place in places)
            fits = any(
                module in sys.modules and isinstance(value, getattr(sys.modules[module], named))
                for module, named in classes
            )
            return dg.TypeCheck(fits, f"a {type(value).__name__} was loaded where a {name} was expected")

        return dg.DagsterType(check, name=name, description=description)

    _CORE = "histo_assets.core"
    Table = _loaded("DataFrame", "A table, stored as parquet.", "pandas:DataFrame")
    Matrix = _loaded("AnnData", "A labelled matrix, stored as h5ad.", "anndata:AnnData")
    LargeTable = _loaded("LargeTable", "A polars table, stored as parquet.", "polars:DataFrame")
    TileSet = _loaded("TileSet", "The tiles of a tissue: shards, index, funnel.", f"{_CORE}.tiling.tile_set:TileSet")
    Checkpoint = _loaded("Checkpoint", "A trained network and its history.", f"{_CORE}.training.checkpoint:Checkpoint")
    _FROZEN = f"{_CORE}.training.frozen:FrozenModel"
    FrozenModel = _loaded("FrozenModel", "A backbone that serves as it is.", _FROZEN)
    SelectedModel = _loaded(
        "SelectedModel",
        "The network that serves, and why; in a study that trains nothing the frozen backbone.",
        f"{_CORE}.training.selected:SelectedModel",
        _FROZEN,
    )
    CrossValidation = _loaded(
        "CrossValidation",
        "A regressor of every gene and its figures.",
        f"{_CORE}.prediction.crossval:CrossValidation",
    )
    Incoming = dict

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
