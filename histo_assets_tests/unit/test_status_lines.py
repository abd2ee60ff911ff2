"""How a study stands, in lines for people."""

from __future__ import annotations

from histo_assets.cli.status import status_lines
from histo_assets.storage.layout import Artefact
from histo_assets.storage.staleness import Reason, State, Status


def status(asset: str, partition: str | None, state: State, *sentences: str) -> Status:
    reasons = tuple(Reason("setting", "x", sentence) for sentence in sentences)
    return Status(Artefact(asset, partition), state, reasons, (), None)


def test_partitions_with_the_same_reasons_share_a_line_and_the_fresh_have_none() -> None:
    tissues = ["adipose", "heart", "kidney", "liver", "lung", "skin"]
    tiles = [status("tiles", tissue, "stale", "tiling.tile_px 224 -> 192") for tissue in tissues]
    odd = status("tiles", "spleen", "stale", "raw_slides [spleen] changed")
    assert status_lines(
        [status("slide_manifest", None, "fresh"), *tiles, odd, status("training_set", None, "missing")]
    ) == [
        "tiles [adipose, heart, kidney, liver and 2 more] stale: tiling.tile_px 224 -> 192",
        "tiles [spleen] stale: raw_slides [spleen] changed",
        "training_set missing",
    ]
