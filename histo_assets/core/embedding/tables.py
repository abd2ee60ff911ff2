"""What is known of the rows of the embeddings."""

from __future__ import annotations

from histo_assets.core.cohort.tables import SIDES
from histo_assets.core.tables import Table, Text, Whole, column


class EmbeddedTiles(Table):
    """The tiles whose embeddings are the rows of the matrix."""

    tile: Text = column("Tile.", unique=True)
    slide: Text = column("Slide.")
    donor: Text = column("Donor.")
    tissue: Text = column("Tissue that it is.")
    x: Whole = column("Left edge at level 0.", "px", ge=0)
    y: Whole = column("Upper edge at level 0.", "px", ge=0)
    size: Whole = column("Edge length at level 0.", "px", gt=0)
    predicted: Text = column("Tissue the network takes it for; empty where it knows none.", missing=True)


class EmbeddedSlides(Table):
    """The slides whose mean embeddings are the rows of the matrix."""

    slide: Text = column("Slide.", unique=True)
    donor: Text = column("Donor.")
    tissue: Text = column("Tissue that it is.")
    tiles: Whole = column("Tiles that were averaged.", ge=1)
    fold: Whole = column("Fold of cross-validation; -1 for locked donors.", ge=-1)
    side: Text = column("Side of the split.", isin=SIDES)
    predicted: Text = column("Tissue the network, or a probe, takes it for.", missing=True)
