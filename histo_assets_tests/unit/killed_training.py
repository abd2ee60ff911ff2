"""Trains a tiny network in child processes that are killed at random batches, then to the end.

    python -m histo_assets_tests.unit.killed_training FOLDER KILLS SEED

Prints one JSON object: the batch at which each child was killed, and how often a run was resumed. The parent never
computes; each child inherits the imports and dies by SIGKILL, in the middle of whatever it is doing.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from histo_assets.core import progress
from histo_assets.core.training import loop
from histo_assets.core.training.checkpoint import Checkpoint
from histo_assets.core.training.settings import ExperimentSettings
from histo_assets_tests.unit.training_cohort import experiment, learning, training_tiles

WORKERS = 1


def chosen() -> ExperimentSettings:
    """Return the experiment: every layer learns, a changing rate, dropout, augmentation, a checkpoint."""
    return experiment(epochs=5, checkpoints=(2,), weights="random", freeze_up_to=None, schedule="cosine")


def trained(folder: Path, resume: Path, progress=lambda line: None) -> Checkpoint:
    """Return the experiment's checkpoint; its state is written at random moments, as far as the child gets."""
    settings = learning(chosen(), batch_size=8, workers=WORKERS)
    return loop.train("lite", training_tiles(chosen()), settings, folder, progress, resume)


def killed_after(folder: Path, resume: Path, batches: int, delay: float, save_seconds: float) -> list[str]:
    """Train in a child, kill it a moment after it told of `batches` batches, and return the lines it told."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        loop.SAVE_SECONDS, progress.SECONDS = save_seconds, 0.0
        trained(folder, resume, lambda line: os.write(writing, line.encode() + b"\n") and None)
        os._exit(0)
    os.close(writing)
    lines: list[str] = []
    with os.fdopen(reading) as pipe:
        while sum(", batch " in line and "resumed" not in line for line in lines) < batches:
            line = pipe.readline()
            if not line:
                break
            lines.append(line.strip())
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)
        lines += [line.strip() for line in pipe]
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status) or os.WTERMSIG(status) != signal.SIGKILL:
        raise SystemExit(f"the child ended by itself with status {status}: {lines[-3:]}")
    return lines


def main() -> None:
    folder, kills, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    dice = random.Random(seed)
    at: list[str] = []
    resumed = 0
    for _ in range(kills):
        # The state is written after every batch or hardly ever, so that some children replay many.
        save_seconds = dice.choice([0.0, 0.0, 0.2])
        lines = killed_after(
            folder / "broken", folder / "state", dice.randint(1, 3), 0.05 * dice.random(), save_seconds
        )
        resumed += "resumed at" in lines[0]
        at.append(next(line for line in reversed(lines) if ", batch " in line).split(", ")[1])
    trained(folder / "broken", folder / "state")
    print(json.dumps({"killed_at": at, "resumed": resumed}))


if __name__ == "__main__":
    main()
