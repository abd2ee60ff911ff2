"""Nuclei: small pictures of each kind, drawn once, and their stamping onto a slide."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

ANGLES = 12
VARIANTS = 6


@dataclass(frozen=True)
class Kind:
    """How a kind of nucleus looks: half axes in level-0 pixels, haematoxylin 0..1, share of pale chromatin."""

    long: float
    short: float
    dark: float
    pale: float
    nucleoli: int


KINDS = {
    "lymphocyte": Kind(4.9, 4.5, 1.0, 0.12, 0),
    "round": Kind(6.4, 5.7, 0.74, 0.30, 1),
    "vesicular": Kind(7.4, 7.0, 0.60, 0.42, 1),
    "spindle": Kind(10.5, 2.9, 0.80, 0.2, 0),
    "oval": Kind(8.2, 4.6, 0.82, 0.22, 0),
    "glia": Kind(5.2, 4.9, 0.82, 0.2, 0),
    "neuron": Kind(11.5, 8.0, 0.66, 0.35, 1),
}


@lru_cache(maxsize=16)
def sprites(kind: str, seed: int) -> NDArray[np.uint8]:
    """Return (angles * variants, s, s) uint8 pictures of one kind of nucleus; 255 is the darkest haematoxylin."""
    rng = np.random.default_rng([seed, 2, sorted(KINDS).index(kind)])
    side = 2 * int(np.ceil(KINDS[kind].long * 1.3)) + 3
    pictures = []
    for angle in range(ANGLES):
        for _ in range(VARIANTS):
            pictures.append(_sprite(rng, side, angle * 180 / ANGLES, KINDS[kind]))
    return np.stack(pictures)


def _sprite(rng: np.random.Generator, side: int, angle: float, kind: Kind) -> NDArray[np.uint8]:
    """Return one (side, side) nucleus, drawn eight times larger and averaged down."""
    zoom = 8
    big = np.zeros((side * zoom, side * zoom), np.float32)
    middle = side * zoom // 2
    axes = (kind.long * rng.uniform(0.85, 1.15) * zoom, kind.short * rng.uniform(0.85, 1.15) * zoom)
    box = ((middle, middle), (2 * axes[0], 2 * axes[1]), angle + rng.uniform(-7, 7))
    cv2.ellipse(big, box, 1.0, -1)
    inner = ((middle, middle), (2 * axes[0] - 2.0 * zoom, 2 * axes[1] - 2.0 * zoom), box[2])
    chromatin = cv2.resize(rng.random((side // 2 + 1, side // 2 + 1), dtype=np.float32), big.shape)
    paled = np.zeros_like(big)
    cv2.ellipse(paled, inner, 1.0, -1)
    big -= paled * (kind.pale * 0.6 + kind.pale * 0.8 * (chromatin - 0.5)).astype(np.float32)
    for _ in range(kind.nucleoli):
        where = middle + rng.uniform(-0.3, 0.3, 2) * kind.short * zoom
        cv2.circle(big, (int(where[0]), int(where[1])), int(1.4 * zoom), 1.05, -1)
    small = cv2.GaussianBlur(cv2.resize(big, (side, side), interpolation=cv2.INTER_AREA), (0, 0), 0.6)
    return np.asarray(np.clip(small * kind.dark * rng.uniform(0.85, 1.1) * 255, 0, 255), np.uint8)


def stamp(
    canvas: NDArray[np.uint8],
    kind: str,
    points: NDArray[np.float32],
    seed: int,
    rng: np.random.Generator,
    angle: NDArray[np.float32] | None = None,
) -> None:
    """Draw nuclei of one kind at (n, 2) x, y on `canvas` in place, the darker pixel winning.

    `angle`: (n,) radians of the long axis; random where None. Points whose picture would cross the
    slide's border are left out.
    """
    bank = sprites(kind, seed)
    side = bank.shape[1]
    corner = np.rint(points).astype(np.int64) - side // 2
    keep = (corner >= 0).all(axis=1) & (corner < np.array(canvas.shape[::-1]) - side).all(axis=1)
    turn = rng.uniform(0, np.pi, len(points)) if angle is None else angle
    which = (np.rint(np.mod(turn, np.pi) / np.pi * ANGLES).astype(int) % ANGLES) * VARIANTS
    which = which + rng.integers(0, VARIANTS, len(points))
    corner, which = corner[keep], which[keep]
    offset = (np.arange(side)[:, None] * canvas.shape[1] + np.arange(side)[None, :]).ravel()
    flat = canvas.reshape(-1)
    pictures = bank.reshape(len(bank), -1)
    for start in range(0, len(corner), 2048):
        part = corner[start : start + 2048]
        at = (part[:, 1] * canvas.shape[1] + part[:, 0])[:, None] + offset[None, :]
        np.maximum.at(flat, at, pictures[which[start : start + 2048]])
