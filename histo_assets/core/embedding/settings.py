"""What a study decides about embeddings."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from histo_assets.core.files import Settings


class EmbeddingSettings(Settings):
    """How tiles go through the network."""

    batch_size: int = Field(default=64, ge=1, description="Tiles at once.")
    precision: Literal["bfloat16", "float32"] = Field(default="bfloat16", description="Arithmetic of the network.")
