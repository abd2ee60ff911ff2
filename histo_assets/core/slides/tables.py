"""The table of slides."""

from __future__ import annotations

from histo_assets.core.tables import Number, Table, Text, Whole, column


class RawSlides(Table):
    """Where each slide of a tissue is and whether it can be used."""

    slide: Text = column("Slide.", unique=True)
    donor: Text = column("Donor.")
    tissue: Text = column("Tissue.")
    sample: Text = column("RNA sample of the same piece.")
    path: Text = column("Where its file is, relative to the study's folder of slides; empty where there is none.")
    bytes: Whole = column("Size of the file.", "bytes", ge=0)
    width: Whole = column("Width at level 0; 0 where it is unknown.", "px", ge=0)
    height: Whole = column("Height at level 0; 0 where it is unknown.", "px", ge=0)
    mpp: Number = column("Resolution at level 0.", "um per px", missing=True, gt=0)
    levels: Whole = column("Levels of the pyramid.", ge=0)
    vendor: Text = column("What wrote the file.")
    digest: Text = column("What tells a changed file from this one.")
    digest_kind: Text = column("What the digest is of.", isin=["", "directory", "ends", "folder", "fetched"])
    integrity: Text = column(
        "`checked`: every storage tile lies in the file and is decoded strictly; empty where it cannot be used.",
        isin=["", "checked", "unverified"],
    )
    quarantined: Text = column("Why the file cannot be used.", missing=True)
    missing: Text | None = column("Why there is no file.", missing=True)
