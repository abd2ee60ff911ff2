"""The tiles of a tissue as a handle, and a reader of their JPEGs."""

from __future__ import annotations

import json
import mmap
import zlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl

from histo_assets.core.files import settings_digest, write_json
from histo_assets.core.slides.inspection import reasons
from histo_assets.core.tiling.store import ShardStore, TilingError, sidecar_of

__all__ = ["ShardStore", "TileReader", "TileSet", "TilingError", "one_parameter_set"]

_OPEN_SHARDS = 128


@dataclass(frozen=True, eq=False)
class TileSet:
    """The tiles of one tissue: a handle to the shards that hold them.

    Attributes
    ----------
    index
        One row a tile, columns as `tables.TileIndex` declares them, slide by slide.
    funnel
        One row a slide: `candidates` (grid cells), those without enough tissue (`no_tissue`), those
        rejected by reason, `good` and `kept`. Cells that were never tried, because there were enough
        tiles, are the difference.
    tissue, parameters, shard_root
        The tissue; the digest of the settings it was cut under; where the shards are. Of the last only the name of
        the folder is stored: who loads the handle says by `located` below which root that lies.
    quarantined
        Slides given up while tiling, with the reason.
    complete
        Whether there are as many tiles as the settings ask for.
    previews
        By slide, a JPEG of it with the contour of its mask and its tiles outlined.
    rejected
        Small JPEGs of some rejected tiles, by `<reason>_<slide>_<n>`.
    decisions
        One row a tile that was judged: slide, reason ('' for a good one), jpeg_bytes (bytes per pixel).
    lost_storage_tiles
        How many storage tiles of a slide did not decode, where there were any.
    missing, left_out
        Slides that were not there or could not be fetched, and all slides that gave no tiles, with the reason:
        those that inspection left out and those that tiling did.
    """

    index: pl.DataFrame
    funnel: pd.DataFrame
    tissue: str
    parameters: str
    shard_root: str
    quarantined: dict[str, str]
    complete: bool
    previews: dict[str, bytes] = field(repr=False)
    rejected: dict[str, bytes] = field(repr=False)
    decisions: pl.DataFrame = field(repr=False)
    lost_storage_tiles: dict[str, int]
    missing: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def located(self, root: str) -> TileSet:
        """Return the handle of shards that lie below `root`, in the folder that is named by the asset."""
        return replace(self, shard_root=f"{root}/{_last_part(self.shard_root)}")

    def jpeg_bytes(self, rows: pl.DataFrame) -> list[bytes]:
        """Return the JPEG of every row of `rows`, which are rows of the index."""
        return TileReader([self]).read(rows)

    def shards(self, root: str) -> dict[str, int]:
        """Return the shards that the index names and their sidecars, relative to `root`, with their bytes."""
        sizes = ShardStore(self.shard_root, self.tissue).names()
        folder = f"{_last_part(self.shard_root)}/{self.tissue}"
        shards = sorted(set(self.index["shard"]))
        names = [name for shard in shards for name in (shard, sidecar_of(shard))]
        return {f"{folder}/{name}": sizes.get(name, 0) for name in names}

    def rejected_examples(self) -> dict[str, bytes]:
        """Return small JPEGs of some rejected tiles, by `<reason>_<slide>_<n>`."""
        return dict(self.rejected)

    def content_digest(self) -> str:
        """Return a digest of the tiles themselves and what is known of them.

        Neither where the tiles lie nor how many candidates were tried counts: cutting more of it later, for another
        study, changes nothing. Nor do slides that were never tiled.
        """
        rows = self.index.drop("shard", "offset")
        funnel = self.funnel.to_csv(index=False)
        return settings_digest(self.tissue, rows.write_csv(float_precision=6), funnel, self.quarantined)

    def write(self, folder: Path) -> None:
        """Write the handle into `folder`: index.parquet, funnel.parquet, tileset.json, pictures; no shard."""
        from histo_assets.core.tables import write_table
        from histo_assets.core.tiling.tables import Candidates, Funnel, TileIndex

        folder.mkdir(parents=True, exist_ok=True)
        write_table(self.index, folder / "index.parquet", TileIndex)
        write_table(self.funnel, folder / "funnel.parquet", Funnel)
        write_table(self.decisions, folder / "looked.parquet", Candidates)
        for kind, pictures in (("previews", self.previews), ("rejected", self.rejected)):
            (folder / kind).mkdir(exist_ok=True)
            for name, jpeg in pictures.items():
                (folder / kind / f"{name}.jpg").write_bytes(jpeg)
        names = ("tissue", "parameters", "quarantined", "complete", "lost_storage_tiles", "missing", "left_out")
        content = {name: getattr(self, name) for name in names}
        write_json(folder / "tileset.json", {**content, "shard_root": _last_part(self.shard_root)})

    @classmethod
    def read(cls, folder: Path) -> TileSet:
        """Return the handle that `write` left in `folder`."""
        from histo_assets.core.tables import read_pandas, read_polars
        from histo_assets.core.tiling.tables import Candidates, Funnel, TileIndex

        return cls(
            index=read_polars(folder / "index.parquet", TileIndex),
            funnel=read_pandas(folder / "funnel.parquet", Funnel),
            decisions=read_polars(folder / "looked.parquet", Candidates),
            previews={path.stem: path.read_bytes() for path in sorted(folder.glob("previews/*.jpg"))},
            rejected={path.stem: path.read_bytes() for path in sorted(folder.glob("rejected/*.jpg"))},
            **json.loads((folder / "tileset.json").read_text(encoding="utf-8")),
        )


class TileReader:
    """Reads JPEGs of tiles out of shards, which are fetched once and mapped into memory.

    Travels to worker processes; each maps the shards for itself.
    """

    def __init__(self, sources: Sequence[TileSet] | Mapping[str, str]) -> None:
        """Read the shards of tile sets, or of a mapping of tissue to shard root."""
        if not isinstance(sources, Mapping):
            sources = {tile_set.tissue: tile_set.shard_root for tile_set in sources}
        self._roots = dict(sources)
        self._mapped: OrderedDict[tuple[str, str], mmap.mmap] = OrderedDict()

    def read(self, rows: pl.DataFrame) -> list[bytes]:
        """Return the JPEG of every row.

        Parameters
        ----------
        rows
            Needs tissue, shard, offset and length; with `crc32`, the content is checked against it.

        Raises
        ------
        TilingError
            A shard is missing, shorter than the index says, or holds something else.
        """
        columns = ["tissue", "shard", "offset", "length"]
        jpegs = [
            self._shard(tissue, shard)[offset : offset + length]
            for tissue, shard, offset, length in rows.select(columns).iter_rows()
        ]
        for place, (jpeg, length) in enumerate(zip(jpegs, rows["length"], strict=True)):
            if len(jpeg) != length or ("crc32" in rows.columns and zlib.crc32(jpeg) != rows["crc32"][place]):
                tissue, shard = rows["tissue"][place], rows["shard"][place]
                raise TilingError(
                    f"shard {tissue}/{shard} is not the one that the index was made of; "
                    "delete it and run `histo-assets materialize --select tiles`"
                )
        return jpegs

    def _shard(self, tissue: str, shard: str) -> mmap.mmap:
        key = (tissue, shard)
        mapped = self._mapped.get(key)
        if mapped is None:
            root = self._roots.get(tissue)
            if root is None:
                raise TilingError(f"no shards are known of tissue {tissue}; give the reader its tile set too")
            with open(ShardStore(root, tissue).fetch(shard), "rb") as file:
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            self._mapped[key] = mapped
            if len(self._mapped) > _OPEN_SHARDS:
                self._mapped.popitem(last=False)
        return mapped

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_mapped": OrderedDict()}


def with_reasons(raw_slides: pd.DataFrame, tiles: TileSet) -> pd.DataFrame:
    """Return the raw slides of a tissue, those that tiling left out with their reason too."""
    by_column = {"quarantined": tiles.quarantined, "missing": tiles.missing}
    columns = {
        name: [
            own.get(slide, reason) for slide, reason in zip(raw_slides["slide"], reasons(raw_slides, name), strict=True)
        ]
        for name, own in by_column.items()
    }
    return raw_slides.assign(**{n: pd.Series(c, index=raw_slides.index, dtype=object) for n, c in columns.items()})


def left_out_slides(tiles: Mapping[str, TileSet]) -> pd.DataFrame:
    """Return the slides that gave no tiles: slide, tissue, kind (missing or quarantined), reason."""
    rows = [
        (slide, tissue, "missing" if slide in tile_set.missing else "quarantined", reason)
        for tissue, tile_set in tiles.items()
        for slide, reason in tile_set.left_out.items()
    ]
    return pd.DataFrame(rows, columns=["slide", "tissue", "kind", "reason"])


def _last_part(place: str) -> str:
    return place.rstrip("/").rsplit("/", 1)[-1]


def one_parameter_set(tiles: Mapping[str, TileSet], tissues: Sequence[str]) -> str:
    """Return the digest of the settings under which the tiles of all `tissues` were cut.

    Raises
    ------
    TilingError
        A tissue has no tiles, or was cut under other settings than the rest.
    """
    absent = [tissue for tissue in tissues if tissue not in tiles]
    if absent:
        raise TilingError(f"there are no tiles of {', '.join(absent)}; run `histo-assets materialize --select tiles`")
    by_digest: dict[str, list[str]] = {}
    for tissue in tissues:
        by_digest.setdefault(tiles[tissue].parameters, []).append(tissue)
    if len(by_digest) > 1:
        fewest = min(by_digest, key=lambda digest: (len(by_digest[digest]), digest))
        raise TilingError(
            f"the tiles of {', '.join(by_digest[fewest])} were cut under other settings than the rest; "
            "run `histo-assets materialize --select tiles`"
        )
    return next(iter(by_digest), "")
