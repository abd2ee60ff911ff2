"""Room `model`: the frozen training order and the experiments."""

import shutil
from pathlib import Path
from typing import Any

import dagster as dg

from histo_assets.core.errors import HistoError
from histo_assets.defs.metadata import markdown_table, picture
from histo_assets.defs.study_assets import StudyAssets, result, verdict
from histo_assets.defs.tiles import IMAGES, verdict_on_images
from histo_assets.defs.types import Checkpoint, LargeTable, Table, TileSet
from histo_assets.storage.io_managers import StorageResource
from histo_assets.storage.layout import Artefact
from histo_assets.studies.study import Study

ROOM = "model"


def serves(study: Study) -> bool:
    """Return whether the study trains anything."""
    return not study.learning.frozen


def build(assets: StudyAssets) -> list[Any]:
    """Return the assets of the room."""
    return _training(assets)


def _training(assets: StudyAssets) -> list[Any]:
    study = assets.study
    # Not the experiments themselves: one more that needs no further order leaves the training set fresh.
    orders = study.learning.orders

    @assets.asset(
        ROOM,
        "tables",
        table="training.TrainingSet",
        kinds={"polars"},
        reads=[
            "split",
            "learning.seed",
            "selection.tissues",
            "selection.min_slides",
            "tiling",
            "slides.max_lost_share",
        ],
        derived={"learning.orders": [[*key, epochs] for key, epochs in orders.items()]},
        ins={"tiles": assets.every("tiles"), "donor_split": assets.one("donor_split")},
        checks={
            "no_donor_on_two_sides": "No donor's tiles stand on two sides (a warning where the study splits by tile).",
            "every_tissue_is_present": "Every tissue of the study has tiles to train on.",
            "every_tissue_is_judged": "Every tissue has tiles of donors that are not trained on.",
            IMAGES: "No two slides hold one image under two donors, so that no image stands on two sides.",
            "no_slide_is_left_out": "Every selected slide is there, sound and tiled.",
        },
        blocking=[
            "every_tissue_is_present",
            IMAGES,
            *(["no_donor_on_two_sides"] if study.split.unit == "donor" else []),
        ],
    )
    def training_set(study: Study, tiles: dict[str, TileSet], donor_split: Table) -> dg.MaterializeResult:
        """The frozen order of training tiles for every epoch, and every tile's side of the split."""
        import polars as pl

        from histo_assets.core.cohort.splits import leaking_donors
        from histo_assets.core.figures import learning as figures
        from histo_assets.core.tiling.tile_set import TileReader, left_out_slides
        from histo_assets.core.training.datasets import build_training_set, standard_batch, unjudged_tissues
        from histo_assets.core.training.guard import refuse_unfit_tiles

        refuse_unfit_tiles(tiles, study.selection.tissues, study.selection.min_slides, study.tiling, study.slides)
        index = pl.concat([tiles[tissue].index for tissue in study.selection.tissues])
        rows = build_training_set(index, donor_split, study.selection.tissues, study.learning, study.split, orders)
        reader = TileReader(list(tiles.values()))
        batch = standard_batch(rows, reader, 24)
        preview = figures.standard_batch([jpeg for jpeg, _ in batch], [name for _, name in batch])
        leaking = leaking_donors(rows.select("donor", "side").to_pandas())
        unjudged = list(unjudged_tissues(rows).items())
        trained_on = set(rows.filter(pl.col("side") == "train")["tissue"])
        absent = sorted(set(study.selection.tissues) - trained_on)
        left_out = left_out_slides(tiles)
        kinds = {kind: int((left_out["kind"] == kind).sum()) for kind in ("missing", "quarantined")}
        by_side = rows.group_by("tissue", "side").len("tiles").to_pandas()
        return result(
            rows,
            {
                "tiles": len(rows),
                **{f"{side}_tiles": int((rows["side"] == side).sum()) for side in ("train", "validation", "test")},
                "preview": picture(preview, "first batch"),
                "sides": picture(figures.sides_figure(by_side), "tiles per side"),
                **{f"slides_{kind}": count for kind, count in kinds.items()},
                **({"left_out": dg.MetadataValue.md(markdown_table(left_out))} if len(left_out) else {}),
            },
            [
                verdict(
                    "no_donor_on_two_sides",
                    not leaking,
                    f"{len(leaking)} donors on two sides",
                    warn=study.split.unit == "tile",
                ),
                verdict_on_images(tiles),
                verdict(
                    "every_tissue_is_present",
                    not absent,
                    f"without training tiles: {', '.join(absent) or 'none'}"
                    + ("; add donors, or leave these tissues out of `selection.tissues`" if absent else ""),
                ),
                verdict(
                    "every_tissue_is_judged",
                    not unjudged,
                    "; ".join(f"{tissue}: donors {donors}, all trained on" for tissue, donors in unjudged)
                    or "every tissue has validation or locked tiles",
                    warn=True,
                ),
                verdict(
                    "no_slide_is_left_out",
                    left_out.empty,
                    "; ".join(f"{count} {kind}" for kind, count in kinds.items() if count) or "none left out",
                    warn=True,
                ),
            ],
        )

    @assets.asset(
        ROOM,
        "folders",
        kinds={"pytorch", "torchvision"},
        reads=[
            "learning.experiments",
            "learning.input_px",
            "learning.batch_size",
            "learning.augment",
            "learning.class_weights",
            "learning.device",
            "learning.threads",
            "learning.seed",
            "selection.tissues",
        ],
        ins={"training_set": assets.one("training_set"), "tiles": assets.every("tiles")},
        formerly={"tiles": "training_set"},
        revision=2,
        partitions=assets.partitions.experiments,
        pool="gpu",
        checks={"loss_is_finite": "Loss and accuracy of every epoch are numbers."},
        blocking=["loss_is_finite"],
    )
    def trained_model(
        study: Study,
        context: dg.AssetExecutionContext,
        storage: StorageResource,
        training_set: LargeTable,
        tiles: dict[str, TileSet],
    ) -> dg.MaterializeResult:
        """The weights of one experiment at its checkpoint epochs, and its history."""
        import numpy as np

        from histo_assets.core.figures.learning import training_history
        from histo_assets.core.tiling.tile_set import TileReader
        from histo_assets.core.training.datasets import TrainingTiles
        from histo_assets.core.training.loop import train

        name = context.partition_key
        experiment = study.learning.experiments[name]
        folder, resume = storage.scratch(f"training/{name}"), storage.scratch(f"resume/{name}")
        shutil.rmtree(folder)
        if _published_since(storage, name, resume):
            shutil.rmtree(resume)
        checkpoint = train(
            name,
            TrainingTiles(training_set, TileReader(list(tiles.values())), study.selection.tissues),
            study.learning,
            folder,
            context.log.info,
            resume_folder=resume,
            earlier=_as_it_stands(storage, name),
        )
        history = checkpoint.history
        last = history.iloc[-1]
        losses = history[["train_loss", "train_accuracy", "validation_loss", "validation_accuracy"]]
        return result(
            checkpoint,
            {
                "backbone": experiment.backbone,
                "epochs": experiment.epochs,
                "checkpoints": ", ".join(map(str, checkpoint.epochs)),
                "validation_accuracy": float(last["validation_accuracy"]),
                "train_accuracy": float(last["train_eval_accuracy"]),
                "train_loss": float(last["train_loss"]),
                "cpu_seconds": float(history["cpu_seconds"].sum()),
                "preview": picture(training_history(history), "history"),
                "history": dg.MetadataValue.md(markdown_table(history)),
            },
            [verdict("loss_is_finite", bool(np.isfinite(losses.to_numpy()).all()), f"{len(history)} epochs")],
        )

    return [training_set, trained_model]


def _as_it_stands(storage: StorageResource, experiment: str) -> "Checkpoint | None":
    """Return the experiment's checkpoint whatever it was made from, or None where none can be read.

    A study that gains an experiment has a new version of all of them; what has not changed is
    recognised by what decided it, and not trained again.
    """
    from histo_assets.core.training.checkpoint import Checkpoint as Trained

    artefact = Artefact("trained_model", experiment)
    pointer = storage.storage.pointer_or_none(artefact)
    if pointer is None:
        return None
    try:
        return Trained.read(storage.storage.fetch(artefact, pointer))
    except (HistoError, OSError):
        return None


def _published_since(storage: StorageResource, experiment: str, resume: Path) -> bool:
    """Return whether the experiment was published after its resume state was written: that state is spent."""
    pointer = storage.storage.pointer_or_none(Artefact("trained_model", experiment))
    written = max((path.stat().st_mtime for path in resume.rglob("*")), default=0.0)
    return pointer is not None and pointer.written_at.timestamp() > written
