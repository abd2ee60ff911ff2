"""What the platform adds to bare PyTorch: loading tiles from shards, and a training step.

    .venv/bin/python -m histo_assets_tests.benchmarks.training [--json]

Loading is tiles per CPU second, augmentation included, over those of `torchvision.io.decode_jpeg` on the same bytes.
The step is the CPU time of the platform's training loop, loading, checks and bookkeeping included, over that of a plain
loop (forward, backward, AdamW) on tensors that lie in memory. Each side runs in a process of its own; the best of
several runs counts. Where a GPU is at hand, the share of time that it waits for tiles, with the number of workers.
"""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from histo_assets_tests.benchmarks.measure import in_own_process, line, parser, run_side

MODULE = "histo_assets_tests.benchmarks.training"
BATCH = 16
WORKERS = 8
TISSUES = ("adipose_subcutaneous", "liver", "stomach", "brain_cortex")


def write_cohort(folder: Path, tiles: int, px: int) -> None:
    """Write painted tiles as real shards, a slide a tissue and donor, with their training set."""
    import pandas as pd
    import polars as pl

    from histo_assets.core.cohort.settings import SplitSettings
    from histo_assets.core.training.datasets import build_training_set

    if (folder / "training_set.parquet").exists():
        return
    rows = []
    donors = [f"donor{number}" for number in range(6)]
    for place, tissue in enumerate(TISSUES):
        field = painted(tissue, place)
        for number in range(len(donors)):
            rows += write_shard(folder, place, number, field, tiles // 24, px)
    split = pd.DataFrame({"donor": donors, "side": ["test", "validation", *["train"] * 4]})
    index = pl.DataFrame(rows)
    made = build_training_set(index, split, TISSUES, settings("efficientnet_b0", px), SplitSettings())
    made.write_parquet(folder / "training_set.parquet")


def painted(tissue: str, seed: int) -> np.ndarray[Any, Any]:
    """Return (1152, 1152, 3) uint8 of a painted tissue."""
    from histo_assets.demo.anatomy import TISSUES as KNOWN
    from histo_assets.demo.anatomy import Look
    from histo_assets.demo.paint import paint_slide

    return paint_slide(Look(seed, 0, 1792, KNOWN[tissue].of("female")))[320:1472, 320:1472]


def write_shard(
    folder: Path, place: int, number: int, field: np.ndarray[Any, Any], tiles: int, px: int
) -> list[dict[str, Any]]:
    """Write the tiles of one tissue's and donor's slide into `<tissue>/<slide>.tar` and return their rows."""
    import simplejpeg

    rng = np.random.default_rng(10 * place + number)
    tissue, donor, slide = TISSUES[place], f"donor{number}", f"donor{number}-{place}"
    path = folder / tissue / f"{slide}.tar"
    path.parent.mkdir(exist_ok=True)
    rows: list[dict[str, Any]] = []
    with open(path, "wb") as shard:
        for number in range(tiles):
            x, y = rng.integers(0, field.shape[0] - px + 1, 2)
            jpeg = simplejpeg.encode_jpeg(np.ascontiguousarray(field[y : y + px, x : x + px]), 90, "RGB", "420")
            row = {"tile": f"{slide}_{number}_0", "slide": slide, "donor": donor, "tissue": tissue}
            rows.append(row | {"shard": path.name, "offset": shard.tell(), "length": len(jpeg)})
            shard.write(jpeg)
    return rows


def settings(backbone: str, px: int, device: str = "cpu", workers: int = 0) -> Any:
    """Return the learning settings of one epoch of a network that learns in every layer."""
    from histo_assets.core.training.settings import LearningSettings

    one = {"backbone": backbone, "weights": "random", "epochs": 1}
    settings = {"experiments": {"one": one}, "studied": "one", "input_px": px, "batch_size": BATCH, "device": device}
    return LearningSettings.model_validate(settings | {"workers": workers})


def training_set(folder: Path) -> tuple[Any, Any]:
    """Return the training tiles of `write_cohort` and a reader of their shards."""
    import polars as pl

    from histo_assets.core.tiling.tile_set import TileReader

    rows = pl.read_parquet(folder / "training_set.parquet").filter(pl.col("side") == "train")
    return rows, TileReader({tissue: str(folder) for tissue in TISSUES})


def imported() -> None:
    import cv2
    import torch
    import torchvision  # noqa: F401

    cv2.setNumThreads(1)
    torch.set_num_threads(1)


def decoding(folder: str = "", px: str = "", passes: str = "") -> dict[str, Any]:
    """Decode every tile with torchvision, bytes already in memory."""
    imported()
    if not folder:
        return {}
    import torch
    import torchvision

    rows, reader = training_set(Path(folder))
    jpegs = [torch.frombuffer(bytearray(jpeg), dtype=torch.uint8) for jpeg in reader.read(rows)]
    started = time.process_time()
    for _ in range(int(passes)):
        for jpeg in jpegs:
            torchvision.io.decode_jpeg(jpeg, mode=torchvision.io.ImageReadMode.RGB)
    spent = time.process_time() - started
    return {"tiles_per_cpu_second": int(passes) * len(jpegs) / spent}


def loading(folder: str = "", px: str = "", passes: str = "") -> dict[str, Any]:
    """Load every tile in augmented batches, from the shards, as training does."""
    imported()
    if not folder:
        return {}
    from histo_assets.core.networks.pixels import TilePixels, augmented, batch_plan
    from histo_assets.core.networks.registry import BACKBONES
    from histo_assets.core.training.datasets import epoch_order

    rows, reader = training_set(Path(folder))
    plan = batch_plan(epoch_order(rows, 1), BATCH)
    pixels = TilePixels(rows, reader, int(px), cache_bytes=0)
    started = time.process_time()
    for number in range(int(passes)):
        for positions in plan:
            names = [pixels.tiles[position] for position in positions]
            augmented(pixels.read(positions), BACKBONES["efficientnet_b0"], names, 0, number)
    spent = time.process_time() - started
    return {"tiles_per_cpu_second": int(passes) * rows.height / spent}


def bare_step(folder: str = "", px: str = "", backbone: str = "") -> dict[str, Any]:
    """Train one epoch as a plain script does, on tensors in memory."""
    imported()
    if not folder:
        return {}
    import torch

    from histo_assets.core.networks.backbones import build_network

    rows, _ = training_set(Path(folder))
    network = build_network(backbone, len(TISSUES), "random").model.train().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=True)
    generator = torch.Generator().manual_seed(0)
    tiles = torch.randn(BATCH, 3, int(px), int(px), generator=generator).to(memory_format=torch.channels_last)
    labels = torch.randint(0, len(TISSUES), (BATCH,), generator=generator)
    batches = math.ceil(rows.height / BATCH)
    started = time.process_time()
    for _ in range(batches):
        optimizer.zero_grad(set_to_none=True)
        torch.nn.functional.cross_entropy(network(tiles), labels).backward()
        optimizer.step()
    return {"cpu_ms_per_tile": 1000 * (time.process_time() - started) / (batches * BATCH)}


def whole_step(folder: str = "", px: str = "", backbone: str = "") -> dict[str, Any]:
    """Train one epoch by the platform's own loop; the few tiles that are watched are left out of both sides."""
    imported()
    if not folder:
        return {}
    from histo_assets.core.training import loop
    from histo_assets.core.training.datasets import TrainingTiles

    rows, reader = training_set(Path(folder))
    tiles = TrainingTiles(rows, reader, TISSUES)
    spent = trained_in(folder, tiles, settings(backbone, int(px)), loop)
    return {"cpu_ms_per_tile": 1000 * spent["cpu"] / rows.height}


def trained_in(folder: str, tiles: Any, learning: Any, loop: Any) -> dict[str, float]:
    """Return CPU and wall seconds of the batches of one epoch, and how long the loop waited for tiles."""
    waited = 0.0
    spent: dict[str, float] = {}
    prepare, run = loop.in_order, loop._Run._train_epoch

    def timed_tiles(made: Any, plan: Any, workers: int) -> Iterator[Any]:
        nonlocal waited
        source = prepare(made, plan, workers)
        while True:
            before = time.monotonic()
            try:
                batch = next(source)
            except StopIteration:
                return
            waited += time.monotonic() - before
            yield batch

    def timed_epoch(self: Any, clock: Any, work: Path) -> None:
        cpu, wall = time.process_time(), time.monotonic()
        run(self, clock, work)
        spent.update(cpu=time.process_time() - cpu, wall=time.monotonic() - wall)

    loop.in_order, loop._Run._train_epoch = timed_tiles, timed_epoch
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        loop.train("one", tiles, learning, Path(scratch), lambda text: None)
    return spent | {"waited": waited}


def gpu_wait(folder: str = "", px: str = "", backbone: str = "") -> dict[str, Any]:
    """Train one epoch on the GPU; return the share of the time that it waits for tiles, and tiles a second."""
    imported()
    if not folder:
        return {}
    from histo_assets.core.training import loop
    from histo_assets.core.training.datasets import TrainingTiles

    rows, reader = training_set(Path(folder))
    tiles = TrainingTiles(rows, reader, TISSUES)
    spent = trained_in(folder, tiles, settings(backbone, int(px), "cuda", WORKERS), loop)
    return {"share": spent["waited"] / spent["wall"], "tiles_per_second": rows.height / spent["wall"]}


SIDES = (decoding, loading, bare_step, whole_step, gpu_wait)


def figures(folder: Path, tiles: int, repeats: int) -> Iterator[dict[str, Any]]:
    """Yield every figure with its unit and target; the best of `repeats` runs of each side."""
    import torch

    def best(side: str, key: str, largest: bool, *arguments: Any) -> float:
        runs = [in_own_process(MODULE, side, *arguments)[key] for _ in range(repeats)]
        return float(max(runs) if largest else min(runs))

    for px in (448, 224):
        cohort = folder / f"tiles_{px}"
        cohort.mkdir(parents=True, exist_ok=True)
        write_cohort(cohort, tiles, px)
        speeds = [best(side, "tiles_per_cpu_second", True, cohort, px, 4) for side in ("decoding", "loading")]
        yield _figure(f"{px} px: torchvision's decoder alone", speeds[0], "tiles/CPU s")
        yield _figure(f"{px} px: loading, augmented, from shards", speeds[1], "tiles/CPU s")
        yield _figure(f"{px} px: loading over the decoder alone", speeds[1] / speeds[0], "", at_least=0.8)
    for backbone in ("efficientnet_b0", "resnet50"):
        arguments = ("cpu_ms_per_tile", False, cohort, px, backbone)
        bare, whole = best("bare_step", *arguments), best("whole_step", *arguments)
        yield _figure(f"{px} px, {backbone}: bare step", bare, "CPU ms/tile")
        yield _figure(f"{px} px, {backbone}: the platform's", whole, "CPU ms/tile")
        yield _figure(f"{px} px, {backbone}: overhead", whole / bare - 1, "", at_most=0.1)
    if torch.cuda.is_available():
        run = in_own_process(MODULE, "gpu_wait", cohort, px, "efficientnet_b0")
        yield _figure(f"GPU, {WORKERS} workers", run["tiles_per_second"], "tiles/s")
        yield _figure(f"GPU, {WORKERS} workers: share of time without tiles", run["share"], "", at_most=0.1)


def _figure(
    name: str, value: float, unit: str, *, at_least: float | None = None, at_most: float | None = None
) -> dict[str, Any]:
    met = None
    if at_least is not None or at_most is not None:
        met = (at_least is None or value >= at_least) and (at_most is None or value <= at_most)
    return {"name": name, "value": value, "unit": unit, "at_least": at_least, "at_most": at_most, "met": met}


def target_of(figure: dict[str, Any]) -> str:
    """Return a figure's target in a few characters."""
    if figure["at_least"] is not None:
        return f">= {figure['at_least']:g}"
    return "" if figure["at_most"] is None else f"<= {figure['at_most']:g}"


def main() -> None:
    """Print every figure."""
    arguments = parser(__doc__)
    arguments.add_argument("--folder", type=Path, help="where the shards are written, and kept for another run")
    arguments.add_argument("--tiles", type=int, default=384, help="tiles of the cohort, two thirds to train on")
    arguments.add_argument("--repeats", type=int, default=3, help="runs of each side; the best counts")
    options = arguments.parse_args()
    if options.side:
        run_side({side.__name__: side for side in SIDES}[options.side[0]], options.side[1:])
        return
    with tempfile.TemporaryDirectory() as scratch:
        rows = []
        for figure in figures(options.folder or Path(scratch), options.tiles, options.repeats):
            rows.append(figure)
            if not options.json:
                print(
                    line(figure["name"], figure["value"], figure["unit"], target_of(figure), figure["met"]), flush=True
                )
        if options.json:
            print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
