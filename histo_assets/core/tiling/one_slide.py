"""One slide into a folder of tiles, without a study."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from histo_assets.core.progress import Progress
from histo_assets.core.slides.integrity import SlideRecord, inspect_slide
from histo_assets.core.slides.settings import SlideSettings
from histo_assets.core.tiling.job import TissueJob
from histo_assets.core.tiling.settings import TilingSettings
from histo_assets.core.tiling.tile_set import TileSet
from histo_assets.core.tiling.tiles import tile_tissue

SHARDS = "shards"


@dataclass(frozen=True)
class SingleSlide:
    """A slide's record, its tiles (None where its inspection failed) and why it cannot be used, if so."""

    record: SlideRecord
    tiles: TileSet | None
    quarantined: str | None

    @property
    def candidates(self) -> int:
        """Cells of the grid."""
        return 0 if self.tiles is None else int(self.tiles.funnel["candidates"].sum())

    @property
    def rejected(self) -> dict[str, int]:
        """How many cells each reason rejected; the others were kept or never tried."""
        if self.tiles is None:
            return {}
        reasons = self.tiles.funnel.drop(columns=["slide", "candidates", "good", "kept"])
        return {str(reason): int(count) for reason, count in reasons.sum().items()}


def tile_slide(
    path: Path,
    slide: str,
    out: Path,
    settings: TilingSettings,
    slide_settings: SlideSettings,
    tissue: str,
    progress: Progress,
) -> SingleSlide:
    """Return the tiles of one slide, written into `out`: index, funnel, pictures of the slide, and a shard.

    The shard lies in `out/shards/<tissue>`; a second call under the same settings decodes nothing.

    Parameters
    ----------
    path, slide
        The file, and what the slide is called in names of tiles.
    out
        Folder, made where it is missing.
    settings
        `tiles_per_slide` tiles are cut; thresholds are those of `tissue`.
    progress
        Told a sentence when the slide is done.
    """
    record = inspect_slide(path, slide_settings, slide)
    if reason := record.quarantined or record.missing:
        return SingleSlide(record, None, reason)
    row = {"slide": slide, "donor": slide, "tissue": tissue, "sample": slide} | asdict(record)
    tiles = tile_tissue(
        pd.DataFrame([row]),
        TissueJob(
            tissue,
            str(out.absolute() / SHARDS),
            settings.model_copy(update={"tiles_per_tissue": None}),
            slide_settings,
        ),
        workers=1,
        progress=progress,
    )
    for pictures in ("previews", "rejected"):
        shutil.rmtree(out / pictures, ignore_errors=True)
    tiles.write(out)
    return SingleSlide(record, tiles, tiles.left_out.get(slide))
