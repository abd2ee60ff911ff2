"""How tiles pass through a network that does not learn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Inference:
    """How tiles pass through a network that does not learn.

    Attributes
    ----------
    input_px
        Side of what the network sees of a tile, in pixels.
    batch_size
        Tiles at once.
    precision
        Arithmetic of the stages; pooling and classifier are in float32.
    threads, workers
        Threads of torch, and threads that decode ahead.
    """

    input_px: int
    batch_size: int = 64
    precision: Literal["bfloat16", "float32"] = "bfloat16"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int = 1
    workers: int = 0
