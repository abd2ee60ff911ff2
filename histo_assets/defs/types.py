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
    from histo_assets.core.tiling.shards import TileSet
    from histo_assets.core.training.checkpoint import Checkpoint
    from histo_assets.core.training.frozen import FrozenModel
    from histo_assets.core.training.selected import SelectedModel

    Table = pd.DataFrame
    LargeTable = pl.DataFrame
    Matrix = AnnData
    Incoming = dict[str, Any]
else:

    def _loaded(name: str, module: str, description: str) -> dg.DagsterType:
        """Return the type of what is loaded as the class `name` of `module`, which this does not import."""

        def check(_: Any, value: Any) -> dg.TypeCheck:
            library = sys.modules.get(module)
            fits = library is not None and isinstance(value, getattr(library, name))
            return dg.TypeCheck(fits, f"a {type(value).__name__} was loaded where a {name} was expected")

        return dg.DagsterType(check, name=name, description=description)

    Table = _loaded("DataFrame", "pandas", "A table, stored as parquet.")
    Matrix = _loaded("AnnData", "anndata", "A labelled matrix, stored as h5ad.")
    LargeTable = dg.DagsterType(
        lambda _, value: type(value).__module__.startswith("polars"),
        name="LargeTable",
        description="A polars table, stored as parquet.",
    )
    TileSet = _loaded("TileSet", "histo_assets.core.tiling.shards", "The tiles of a tissue: shards, index, funnel.")
    Checkpoint = _loaded("Checkpoint", "histo_assets.core.training.checkpoint", "A trained network and its history.")
    SelectedModel = _loaded("SelectedModel", "histo_assets.core.training.selected", "The network that serves, and why.")
    FrozenModel = _loaded("FrozenModel", "histo_assets.core.training.frozen", "A backbone that serves as it is.")
    CrossValidation = _loaded(
        "CrossValidation", "histo_assets.core.prediction.crossval", "A regressor of every gene and its figures."
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
