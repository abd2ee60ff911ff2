"""What is known of the rows of the expression matrix."""

from __future__ import annotations

from histo_assets.core.cohort.tables import SIDES
from histo_assets.core.tables import Table, Text, Value, Whole, column


class Samples(Table):
    """The RNA samples of the study. Further columns are the cohort's."""

    sample: Text = column("RNA sample.", unique=True)
    slide: Text = column("First slide of the sample.")
    slides: Text = column("All of its slides, joined by `;`.")
    donor: Text = column("Donor.")
    tissue: Text = column("Tissue.")
    tissue_name: Text = column("The tissue as it is printed.")
    sex: Value | None = column("Sex of the donor.", missing=True)
    age: Value | None = column("Age of the donor, or the bracket that holds it.", "years", missing=True)
    autolysis: Value | None = column("Autolysis as the pathologist scored it, 0 to 3.", missing=True)
    rin: Value | None = column("Integrity of the RNA, 1 to 10.", "RIN", missing=True)
    ischemic_minutes: Value | None = column("From death, or removal, to fixation.", "min", missing=True)
    fold: Whole = column("Fold of cross-validation; -1 for locked donors.", ge=-1)
    side: Text = column("Side of the split.", isin=SIDES)
