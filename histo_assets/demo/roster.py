"""The rows of a cohort: which donor gave which slide and RNA sample, under which identifiers."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

from histo_assets.core.files import slug
from histo_assets.demo.anatomy import DISEASES, TISSUES
from histo_assets.demo.cohort_plan import (
    FILE_DIRT,
    CohortPlan,
    Donor,
    SlidePlan,
    assigned_donors,
    drawn_slide,
    planned_donors,
    slides_per_label,
    with_picture_dirt,
)
from histo_assets.demo.settings import SyntheticSettings

STRAY_TISSUES = ("Brain_Hippocampus", "Brain_Amygdala", "Whole_Blood")
SITES = ("Northgate", "Riverside", "Hillcrest")


def cohort_plan(settings: SyntheticSettings) -> CohortPlan:
    """Return the plan of a cohort; it depends on the settings alone."""
    rng = np.random.default_rng([settings.seed, 0])
    donors = planned_donors(settings, rng)
    wanted = _wanted(settings, rng, donors)
    plan = _gtex_rows(settings, rng, wanted) if settings.flavour == "gtex" else _disease_rows(settings, rng, wanted)
    if settings.dirt:
        plan = _dirtied(plan, rng)
    strays = _stray_samples(rng, plan, donors) if settings.flavour == "gtex" else []
    return CohortPlan(plan, strays, donors)


def _wanted(settings: SyntheticSettings, rng: np.random.Generator, donors: list[Donor]) -> list[tuple[str, Donor, str]]:
    """Return (label, donor, kind) of every row of the manifest; kind is good, unpaired or a damage."""
    counts = slides_per_label(settings)
    rows = [
        (label, donor, "good")
        for label, count in counts.items()
        for donor in assigned_donors(rng, donors, count, label)
    ]
    common = sorted(counts, key=lambda label: -counts[label])
    extra = ["unpaired"] * (3 if settings.flavour == "gtex" else 0)
    if settings.dirt:
        extra += [*FILE_DIRT, "missing"]
    for place, kind in enumerate(extra):
        rows.append((common[place % len(common)], donors[int(rng.integers(len(donors)))], kind))
    return rows


def _gtex_rows(
    settings: SyntheticSettings, rng: np.random.Generator, wanted: list[tuple[str, Donor, str]]
) -> list[SlidePlan]:
    """Return slides with GTEx identifiers, in the order of donor and number as in the portal's file."""
    blocks = {donor.id: iter(rng.permutation(np.arange(1, 100))) for _, donor, _ in wanted}
    rows = []
    for number, (label, donor, kind) in enumerate(wanted):
        slide = f"{donor.id}-{next(blocks[donor.id]):02d}26"
        sibling = rng.random() < 0.2 and kind == "good"
        latents, minutes, batch, look = drawn_slide(settings, number, donor, label)
        code = "".join(rng.choice(list("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"), 5))
        rows.append(
            SlidePlan(
                slide=slide,
                donor=donor,
                label=label,
                sample=None if kind == "unpaired" else f"{slide}-SM-{code}",
                file=None if kind == "missing" else f"{slide[:-1]}5.svs" if sibling else f"{slide}.svs",
                kind=kind if kind in ("good", "unpaired") else "damaged",
                damage="" if kind in ("good", "unpaired") else kind,
                batch=batch,
                ischaemia=minutes,
                latents=latents,
                look=look,
                storage_px=256 if number % 3 == 0 else 240,
                photometric="rgb" if number % 4 == 0 else "ycbcr",
            )
        )
    return sorted(rows, key=lambda row: row.slide)


def _disease_rows(
    settings: SyntheticSettings, rng: np.random.Generator, wanted: list[tuple[str, Donor, str]]
) -> list[SlidePlan]:
    """Return slides of patients: some samples have two slides, some patients two samples.

    A patient has one diagnosis, so that a donor's samples agree.
    """
    labels = list(dict.fromkeys(label for label, _, _ in wanted))
    patients = {label: sorted({d.id: d for k, d, _ in wanted if k == label}.values(), key=_number) for label in labels}
    everyone = sorted({d.id: d for _, d, _ in wanted}.values(), key=_number)
    for place, label in enumerate(labels):
        patients[label] = [donor for k, donor in enumerate(everyone) if k % len(labels) == place] or everyone[:1]
    rows: list[SlidePlan] = []
    filled: dict[str, list[str]] = {label: [] for label in labels}
    for number, (label, _, kind) in enumerate(wanted):
        done = filled[label]
        order = patients[label]
        second_slide = kind == "good" and len(done) % 4 == 3
        sample = done[-1] if second_slide else ""
        if not sample:
            taken = len(set(done))
            donor = order[taken % len(order)]
            sample = f"{donor.id}/{'BCDEFGHIJKLMNOPQ'[min(15, taken // len(order))]}"
        donor = next(d for d in order if sample.startswith(d.id + "/"))
        done.append(sample)
        slide = f"{sample} s{done.count(sample)}"
        latents, minutes, batch, look = drawn_slide(settings, number, donor, label)
        first = next((row for row in rows if row.sample == sample), None)
        if first:
            latents, minutes, batch = first.latents, first.ischaemia, first.batch
            look = replace(first.look, seed=look.seed)
        rows.append(
            SlidePlan(
                slide=slide,
                donor=donor,
                label=label,
                sample=sample,
                file=None if kind == "missing" else re.sub(r"[^A-Za-z0-9._-]+", "_", slide) + ".svs",
                kind="good" if kind == "good" else "damaged",
                damage="" if kind == "good" else kind,
                batch=batch,
                ischaemia=minutes,
                latents=latents,
                look=look,
                storage_px=256 if number % 3 == 0 else 240,
                photometric="rgb" if number % 4 == 0 else "ycbcr",
                extra=(
                    ("site", SITES[batch % len(SITES)]),
                    ("stage", f"F{int(np.clip(round(1.5 + latents['fibrosis']), 0, 4))}"),
                ),
            )
        )
    return rows


def _number(donor: Donor) -> int:
    return int(donor.id.split()[-1])


def _dirtied(rows: list[SlidePlan], rng: np.random.Generator) -> list[SlidePlan]:
    """Return the rows, a fifth of the good ones with dirt in the picture."""
    good = [place for place, row in enumerate(rows) if row.kind == "good"]
    looks = with_picture_dirt(rng, [rows[place].look for place in good])
    dirty = list(rows)
    for place, look in zip(good, looks, strict=True):
        dirty[place] = replace(rows[place], look=look)
    return dirty


def _stray_samples(rng: np.random.Generator, rows: list[SlidePlan], donors: list[Donor]) -> list[tuple[str, str, str]]:
    """Return RNA samples that have no slide: brain regions, blood, and tissues of the cohort itself."""
    taken = {row.slide for row in rows}
    codes = ["".join(rng.choice(list("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"), 5)) for _ in range(12)]
    strays = []
    for place, code in enumerate(codes):
        donor = donors[place % len(donors)].id
        if place < 5:
            part = f"0011-R{1 + place}{'abABa'[place]}"
            strays.append((f"{donor}-{part}-SM-{code}", donor, STRAY_TISSUES[place % 2]))
        elif place < 8:
            strays.append((f"{donor}-0006-SM-{code}", donor, STRAY_TISSUES[2]))
        else:
            free = next(k for k in range(99, 0, -1) if f"{donor}-{k:02d}26" not in taken)
            label = rows[place % len(rows)].label
            strays.append((f"{donor}-{free:02d}26-SM-{code}", donor, TISSUES[label].code))
    return strays


def printed_label(label: str) -> str:
    """Return the name that the cohort's files print for a tissue or disease; its slug is `label`."""
    name = TISSUES[label].name if label in TISSUES else DISEASES[label].name
    if slug(name) != label:
        raise ValueError(f"{name!r} does not slug to {label!r}")
    return name
