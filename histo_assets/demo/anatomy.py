"""What each tissue and disease is made of, and the plan of one slide."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

COMPARTMENTS = ("fat", "stroma", "muscle", "dermis", "gland", "epithelium", "epidermis", "liver", "brain", "medulla")


@dataclass(frozen=True)
class Tissue:
    """A tissue: printed name, RNA list's name, mixture of compartments and base inflammation.

    The mixture's order is the order they lie in. `layout`: `layers` go down from the piece's upper
    edge, `nested` lie in each other, `folds` do so at half the scale. `inflammation` is the
    tissue's mean, in the unit of a slide's latent.
    """

    name: str
    code: str
    mixture: dict[str, float]
    inflammation: float = 0.0
    layout: Literal["layers", "nested", "folds"] = "nested"
    male_mixture: dict[str, float] | None = None

    def of(self, sex: str) -> dict[str, float]:
        """Return the mixture of a donor of this sex."""
        return self.male_mixture if sex == "male" and self.male_mixture else self.mixture


TISSUES: dict[str, Tissue] = {
    "adipose_subcutaneous": Tissue(
        "Adipose - Subcutaneous", "Adipose_Subcutaneous", {"fat": 0.93, "stroma": 0.07}, -0.9
    ),
    "brain_cortex": Tissue("Brain - Cortex", "Brain_Cortex", {"brain": 0.97, "stroma": 0.03}, -1.3),
    "breast_mammary_tissue": Tissue(
        "Breast - Mammary Tissue",
        "Breast_Mammary_Tissue",
        {"fat": 0.42, "stroma": 0.38, "gland": 0.20},
        0.2,
        male_mixture={"fat": 0.95, "stroma": 0.04, "gland": 0.01},
    ),
    "esophagus_gastroesophageal_junction": Tissue(
        "Esophagus - Gastroesophageal Junction",
        "Esophagus_Gastroesophageal_Junction",
        {"epithelium": 0.06, "gland": 0.11, "stroma": 0.20, "muscle": 0.63},
        0.5,
    ),
    "esophagus_muscularis": Tissue(
        "Esophagus - Muscularis",
        "Esophagus_Muscularis",
        {"gland": 0.03, "stroma": 0.12, "muscle": 0.85},
        0.0,
    ),
    "kidney_medulla": Tissue("Kidney - Medulla", "Kidney_Medulla", {"medulla": 0.85, "stroma": 0.15}, 0.6),
    "liver": Tissue("Liver", "Liver", {"liver": 0.91, "stroma": 0.09}, 0.3),
    "skin_not_sun_exposed_suprapubic": Tissue(
        "Skin - Not Sun Exposed (Suprapubic)",
        "Skin_Not_Sun_Exposed_Suprapubic",
        {"epidermis": 0.08, "dermis": 0.78, "fat": 0.14},
        -0.3,
        "layers",
    ),
    "skin_sun_exposed_lower_leg": Tissue(
        "Skin - Sun Exposed (Lower leg)",
        "Skin_Sun_Exposed_Lower_leg",
        {"epidermis": 0.19, "dermis": 0.67, "fat": 0.14},
        -0.1,
        "layers",
    ),
    "stomach": Tissue(
        "Stomach",
        "Stomach",
        {"epithelium": 0.12, "gland": 0.48, "stroma": 0.18, "muscle": 0.22},
        1.3,
        "folds",
    ),
}
FEW_TISSUES = ("adipose_subcutaneous", "brain_cortex", "esophagus_muscularis", "liver")
RARE_TISSUE = "kidney_medulla"
RARE_SLIDES = 4


@dataclass(frozen=True)
class Disease:
    """A diagnosis: printed name, mixture, base inflammation, and how fatty and bile-stained it is."""

    name: str
    mixture: dict[str, float]
    inflammation: float
    steatosis: float = 0.0
    bile: float = 0.0


DISEASES: dict[str, Disease] = {
    "healthy": Disease("Healthy", {"liver": 0.94, "stroma": 0.06}, -0.8),
    "steatosis": Disease("Steatosis", {"liver": 0.93, "stroma": 0.07}, -0.3, steatosis=1.0),
    "hepatitis": Disease("Hepatitis", {"liver": 0.88, "stroma": 0.12}, 1.5),
    "cholestasis": Disease("Cholestasis", {"liver": 0.80, "stroma": 0.12, "gland": 0.08}, 0.2, bile=1.0),
    "cirrhosis": Disease("Cirrhosis", {"liver": 0.62, "stroma": 0.38}, 0.4, steatosis=0.15),
}


def chosen_tissues(count: int) -> list[str]:
    """Return the keys of the tissues of a cohort with `count` of them."""
    if count == len(FEW_TISSUES):
        return list(FEW_TISSUES)
    rest = [key for key in TISSUES if key not in FEW_TISSUES]
    return sorted([*FEW_TISSUES, *rest][:count])


def gland_label(labels: list[str]) -> str:
    """Return the one tissue or disease in which the gland genes follow the gland fraction."""
    with_gland = {
        key: (TISSUES[key].mixture if key in TISSUES else DISEASES[key].mixture).get("gland", 0) for key in labels
    }
    for key in ("stomach", "breast_mammary_tissue"):
        if key in with_gland:
            return key
    return max(with_gland, key=lambda key: with_gland[key])


@dataclass(frozen=True)
class Look:
    """Everything that decides the pixels of one slide.

    Latents are in units of their standard deviation: `inflammation` (with the label's base in it),
    `fibrosis`, `fat_size`, `autolysis` (0 is fresh). `stain` multiplies haematoxylin and eosin,
    `hue` shifts eosin towards red. `dirt` names what is done to the finished picture.
    """

    seed: int
    texture_seed: int
    side: int
    mixture: dict[str, float]
    layout: str = "nested"
    inflammation: float = 0.0
    fibrosis: float = 0.0
    fat_size: float = 0.0
    autolysis: float = 0.0
    steatosis: float = 0.0
    bile: float = 0.0
    stain: tuple[float, float] = (1.0, 1.0)
    hue: float = 0.0
    dirt: tuple[str, ...] = field(default=())
