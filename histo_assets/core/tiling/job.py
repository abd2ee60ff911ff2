"""One slide to cut, and the keys under which its shards are found again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from histo_assets.core.files import settings_digest
from histo_assets.core.slides.arrival import FETCHED
from histo_assets.core.slides.budget import FetchedCopy
from histo_assets.core.slides.images import Choice
from histo_assets.core.slides.settings import SlideSettings
from histo_assets.core.slides.slide import chosen_image
from histo_assets.core.tiling.filters.registry import measures
from histo_assets.core.tiling.settings import TilingSettings

REVISION = 2
"""Raised when the same settings come to mean other tiles: no earlier shard is reused then."""


@dataclass(frozen=True)
class TissueJob:
    """The slides of one tissue to cut: how, and where their shards go.

    Attributes
    ----------
    shard_root
        Local path or fsspec URL; the shards lie in its folder `tissue`.
    folder
        What the paths of slides are relative to.
    """

    tissue: str
    shard_root: str
    tiling: TilingSettings
    slide_settings: SlideSettings
    folder: str = ""

    def of_slide(self, row: Mapping[Any, Any]) -> SlideJob:
        """Return the job of one slide, a row of the inspected slides."""
        return SlideJob(
            slide=row["slide"],
            path=str(Path(self.folder) / row["path"]),
            mpp=float(row["mpp"]),
            digest=row["digest"],
            digest_kind=row["digest_kind"],
            width=int(row["width"]),
            height=int(row["height"]),
            tissue=self.tissue,
            shard_root=self.shard_root,
            tiling=self.tiling,
            slide_settings=self.slide_settings,
        )


@dataclass(frozen=True)
class SlideJob:
    """One slide to cut: which file, at what scan resolution (um/px), into which tissue's shards."""

    slide: str
    path: str
    mpp: float
    digest: str
    digest_kind: str
    width: int
    height: int
    tissue: str
    shard_root: str
    tiling: TilingSettings
    slide_settings: SlideSettings

    @property
    def size(self) -> int:
        """Side of a tile in level-0 pixels."""
        return max(1, round(self.tiling.tile_px * self.tiling.mpp / self.mpp))

    @property
    def image(self) -> Choice:
        """Which of several scans in its file is cut."""
        return chosen_image(self.slide_settings, self.slide)

    @property
    def inspect_again(self) -> str:
        """The advice to inspect the slide again, up to where options may follow and a backtick must."""
        return f"run `histo-assets materialize --select raw_slides --partition {self.tissue}"

    @property
    def fetched(self) -> FetchedCopy | None:
        """The local copy that was fetched for the study, or None where the file is the user's own."""
        if self.digest_kind != FETCHED:
            return None
        return FetchedCopy(
            self.slide, Path(self.path), self.digest.split("-")[0], self.slide_settings.source, self.inspect_again
        )

    @property
    def cells(self) -> int:
        """Cells of the grid: the tiles that fit onto the slide."""
        return (self.width // self.size) * (self.height // self.size)

    @property
    def reading_key(self) -> str:
        """Digest of the slide and of all that decides which pixels are read in which order, and what is measured."""
        tiling = self.tiling.model_dump(mode="json", exclude={"tiles_per_slide", "tiles_per_tissue", "quality"})
        chosen = [] if self.image is None else [f"image {self.image}"]
        return settings_digest(REVISION, self.slide, self.digest, self.mpp, tiling, *measures(), *chosen)[:12]

    @property
    def key(self) -> str:
        """The reading key and a digest of the thresholds by which tiles and slide are judged."""
        quality = self.tiling.quality.for_tissue(self.tissue)
        return f"{self.reading_key}-{settings_digest(quality, self.slide_settings.max_lost_share)[:6]}"
