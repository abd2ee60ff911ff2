"""The cut of a slide, as text beside its shard."""

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


_DECISIONS = "looked"
"""The key of the decisions in a sidecar: those that are stored have it."""


@dataclass(frozen=True)
class Decision:
    """The decision on a candidate: where it lies, its quality, why it is rejected ('' if good), where in the shard."""

    x: int
    y: int
    reason: str
    quality: dict[str, float]
    offset: int = 0
    length: int = 0
    crc32: int = 0


@dataclass(frozen=True)
class SlideCut:
    """The cut of a slide: the sidecar of its shard.

    `key` is that of the job. Of the `cells` of the grid, `no_tissue` hold too little tissue and `candidates` enough;
    `decisions` are on those that were tried, in their order. The thumbnail is a JPEG, the mask a PNG of its own
    size, the examples small JPEGs of tiles that were rejected when they were read, by `<x>_<y>`.
    """

    slide: str
    key: str
    cells: int
    no_tissue: int
    candidates: int
    decisions: tuple[Decision, ...]
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
        return f"{self.slide}-{self.key}-{len(self.decisions)}"

    @property
    def good(self) -> list[Decision]:
        """The candidates that passed, in the order in which they were tried; none of a quarantined slide."""
        return [] if self.quarantined else [decision for decision in self.decisions if not decision.reason]

    @property
    def exhausted(self) -> bool:
        """Whether every candidate was tried, or the slide is given up."""
        return self.quarantined is not None or len(self.decisions) >= self.candidates

    def decisions_under(self, thresholds: QualitySettings) -> list[Decision]:
        """Return the decisions by other thresholds; a lost tile stays lost."""
        return [
            decision if decision.reason == LOST else replace(decision, reason=judge(decision.quality, thresholds) or "")
            for decision in self.decisions
        ]

    def rejected_examples(self) -> dict[str, list[bytes]]:
        """Return reason -> small JPEGs of rejected tiles, in the order in which they were tried."""
        examples: dict[str, list[bytes]] = {}
        for decision in self.decisions:
            if decision.reason and (jpeg := self.examples.get(f"{decision.x}_{decision.y}")):
                examples.setdefault(decision.reason, []).append(jpeg)
        return examples

    def to_json(self) -> str:
        """Return the sidecar's text."""
        content = asdict(self)
        content[_DECISIONS] = content.pop("decisions")
        content["thumbnail"], content["mask"] = _text(self.thumbnail), _text(self.mask)
        content["examples"] = {name: _text(jpeg) for name, jpeg in self.examples.items()}
        return json.dumps(content)

    @classmethod
    def from_json(cls, text: str) -> SlideCut:
        """Return what `to_json` wrote."""
        content: dict[str, Any] = json.loads(text)
        decisions = tuple(Decision(**row) for row in content.pop(_DECISIONS))
        examples = {name: base64.b64decode(jpeg) for name, jpeg in content.pop("examples").items()}
        thumbnail, mask = (base64.b64decode(content.pop(name)) for name in ("thumbnail", "mask"))
        return cls(**content, decisions=decisions, examples=examples, thumbnail=thumbnail, mask=mask)


@dataclass(frozen=True)
class LeftOut:
    """Why a slide gives no tiles: it is `missing`, or its file is to blame."""

    reason: str
    missing: bool = False


def first_good(decisions: Sequence[Decision], count: int) -> list[Decision]:
    """Return the decisions up to the `count`-th good tile; all where fewer are good."""
    good = 0
    for place, decision in enumerate(decisions):
        if good == count:
            return list(decisions[:place])
        good += not decision.reason
    return list(decisions)


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()
