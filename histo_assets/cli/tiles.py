"""The commands around tiles: `tile` cuts one slide without Dagster, `calibrate` proposes thresholds.

Belongs here: reading arguments, printing, writing pictures. The work is in `core.tiling`.
"""

from __future__ import annotations

import json
import math
import os
import resource
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from histo_assets.cli.environment import bold, console, open_study, say, stop, storage_of
from histo_assets.core.progress import silent
from histo_assets.core.tiling.filters.jpeg_size import JPEG_SIZE

if TYPE_CHECKING:
    import pandas as pd

    from histo_assets.core.slides.settings import SlideSettings
    from histo_assets.core.tiling.calibration import TissueThreshold
    from histo_assets.core.tiling.one_slide import SingleSlide
    from histo_assets.core.tiling.settings import TilingSettings
    from histo_assets.studies.study import Study

SlideArgument = Annotated[Path, typer.Argument(help="A whole-slide image, or a folder of DICOM files.")]
OutArgument = Annotated[Path, typer.Argument(help="The folder for tiles, index and pictures.")]


def tile(  # noqa: PLR0913 - an option of the command each
    slide: SlideArgument,
    out: OutArgument,
    tiles: Annotated[int, typer.Option(min=1, help="How many tiles at most.")] = 100,
    study: Annotated[str | None, typer.Option("--study", help="Cut as this study does (default: gtex).")] = None,
    tissue: Annotated[str, typer.Option(help="Take the study's thresholds of this tissue.")] = "slide",
    tile_px: Annotated[int | None, typer.Option(min=16, help="Side of a tile in pixels.")] = None,
    mpp: Annotated[float | None, typer.Option(help="Micrometres per pixel of the tiles.")] = None,
    assume_mpp: Annotated[float | None, typer.Option(help="Resolution of a slide that names none.")] = None,
    image: Annotated[str | None, typer.Option(help="Name or number of the scan, where its file holds several.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Cut one slide into quality-controlled tiles: a shard, an index and pictures. Exit 1: quarantined."""
    from histo_assets.core.cohort.ids import marked_id, safe_id
    from histo_assets.core.files import write_json
    from histo_assets.core.tiling.one_slide import tile_slide

    if not slide.exists():
        stop(f"{slide} does not exist")
    if out.exists() and not out.is_dir():
        stop(f"{out} is a file; name a folder for the tiles")
    for name, value in (("--mpp", mpp), ("--assume-mpp", assume_mpp)):
        if value is not None and not 0 < value < math.inf:
            stop(f"{name} {value:g} is no resolution; give micrometres per pixel, such as 0.5")
    key = safe_id(slide.stem) or marked_id(slide.stem)
    tiling, opening = _settings(study or "gtex", tiles, tile_px, mpp, assume_mpp)
    if image is not None:
        opening = opening.model_copy(update={"image": image})
    before = _cpu_seconds()
    progress = silent if as_json else say
    result = tile_slide(slide, key, out, tiling, opening, tissue, progress)
    if result.tiles is not None:
        _write_pictures(result, tiling, tissue, out)
    summary = _summary(result, _cpu_seconds() - before)
    write_json(out / "result.json", asdict(summary))
    if as_json:
        print(json.dumps(asdict(summary)))
    else:
        _print(summary, out)
    if result.quarantined:
        raise typer.Exit(1)


def calibrate(
    study: Annotated[str | None, typer.Option("--study", help="A packaged study or a YAML file (HISTO_STUDY).")] = None,
    write: Annotated[Path | None, typer.Option(help="Write a study file with the thresholds; else only say.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Draw the sizes with the thresholds into this PNG.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Propose a JPEG-size threshold for every tissue from the tiles that were looked at, kept or not."""
    from histo_assets.core.figures.slides import jpeg_size_figure
    from histo_assets.core.figures.style import png
    from histo_assets.core.files import slug
    from histo_assets.core.tiling.calibration import proposed_thresholds, study_reference, write_thresholds

    loaded = open_study(study)
    decisions = _decisions(loaded)
    thresholds = proposed_thresholds(decisions)
    quality = loaded.tiling.quality
    now = {item.tissue: quality.for_tissue(item.tissue).threshold(JPEG_SIZE.setting) for item in thresholds}
    if as_json:
        print(json.dumps([asdict(item) | {"now": now[item.tissue]} for item in thresholds]))
    else:
        _print_thresholds(thresholds, now)
    if picture is not None:
        proposed = {item.tissue: item.threshold for item in thresholds if item.threshold is not None}
        picture.write_bytes(png(jpeg_size_figure(decisions, proposed)))
    if write is not None:
        chosen = study_reference(study or os.environ.get("HISTO_STUDY", loaded.name), write)
        write_thresholds(write, chosen, slug(write.stem), thresholds)
        if not as_json:
            say(f"Wrote {write}; use it with --study {write}")


def _decisions(study: Study) -> pd.DataFrame:
    """Return tissue, slide, reason and JPEG size of every tile that was judged in the study's finished tissues."""
    import polars as pl

    from histo_assets.storage.formats import read
    from histo_assets.storage.layout import Artefact

    storage, parts = storage_of(study), []
    for tissue in study.selection.tissues:
        artefact = Artefact("tiles", tissue)
        pointer = storage.pointer(artefact)
        if pointer is not None:
            tile_set = read(pointer.format, storage.fetch(artefact, pointer))
            parts.append(tile_set.decisions.with_columns(pl.lit(tissue).alias("tissue")))
    if not parts:
        stop(f"study {study.name} has no tiles yet; run `histo-assets materialize --select tiles` first")
    decisions: pd.DataFrame = pl.concat(parts).to_pandas()
    return decisions


def _print_thresholds(thresholds: Sequence[TissueThreshold], now: Mapping[str, float]) -> None:
    from rich.table import Table

    table = Table(title="JPEG bytes per pixel")
    for column in ("tissue", "slides", "tiles", "now", "proposed", "below it"):
        table.add_column(column, justify="left" if column == "tissue" else "right")
    for item in thresholds:
        proposed = item.reason if item.threshold is None else f"{item.threshold:.4f}"
        share = "" if item.threshold is None else f"{item.rejected:.1%}"
        table.add_row(item.tissue, str(item.slides), str(item.tiles), f"{now[item.tissue]:.4f}", proposed, share)
    console.print(table)


def _settings(
    study: str, tiles: int, tile_px: int | None, mpp: float | None, assume_mpp: float | None
) -> tuple[TilingSettings, SlideSettings]:
    loaded = open_study(study)
    changed: dict[str, float | None] = {"tiles_per_slide": tiles, "tiles_per_tissue": None}
    changed |= {name: value for name, value in (("tile_px", tile_px), ("mpp", mpp)) if value is not None}
    opening = loaded.slides if assume_mpp is None else loaded.slides.model_copy(update={"assume_mpp": assume_mpp})
    return loaded.tiling.model_copy(update=changed), opening


def _write_pictures(result: SingleSlide, tiling: TilingSettings, tissue: str, out: Path) -> None:
    """Write what the UI shows of a tissue's tiles into `out/pictures`."""
    from histo_assets.core.figures.slides import tile_pictures
    from histo_assets.core.figures.style import png
    from histo_assets.core.files import atomic_path
    from histo_assets.core.tiling.pictures import contact_sheet
    from histo_assets.core.tiling.tile_set import TileReader

    tile_set = result.tiles
    if tile_set is None:
        return
    sheet = contact_sheet(TileReader([tile_set]), tile_set.index.head(40))
    threshold = tiling.quality.for_tissue(tissue).threshold(JPEG_SIZE.setting)
    pictures = tile_pictures(
        tile_set.decisions, tile_set.funnel, tile_set.previews, tile_set.rejected_examples(), sheet, threshold
    )
    for name, image in pictures.items():
        content = image if isinstance(image, bytes) else png(image)
        suffix = "png" if content.startswith(b"\x89PNG") else "jpg"
        with atomic_path(out / "pictures" / f"{name}.{suffix}") as temporary:
            temporary.write_bytes(content)


@dataclass(frozen=True)
class TilingSummary:
    """What cutting a slide came to, as `result.json` holds it.

    Attributes
    ----------
    slide
        The file.
    candidates, kept
        Cells of the grid, and those that became tiles.
    rejected
        Reason -> cells that were thrown out for it.
    lost_storage_tiles
        Storage tiles that did not decode.
    mpp
        um/px of level 0, None where unknown.
    integrity
        As in `SlideRecord`.
    quarantined
        Why the slide cannot be used, or None.
    cpu_seconds
        Spent by this process and its children, s.
    """

    slide: str
    candidates: int
    kept: int
    rejected: dict[str, int]
    lost_storage_tiles: int
    mpp: float | None
    integrity: str
    quarantined: str | None
    cpu_seconds: float


def _summary(result: SingleSlide, cpu: float) -> TilingSummary:
    tile_set = result.tiles
    return TilingSummary(
        slide=result.record.path,
        candidates=result.candidates,
        kept=0 if tile_set is None else len(tile_set.index),
        rejected=result.rejected,
        lost_storage_tiles=0 if tile_set is None else sum(tile_set.lost_storage_tiles.values()),
        mpp=None if math.isnan(result.record.mpp) else result.record.mpp,
        integrity=result.record.integrity,
        quarantined=result.quarantined,
        cpu_seconds=round(cpu, 3),
    )


def _print(summary: TilingSummary, out: Path) -> None:
    if summary.quarantined:
        say(Text("quarantined", "red"), f": {summary.quarantined}")
        return
    thrown = ", ".join(f"{count} {reason}" for reason, count in summary.rejected.items() if count) or "none"
    console.print(f"{summary.kept} tiles of {summary.candidates} grid cells; rejected: {thrown}")
    say("Tiles, index and pictures: ", bold(out))


def _cpu_seconds() -> float:
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in spent)
