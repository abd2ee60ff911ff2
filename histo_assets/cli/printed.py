"""What the command line prints of plans and predictions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from histo_assets.cli.environment import bold, console, folder_of, say

if TYPE_CHECKING:
    from histo_assets.defs.whole_study import Stage
    from histo_assets.studies.plan import StudyPlan
    from histo_assets.studies.study import Study


def print_prediction(study: Study, key: str) -> None:
    """Print what a study says of a new slide."""
    from histo_assets.core.figures.slide_page import SlideSummary

    folder = folder_of(study, "incoming_prediction", key)
    summary = SlideSummary(**json.loads((folder / "summary.json").read_text()))
    table = Table(title=f"{key}: {summary.tissue} ({summary.probability:.0%})")
    for column in ("gene", "log2(1+TPM)", "over the tissue mean", "r2 within tissue", "cluster average"):
        table.add_column(column, justify="left" if column == "gene" else "right")
    for row in summary.top_genes:
        table.add_row(
            row["gene"],
            f"{row['predicted']:.2f}",
            f"{row['over_tissue_mean']:+.2f}",
            f"{row['r2_within']:.2f}",
            f"{row['cluster_average']:.2f}",
        )
    console.print(table)
    if summary.unlike_training:
        say(Text("Unlike the training slides", "yellow"), f": {summary.novelty_sentence}")
    say("Page: ", bold(folder / "page.html"))


def _fetching(plan: StudyPlan) -> dict[str, str]:
    """Return the row on slides that are still to be fetched; none where there are none."""
    if not plan.slides_to_fetch:
        return {}
    what = f"{plan.slides_to_fetch:,} slides, about {plan.slide_gigabytes_missing} GB"
    return {"to fetch": f"{what}, from {plan.slide_source}"}


def print_plan(plan: StudyPlan, stages: Sequence[Stage], due: int, left_over: Sequence[str]) -> None:
    """Print a plan for people: with its stages, how many runs are `due`, and the partitions that no study has."""
    say(bold(plan.study), f": {plan.title}")
    regime, detectable = plan.regime, plan.regime.detectable_out_of_fold
    rows = {
        "slides in the manifest": f"{plan.manifest_slides:,}",
        "pairs with RNA": f"{plan.pairs:,} of {plan.pair_donors:,} donors",
        "selected": f"{plan.slides:,} slides of {plan.donors:,} donors, {plan.tissues} tissues",
        "tiles": f"{plan.tiles:,}, about {plan.tile_gigabytes} GB",
        "slide files": f"{plan.slides_found:,} found, {plan.slide_gigabytes} GB;"
        f" missing about {plan.slide_gigabytes_missing} GB",
        **_fetching(plan),
        "training": f"none: {plan.frozen} serves as it is"
        if plan.frozen
        else f"{plan.epochs} epochs in {len(plan.experiments)} experiments",
        "evidence": f"{regime.regime}, {regime.locked_donors} locked donors; smallest r2 within tissue"
        f" found with 80 % power: {'none' if detectable is None else f'{detectable:.2f}'}",
        "due now": f"{due} runs",
    }
    table = Table(show_header=False, box=None)
    for name, value in rows.items():
        table.add_row(name, value)
    console.print(table)
    for stage in stages:
        keys = [key for key in stage.partitions if key]
        many = f" x {len(keys)}" if keys else ""
        say(f"  {', '.join(stage.assets)}{many}")
    for sentence in plan.missing:
        say(f"missing: {sentence}")
    for name in left_over:
        say(f"left over: {name}; `histo-assets prune` removes it")
