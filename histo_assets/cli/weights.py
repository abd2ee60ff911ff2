"""The command `histo-assets fetch-weights`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from histo_assets.cli.environment import open_study, say

if TYPE_CHECKING:
    from histo_assets.core.training.settings import LearningSettings


def fetch_weights(
    study: Annotated[str | None, typer.Option("--study", help="A packaged study or a YAML file (HISTO_STUDY).")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what is on this machine; fetch nothing.")] = False,
) -> None:
    """Fetch the weights that a study starts from or serves, so that it can run offline afterwards."""
    from histo_assets.core.networks.errors import LearningError
    from histo_assets.core.networks.published import published_weights
    from histo_assets.core.networks.registry import BACKBONES

    learning = open_study(study).learning
    missing = 0
    for name, revision in _wanted(learning):
        backbone = BACKBONES[name]
        try:
            weights = published_weights(backbone, revision, offline=dry_run)
        except LearningError as error:
            missing += 1
            why = f"not on this machine; it would come from {backbone.source}" if dry_run else str(error)
            say(Text(name, "red"), f": {why}")
            continue
        size = weights.file.stat().st_size / 1e6
        commit = f", commit {weights.revision}" if weights.revision else ""
        say(f"{name}: {weights.path} ({size:,.0f} MB, {backbone.licence}{commit})")
    if not _wanted(learning):
        say("the study starts from random weights or files of its own; there is nothing to fetch")
    if missing:
        raise typer.Exit(1)


def _wanted(learning: LearningSettings) -> list[tuple[str, str | None]]:
    """Return backbone and revision of all published weights that a study needs, each once."""
    if learning.frozen:
        frozen = learning.frozen
        return [(frozen.backbone, frozen.revision)] if frozen.weights == "published" else []
    names = [one.backbone for one in learning.experiments.values() if one.weights == "imagenet"]
    return [(name, None) for name in dict.fromkeys(names)]
