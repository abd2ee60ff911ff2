"""Cutting tiles against a bare openslide loop, side by side in one run.

    .venv/bin/python -m histo_assets_tests.benchmarks.tiling [--json] [--folder DIR] [--slides 200]

The slide is 20,000 x 15,000 px of the demo's tissue. openslide's side masks, reads and writes, and
has no filters; ours also measures every tile and writes shard, index and pictures' raw material.
Every side runs in a process of its own; its imports are not counted, except where they are the figure.
"""

from __future__ import annotations

import io
import json
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from histo_assets_tests.benchmarks.measure import cpu_seconds, in_own_process, line, parser, peak_megabytes, run_side

WIDTH, HEIGHT = 20_000, 15_000
TILE_PX, MPP = 448, 0.5
MARGIN = 300
FIELDS = ("liver", "esophagus_muscularis", "stomach", "kidney_medulla")
MODULE = "histo_assets_tests.benchmarks.tiling"


def write_slide(path: Path, width: int, height: int, colour: str, seed: int = 0) -> Path:
    """Write a slide of the demo's tissue, if it is not there: painted fields, mirrored and set side by side."""
    from histo_assets.demo.svs import Encoding, Scan, write_svs

    if path.exists():
        return path
    fields = painted_fields()
    with tempfile.NamedTemporaryFile(dir=path.parent) as scratch:
        pixels = np.memmap(scratch, np.uint8, "w+", shape=(height, width, 3))
        pixels[:] = 243
        rng, side = np.random.default_rng(seed), len(fields[0])
        for y in range(MARGIN, height - MARGIN, side):
            for x in range(MARGIN, width - MARGIN, side):
                h, w = min(side, height - MARGIN - y), min(side, width - MARGIN - x)
                turned = np.rot90(fields[rng.integers(len(fields))], int(rng.integers(4)))
                pixels[y : y + h, x : x + w] = turned[:h, :w]
        part = path.with_suffix(".part")
        write_svs(part, pixels, Scan(mpp=MPP), encoding=Encoding(photometric=colour), levels=(4, 16))  # type: ignore[arg-type]
    return part.rename(path)


def painted_fields() -> list[np.ndarray[Any, Any]]:
    """Return (960, 960, 3) uint8 fields full of tissue, one of each of four tissues."""
    from histo_assets.demo.anatomy import TISSUES, Look
    from histo_assets.demo.paint import paint_slide

    looks = [Look(place, 0, 1792, TISSUES[name].of("female")) for place, name in enumerate(FIELDS)]
    return [paint_slide(look)[416:1376, 416:1376] for look in looks]


def openslide_loop(slide: str = "", out: str = "") -> dict[str, Any]:
    """Cut a slide as a plain script does: mask from the smallest level, read_region, JPEG, tar."""
    import cv2
    import openslide
    import simplejpeg

    if not slide:
        return {}
    source = openslide.OpenSlide(slide)
    width, height = source.dimensions
    level = source.level_count - 1
    small = np.asarray(source.read_region((0, 0), level, source.level_dimensions[level]).convert("RGB"))
    saturation = cv2.cvtColor(small, cv2.COLOR_RGB2HSV)[:, :, 1]
    mask = cv2.threshold(cv2.medianBlur(saturation, 7), 0, 1, cv2.THRESH_OTSU)[1]
    scale = source.level_downsamples[level]
    tiles = 0
    with tarfile.open(Path(out) / "openslide.tar", "w") as tar:
        for y in range(0, height - TILE_PX + 1, TILE_PX):
            for x in range(0, width - TILE_PX + 1, TILE_PX):
                left, right, top, bottom = (round(edge / scale) for edge in (x, x + TILE_PX, y, y + TILE_PX))
                if mask[top:bottom, left:right].mean() < 0.5:
                    continue
                pixels = np.ascontiguousarray(np.asarray(source.read_region((x, y), 0, (TILE_PX, TILE_PX)))[:, :, :3])
                jpeg = simplejpeg.encode_jpeg(pixels, 90, "RGB", "420")
                member = tarfile.TarInfo(f"{x}_{y}.jpg")
                member.size = len(jpeg)
                tar.addfile(member, io.BytesIO(jpeg))
                tiles += 1
    return {"tiles": tiles}


def ours(slide: str = "", out: str = "", wanted: str = "") -> dict[str, Any]:
    """Cut `wanted` tiles of a slide as the platform does: inspection, mask, filters, shard, sidecar."""
    from histo_assets.core.tiling.cut import cut_slide

    _imported()
    if not slide:
        return {}
    with tempfile.TemporaryDirectory(dir=out) as shards:
        cut = cut_slide(_job(Path(slide), shards), int(wanted))
    return {"tiles": len(cut.good), "tried": len(cut.decisions), "candidates": cut.candidates}


def many(folder: str = "", out: str = "") -> dict[str, Any]:
    """Cut every slide of a folder one after the other; CPU seconds and peak memory along the way."""
    from histo_assets.core.tiling.cut import cut_slide

    _imported()
    if not folder:
        return {}
    spent, peaks = [], []
    with tempfile.TemporaryDirectory(dir=out) as shards:
        for slide in sorted(Path(folder).glob("*.svs")):
            before = cpu_seconds()
            cut_slide(_job(slide, shards), 20)
            spent.append(cpu_seconds() - before)
            peaks.append(peak_megabytes())
    return {"spent": spent, "peaks": peaks}


def imported(again: str = "") -> dict[str, Any]:
    """Import what a worker process imports, and say what that took."""
    if not again:
        return {}
    _imported()
    return {}


def _imported() -> None:
    import cv2  # noqa: F401
    import simplejpeg  # noqa: F401
    import tifffile  # noqa: F401

    import histo_assets.core.tiling.cut  # noqa: F401


def _job(slide: Path, shards: str) -> Any:
    from histo_assets.core.slides.integrity import inspect_slide
    from histo_assets.core.slides.settings import SlideSettings
    from histo_assets.core.tiling.job import SlideJob
    from histo_assets.core.tiling.settings import TilingSettings

    record = inspect_slide(slide)
    return SlideJob(
        slide=slide.stem,
        path=record.path,
        mpp=record.mpp,
        digest=record.digest,
        digest_kind=record.digest_kind,
        width=record.width,
        height=record.height,
        tissue="benchmark",
        shard_root=shards,
        tiling=TilingSettings(tile_px=TILE_PX, mpp=MPP),
        slide_settings=SlideSettings(),
    )


def figures(folder: Path, slides: int, repeats: int) -> Iterator[dict[str, Any]]:
    """Yield every figure with its unit and target; best of `repeats` runs of each side."""

    def best(side: str, *arguments: Any) -> dict[str, Any]:
        runs = [in_own_process(MODULE, side, *arguments) for _ in range(repeats)]
        return min(runs, key=lambda run: float(run["cpu_seconds"]))

    for colour in ("rgb", "ycbcr"):
        slide = write_slide(folder / f"{colour}.svs", WIDTH, HEIGHT, colour)
        theirs, all_tiles = best("openslide_loop", slide, folder), best("ours", slide, folder, 1_000_000)
        each = [1000 * run["cpu_seconds"] / run["tiles"] for run in (theirs, all_tiles)]
        yield _figure(f"{colour}: openslide loop, {theirs['tiles']} tiles", each[0], "CPU ms/tile")
        yield _figure(f"{colour}: ours, {all_tiles['tiles']} tiles", each[1], "CPU ms/tile")
        yield _figure(f"{colour}: ours over openslide, per tile", each[1] / each[0], "", 0.5)
        yield _figure(f"{colour}: openslide loop, peak memory", theirs["peak_mb"], "MB")
        yield _figure(f"{colour}: ours, peak memory", all_tiles["peak_mb"], "MB", 300)
    larger = write_slide(folder / "larger.svs", WIDTH + 1200, HEIGHT + 1200, "rgb")
    all_tiles, some = best("ours", larger, folder, 1_000_000), best("ours", larger, folder, 100)
    share = some["cpu_seconds"] / all_tiles["cpu_seconds"]
    yield _figure(f"100 of {some['candidates']} tiles over all of them", share, "", 0.1)
    yield _figure("import of the tiling code", best("imported", "now")["cpu_seconds"], "CPU s", 1)
    several = folder / "several"
    several.mkdir(exist_ok=True)
    for number in range(slides):
        write_slide(several / f"slide{number:03}.svs", 3000, 2500, "rgb", number)
    run, tenth = best("many", several, folder), max(1, slides // 10)
    first, last = (float(np.median(part)) for part in (run["spent"][:tenth], run["spent"][-tenth:]))
    yield _figure(f"last tenth of {slides} slides over the first, CPU", last / first, "", 1.1)
    yield _figure(f"peak memory after {slides} slides over after 10", run["peaks"][-1] / run["peaks"][9], "", 1.1)


def _figure(name: str, value: float, unit: str, at_most: float | None = None) -> dict[str, Any]:
    met = None if at_most is None else value <= at_most
    return {"name": name, "value": value, "unit": unit, "at_most": at_most, "met": met}


def main() -> None:
    """Print every figure."""
    arguments = parser(__doc__)
    arguments.add_argument("--folder", type=Path, help="where the slides are written, and kept for another run")
    arguments.add_argument("--slides", type=int, default=200, help="distinct slides for the flatness figures")
    arguments.add_argument("--repeats", type=int, default=2, help="runs of each side; the best counts")
    options = arguments.parse_args()
    if options.side:
        run_side({f.__name__: f for f in (openslide_loop, ours, many, imported)}[options.side[0]], options.side[1:])
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        rows = []
        for figure in figures(folder, options.slides, options.repeats):
            rows.append(figure)
            target = "" if figure["at_most"] is None else f"<= {figure['at_most']:g}"
            if not options.json:
                print(line(figure["name"], figure["value"], figure["unit"], target, figure["met"]), flush=True)
        if options.json:
            print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
