"""Embedding tiles by the platform against a plain PyTorch loop over the same tiles and weights.

    .venv/bin/python -m histo_assets_tests.benchmarks.embedding [--tiles 384] [--json]

The plain loop decodes with torchvision and runs the network in evaluation mode in float32, as a script would; the
platform reads shards, folds batch normalisation into convolutions and computes in bfloat16, channels last. Tiles per
CPU second of each, their ratio, and how alike the embeddings are (the smallest cosine). One thread each, each side in
a process of its own; the best of several runs counts.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from histo_assets_tests.benchmarks.measure import in_own_process, line, parser, run_side
from histo_assets_tests.benchmarks.training import imported, training_set, write_cohort

MODULE = "histo_assets_tests.benchmarks.embedding"
PX = 224
BATCH = 64


def network(backbone: str) -> Any:
    """Return the network that both sides run, with random weights that a seed decides."""
    from histo_assets.core.networks.backbones import build_network

    return build_network(backbone, 4, "random", seed=1)


def plain(folder: str = "", backbone: str = "") -> dict[str, Any]:
    """Embed every tile as a script does, and write the embeddings."""
    imported()
    if not folder:
        return {}
    import numpy as np
    import torch
    import torchvision

    rows, reader = training_set(Path(folder))
    made = network(backbone)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (made.backbone.mean, made.backbone.std))
    vectors = []
    for start in range(0, rows.height, BATCH):
        jpegs = reader.read(rows[start : start + BATCH])
        tiles = [torchvision.io.decode_jpeg(torch.frombuffer(bytearray(jpeg), dtype=torch.uint8)) for jpeg in jpegs]
        with torch.inference_mode():
            vectors.append(made.features((torch.stack(tiles).float() / 255 - mean) / std).numpy())
    np.save(Path(folder) / "plain.npy", np.concatenate(vectors))
    return {"tiles": rows.height}


def ours(folder: str = "", backbone: str = "") -> dict[str, Any]:
    """Embed every tile as `tile_embeddings` does, and compare with what `plain` wrote."""
    imported()
    if not folder:
        return {}
    import numpy as np

    from histo_assets.core.embedding.tile_embeddings import embed_tiles
    from histo_assets.core.networks.inference import Inference

    rows, reader = training_set(Path(folder))
    inference = Inference(PX, BATCH, device="cpu")
    vectors, _ = embed_tiles(network(backbone), rows, reader, inference, backbone)
    other = np.load(Path(folder) / "plain.npy")
    lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(other, axis=1)
    return {"tiles": rows.height, "cosine": float(((vectors * other).sum(1) / lengths).min())}


SIDES = (plain, ours)


def figures(folder: Path, tiles: int, repeats: int) -> Iterator[dict[str, Any]]:
    """Yield every figure."""
    write_cohort(folder, tiles, PX)
    for backbone in ("efficientnet_b0", "resnet50"):
        best = {}
        for side in ("plain", "ours"):
            runs = [in_own_process(MODULE, side, folder, backbone) for _ in range(repeats)]
            best[side] = min(runs, key=lambda run: float(run["cpu_seconds"]))
        speed = {side: run["tiles"] / run["cpu_seconds"] for side, run in best.items()}
        yield {"name": f"{backbone}: a plain loop", "value": speed["plain"], "unit": "tiles/CPU s"}
        yield {"name": f"{backbone}: the platform", "value": speed["ours"], "unit": "tiles/CPU s"}
        yield {
            "name": f"{backbone}: the platform over the plain loop",
            "value": speed["ours"] / speed["plain"],
            "unit": "",
        }
        yield {"name": f"{backbone}: smallest cosine between the two", "value": best["ours"]["cosine"], "unit": ""}


def main() -> None:
    """Print every figure."""
    arguments = parser(__doc__)
    arguments.add_argument("--tiles", type=int, default=384, help="tiles of the cohort, two thirds of them embedded")
    arguments.add_argument("--repeats", type=int, default=3, help="runs of each side; the best counts")
    options = arguments.parse_args()
    if options.side:
        run_side({side.__name__: side for side in SIDES}[options.side[0]], options.side[1:])
        return
    with tempfile.TemporaryDirectory() as scratch:
        rows = []
        for figure in figures(Path(scratch), options.tiles, options.repeats):
            rows.append(figure)
            if not options.json:
                print(line(figure["name"], figure["value"], figure["unit"]), flush=True)
        if options.json:
            print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
