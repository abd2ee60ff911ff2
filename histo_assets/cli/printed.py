"""What the command line prints of plans and predictions."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from histo_assets.cli.environment import bold, console, folder_of, say

if TYPE_CHECKING:
    from histo_assets.studies.study import Study


def print_prediction(study: Study, key: str) -> None:
    """Print what a study says of a new slide."""
    folder = folder_of(study, "incoming_prediction", key)
    summary = json.loads((folder / "summary.json").read_text())
    table = Table(title=f"{key}: {summary['tissue']} ({summary['probability']:.0%})")
    for column in ("gene", "log2(1+TPM)", "over the tissue mean", "r2 within tissue", "cluster average"):
        table.add_column(column, justify="left" if column == "gene" else "right")
    for row in summary["top_genes"]:
        table.add_row(
            row["gene"],
            f"{row['predicted']:.2f}",
            f"{row['over_tissue_mean']:+.2f}",
            f"{row['r2_within']:.2f}",
            f"{row['cluster_average']:.2f}",
        )
    console.print(table)
    if summary["unlike_training"]:
        say(Text("Unlike the training slides", "yellow"), f": {summary['novelty_sentence']}")
    say("Page: ", bold(folder / "page.html"))


def _fetching(content: dict[str, Any]) -> dict[str, str]:
    """Return the row on slides that are still to be fetched; none where there are none."""
    if not content["slides_to_fetch"]:
        return {}
    what = f"{content['slides_to_fetch']:,} slides, about {content['slide_gigabytes_missing']} GB"
    return {"to fetch": f"{what}, from {content['slide_source']}"}


def print_plan(content: dict[str, Any]) -> None:
    """Print a plan for people."""
    say(bold(content["study"]), f": {content['title']}")
    regime = content["regime"]
    detectable = regime["detectable_out_of_fold"]
    rows = {
        "slides in the manifest": f"{content['manifest_slides']:,}",
        "pairs with RNA": f"{content['pairs']:,} of {content['pair_donors']:,} donors",
        "selected": f"{content['slides']:,} slides of {content['donors']:,} donors, {content['tissues']} tissues",
        "tiles": f"{content['tiles']:,}, about {content['tile_gigabytes']} GB",
        "slide files": f"{content['slides_found']:,} found, {content['slide_gigabytes']} GB;"
        f" missing about {content['slide_gigabytes_missing']} GB",
        **_fetching(content),
        "training": f"none: {content['frozen']} serves as it is"
        if content["frozen"]
        else f"{content['epochs']} epochs in {len(content['experiments'])} experiments",
        "evidence": f"{regime['regime']}, {regime['locked_donors']} locked donors; smallest r2 within tissue"
        f" found with 80 % power: {'none' if detectable is None else f'{detectable:.2f}'}",
        "due now": f"{len(content['due'])} runs",
    }
    table = Table(show_header=False, box=None)
    for name, value in rows.items():
        table.add_row(name, value)
    console.print(table)
    for stage in content["stages"]:
        many = f" x {len(stage['partitions'])}" if stage["partitions"] else ""
        say(f"  {', '.join(stage['assets'])}{many}")
    for sentence in content["missing"]:
        say(f"missing: {sentence}")
    for name in content["partitions_without_a_study"]:
        say(f"left over: {name}; `histo-assets prune` removes it")
