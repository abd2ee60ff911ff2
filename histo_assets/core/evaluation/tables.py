"""The table of an evaluation."""

from __future__ import annotations

from histo_assets.core.tables import Number, Table, Text, Whole, column


class Evaluation(Table):
    """Figures of the network, of the baselines and of second classifiers, on every side of the split."""

    method: Text = column("`network`, a second classifier on its embeddings, or a baseline.")
    level: Text = column("What is counted.", isin=["tile", "slide"])
    side: Text = column("Side of the split.")
    metric: Text = column(
        "`accuracy`, `macro_f1`, `ece`, `recall`, `confusion`; of look-alikes `merged_accuracy`, `merged_macro_f1`,"
        " `mistaken`."
    )
    tissue: Text = column("Tissue; empty where the figure is over all.")
    predicted: Text = column("Tissue it was taken for, of `confusion` and `mistaken`.")
    sex: Text = column("Sex of the donors, of `mistaken`; empty where it is over both.")
    value: Number = column("The figure; of `confusion` a count.", missing=True)
    low: Number = column("Lower end of the 95 % interval over donors.", missing=True)
    high: Number = column("Upper end of it.", missing=True)
    n: Whole = column("Tiles or slides that it is over.", ge=0)
