"""The materialisation that every projection asset returns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg

from histo_assets.core.projection.settings import ProjectionSettings
from histo_assets.defs.metadata import picture
from histo_assets.defs.study_assets import result, verdict

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


def projection_result(
    X: np.ndarray[Any, Any],
    obs: pd.DataFrame,
    settings: ProjectionSettings,
    title: str,
    more: Mapping[str, Any] | None = None,
) -> dg.MaterializeResult:
    """Return the projection of `X` (n, d), fitted on the rows of training donors, with its pictures and figures.

    `obs` names donor, tissue and side of every row; `more` is further metadata.
    """
    import numpy as np

    from histo_assets.core.figures.expression import explained_variance
    from histo_assets.core.figures.projection import two_scatters
    from histo_assets.core.projection.project import project
    from histo_assets.core.projection.separation import embedding_figures

    training = (obs["side"] == "train").to_numpy()
    projection = project(np.asarray(X), training, settings)
    tissues = obs["tissue"].astype(str).to_numpy()
    drawn = projection.drawn
    figures = embedding_figures(projection.pca, tissues, ~training, obs["donor"].astype(str).to_numpy())
    umap, tsne = projection.umap[drawn], projection.tsne[drawn]
    finite = bool(np.isfinite(umap).all() and np.isfinite(tsne).all())
    return result(
        projection.to_adata(obs),
        {
            "points": len(obs),
            "drawn": int(drawn.sum()),
            "components": projection.pca.shape[1],
            "explained": float(projection.explained.sum()),
            **{f"{row['metric']}_{row['side']}": float(row["value"]) for row in figures.to_dict("records")},
            **(more or {}),
            "preview": picture(two_scatters(umap, tsne, list(tissues[drawn]), title), title),
            "explained_variance": picture(explained_variance(projection.explained), "explained variance"),
        },
        [verdict("numbers_are_finite", finite, f"{int(drawn.sum())} points drawn")],
    )
