"""The ten kinds of tissue texture: concentrations of the two stains, and where the nuclei lie."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import cv2
import numpy as np

from histo_assets.demo.anatomy import Look
from histo_assets.demo.fields import Fibres, cells, edge_between, resized, scatter, smooth_noise, values_at

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Field = NDArray[np.float32]


@dataclass(frozen=True)
class Nuclei:
    """Nuclei of one kind at (n, 2) x, y; `angle` (n,) radians, None for any."""

    kind: str
    points: NDArray[np.float32]
    angle: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Drawing:
    """A compartment over the whole square: stain concentrations (side, side) and nuclei."""

    eosin: Field
    haematoxylin: Field | np.float32
    nuclei: list[Nuclei] = field(default_factory=list)


@dataclass(frozen=True)
class Scene:
    """What the compartments of one slide share."""

    rng: np.random.Generator
    look: Look
    side: int
    fibres: Fibres
    outline: Field


def draw(name: str, scene: Scene) -> Drawing:
    """Return the compartment `name` drawn for one slide."""
    return PAINTERS[name](scene)


def _along_fibres(scene: Scene, kind: str, spacing: float) -> Nuclei:
    """Return nuclei that lie along the fibres, `spacing` apart."""
    everywhere = np.ones((scene.side // 8, scene.side // 8), bool)
    points = scatter(scene.rng, everywhere, 8, spacing, tries=1)
    points = points[scene.rng.random(len(points)) < 0.85]
    angle = values_at(scene.fibres.angle, points, scene.side / scene.fibres.angle.shape[0])
    return Nuclei(kind, points, angle + scene.rng.normal(0, 0.15, len(points)).astype(np.float32))


def _fat(scene: Scene) -> Drawing:
    spacing = 138 * float(np.exp(0.2 * scene.look.fat_size))
    mosaic = cells(scene.rng, scene.side, spacing, warp=16, rounding=2)
    wall = np.exp(-((mosaic.wall / np.float32(2.1)) ** 2)).astype(np.float32)
    membrane = wall * (np.float32(0.62) + np.float32(0.12) * scene.fibres.thin)
    near = mosaic.wall[::2, ::2] < 3
    points = scatter(scene.rng, near, 2, 52, tries=2)
    # What is left of the lipid: without it the inside of a fat cell would equal bare glass.
    haze = np.clip(np.float32(0.05) + np.float32(0.045) * scene.fibres.grain, 0, None)
    return Drawing(membrane + haze, 0.08 * wall, [Nuclei("spindle", points)])


def _stroma(scene: Scene) -> Drawing:
    weave = scene.fibres
    eosin = np.float32(0.42) + np.float32(0.10) * weave.thin + np.float32(0.13) * weave.bundle
    gaps = edge_between(weave.bundle, -0.9, -1.5)
    eosin = np.clip(eosin, 0.05, None) * (1 - np.float32(0.8) * gaps)
    return Drawing(eosin, np.float32(0.07), [_along_fibres(scene, "spindle", 46)])


def _muscle(scene: Scene) -> Drawing:
    weave = scene.fibres
    eosin = np.float32(0.80) + np.float32(0.07) * weave.thin + np.float32(0.06) * weave.bundle
    cleft = edge_between(weave.bundle + np.float32(0.3) * weave.thin, -1.75, -2.1)
    eosin = eosin * (1 - np.float32(0.85) * cleft)
    return Drawing(eosin, np.float32(0.12), [_along_fibres(scene, "spindle", 31)])


def _dermis(scene: Scene) -> Drawing:
    weave = scene.fibres
    collagen = edge_between(weave.bundle + np.float32(0.25) * weave.thin, -0.75, -0.1)
    eosin = collagen * (np.float32(0.66) + np.float32(0.12) * weave.thin + np.float32(0.10) * weave.bundle)
    return Drawing(np.clip(eosin, 0.02, None), np.float32(0.02), [_along_fibres(scene, "spindle", 68)])


def _gland(scene: Scene) -> Drawing:
    mosaic = cells(scene.rng, scene.side, 132, jitter=0.30, warp=14, rounding=13)
    depth = mosaic.wall
    base = _stroma(scene)
    inside = edge_between(depth, 11, 13)
    lumen = edge_between(depth + np.float32(1.0) * scene.fibres.grain, 37, 40)
    cytoplasm = np.float32(0.46) + np.float32(0.05) * scene.fibres.grain - np.float32(0.008) * (depth - np.float32(13))
    eosin = base.eosin * (1 - inside) + cytoplasm * inside * (1 - lumen) + np.float32(0.03) * lumen
    haematoxylin = (np.float32(0.20) * inside + np.float32(0.07)) * (1 - np.float32(0.9) * lumen)
    coarse = depth[::2, ::2]
    basal = scatter(scene.rng, (coarse > 15) & (coarse < 20), 2, 14, tries=3)
    second = scatter(scene.rng, (coarse > 25) & (coarse < 33), 2, 30, tries=1)
    between = scatter(scene.rng, coarse < 9.5, 2, 26, tries=1)
    nuclei = [Nuclei("round", basal), Nuclei("round", second), Nuclei("spindle", between)]
    return Drawing(eosin, haematoxylin, nuclei)


def _epithelium(scene: Scene) -> Drawing:
    mosaic = cells(scene.rng, scene.side, 25, jitter=0.3)
    membrane = np.exp(-((mosaic.wall / np.float32(1.8)) ** 2)).astype(np.float32)
    eosin = np.float32(0.40) + np.float32(0.16) * membrane + np.float32(0.05) * scene.fibres.grain
    return Drawing(eosin, np.float32(0.24) + np.float32(0.12) * mosaic.shade, [Nuclei("oval", mosaic.centres)])


def _epidermis(scene: Scene) -> Drawing:
    mosaic = cells(scene.rng, scene.side, 21, jitter=0.3)
    depth = resized(_below_edge(scene), scene.side)
    horn = edge_between(depth, 26, 18)
    membrane = np.exp(-((mosaic.wall / np.float32(1.6)) ** 2)).astype(np.float32)
    eosin = (np.float32(0.52) - np.float32(0.2) * membrane) * (1 - horn)
    eosin += horn * (np.float32(0.95) + np.float32(0.18) * scene.fibres.thin)
    haematoxylin = (np.float32(0.36) + np.float32(0.06) * scene.fibres.grain) * (1 - np.float32(0.8) * horn)
    centres = mosaic.centres[values_at(depth, mosaic.centres, 1) > 30]
    return Drawing(eosin, haematoxylin, [Nuclei("oval", centres)])


def _below_edge(scene: Scene) -> Field:
    """Return, on the coarse grid, how many pixels of tissue lie above each point."""
    inside = (scene.outline > 0).astype(np.float32)
    return np.asarray(np.cumsum(inside, axis=0) * np.float32(scene.side / inside.shape[0]), np.float32)


def _liver(scene: Scene) -> Drawing:
    rng, look = scene.rng, scene.look
    mosaic = cells(rng, scene.side, 44, jitter=0.4, warp=5)
    border = np.exp(-((mosaic.wall / np.float32(2.0)) ** 2)).astype(np.float32)
    open_wall = edge_between(smooth_noise(rng, scene.side, 60), -0.1, 0.5)
    sinusoid = edge_between(mosaic.wall + np.float32(0.8) * scene.fibres.grain, 4.2, 2.6) * open_wall
    eosin = np.float32(0.62) + np.float32(0.11) * scene.fibres.grain + np.float32(0.16) * (mosaic.shade - 0.5)
    eosin += np.float32(0.10) * border
    clear = sinusoid * np.float32(0.9)
    fatty = max(0.0, 0.5 * look.fat_size - 0.2 + 2.2 * look.steatosis)
    if fatty > 0.05:
        clear = np.maximum(clear, _vacuoles(rng, scene.side, fatty))
    nuclei = [
        Nuclei("vesicular", mosaic.centres),
        Nuclei("spindle", scatter(rng, sinusoid[::2, ::2] > 0.5, 2, 40, tries=1)),
    ]
    haematoxylin = np.float32(0.17) * (1 - clear)
    if look.bile > 0:
        haematoxylin = haematoxylin + np.float32(0.5 * look.bile) * _bile(rng, scene.side)
    return Drawing(eosin * (1 - clear), haematoxylin, nuclei)


def _vacuoles(rng: np.random.Generator, side: int, fatty: float) -> Field:
    """Return (side, side) fat droplets, 1 inside; their number grows with `fatty`."""
    canvas = np.zeros((side, side), np.uint8)
    for _ in range(int(420 * fatty * (side / 1792) ** 2)):
        x, y = rng.integers(0, side, 2)
        cv2.circle(canvas, (int(x), int(y)), int(rng.uniform(7, 19)), 255, -1, cv2.LINE_AA)
    return np.asarray(canvas, np.float32) * np.float32(1 / 255)


def _bile(rng: np.random.Generator, side: int) -> Field:
    """Return (side, side) small dark plugs of bile."""
    canvas = np.zeros((side, side), np.uint8)
    for _ in range(int(900 * (side / 1792) ** 2)):
        x, y = (int(v) for v in rng.integers(0, side, 2))
        axes = (int(rng.uniform(3, 9)), int(rng.uniform(2, 5)))
        cv2.ellipse(canvas, (x, y), axes, float(rng.uniform(0, 180)), 0, 360, 255, -1, cv2.LINE_AA)
    return np.asarray(canvas, np.float32) * np.float32(1 / 255)


def _brain(scene: Scene) -> Drawing:
    rng, side = scene.rng, scene.side
    eosin = np.float32(0.36) + np.float32(0.055) * scene.fibres.grain + np.float32(0.035) * scene.fibres.thin
    eosin += np.float32(0.03) * smooth_noise(rng, side, 150)
    everywhere = np.ones((side // 8, side // 8), bool)
    neurons = scatter(rng, everywhere, 8, 92, tries=1)
    neurons = neurons[rng.random(len(neurons)) < 0.8]
    glia = scatter(rng, everywhere, 8, 54, tries=1)
    glia = glia[rng.random(len(glia)) < 0.75]
    halo = np.zeros((side, side), np.uint8)
    for points, radius in ((neurons, 13), (glia, 7)):
        for x, y in points.astype(int):
            cv2.circle(halo, (int(x), int(y)), radius, 255, -1)
    hollow = cv2.GaussianBlur(halo, (0, 0), 1.2).astype(np.float32) * np.float32(1 / 255)
    return Drawing(
        eosin * (1 - np.float32(0.75) * hollow),
        np.float32(0.07) * (1 - hollow),
        [Nuclei("neuron", neurons), Nuclei("glia", glia)],
    )


def _medulla(scene: Scene) -> Drawing:
    mosaic = cells(scene.rng, scene.side, 62, jitter=0.34, warp=9, rounding=6)
    depth = mosaic.wall
    inside = edge_between(depth, 5, 6.5)
    lumen = edge_between(depth, 17, 19)
    cytoplasm = np.float32(0.46) + np.float32(0.07) * scene.fibres.grain + np.float32(0.22) * (mosaic.shade - 0.5)
    eosin = np.float32(0.22) * (1 - inside) + cytoplasm * inside * (1 - lumen)
    coarse = depth[::2, ::2]
    ring = scatter(scene.rng, (coarse > 9.5) & (coarse < 13), 2, 14, tries=2)
    between = scatter(scene.rng, coarse < 4.5, 2, 30, tries=1)
    nuclei = [Nuclei("round", ring), Nuclei("spindle", between)]
    return Drawing(eosin, np.float32(0.14) * (1 - lumen), nuclei)


PAINTERS: dict[str, Callable[[Scene], Drawing]] = {
    "fat": _fat,
    "stroma": _stroma,
    "muscle": _muscle,
    "dermis": _dermis,
    "gland": _gland,
    "epithelium": _epithelium,
    "epidermis": _epidermis,
    "liver": _liver,
    "brain": _brain,
    "medulla": _medulla,
}
