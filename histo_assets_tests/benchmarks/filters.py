"""Tissue mask and tile filters against the truth of the synthetic cohort, tile by tile.

    .venv/bin/python -m histo_assets_tests.benchmarks.filters [--seeds 23 24] [--json]

Every slide with planted dirt, and three clean ones of each tissue, are painted twice, with the dirt and
without: what differs is the dirt, to the pixel. The filters were made on seeds 7 and 8, the hue of ink was mended
after a look at 21 and 22; other seeds are the test.

A tile is spoiled by a kind of dirt where it covers enough of the tile: pen and dust 3 %, blur 60 %, glass 40 %
(the half that the kind `half_empty` takes away, and what lies beside the tissue; 60 % for the mask, which keeps
half-covered tiles). It is free of the kind where it
covers (nearly) nothing: pen and dust 0.1 %, blur 2 %, glass 10 %. What lies between is not scored.
Each filter gives its own verdict on every tile of the grid that is no bare glass, whatever others say of it:

- recall: the share of tiles spoiled by the filter's kinds that it rejects;
- precision: the share of its rejections that are spoiled by them, of tiles that are scored.

`jpeg_size` and `dirt` are for tiles that show next to nothing; their kinds are glass, blur and ink together.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import simplejpeg

from histo_assets_tests.benchmarks.measure import line, parser

TILE_PX, MASK_PX = 224, 8
GLASS = (243, 242, 244)
SPOILED = {"pen": 0.03, "dust": 0.03, "blur": 0.60, "glass": 0.40}
MASKED = 0.60
FREE = {"pen": 0.001, "dust": 0.001, "blur": 0.02, "glass": 0.10}
KINDS = {
    "mask": ("glass",),
    "half_empty": ("glass",),
    "blur": ("blur",),
    "pen": ("pen", "dust"),
    "jpeg_size": ("glass", "blur", "pen", "dust"),
    "dirt": ("glass", "blur", "pen", "dust"),
}
"""Filter -> the kinds of dirt that it is for."""


def tile_table(seed: int, folder: Path) -> pd.DataFrame:
    """Return one row a tile of a seed's slides: planted shares, quality figures, share of the mask."""
    from histo_assets.core.tiling.settings import QualitySettings  # noqa: F401
    from histo_assets.demo.roster import cohort_plan
    from histo_assets.studies.study import load_study

    synthetic = load_study("demo").synthetic
    assert synthetic is not None
    plan = cohort_plan(synthetic.model_copy(update={"seed": seed}))
    good = [row for row in plan.slides if row.file is not None and not row.damage]
    clean: dict[str, int] = {}
    rows = []
    for row in good:
        clean[row.label] = clean.get(row.label, 0) + (not row.look.dirt)
        if row.look.dirt or clean[row.label] <= 3:
            rows += list(_tiles_of(row, folder / f"{seed}-{row.slide}.npz"))
    return pd.DataFrame(rows)


def _tiles_of(row: Any, stored: Path) -> Iterator[dict[str, Any]]:
    from histo_assets.core.tiling.mask import tissue_mask, tissue_shares
    from histo_assets.core.tiling.quality import tile_quality

    pixels, shares = _painted(row, stored)
    small = pixels.reshape(pixels.shape[0] // MASK_PX, MASK_PX, pixels.shape[1] // MASK_PX, MASK_PX, 3)
    mask = tissue_mask(small.mean(axis=(1, 3)).round().astype(np.uint8))
    for y in range(0, pixels.shape[0] - TILE_PX + 1, TILE_PX):
        for x in range(0, pixels.shape[1] - TILE_PX + 1, TILE_PX):
            tile = np.ascontiguousarray(pixels[y : y + TILE_PX, x : x + TILE_PX])
            covered = float(tissue_shares(mask, np.array([x / MASK_PX]), np.array([y / MASK_PX]), TILE_PX / MASK_PX)[0])
            jpeg = simplejpeg.encode_jpeg(tile, 90, "RGB", "420")
            planted = {kind: float(share[y // TILE_PX, x // TILE_PX]) for kind, share in shares.items()}
            yield {
                "slide": row.slide,
                "tissue": row.label,
                "x": x,
                "y": y,
                **planted,
                **tile_quality(tile, len(jpeg), covered),
            }


def _painted(row: Any, stored: Path) -> tuple[np.ndarray[Any, Any], dict[str, np.ndarray[Any, Any]]]:
    """Return a slide's picture as scanned, and for each kind of dirt the share of every grid cell that it covers."""
    if stored.exists():
        kept = np.load(stored)
        return simplejpeg.decode_jpeg(kept["jpeg"].tobytes(), "RGB"), {kind: kept[kind] for kind in SPOILED}
    from histo_assets.demo import damage
    from histo_assets.demo.fields import resized
    from histo_assets.demo.paint import paint_slide, tissue_outline

    look = row.look
    clean = paint_slide(look)
    spoiled, where = clean, dict.fromkeys(SPOILED, np.zeros(clean.shape[:2], bool))
    where["glass"] = resized(tissue_outline(np.random.default_rng(look.seed), look.side), look.side) <= 0
    for kind in look.dirt:
        spoiled, regions = damage.with_dirt(spoiled, kind, look.seed)
        if kind == "half_empty":
            mirrored = regions[0][0] == 0
            outside = where["glass"][:, ::-1] if mirrored else where["glass"]
            where["glass"] = outside | (spoiled == GLASS).all(axis=2)
            continue
        covered = np.abs(spoiled.astype(np.int16) - clean).max(axis=2) > 12
        if kind == "blur":
            covered[:] = False
            for x, y, w, h in regions:
                covered[y : y + h, x : x + w] = ~where["glass"][y : y + h, x : x + w]
        where[kind] = where[kind] | covered
    jpeg = simplejpeg.encode_jpeg(np.ascontiguousarray(spoiled), 88, "RGB", "420")
    shares = {kind: _cell_means(cover) for kind, cover in where.items()}
    np.savez(stored, jpeg=np.frombuffer(jpeg, np.uint8), **shares)  # type: ignore[arg-type]
    return simplejpeg.decode_jpeg(jpeg, "RGB"), shares


def _cell_means(cover: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    cells = cover.shape[0] // TILE_PX
    return cover[: cells * TILE_PX, : cells * TILE_PX].reshape(cells, TILE_PX, cells, TILE_PX).mean(axis=(1, 3))


def verdicts(tiles: pd.DataFrame) -> pd.DataFrame:
    """Return filter -> whether it alone would reject each tile, by the demo study's thresholds."""
    from histo_assets.core.tiling.filters.registry import FILTERS
    from histo_assets.core.tiling.quality import judged_alone
    from histo_assets.studies.study import load_study

    study = load_study("demo")
    names = [each.figure for each in FILTERS]
    rows = []
    for tile in tiles.to_dict("records"):
        quality = {name: float(tile[name]) for name in names}
        alone = judged_alone(quality, study.tiling.quality.for_tissue(tile["tissue"]))
        rows.append({"mask": float(tile["tissue_share"]) < study.tiling.min_tissue_share, **alone})
    return pd.DataFrame(rows, index=tiles.index)


def figures(tiles: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Yield precision and recall of every filter, and what becomes of fat."""
    seen = tiles[tiles["glass"] < 0.98].reset_index(drop=True)
    rejected = verdicts(seen)
    for name, kinds in KINDS.items():
        enough = {**SPOILED, "glass": MASKED} if name == "mask" else SPOILED
        spoiled = np.logical_or.reduce([seen[kind] >= enough[kind] for kind in kinds])
        free = np.logical_and.reduce([seen[kind] <= FREE[kind] for kind in kinds])
        flags = rejected[name].to_numpy()
        if name == "blur":
            # Whether a tile without tissue is blurred cannot be seen.
            shows = (seen["glass"] < SPOILED["glass"]).to_numpy()
            flags, spoiled, free = flags & shows, spoiled & shows, free & shows
        yield _share(f"{name}: precision", int((flags & spoiled).sum()), int((flags & (spoiled | free)).sum()), 0.9)
        if name not in ("jpeg_size", "dirt"):
            yield _share(f"{name}: recall", int((flags & spoiled).sum()), int(spoiled.sum()), 0.9)
    whole = np.logical_and.reduce([seen[kind] <= FREE[kind] for kind in SPOILED])
    kept = ~rejected.any(axis=1).to_numpy()
    for name, among in (("tissue", whole), ("fat", whole & seen["tissue"].str.startswith("adipose").to_numpy())):
        yield _share(f"clean {name} kept", int((kept & among).sum()), int(among.sum()), 0.8)
    spoiled = np.logical_or.reduce([seen[kind] >= SPOILED[kind] for kind in SPOILED])
    yield _share("spoiled tiles rejected by any filter", int((~kept & spoiled).sum()), int(spoiled.sum()), 0.9)


def calibrated(tiles: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Yield how the JPEG-size filter does with thresholds that `calibrate` proposes from these very tiles."""
    from histo_assets.core.tiling.calibration import proposed_thresholds

    candidates = tiles[tiles["tissue_share"] >= 0.5].reset_index(drop=True)
    proposed = {item.tissue: item.threshold or 0.0 for item in proposed_thresholds(candidates)}
    rejected = (candidates["jpeg_bytes"] < candidates["tissue"].map(proposed)).to_numpy()
    spoiled = np.logical_or.reduce([candidates[kind] >= SPOILED[kind] for kind in SPOILED])
    free = np.logical_and.reduce([candidates[kind] <= FREE[kind] for kind in SPOILED])
    scored = int((rejected & (spoiled | free)).sum())
    yield _share("calibrated jpeg_size: precision", int((rejected & spoiled).sum()), scored, 0.9)
    yield _share("calibrated jpeg_size: clean tissue kept", int((~rejected & free).sum()), int(free.sum()), 0.95)


def _share(name: str, part: int, whole: int, at_least: float) -> dict[str, Any]:
    value = part / whole if whole else float("nan")
    return {"name": name, "part": part, "whole": whole, "value": value, "at_least": at_least, "met": value >= at_least}


def main() -> None:
    """Print the figures of all seeds together."""
    arguments = parser(__doc__)
    arguments.add_argument("--seeds", type=int, nargs="+", default=[23, 24])
    arguments.add_argument("--folder", type=Path, help="where the painted slides are kept for another run")
    options = arguments.parse_args()
    with TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        tiles = pd.concat([tile_table(seed, folder) for seed in options.seeds], ignore_index=True)
    rows = [*figures(tiles), *calibrated(tiles)]
    if options.json:
        print(json.dumps(rows, indent=1))
        return
    for figure in rows:
        of = f"{figure['part']} of {figure['whole']}"
        print(line(figure["name"], figure["value"], of, f">= {figure['at_least']:g}", figure["met"]))


if __name__ == "__main__":
    main()
