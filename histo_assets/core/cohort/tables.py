"""The tables of the cohort: manifest, pairs, the slides that are taken, the sides of donors."""

from __future__ import annotations

from histo_assets.core.tables import Table, Text, Value, Whole, column

SIDES = ["train", "validation", "test"]


class Manifest(Table):
    """Every slide of the cohort. Further columns of its file are kept."""

    slide: Text = column("The slide's id, safe as a file name.", unique=True)
    donor: Text = column("The person it was taken from.")
    tissue: Text = column("Key of the label that partitions the study.")
    tissue_name: Text = column("The label as it is printed.")
    sample: Text | None = column("RNA sample that the manifest names; empty where it names none.", missing=True)
    original_slide: Text | None = column("The id in the file, where it is no safe file name.", missing=True)
    original_donor: Text | None = column("The donor in the file, where the name had to be changed.", missing=True)
    sex: Value | None = column("Sex of the donor.", missing=True)
    age: Value | None = column("Age of the donor, or the bracket that holds it.", "years", missing=True)
    hardy: Value | None = column("How the donor died, by the Hardy scale.", missing=True)
    categories: Value | None = column("What the pathologist noted, as key words.", missing=True)
    notes: Value | None = column("What the pathologist noted.", missing=True)


class Pairs(Manifest):
    """The slides that have an RNA sample of the same piece of tissue, with the covariates of the sample."""

    sample: Text = column("Name of the RNA sample in the expression file.")
    autolysis: Value | None = column("Autolysis as the pathologist scored it, 0 to 3.", missing=True)
    center: Value | None = column("Where the sample was collected.", missing=True)
    batch: Value | None = column("Sequencing batch.", missing=True)
    isolation_batch: Value | None = column("Batch of the isolation of RNA.", missing=True)
    isolation_date: Value | None = column("Day of the isolation of RNA.", missing=True)
    rin: Value | None = column("Integrity of the RNA, 1 to 10.", "RIN", missing=True)
    ischemic_minutes: Value | None = column("From death, or removal, to fixation.", "min", missing=True)


class SelectedSlides(Pairs):
    """The slides of one tissue that the study takes, in order."""

    rank: Whole = column("Place in the selection; 0 is the first taken.", ge=0, unique=True)
    why: Text = column("Why the slide was taken.")
    siblings: Text | None = column("Slides whose image could be taken for its own, joined by `;`.", missing=True)


class DonorSplit(Table):
    """The side of every donor of the study."""

    donor: Text = column("Donor.", unique=True)
    fold: Whole = column("Fold of cross-validation; -1 for locked donors.", ge=-1)
    side: Text = column("Where the donor's slides stand; `test` is locked.", isin=SIDES)
    slides: Whole = column("Slides of the donor in the study.", ge=1)
