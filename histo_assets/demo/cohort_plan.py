"""Who is in the cohort: donors, slides, latents, stain and dirt, drawn from the seed alone."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from histo_assets.demo.anatomy import (
    COMPARTMENTS,
    DISEASES,
    RARE_SLIDES,
    RARE_TISSUE,
    TISSUES,
    Look,
    chosen_tissues,
)
from histo_assets.demo.settings import SyntheticSettings

LATENTS = ("inflammation", "fibrosis", "fat_size", "autolysis", "hidden", "gland")
BATCHES = 4
PICTURE_DIRT = ("pen", "dust", "blur", "half_empty")
FILE_DIRT = ("blank", "truncated", "html", "zero_length_tiles", "overwritten_tiles")
AGES = ("20-29", "30-39", "40-49", "50-59", "60-69", "70-79")
AGE_SHARES = (0.07, 0.07, 0.15, 0.32, 0.35, 0.04)
HARDY = (
    ("Ventilator case", 0.49, 180.0),
    ("Fast death - natural causes", 0.27, 720.0),
    ("Slow death", 0.14, 800.0),
    ("Intermediate death", 0.06, 760.0),
    ("Fast death - violent", 0.04, 700.0),
)
ALPHABET = np.array(list("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"))


@dataclass(frozen=True)
class Donor:
    """A donor; `stain` and `hue` are what is peculiar to the donor's blocks."""

    id: str
    sex: str
    age: str
    hardy: str
    hardy_minutes: float
    batch: int
    stain: tuple[float, float]
    hue: float


@dataclass(frozen=True)
class SlidePlan:
    """One row of the manifest, and all that is true of it.

    `sample` is None for a slide without RNA. `file` is the slide file's name, None where no file is
    written. `damage` is one of FILE_DIRT or ''. `kind`: 'good', 'damaged' or 'unpaired'.
    """

    slide: str
    donor: Donor
    label: str
    sample: str | None
    file: str | None
    kind: str
    damage: str
    batch: int
    ischaemia: float
    latents: dict[str, float]
    look: Look
    storage_px: int = 240
    photometric: str = "ycbcr"
    extra: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class CohortPlan:
    """The whole cohort: slides in the manifest's order, and RNA samples that have no slide."""

    slides: list[SlidePlan]
    stray_samples: list[tuple[str, str, str]]  # sample, donor, printed tissue code
    donors: list[Donor]


def _code(rng: np.random.Generator, length: int) -> str:
    return "".join(rng.choice(ALPHABET, length))


def planned_donors(settings: SyntheticSettings, rng: np.random.Generator) -> list[Donor]:
    """Return the donors, with ids that the flavour's reader knows."""
    donors: list[Donor] = []
    batch_stain, batch_hue = batch_stains(settings)
    taken: set[str] = set()
    for number in range(settings.donors):
        while True:
            code = "1" + _code(rng, int(rng.integers(3, 5)))
            if code not in taken:
                break
        taken.add(code)
        hardy, _, minutes = HARDY[int(rng.choice(len(HARDY), p=[row[1] for row in HARDY]))]
        batch = number % BATCHES
        donors.append(
            Donor(
                id=f"GTEX-{code}" if settings.flavour == "gtex" else f"Pat {number + 1}",
                sex="female" if number % 5 in (1, 3) else "male",
                age=str(rng.choice(AGES, p=AGE_SHARES)),
                hardy=hardy,
                hardy_minutes=minutes,
                batch=batch,
                stain=(
                    float(batch_stain[batch, 0] * np.exp(rng.normal(0, 0.04))),
                    float(batch_stain[batch, 1] * np.exp(rng.normal(0, 0.04))),
                ),
                hue=float(batch_hue[batch] + rng.normal(0, 0.12)),
            )
        )
    return donors


def batch_stains(settings: SyntheticSettings) -> tuple[np.ndarray, np.ndarray]:
    """Return the stain strengths (batches, 2) and hues (batches,) of the staining batches."""
    rng = np.random.default_rng([settings.seed, 3])
    corners = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]]) * 0.13
    stain = np.exp(corners + rng.normal(0, 0.02, (BATCHES, 2)))
    return stain, np.array([0.35, -0.25, -0.35, 0.3])


def slides_per_label(settings: SyntheticSettings) -> dict[str, int]:
    """Return how many good paired slides each tissue (or disease) gets."""
    labels = chosen_tissues(settings.tissues) if settings.flavour == "gtex" else list(DISEASES)[: settings.tissues]
    counts = dict.fromkeys(labels, 0)
    left = settings.slides
    if RARE_TISSUE in counts and settings.slides >= 4 * len(labels):
        counts[RARE_TISSUE] = RARE_SLIDES
        left -= RARE_SLIDES
    open_labels = [key for key in labels if counts[key] == 0]
    for place, key in enumerate(open_labels):
        counts[key] = left // len(open_labels) + (place < left % len(open_labels))
    return counts


def mixture_of(label: str, sex: str) -> dict[str, float]:
    """Return the label's mean mixture of compartments."""
    return TISSUES[label].of(sex) if label in TISSUES else DISEASES[label].mixture


def drawn_slide(
    settings: SyntheticSettings, number: int, donor: Donor, label: str
) -> tuple[dict[str, float], float, int, Look]:
    """Return latents, ischaemic minutes, batch and look of one slide, from a seed of its own."""
    rng = np.random.default_rng([settings.seed, 4, number])
    mean = mixture_of(label, donor.sex)
    weights = np.array(list(mean.values()))
    shares = rng.dirichlet(25 * weights + 0.02)
    mixture = dict(zip(mean, shares, strict=True))
    batch = donor.batch if rng.random() < 0.8 else int(rng.integers(BATCHES))
    stains, hues = batch_stains(settings)
    home, _ = batch_stains(settings)
    minutes = float(np.clip(donor.hardy_minutes * np.exp(rng.normal(0, 0.55)), 20, 1600))
    autolysis = float(np.clip((np.log(minutes) - np.log(420)) / 0.75, -2.2, 2.2))
    gland = mean.get("gland", 0.0)
    spread = np.sqrt(gland * (1 - gland) / 26) if gland else 1.0
    latents = {
        "inflammation": float(rng.normal()),
        "fibrosis": float(rng.normal()),
        "fat_size": float(rng.normal()),
        "autolysis": autolysis,
        "hidden": float(rng.normal()),
        "gland": float((mixture.get("gland", 0.0) - gland) / spread),
    }
    base = TISSUES.get(label)
    disease = DISEASES.get(label)
    level = base.inflammation if base else disease.inflammation if disease else 0.0
    stain = tuple(float(donor.stain[k] / home[donor.batch, k] * stains[batch, k]) for k in (0, 1))
    look = Look(
        seed=int(rng.integers(2**62)),
        texture_seed=settings.seed,
        side=settings.slide_px,
        mixture={name: float(mixture[name]) for name in mixture},
        layout=base.layout if base else "nested",
        inflammation=latents["inflammation"] + 0.5 * level,
        fibrosis=latents["fibrosis"],
        fat_size=latents["fat_size"],
        autolysis=max(0.0, 0.75 * autolysis + 0.5),
        steatosis=disease.steatosis * float(rng.uniform(0.6, 1.2)) if disease else 0.0,
        bile=disease.bile if disease else 0.0,
        stain=(stain[0], stain[1]),
        hue=float(donor.hue - hues[donor.batch] + hues[batch]),
    )
    return latents, minutes, batch, look


def assigned_donors(rng: np.random.Generator, donors: list[Donor], count: int, label: str) -> list[Donor]:
    """Return the donors of a label's slides: all differ while there are enough; one has two slides of most tissues."""
    order = [donors[place] for place in rng.permutation(len(donors))]
    if label == "breast_mammary_tissue":  # two thirds of the real ones are male; both must be there
        order.sort(key=lambda donor: donor.sex == "male", reverse=False)
        women = [d for d in order if d.sex == "female"]
        men = [d for d in order if d.sex == "male"]
        third = max(1, round(count * 0.4))
        order = women[:third] + men + women[third:]
    chosen = [order[place % len(order)] for place in range(count)]
    if count > 5 and len(donors) > 1:
        chosen[-1] = chosen[0]  # a donor with two slides of one tissue
    return chosen


def with_picture_dirt(rng: np.random.Generator, looks: list[Look]) -> list[Look]:
    """Return the looks, a fifth of them with pen, dust, blur or an empty half."""
    dirty = list(looks)
    for place, index in enumerate(rng.permutation(len(looks))[: max(4, len(looks) // 5)]):
        kind = PICTURE_DIRT[place % len(PICTURE_DIRT)]
        dirty[index] = replace(looks[index], dirt=(kind,))
    return dirty


def mixture_columns(look: Look) -> dict[str, float]:
    """Return the share of every compartment under the name `mix_<compartment>`."""
    return {f"mix_{name}": look.mixture.get(name, 0.0) for name in COMPARTMENTS}
