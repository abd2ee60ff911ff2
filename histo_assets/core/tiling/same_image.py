"""The same image under two slides: noticed by the slides' thumbnails, confirmed by tiles of the same place.

Costs no look at a slide: the thumbnail lies in the sidecar of every shard, and tiles were cut from level 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from histo_assets.core.tiling.pictures import decoded
from histo_assets.core.tiling.sidecar import SlideCut
from histo_assets.core.tiling.store import ShardStore, sidecar_of
from histo_assets.core.tiling.tile_set import TileReader, TileSet

_SIDE = 96
_BLUR = 9
_LIKE, _CERTAIN = 0.9, 0.95
_GREY_LEVELS = 6.0
_PLAIN = 1.0
_PLACES = 12

Pixels = np.ndarray[Any, Any]


@dataclass(frozen=True)
class SameImage:
    """Two slides that hold one image, with their donors and tissues."""

    slides: tuple[str, str]
    donors: tuple[str, str]
    tissues: tuple[str, str]

    @property
    def of_two_donors(self) -> bool:
        """Whether the image is said to be of two people."""
        return self.donors[0] != self.donors[1]

    def __str__(self) -> str:
        one, other = (
            f"{slide} (donor {donor}, {tissue})"
            for slide, donor, tissue in zip(self.slides, self.donors, self.tissues, strict=True)
        )
        return f"{one} and {other}"


def same_images(tiles: Mapping[str, TileSet]) -> list[SameImage]:
    """Return the pairs of slides, of all tissues, whose tiles are of one image, sorted by slide.

    Two slides are compared by the detail of their thumbnails, so re-encoded and renamed copies are found; crops,
    turned and mirrored ones are not. Those that agree are looked at a second time where both have a tile of the same
    place: there the image decides, not the overview. Thumbnails that show nothing are like no other.
    """
    slides = pl.concat([one.index.select("slide", "donor", "tissue", "shard") for one in tiles.values()])
    rows = list(slides.unique(subset=["slide", "tissue"]).sort("slide", "tissue").iter_rows(named=True))
    reader = TileReader(list(tiles.values()))
    found = []
    for one, other, agreement in _alike([_detail(tiles[row["tissue"]], row["shard"]) for row in rows]):
        first, second = rows[one], rows[other]
        confirmed = _confirmed(first, second, tiles, reader)
        if first["slide"] != second["slide"] and (agreement > _CERTAIN if confirmed is None else confirmed):
            names = ((first[key], second[key]) for key in ("slide", "donor", "tissue"))
            found.append(SameImage(*names))
    return found


def _detail(tiles: TileSet, shard: str) -> Pixels:
    """Return what a slide's thumbnail shows beyond its coarse shades, as a unit vector; zeros where that is nothing."""
    import cv2

    try:
        cut = SlideCut.from_json(ShardStore(tiles.shard_root, tiles.tissue).read_text(sidecar_of(shard)))
    except FileNotFoundError:  # staleness tells of lost sidecars
        return np.zeros(_SIDE**2, np.float32)
    grey = cv2.cvtColor(decoded(cut.thumbnail), cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    fine = (small - cv2.blur(small, (_BLUR, _BLUR))).ravel()
    length = float(np.linalg.norm(fine))
    plain = length < _PLAIN * _SIDE  # the root mean square of its detail, in grey levels
    return np.asarray(np.zeros_like(fine) if plain else fine / length)


def _alike(details: list[Pixels]) -> Iterator[tuple[int, int, float]]:
    """Yield the places of pairs whose detail agrees, and how well (1: wholly); block by block, to bound memory."""
    if not details:
        return
    stacked = np.stack(details)
    for start in range(0, len(stacked), 512):
        agreement = stacked[start : start + 512] @ stacked.T
        for row, column in np.argwhere(agreement > _LIKE):
            if start + row < column:
                yield int(start + row), int(column), float(agreement[row, column])


def _confirmed(
    first: Mapping[str, Any], second: Mapping[str, Any], tiles: Mapping[str, TileSet], reader: TileReader
) -> bool | None:
    """Return whether tiles of the same place agree; None where the slides have none."""
    one, other = (
        tiles[row["tissue"]].index.filter(pl.col("slide") == row["slide"]).sort("x", "y") for row in (first, second)
    )
    places = one.join(other, on=["x", "y", "size", "mpp"], how="semi").head(_PLACES)
    if places.is_empty():
        return None
    twins = places.select("x", "y", "size", "mpp").join(other, on=["x", "y", "size", "mpp"], how="left")
    pictures = [[decoded(jpeg).astype(np.int16) for jpeg in reader.read(rows)] for rows in (places, twins)]
    apart = [np.abs(a - b).mean() for a, b in zip(*pictures, strict=True)]
    return float(np.median(apart)) < _GREY_LEVELS
