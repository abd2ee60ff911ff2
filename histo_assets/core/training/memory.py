"""Too little memory: how to recognise it, and what would fit. Imports torch: import this inside functions."""

from __future__ import annotations

import gc

import numpy as np
import torch

from histo_assets.core.networks.pixels import plain
from histo_assets.core.training.learner import Learner
from histo_assets.core.training.settings import LearningSettings

_MESSAGES = ("can't allocate memory", "not enough memory", "out of memory", "failed to allocate", "insufficient memory")


def ran_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory, of the machine or of the GPU, was too little."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, Exception) and any(words in str(error).lower() for words in _MESSAGES)


def smaller_batch(learner: Learner, settings: LearningSettings) -> str:
    """Return a sentence on the study's batch size, which did not fit, and on the one that does: it is tried."""
    tiles, px = settings.batch_size, settings.input_px
    fits = fitting_batch_size(learner, px, tiles)
    way_out = (
        f"`batch_size: {fits}` does (tried)"
        if fits
        else "nor do fewer; lower `input_px`, take a smaller backbone or freeze more of its stages"
    )
    return f"batches of {tiles} tiles of {px} px do not fit into memory; {way_out}"


def fitting_batch_size(learner: Learner, px: int, too_large: int) -> int | None:
    """Return the largest half, quarter, ... of `too_large` tiles that a whole step was tried with and fits.

    None where not even two do. The learner has learnt nonsense afterwards.
    """
    size = too_large // 2
    while size >= 2:
        gc.collect()
        if learner.device.type == "cuda":
            torch.cuda.empty_cache()
        if _fits(learner, px, size):
            return size
        size //= 2
    return None


def _fits(learner: Learner, px: int, size: int) -> bool:
    try:
        blank = plain(np.full((size, px, px, 3), 128, np.uint8), learner.network.backbone)
        learner.step(blank, torch.zeros(size, dtype=torch.int64), rate=0.0, seed=0)
    except Exception as error:
        if not ran_out_of_memory(error):
            raise
        return False
    return True
