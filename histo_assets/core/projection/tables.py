"""What is known of the rows of a projection."""

from __future__ import annotations

from histo_assets.core.cohort.tables import SIDES
from histo_assets.core.tables import Flag, Table, Text, Whole, column


class ProjectedRows(Table):
    """The tiles, slides or samples that are projected, with the columns that their matrix has."""

    id: Text = column("Tile, slide or sample.", unique=True)
    donor: Text = column("Donor.")
    tissue: Text = column("Tissue.")
    fold: Whole = column("Fold of cross-validation; -1 for locked donors.", ge=-1)
    side: Text = column("Side of the split.", isin=SIDES)
    drawn: Flag = column("Whether the row has a place in UMAP and t-SNE, or in PCA alone.")
