"""What cutting a slide gave, as text beside its shard."""

from __future__ import annotations

import base64
import json
from dataclasses import asdict, dataclass, field
from typing import Any

from histo_assets.core.tiling.quality import TileQuality


@dataclass(frozen=True)
class Looked:
    """One candidate that was looked at: where, how good, why rejected ('' for a good one), where in the shard."""

    x: int
    y: int
    reason: str
    quality: TileQuality
    offset: int = 0
    length: int = 0
    crc32: int = 0


@dataclass(frozen=True)
class SlideCut:
    """What cutting a slide gave: the sidecar of its shard.

    `looked` holds the candidates in the order in which they were tried, of `candidates` in all;
    `no_tissue` of the `cells` grid cells were none. The thumbnail is a JPEG, the mask a PNG of its own
    size, the examples small JPEGs of rejected tiles by `<reason>_<slide>_<n>`.
    """

    slide: str
    key: str
    cells: int
    no_tissue: int
    candidates: int
    looked: tuple[Looked, ...]
    shard_bytes: int
    read_storage_tiles: int
    lost_storage_tiles: int
    blank_storage_tiles: int
    quarantined: str | None
    thumbnail: bytes = b""
    mask: bytes = b""
    examples: dict[str, bytes] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of shard and sidecar, without suffix."""
        return f"{self.slide}-{self.key}-{len(self.looked)}"

    @property
    def good(self) -> list[Looked]:
        """The candidates that passed, in the order in which they were tried; none of a quarantined slide."""
        return [] if self.quarantined else [looked for looked in self.looked if not looked.reason]

    @property
    def exhausted(self) -> bool:
        """Whether every candidate was looked at, or the slide is given up."""
        return self.quarantined is not None or len(self.looked) >= self.candidates

    def until(self, count: int) -> list[Looked]:
        """Return what had been looked at when the `count`-th good tile was found."""
        found = 0
        for place, looked in enumerate(self.looked):
            if found == count:
                return list(self.looked[:place])
            found += not looked.reason
        return list(self.looked)

    def to_json(self) -> str:
        """Return the sidecar's text."""
        content = asdict(self)
        content["thumbnail"], content["mask"] = _text(self.thumbnail), _text(self.mask)
        content["examples"] = {name: _text(jpeg) for name, jpeg in self.examples.items()}
        return json.dumps(content)

    @classmethod
    def from_json(cls, text: str) -> SlideCut:
        """Return what `to_json` wrote."""
        content: dict[str, Any] = json.loads(text)
        looked = tuple(Looked(**{**row, "quality": TileQuality(**row["quality"])}) for row in content.pop("looked"))
        examples = {name: base64.b64decode(jpeg) for name, jpeg in content.pop("examples").items()}
        thumbnail, mask = (base64.b64decode(content.pop(name)) for name in ("thumbnail", "mask"))
        return cls(**content, looked=looked, examples=examples, thumbnail=thumbnail, mask=mask)


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()
