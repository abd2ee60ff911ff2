"""What the model asks of the tiles that it is to learn from.

A backfill runs each tissue on its own: a tissue whose check failed does not stop the others, nor
what comes after them. So the model looks for itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from histo_assets.core.files import settings_digest
from histo_assets.core.networks.errors import LearningError
from histo_assets.core.slides.settings import SlideSettings
from histo_assets.core.tiling.settings import TilingSettings
from histo_assets.core.tiling.tile_set import TileSet, one_parameter_set


def refuse_unfit_tiles(
    tiles: Mapping[str, TileSet],
    tissues: Sequence[str],
    min_slides: int,
    tiling: TilingSettings,
    slides: SlideSettings,
) -> None:
    """Raise unless every tissue has its tiles, passed its check, and was cut as the study says.

    Raises
    ------
    TilingError
        A tissue has no tiles, or was cut under other settings than the rest.
    LearningError
        A tissue has tiles of fewer than `min_slides` slides, or all were cut under other settings
        than the study's.
    """
    shared = settings_digest(tiling.without_overrides(), slides.max_lost_share)
    before = settings_digest(tiling, slides.max_lost_share)  # as tile sets of version 0.1.0 were marked
    tiles = {t: replace(s, parameters=shared) if s.parameters == before else s for t, s in tiles.items()}
    parameters = one_parameter_set(tiles, tissues)
    for tissue in tissues:
        count = tiles[tissue].index["slide"].n_unique()
        if count < min_slides:
            raise LearningError(
                f"the tiles of {tissue} failed their check: they are of {count} slides, and the study wants at least "
                f"{min_slides}; add slides, lower `selection.min_slides`, or leave the tissue out"
            )
    if parameters != shared:
        raise LearningError(
            "all tiles were cut under other settings than the study's; run `histo-assets materialize --select tiles`"
        )
