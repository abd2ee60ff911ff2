"""The table of predictions."""

from __future__ import annotations

from histo_assets.core.tables import Number, Table, Text, column


class TilePredictions(Table):
    """Predictions of a network for tiles."""

    tile: Text = column("Tile.", unique=True)
    slide: Text = column("Slide.")
    donor: Text = column("Donor.")
    tissue: Text = column("Tissue that it is.")
    side: Text = column("Side of the split.")
    predicted: Text = column("Tissue that the network takes it for.")
    confidence: Number = column("Probability of that tissue.", missing=True, ge=0, le=1.0001)
    log_probability: Number | None = column(
        "Log-probability of this tissue.", "nat", like="p_.+", missing=True, le=0.0001
    )
