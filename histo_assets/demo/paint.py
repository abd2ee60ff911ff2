"""The picture of a slide: tissue on glass, in optical density of haematoxylin and eosin.

Compartments are drawn over the whole square and mixed by soft masks; nuclei are stamped last.
Stain vectors: Ruifrok and Johnston, Anal Quant Cytol Histol 23 (2001) 291.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from histo_assets.demo.anatomy import Look
from histo_assets.demo.compartments import Drawing, Scene, draw
from histo_assets.demo.fields import Fibres, cut_at, fibres, resized, smooth_noise, texture_bank, values_at
from histo_assets.demo.nuclei import stamp

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Field = NDArray[np.float32]

HAEMATOXYLIN = np.array([0.65, 0.70, 0.29], np.float32)
EOSIN = np.array([0.07, 0.99, 0.11], np.float32)
GLASS = np.array([243, 242, 244], np.float32)
COARSE = 8  # the layout is decided on a grid of this many pixels
FULL_SCALE = 3.0  # concentration that 255 stands for


def paint_slide(look: Look) -> NDArray[np.uint8]:
    """Return the (side, side, 3) uint8 RGB picture of one slide, without dirt."""
    rng = np.random.default_rng(look.seed)
    side = look.side
    outline = tissue_outline(rng, side)
    depth = tissue_depth(rng, outline, look.layout)
    weave = fibres(rng, texture_bank(look.texture_seed), side, 44)
    scene = Scene(rng=rng, look=look, side=side, fibres=weave, outline=outline)
    tissue = cut_at(resized(outline, side) + np.float32(0.004) * weave.thin, 0)
    eosin = np.zeros((side, side), np.float32)
    haematoxylin = np.zeros((side, side), np.float32)
    nuclei = np.zeros((side, side), np.uint8)
    for name, mask in compartment_masks(rng, look, outline, depth, weave).items():
        mask *= tissue
        drawing = draw(name, scene)
        eosin += mask * drawing.eosin
        haematoxylin += mask * drawing.haematoxylin
        _stamp_inside(nuclei, drawing, mask, look, rng)
    eosin *= np.float32(1) + np.float32(0.07) * weave.grain
    _add_vessels(eosin, haematoxylin, nuclei, outline, look, rng)
    _stamp_inflammation(nuclei, eosin + haematoxylin, outline, look, rng)
    return _developed(haematoxylin, eosin, nuclei, look, rng)


def tissue_outline(rng: np.random.Generator, side: int) -> Field:
    """Return a coarse field that is positive inside the piece of tissue, which fills about two thirds of the square."""
    coarse = max(32, side // COARSE)
    ys, xs = np.mgrid[-1 : 1 : coarse * 1j, -1 : 1 : coarse * 1j].astype(np.float32)
    turn = rng.uniform(-0.35, 0.35)
    u = (xs * np.cos(turn) + ys * np.sin(turn)) * rng.uniform(0.92, 1.1)
    v = (-xs * np.sin(turn) + ys * np.cos(turn)) * rng.uniform(0.92, 1.1)
    outline = 1 - np.sqrt(np.sqrt(u**4 + v**4))
    outline = outline + 0.07 * smooth_noise(rng, side, side / 5, coarse)
    outline = outline + 0.018 * smooth_noise(rng, side, side / 26, coarse)
    frame = 1 - np.maximum(np.abs(xs), np.abs(ys))
    level = np.quantile(outline, 1 - rng.uniform(0.62, 0.72))
    return np.asarray(np.minimum(outline - level, frame - 0.02), np.float32)


def tissue_depth(rng: np.random.Generator, outline: Field, layout: str) -> Field:
    """Return a coarse field along which compartments follow each other."""
    coarse = outline.shape[0]
    side = coarse * COARSE
    if layout != "layers":
        scale = 330 if layout == "nested" else 160
        noise = smooth_noise(rng, side, scale, coarse) + 0.35 * smooth_noise(rng, side, 0.36 * scale, coarse)
        return np.asarray(noise, np.float32)
    inside = outline > 0
    below_edge = np.cumsum(inside, axis=0).astype(np.float32) / coarse
    ripple = 0.035 * smooth_noise(rng, side, 260, coarse) + 0.010 * smooth_noise(rng, side, 70, coarse)
    return np.asarray(below_edge + ripple, np.float32)


def compartment_masks(
    rng: np.random.Generator, look: Look, outline: Field, depth: Field, weave: Fibres
) -> dict[str, Field]:
    """Return a (side, side) mask in 0..1 for each compartment; their areas follow the slide's mixture.

    Fibrosis adds septa of stroma along the ridges of a smooth field.
    """
    side = look.side
    order = [name for name, share in look.mixture.items() if share > 0.002]
    levels = np.quantile(depth[outline > 0], np.cumsum([look.mixture[name] for name in order])[:-1].clip(0, 1))
    roughness = np.float32(0.012 if look.layout == "layers" else 0.05)
    fine = resized(depth, side) + roughness * weave.bundle
    everything = np.ones((side, side), np.float32)
    above: list[Field] = [everything, *(cut_at(fine, float(level)) for level in levels), 0 * everything]
    masks = {name: np.asarray(above[k] - above[k + 1], np.float32) for k, name in enumerate(order)}
    width = 0.05 * np.exp(0.75 * look.fibrosis)
    ridges = np.abs(smooth_noise(rng, side, 230, outline.shape[0]))
    septa = cut_at(-resized(ridges, side) - np.float32(0.02) * weave.thin, -width)
    stroma = masks.pop("stroma", None)
    added = np.zeros((side, side), np.float32) if stroma is None else stroma
    for name, mask in masks.items():
        if name != "epidermis":
            added = added + mask * septa
            masks[name] = mask * (1 - septa)
    return {**masks, "stroma": added}


def _stamp_inside(
    canvas: NDArray[np.uint8], drawing: Drawing, mask: Field, look: Look, rng: np.random.Generator
) -> None:
    """Stamp a compartment's own nuclei where its mask is."""
    for nuclei in drawing.nuclei:
        inside = values_at(mask, nuclei.points, 1) > 0.5
        angle = None if nuclei.angle is None else nuclei.angle[inside]
        stamp(canvas, nuclei.kind, nuclei.points[inside], look.texture_seed, rng, angle)


def _add_vessels(
    eosin: Field,
    haematoxylin: Field,
    nuclei: NDArray[np.uint8],
    outline: Field,
    look: Look,
    rng: np.random.Generator,
) -> None:
    """Draw a few vessels, cut across, with red cells in them."""
    places = np.flatnonzero(outline > 0.12)
    for _ in range(rng.poisson(7 * (look.side / 1792) ** 2)):
        reach = float(rng.uniform(16, 46))
        half = int(reach * 1.7)
        if not places.size or look.side < 4 * half:
            return
        row, column = divmod(int(rng.choice(places)), outline.shape[0])
        y, x = (int(np.clip(v * COARSE, half, look.side - half)) for v in (row, column))
        ys, xs = np.mgrid[-half:half, -half:half].astype(np.float32)
        turn, flat = rng.uniform(0, np.pi), rng.uniform(0.55, 1.0)
        u, v = xs * np.cos(turn) + ys * np.sin(turn), (ys * np.cos(turn) - xs * np.sin(turn)) / flat
        radius = np.hypot(u, v) / np.float32(reach) + 0.05 * np.cos(3 * np.arctan2(v, u) + turn)
        wall, inside = _clipped((1.16 - radius) * reach / 2), _clipped((0.66 - radius) * reach / 2)
        red = cv2.GaussianBlur(rng.random(xs.shape, dtype=np.float32), (0, 0), 2.6)
        red = _clipped((red - np.float32(0.5)) * 22) * inside * (1.45 if rng.random() < 0.6 else 0.2)
        ring = np.float32(0.66) + np.float32(0.12) * np.sin(radius * reach / 2.2)
        part = (slice(y - half, y + half), slice(x - half, x + half))
        eosin[part] = eosin[part] * (1 - wall) + ring * wall * (1 - inside) + red
        haematoxylin[part] = haematoxylin[part] * (1 - wall) + 0.1 * wall * (1 - inside)
        nuclei[part][wall > 0.5] = 0
        around = rng.uniform(0, 2 * np.pi, int(reach / 3.5))
        on_ring = reach * rng.choice([0.72, 0.95], around.size)
        du, dv = on_ring * np.cos(around), on_ring * np.sin(around) * flat
        points = np.stack([x + du * np.cos(turn) - dv * np.sin(turn), y + du * np.sin(turn) + dv * np.cos(turn)], 1)
        tangent = (around + turn + np.pi / 2).astype(np.float32)
        stamp(nuclei, "spindle", points.astype(np.float32), look.texture_seed, rng, tangent)


def _clipped(field: Field) -> Field:
    return np.asarray(np.clip(field, 0, 1), np.float32)


def _stamp_inflammation(
    canvas: NDArray[np.uint8], density: Field, outline: Field, look: Look, rng: np.random.Generator
) -> None:
    """Stamp lymphocytes, diffuse and in clusters, in numbers that grow with the latent."""
    step = 4
    solid = cv2.dilate(density[::step, ::step], np.ones((5, 5), np.uint8)) > 0.22
    side = solid.shape[0]
    inside = resized(outline, side) > 0
    cluster = np.exp(0.9 * smooth_noise(rng, look.side, 190, side)).clip(0, 8)
    weight = np.cumsum(np.where(solid & inside, cluster, 0).ravel())
    if weight[-1] <= 0:
        return
    # Nearly linear in the latent, with the same slope in every tissue, and never below zero.
    per_mm2 = 3400 * np.logaddexp(0, 2 * (0.8 + 0.6 * np.clip(look.inflammation, -3.5, 3.5))) / 2
    # 0.25 um2 a pixel; the share of solid tissue keeps the thin walls of fat from being packed.
    share = float((solid & inside).sum()) / max(1, int(inside.sum()))
    count = rng.poisson(float(inside.sum()) * step**2 * 0.25e-6 * per_mm2 * share**0.4)
    at = np.searchsorted(weight, rng.random(count) * weight[-1])
    points = np.stack([at % side, at // side], axis=1) * step + rng.uniform(0, step, (count, 2))
    stamp(canvas, "lymphocyte", points.astype(np.float32), look.texture_seed, rng)


def _developed(
    haematoxylin: Field, eosin: Field, nuclei: NDArray[np.uint8], look: Look, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Return the colours that the two stains leave of white light, after autolysis and with the slide's stain."""
    pale = max(0.0, look.autolysis)
    strength = np.float32(np.exp(-0.19 * pale))
    inside = nuclei.astype(np.float32) * np.float32(1 / 255)
    if pale > 0.3:
        inside = np.asarray(cv2.GaussianBlur(inside, (0, 0), 0.45 + 0.45 * pale), np.float32)
    eosin = eosin * (1 - 0.4 * inside) * np.float32(1 + 0.05 * pale)
    haematoxylin = np.maximum(haematoxylin, inside * np.float32(1.45)) * strength + 0.035 * pale * (eosin > 0.2)
    h_map = cv2.convertScaleAbs(haematoxylin, alpha=255 / FULL_SCALE)
    e_map = cv2.convertScaleAbs(eosin, alpha=255 / FULL_SCALE)
    level = np.arange(256, dtype=np.float32)[:, None] * np.float32(FULL_SCALE / 255)
    eosin_vector = EOSIN + np.array([0.03, -0.10, 0.20], np.float32) * np.float32(1.0 + look.hue)
    h_table = np.exp(-level * HAEMATOXYLIN * np.float32(1.4 * look.stain[0])) * GLASS
    e_table = np.exp(-level * eosin_vector * np.float32(0.8 * look.stain[1])) * 255
    picture = cv2.multiply(
        cv2.LUT(cv2.merge([h_map] * 3), h_table.round().astype(np.uint8)[None]),
        cv2.LUT(cv2.merge([e_map] * 3), e_table.round().astype(np.uint8)[None]),
        scale=1 / 255,
    )
    return np.asarray(picture, np.uint8)
