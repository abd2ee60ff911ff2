"""The commands around tiles: `tile` cuts one slide without Dagster, `calibrate` proposes thresholds.

Belongs here: reading arguments, printing, writing pictures. The work is in `core.tiling`.
"""

from __future__ import annotations

import json
import math
import os
import resource
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from histo_assets.cli.environment import console, open_study, say, stop, storage_of
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
    from histo_assets.core.cohort.ids import safe_id
    from histo_assets.core.files import write_json
    from histo_assets.core.tiling.one_slide import tile_slide

    if not slide.exists():
        stop(f"{slide} does not exist")
    if out.exists() and not out.is_dir():
        stop(f"{out} is a file; name a folder for the tiles")
    for name, given in (("--mpp", mpp), ("--assume-mpp", assume_mpp)):
        if given is not None and not 0 < given < math.inf:
            stop(f"{name} {given:g} is no resolution; give micrometres per pixel, such as 0.5")
    key = safe_id(slide.stem)
    if not key:
        stop(f"{slide.name} leaves no usable name; rename it")
    tiling, opening = _settings(study or "gtex", tiles, tile_px, mpp, assume_mpp)
    if image is not None:
        opening = opening.model_copy(update={"image": image})
    before = _cpu_seconds()
    tell = (lambda sentence: None) if as_json else say
    done = tile_slide(slide, key, out, tiling, opening, tissue, tell)
    if done.tiles is not None:
        _write_pictures(done, tiling, tissue, out)
    answer = _answer(done, _cpu_seconds() - before)
    write_json(out / "result.json", answer)
    if as_json:
        print(json.dumps(answer))
    else:
        _print(answer, out)
    if done.quarantined:
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
    looked = _looked_at(loaded)
    found = proposed_thresholds(looked)
    quality = loaded.tiling.quality
    now = {item.tissue: quality.for_tissue(item.tissue).threshold(JPEG_SIZE.setting) for item in found}
    if as_json:
        print(json.dumps([asdict(item) | {"now": now[item.tissue]} for item in found]))
    else:
        _print_thresholds(found, now)
    if picture is not None:
        proposed = {item.tissue: item.threshold for item in found if item.threshold is not None}
        picture.write_bytes(png(jpeg_size_figure(looked, proposed)))
    if write is not None:
        chosen = study_reference(study or os.environ.get("HISTO_STUDY", loaded.name), write)
        write_thresholds(write, chosen, slug(write.stem), found)
        if not as_json:
            say(f"Wrote {write}; use it with --study {write}")


def _looked_at(study: Study) -> pd.DataFrame:
    """Return tissue, slide and JPEG size of every tile that the study's finished tissues looked at."""
    import polars as pl

    from histo_assets.storage.formats import read
    from histo_assets.storage.layout import Artefact

    storage, parts = storage_of(study), []
    for tissue in study.selection.tissues:
        artefact = Artefact("tiles", tissue)
        pointer = storage.pointer(artefact)
        if pointer is not None:
            made = read(pointer.format, storage.fetch(artefact, pointer))
            parts.append(made.looked.with_columns(pl.lit(tissue).alias("tissue")))
    if not parts:
        stop(f"study {study.name} has no tiles yet; run `histo-assets materialize --select tiles` first")
    looked: pd.DataFrame = pl.concat(parts).to_pandas()
    return looked


def _print_thresholds(found: Sequence[TissueThreshold], now: Mapping[str, float]) -> None:
    from rich.table import Table

    table = Table(title="JPEG bytes per pixel")
    for column in ("tissue", "slides", "tiles", "now", "proposed", "below it"):
        table.add_column(column, justify="left" if column == "tissue" else "right")
    for item in found:
        proposed = item.reason if item.threshold is None else f"{item.threshold:.4f}"
        share = "" if item.threshold is None else f"{item.rejected:.1%}"
        table.add_row(item.tissue, str(item.slides), str(item.tiles), f"{now[item.tissue]:.4f}", proposed, share)
    console.print(table)


def _settings(
    study: str, tiles: int, tile_px: int | None, mpp: float | None, assume_mpp: float | None
) -> tuple[TilingSettings, SlideSettings]:
    loaded = open_study(study)
    changed: dict[str, Any] = {"tiles_per_slide": tiles, "tiles_per_tissue": None}
    changed |= {name: given for name, given in (("tile_px", tile_px), ("mpp", mpp)) if given is not None}
    opening = loaded.slides if assume_mpp is None else loaded.slides.model_copy(update={"assume_mpp": assume_mpp})
    return loaded.tiling.model_copy(update=changed), opening


def _write_pictures(done: SingleSlide, tiling: TilingSettings, tissue: str, out: Path) -> None:
    """Write what the UI shows of a tissue's tiles into `out/pictures`."""
    from histo_assets.core.figures.slides import tile_pictures
    from histo_assets.core.figures.style import png
    from histo_assets.core.files import atomic_path
    from histo_assets.core.tiling.pictures import contact_sheet
    from histo_assets.core.tiling.shards import TileReader

    made = done.tiles
    if made is None:
        return
    sheet = contact_sheet(TileReader([made]), made.index.head(40))
    threshold = tiling.quality.for_tissue(tissue).threshold(JPEG_SIZE.setting)
    pictures = tile_pictures(made.looked, made.funnel, made.previews, made.rejected_examples(), sheet, threshold)
    for name, image in pictures.items():
        content = image if isinstance(image, bytes) else png(image)
        suffix = "png" if content.startswith(b"\x89PNG") else "jpg"
        with atomic_path(out / "pictures" / f"{name}.{suffix}") as temporary:
            temporary.write_bytes(content)


def _answer(done: SingleSlide, cpu: float) -> dict[str, Any]:
    made = done.tiles
    return {
        "slide": done.record.path,
        "candidates": done.candidates,
        "kept": 0 if made is None else len(made.index),
        "rejected": done.rejected,
        "lost_storage_tiles": 0 if made is None else sum(made.lost_storage_tiles.values()),
        "mpp": None if math.isnan(done.record.mpp) else done.record.mpp,
        "integrity": done.record.integrity,
        "quarantined": done.quarantined,
        "cpu_seconds": round(cpu, 3),
    }


def _print(answer: dict[str, Any], out: Path) -> None:
    if answer["quarantined"]:
        console.print(f"[red]quarantined[/]: {answer['quarantined']}")
        return
    thrown = ", ".join(f"{count} {reason}" for reason, count in answer["rejected"].items() if count) or "none"
    console.print(f"{answer['kept']} tiles of {answer['candidates']} grid cells; rejected: {thrown}")
    console.print(f"Tiles, index and pictures: [bold]{out}[/]")


def _cpu_seconds() -> float:
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in spent)
