"""Random fields that tissue is drawn with: smooth noise, fibres, cells and scattered points.

Everything is seeded by the generator passed in. Lengths are level-0 pixels of 0.5 um.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Field = NDArray[np.float32]

BANK_PX = 1024


def smooth_noise(rng: np.random.Generator, side: int, scale: float, out: int | None = None) -> Field:
    """Return (out, out) float32 noise of mean 0 and sd about 1 that varies over `scale` of `side` pixels."""
    knots = max(4, round(side / scale) + 3)
    coarse = rng.standard_normal((knots, knots), dtype=np.float32)
    fine = cv2.resize(coarse, (out or side, out or side), interpolation=cv2.INTER_CUBIC)
    return np.asarray(fine * np.float32(1.35), np.float32)


def resized(field: Field, side: int) -> Field:
    """Return a square field at (side, side), linearly interpolated."""
    return np.asarray(cv2.resize(field, (side, side), interpolation=cv2.INTER_LINEAR), np.float32)


@lru_cache(maxsize=2)
def texture_bank(seed: int) -> Field:
    """Return (1024, 1024, 3) float32 periodic textures, each of mean 0 and sd 1.

    Channels: thin fibres along x, bundles along x, isotropic grain.
    """
    rng = np.random.default_rng([seed, 1])
    frequency = np.fft.fftfreq(BANK_PX).astype(np.float32)
    channels = []
    for along, across in ((60.0, 1.6), (120.0, 6.5), (1.2, 1.2)):
        power = (along * frequency[None, :]) ** 2 + (across * frequency[:, None]) ** 2
        spectrum = np.fft.fft2(rng.standard_normal((BANK_PX, BANK_PX))) * np.exp(-2 * np.pi**2 * power / 4)
        channel = np.fft.ifft2(spectrum).real
        channels.append((channel - channel.mean()) / channel.std())
    return np.ascontiguousarray(np.stack(channels, axis=-1), dtype=np.float32)


@dataclass(frozen=True)
class Fibres:
    """Warped fibres over a slide: the three textures (side, side) and the direction per pixel of a coarse grid."""

    thin: Field
    bundle: Field
    grain: Field
    angle: Field


def fibres(rng: np.random.Generator, bank: Field, side: int, waviness: float) -> Fibres:
    """Return the bank's textures laid over (side, side) along a bending direction.

    `waviness`: how far, in pixels, fibres are displaced across their direction.
    """
    coarse = max(16, side // 16)
    step = side / coarse
    ys, xs = np.mgrid[0:coarse, 0:coarse].astype(np.float32) * np.float32(step)
    theta = rng.uniform(0, np.pi)
    bend = smooth_noise(rng, side, 520, coarse) * np.float32(1.5 * waviness)
    ripple = smooth_noise(rng, side, 110, coarse) * np.float32(0.16 * waviness)
    along = xs * np.cos(theta) + ys * np.sin(theta) + rng.uniform(0, BANK_PX)
    across = -xs * np.sin(theta) + ys * np.cos(theta) + bend + ripple + rng.uniform(0, BANK_PX)
    gy, gx = np.gradient(across.astype(np.float32), np.float32(step))
    angle = np.arctan2(gx, -gy).astype(np.float32)
    warped = cv2.remap(
        bank,
        resized(along.astype(np.float32), side),
        resized(across.astype(np.float32), side),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_WRAP,
    )
    thin, bundle, grain = cv2.split(warped)
    return Fibres(np.asarray(thin), np.asarray(bundle), np.asarray(grain), angle)


@dataclass(frozen=True)
class Cells:
    """A mosaic of cells: distance to the wall (side, side) in pixels, a grey value per cell, and the centres."""

    wall: Field
    shade: Field
    centres: NDArray[np.float32]


def cells(
    rng: np.random.Generator, side: int, spacing: float, jitter: float = 0.42, warp: float = 0.0, rounding: float = 0.0
) -> Cells:
    """Return a Voronoi mosaic of cells `spacing` apart on average.

    `jitter` is a share of the spacing; `warp` bends walls by so many pixels, `rounding` blurs the
    distance to them, which rounds its contours. `centres` is (n, 2) x, y.
    """
    half = side // 2
    pitch = spacing / 2
    columns = int(np.ceil(half / pitch)) + 1
    rows = int(np.ceil(half / (pitch * 0.87))) + 1
    ys, xs = np.mgrid[0:rows, 0:columns].astype(np.float64)
    xs = (xs + 0.5 * (ys % 2) + rng.uniform(-jitter, jitter, xs.shape)) * pitch
    ys = (ys + rng.uniform(-jitter, jitter, ys.shape)) * pitch * 0.87
    points = np.stack([xs.ravel(), ys.ravel()], axis=1)
    inside = (points >= 0).all(axis=1) & (points < half - 0.5).all(axis=1)
    points = points[inside]
    seeds = np.ones((half, half), np.uint8)
    columns_of, rows_of = points[:, 0].astype(int), points[:, 1].astype(int)
    seeds[rows_of, columns_of] = 0
    _, labels = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    edge = np.ones((half, half), np.uint8)
    edge[:, 1:] &= labels[:, 1:] == labels[:, :-1]
    edge[1:] &= labels[1:] == labels[:-1]
    wall: Field = np.asarray(np.minimum(cv2.distanceTransform(edge, cv2.DIST_L2, 5), half) * 2, np.float32)
    if rounding:
        wall = np.asarray(cv2.GaussianBlur(wall, (0, 0), rounding / 2), np.float32)
    shade = rng.random(int(labels.max()) + 1, dtype=np.float32)[labels]
    full = (side, side)
    if warp:
        coarse = max(16, side // 16)
        ys32, xs32 = np.mgrid[0:coarse, 0:coarse].astype(np.float32) * np.float32(half / coarse)
        shift = [smooth_noise(rng, side, 3.2 * spacing, coarse) * np.float32(warp / 2) for _ in range(2)]
        both = cv2.remap(
            cv2.merge([wall, shade]),
            resized(xs32 + shift[0], side),
            resized(ys32 + shift[1], side),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REFLECT,
        )
        wall, shade = (np.asarray(channel, np.float32) for channel in cv2.split(both))
    else:
        wall = np.asarray(cv2.resize(wall, full, interpolation=cv2.INTER_LINEAR), np.float32)
        shade = np.asarray(cv2.resize(shade, full, interpolation=cv2.INTER_NEAREST), np.float32)
    return Cells(wall, shade, (points * 2).astype(np.float32))


def scatter(
    rng: np.random.Generator, mask: NDArray[np.bool_], step: int, spacing: float, tries: int = 3
) -> NDArray[np.float32]:
    """Return (n, 2) x, y of points about `spacing` apart inside `mask`, which samples the slide every `step` pixels."""
    side = mask.shape[0] * step
    bins = max(1, int(side / spacing))
    corner = np.stack(np.meshgrid(np.arange(bins), np.arange(bins)), axis=-1).reshape(-1, 2)
    inside: list[NDArray[np.float64]] = []
    for _ in range(tries):
        points = (corner + rng.random(corner.shape)) * (side / bins)
        at = np.minimum(points.astype(int) // step, mask.shape[0] - 1)
        hit = mask[at[:, 1], at[:, 0]]
        inside.append(points[hit])
        corner = corner[~hit]
    return np.concatenate(inside).astype(np.float32)


def values_at(field: NDArray[np.float32], points: NDArray[np.float32], step: float) -> NDArray[np.float32]:
    """Return the values of a field that samples the slide every `step` pixels at (n, 2) x, y."""
    at = np.clip((points / step).astype(int), 0, field.shape[0] - 1)
    return np.asarray(field[at[:, 1], at[:, 0]])


def cut_at(field: Field, level: float) -> Field:
    """Return 1 where `field` is above `level`, else 0, with an edge two pixels wide."""
    above = (field > np.float32(level)).view(np.uint8) * np.uint8(255)
    return np.asarray(cv2.GaussianBlur(above, (5, 5), 0.9).astype(np.float32) * np.float32(1 / 255), np.float32)


def edge_between(field: Field, low: float, high: float) -> Field:
    """Return `field` mapped to 0 at `low` and 1 at `high`, clipped."""
    scaled = cv2.addWeighted(field, 1 / (high - low), field, 0, -low / (high - low))
    return np.asarray(np.clip(scaled, 0, 1, out=scaled), np.float32)
