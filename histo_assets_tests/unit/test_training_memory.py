"""Too little memory ends a run with the batch size that would fit. The limit is real: a child under `RLIMIT_AS`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from histo_assets.core.training.memory import ran_out_of_memory

CHILD = """
import resource, sys
from dataclasses import replace
from pathlib import Path
from histo_assets.core.training import loop
from histo_assets_tests.unit.training_cohort import experiment, learning, training_tiles

chosen = experiment(weights="random", freeze_up_to=None, epochs=1)
tiles = training_tiles(chosen)
settings = learning(chosen, batch_size=int(sys.argv[2]), input_px=int(sys.argv[3]))
loop.train("lite", replace(tiles, rows=tiles.rows[:70]), learning(chosen, batch_size=4),
           Path(sys.argv[1]) / "warm", lambda line: None)
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
limit = used + int(sys.argv[4]) * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
loop.train("lite", tiles, settings, Path(sys.argv[1]) / "folder", lambda line: None)
"""


def last_line_under(folder: Path, batch_size: int, input_px: int, megabytes: int) -> str:
    """Return the last line that a training run says which may take so much more memory than a smaller one took."""
    arguments = [str(folder), str(batch_size), str(input_px), str(megabytes)]
    run = subprocess.run([sys.executable, "-c", CHILD, *arguments], capture_output=True, text=True, check=False)
    assert run.returncode == 1, run.stderr
    return run.stderr.strip().splitlines()[-1]


def test_a_batch_that_does_not_fit_ends_with_the_size_that_does(tmp_path: Path) -> None:
    line = last_line_under(tmp_path, 60, 224, 700)
    assert "lite: batches of 60 tiles of 224 px do not fit into memory; `batch_size: " in line, line
    size = int(line.split("`batch_size: ")[1].split("`")[0])
    assert size in (30, 15, 7, 3)


def test_where_nothing_fits_the_way_out_is_another(tmp_path: Path) -> None:
    assert "nor do fewer; lower `input_px`" in last_line_under(tmp_path, 4, 1024, 220)


@pytest.mark.parametrize(
    ("error", "memory"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (KeyboardInterrupt("out of memory"), False),
    ],
)
def test_only_what_says_so_counts_as_too_little_memory(error: BaseException, memory: bool) -> None:
    assert ran_out_of_memory(error) is memory
