"""JPEG-size thresholds from the data: what the post's authors set by hand, tissue by tissue."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from histo_assets.core.files import atomic_path
from histo_assets.core.tiling.store import TilingError

FEWEST_TILES = 60
_SPREADS = 3.0
_NORMAL = 1.4826
_DIGITS = 4


@dataclass(frozen=True)
class TissueThreshold:
    """What is proposed for one tissue.

    `threshold` is in JPEG bytes per pixel, None with a `reason` where too few tiles were judged; `rejected` is the
    share of the judged tiles that lie below it.
    """

    tissue: str
    threshold: float | None
    tiles: int
    slides: int
    rejected: float
    reason: str = ""


def proposed_thresholds(decisions: pd.DataFrame) -> list[TissueThreshold]:
    """Return a threshold for each tissue, below which a tile's JPEG is too small to be of its kind.

    Sizes are compared as logarithms, since what a tissue's tiles differ by is a factor. The threshold lies three
    spreads below the median; the spread is the median distance of the smaller half from it, times 1.4826, so that it
    is a standard deviation where sizes are log-normal, and glass or blur in a few tiles does not move it
    (Leys et al., J Exp Soc Psychol 49 (2013) 764).

    Parameters
    ----------
    decisions
        One row a tile that was judged, kept or not: tissue, slide, jpeg_bytes (bytes per pixel).
    """
    return [_proposed(str(tissue), part) for tissue, part in decisions.groupby("tissue", sort=True)]


def _proposed(tissue: str, part: pd.DataFrame) -> TissueThreshold:
    size = part["jpeg_bytes"].to_numpy(dtype=float)
    tiles, slides = len(size), int(part["slide"].nunique())
    if tiles < FEWEST_TILES:
        return TissueThreshold(tissue, None, tiles, slides, 0.0, f"{tiles} tiles, at least {FEWEST_TILES} are needed")
    logs = np.log(np.maximum(size, 1e-6))
    middle = float(np.median(logs))
    spread = _NORMAL * float(np.median(middle - logs[logs <= middle]))
    threshold = round(float(np.exp(middle - _SPREADS * spread)), _DIGITS)
    return TissueThreshold(tissue, threshold, tiles, slides, float((size < threshold).mean()))


def write_thresholds(path: Path, extends: str, name: str, thresholds: Sequence[TissueThreshold]) -> None:
    """Write a study file that extends another and differs by its JPEG-size thresholds; all others are inherited.

    Parameters
    ----------
    extends, name
        The study that it extends, and its own name.
    thresholds
        Those without a threshold are left out.

    Raises
    ------
    TilingError
        The file exists, or there is no threshold to write.
    """
    import yaml

    proposed = {item.tissue: item.threshold for item in thresholds if item.threshold is not None}
    if not proposed:
        raise TilingError("no tissue has enough tiles for a threshold; run `histo-assets materialize --select tiles`")
    if path.exists():
        raise TilingError(f"{path} exists; give another name, or take it away")
    per_tissue = {tissue: {"min_jpeg_bytes_per_pixel": threshold} for tissue, threshold in proposed.items()}
    content = {"extends": extends, "name": name, "tiling": {"quality": {"per_tissue": per_tissue}}}
    lines = ["# JPEG-size thresholds (bytes per pixel) proposed by `histo-assets calibrate` from:"]
    lines += [f"# {item.tissue}: {item.tiles} tiles of {item.slides} slides" for item in thresholds]
    with atomic_path(path) as temporary:
        text = "\n".join(lines) + "\n" + yaml.safe_dump(content, sort_keys=False)
        temporary.write_text(text, encoding="utf-8")


def study_reference(chosen: str, target: Path) -> str:
    """Return how a study file at `target` names the study `chosen`: a packaged name, or a path relative to it."""
    path = Path(chosen)
    return os.path.relpath(path.absolute(), target.absolute().parent) if path.suffix in (".yaml", ".yml") else chosen
