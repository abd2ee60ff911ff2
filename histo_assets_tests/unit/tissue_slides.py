"""Small slides and tissue pictures for the tests of slides and tiles."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from histo_assets.core.slides.integrity import inspect_slide
from histo_assets.demo.svs import write_svs

GLASS = (243, 242, 244)


def glass(height: int, width: int) -> np.ndarray[Any, Any]:
    """Return empty glass with a little grain."""
    grain = np.random.default_rng(1).integers(-1, 2, (height, width, 1))
    return (np.full((height, width, 3), GLASS) + grain).astype(np.uint8)


def stroma(height: int, width: int, seed: int = 0) -> np.ndarray[Any, Any]:
    """Return pink fibres with purple nuclei."""
    rng = np.random.default_rng(seed)
    noise = cv2.GaussianBlur(rng.random((height, width), dtype=np.float32), (0, 0), 2)
    fibres = np.clip((noise - 0.5) * 8 + 0.5, 0, 1)[..., None]
    pixels = np.array((232, 150, 190)) * (1 - fibres) + np.array((200, 110, 170)) * fibres
    for x, y in rng.integers(0, (width, height), (height * width // 600, 2)):
        cv2.circle(pixels, (int(x), int(y)), 3, (90, 50, 140), -1)
    return pixels.astype(np.uint8)


def fat(height: int, width: int, cell: int = 120, wall: int = 3) -> np.ndarray[Any, Any]:
    """Return large empty cells between thin pink walls."""
    pixels = glass(height, width)
    for row, top in enumerate(range(-cell // 2, height, cell)):
        cv2.line(pixels, (0, top), (width, top), (214, 150, 186), wall)
        for left in range(-cell // 2 * (row % 2), width, cell):
            cv2.line(pixels, (left, top), (left, top + cell), (214, 150, 186), wall)
    return pixels


def tissue_picture(side: int = 768, seed: int = 0, margin: int = 96) -> np.ndarray[Any, Any]:
    """Return a square piece of stroma with a margin of glass around it."""
    pixels = glass(side, side)
    inner = side - 2 * margin
    pixels[margin : side - margin, margin : side - margin] = stroma(inner, inner, seed)
    return pixels


def slide_table(folder: Path, slides: list[str], tissue: str = "uterus") -> pd.DataFrame:
    """Return the raw_slides table of slides that lie in `folder` as `<slide>.svs`."""
    rows = [
        {"slide": slide, "donor": f"donor-{slide}", "tissue": tissue, "sample": slide}
        | asdict(inspect_slide(folder / f"{slide}.svs", None, slide))
        for slide in slides
    ]
    return pd.DataFrame(rows)


def write_slides(folder: Path, slides: list[str], **options: Any) -> pd.DataFrame:
    """Write one small slide of stroma for each name and return their raw_slides table."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, slide in enumerate(slides):
        write_svs(folder / f"{slide}.svs", tissue_picture(seed=seed), **{"associated": False, **options})
    return slide_table(folder, slides)
