"""What cutting a slide gave, as text beside its shard."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from histo_assets.core.tiling.filters.registry import LOST
from histo_assets.core.tiling.quality import judge

if TYPE_CHECKING:
    from histo_assets.core.tiling.settings import QualitySettings


@dataclass(frozen=True)
class Looked:
    """One candidate that was looked at: where, how good, why rejected ('' for a good one), where in the shard."""

    x: int
    y: int
    reason: str
    quality: dict[str, float]
    offset: int = 0
    length: int = 0
    crc32: int = 0


@dataclass(frozen=True)
class SlideCut:
    """What cutting a slide gave: the sidecar of its shard.

    `key` is that of the job, `looked` holds the candidates in the order in which they were tried, of
    `candidates` in all; `no_tissue` of the `cells` grid cells were none. The thumbnail is a JPEG, the mask a
    PNG of its own size, the examples small JPEGs of tiles that were rejected when they were read, by `<x>_<y>`.
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

    def judged(self, thresholds: QualitySettings) -> list[Looked]:
        """Return what was looked at, judged by other thresholds; a lost tile stays lost."""
        return [
            looked if looked.reason == LOST else replace(looked, reason=judge(looked.quality, thresholds) or "")
            for looked in self.looked
        ]

    def rejected_examples(self) -> dict[str, list[bytes]]:
        """Return reason -> small JPEGs of rejected tiles, in the order in which they were tried."""
        examples: dict[str, list[bytes]] = {}
        for looked in self.looked:
            if looked.reason and (jpeg := self.examples.get(f"{looked.x}_{looked.y}")):
                examples.setdefault(looked.reason, []).append(jpeg)
        return examples

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
        looked = tuple(Looked(**row) for row in content.pop("looked"))
        examples = {name: base64.b64decode(jpeg) for name, jpeg in content.pop("examples").items()}
        thumbnail, mask = (base64.b64decode(content.pop(name)) for name in ("thumbnail", "mask"))
        return cls(**content, looked=looked, examples=examples, thumbnail=thumbnail, mask=mask)


@dataclass(frozen=True)
class LeftOut:
    """Why a slide gives no tiles: it is `missing`, or its file is to blame."""

    reason: str
    missing: bool = False


def first_good(looked: Sequence[Looked], count: int) -> list[Looked]:
    """Return what had been looked at when the `count`-th good tile was found; all where there are fewer."""
    found = 0
    for place, candidate in enumerate(looked):
        if found == count:
            return list(looked[:place])
        found += not candidate.reason
    return list(looked)


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()
