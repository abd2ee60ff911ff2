"""Colours and short names of tissues, the same in every figure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np

# The tissues of the GTEx histology portal. Forty colours chosen together, so that the two nearest are as far
# apart as possible in OKLab, for normal vision and for simulated protanopia and deuteranopia (Machado 2009).
GTEX: dict[str, tuple[str, str]] = {
    "adipose_subcutaneous": ("Adipose subcut.", "#6e5006"),
    "adipose_visceral_omentum": ("Adipose visceral", "#fc8118"),
    "adrenal_gland": ("Adrenal gland", "#1d5cdf"),
    "artery_aorta": ("Aorta", "#ce1a5c"),
    "artery_coronary": ("Coronary artery", "#89153d"),
    "artery_tibial": ("Tibial artery", "#dd7c85"),
    "bladder": ("Bladder", "#742306"),
    "brain_cerebellum": ("Cerebellum", "#62509c"),
    "brain_cortex": ("Brain cortex", "#6b0078"),
    "breast_mammary_tissue": ("Breast", "#e15a9d"),
    "cervix_ectocervix": ("Ectocervix", "#985d7f"),
    "cervix_endocervix": ("Endocervix", "#58305e"),
    "colon_sigmoid": ("Colon sigmoid", "#d9b5a1"),
    "colon_transverse": ("Colon transverse", "#d14a1b"),
    "esophagus_gastroesophageal_junction": ("Esophagus GEJ", "#1e6f52"),
    "esophagus_mucosa": ("Esophagus mucosa", "#274b3c"),
    "esophagus_muscularis": ("Esophagus muscul.", "#29e16f"),
    "fallopian_tube": ("Fallopian tube", "#91357d"),
    "heart_atrial_appendage": ("Heart atrium", "#c39ba6"),
    "heart_left_ventricle": ("Heart ventricle", "#ae1e11"),
    "kidney_cortex": ("Kidney cortex", "#1dbdc8"),
    "kidney_medulla": ("Kidney medulla", "#3796a6"),
    "liver": ("Liver", "#b77460"),
    "lung": ("Lung", "#a8ae6a"),
    "minor_salivary_gland": ("Salivary gland", "#4ad6cb"),
    "muscle_skeletal": ("Skeletal muscle", "#341aad"),
    "nerve_tibial": ("Tibial nerve", "#b38a50"),
    "ovary": ("Ovary", "#bd3fb7"),
    "pancreas": ("Pancreas", "#5230c1"),
    "pituitary": ("Pituitary", "#75790b"),
    "prostate": ("Prostate", "#3e74b8"),
    "skin_not_sun_exposed_suprapubic": ("Skin suprapubic", "#6566f6"),
    "skin_sun_exposed_lower_leg": ("Skin lower leg", "#8fc3f5"),
    "small_intestine_terminal_ileum": ("Ileum", "#8a7dfa"),
    "spleen": ("Spleen", "#bf7edc"),
    "stomach": ("Stomach", "#7db002"),
    "testis": ("Testis", "#a0abfe"),
    "thyroid": ("Thyroid", "#579ff8"),
    "uterus": ("Uterus", "#113a90"),
    "vagina": ("Vagina", "#b0cd26"),
}

# Any other label gets a slot here by the hash of its key; the order is greedy by the same distance,
# so the first slots are the furthest apart.
SLOTS: tuple[str, ...] = (
    *("#2b73c8", "#7dda38", "#c50a00", "#eb9bf6", "#6b0078", "#a58e70", "#0d6f5a", "#2731bb"),
    *("#751f23", "#a4c8b1", "#b13e98", "#f75215", "#8a7dfa", "#4d9ebc", "#534461", "#f857a9"),
    *("#9eb357", "#a76682", "#35a130", "#bfaac9", "#edae87", "#066805", "#4b1d97", "#534fdd"),
    *("#b790f7", "#48627a", "#ac3a59", "#234b40", "#8c2f99", "#f57c97", "#668952", "#6c83d0"),
    *("#506cf8", "#8a4b39", "#3f55b3", "#7e61ae", "#861748", "#22aa8a", "#57bff2", "#d69d02"),
    *("#dc82d4", "#643378", "#62cd7e", "#248475", "#8362dd", "#996639", "#c55e9c", "#ac9d5a"),
)
PREFERRED = 16
MARKERS = "os^Dv"
UNKNOWN = "#8a8f98"


def tissue_colours(tissues: Iterable[str]) -> dict[str, str]:
    """Return a colour (`#rrggbb`) for each tissue key.

    A GTEx tissue always has its own colour. Any other key goes to the slot of its hash, whatever the
    order; where two keys of one figure meet in a slot, the later in the alphabet moves to the next free
    one. An empty key is grey.

    >>> tissue_colours(["liver", "lung"])["liver"] == tissue_colours(["liver"])["liver"]
    True
    """
    keys = sorted({str(tissue) for tissue in tissues})
    colours = {key: GTEX[key][1] for key in keys if key in GTEX}
    taken: set[int] = set()
    for key in keys:
        if key in colours:
            continue
        if not key:
            colours[key] = UNKNOWN
            continue
        slot = _hash(key) % PREFERRED
        if len(taken) < len(SLOTS):
            while slot in taken:
                slot = (slot + 1) % len(SLOTS)
            taken.add(slot)
        colours[key] = SLOTS[slot]
    return colours


def tissue_marker(tissue: str) -> str:
    """Return the marker of a tissue key, always the same: shape helps where colours are close."""
    if tissue in GTEX:
        return MARKERS[list(GTEX).index(tissue) % len(MARKERS)]
    return MARKERS[_hash(tissue) // PREFERRED % len(MARKERS)]


def short_name(tissue: str, longest: int = 24) -> str:
    """Return a tissue key as a label: the short GTEx name, else the key in words, cut at `longest` characters.

    >>> short_name("kidney_medulla"), short_name("grade_2")
    ('Kidney medulla', 'Grade 2')
    """
    if tissue in GTEX:
        return GTEX[tissue][0]
    words = str(tissue).replace("_", " ").strip()
    words = words[:1].upper() + words[1:]
    return words if len(words) <= longest else words[: longest - 1].rstrip() + "…"


def readable_on(colour: str) -> str:
    """Return the text colour, dark or white, that reads on `colour` (`#rrggbb`)."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "#1b1f24" if 0.299 * red + 0.587 * green + 0.114 * blue > 150 else "#ffffff"


def ink_of(colour: str) -> str:
    """Return `colour` (`#rrggbb`), darkened until text in it reads on white."""
    parts = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)], dtype=float)
    brightness = float(parts @ [0.299, 0.587, 0.114])
    parts *= min(0.85, 105 / max(brightness, 1.0))
    return "#" + "".join(f"{round(part):02x}" for part in parts)


def _hash(key: str) -> int:
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:6], "big")
