"""Room `model`: the frozen training order, the experiments, the chosen one and its evaluation."""

import shutil
from pathlib import Path
from typing import Any

import dagster as dg

from histo_assets.defs.metadata import markdown_table, picture, table_metadata
from histo_assets.defs.study_assets import StudyAssets, result, verdict
from histo_assets.defs.types import Checkpoint, LargeTable, SelectedModel, Table, TileSet
from histo_assets.storage.io_managers import StorageResource
from histo_assets.storage.layout import Artefact, StorageError

ROOM = "model"


def build(assets: StudyAssets) -> list[Any]:
    """Return the assets of the room."""
    return [*_training(assets), *_choice(assets), _evaluation(assets)]


# What trains nothing: which experiment serves or is studied, and how many workers decode.
_NOT_TRAINED = {"selected": None, "studied": "", "workers": 0}


def _training(assets: StudyAssets) -> list[Any]:
    study = assets.study
    # Not the experiments themselves: one more that needs no further order leaves the training set fresh.
    orders = [[*key, epochs] for key, epochs in study.learning.orders.items()]

    @assets.asset(
        ROOM,
        "tables",
        kinds={"polars"},
        settings=[study.split, study.learning.seed, orders, study.selection.tissues],
        ins={"tiles": assets.every("tiles"), "donor_split": assets.one("donor_split")},
        checks={
            "no_donor_on_two_sides": "No donor's tiles stand on two sides (a warning where the study splits by tile).",
            "every_tissue_is_present": "Every tissue of the study has tiles to train on.",
        },
        blocking=["every_tissue_is_present", *(["no_donor_on_two_sides"] if study.split.unit == "donor" else [])],
    )
    def training_set(storage: StorageResource, tiles: dict[str, TileSet], donor_split: Table) -> dg.MaterializeResult:
        """The frozen order of training tiles for every epoch, and every tile's side of the split."""
        import polars as pl

        from histo_assets.core.cohort.splits import leaking_donors
        from histo_assets.core.figures import learning as figures
        from histo_assets.core.learning.datasets import build_training_set, standard_batch
        from histo_assets.core.learning.guard import refuse_unfit_tiles
        from histo_assets.core.tiling.shards import TileReader

        refuse_unfit_tiles(tiles, study.selection.tissues, study.selection.min_slides, study.tiling, study.slides)
        index = pl.concat([tiles[tissue].index for tissue in study.selection.tissues])
        rows = build_training_set(index, donor_split, study.selection.tissues, study.learning, study.split)
        reader = TileReader(list(tiles.values()))
        batch = standard_batch(rows, reader, 24)
        preview = figures.standard_batch([jpeg for jpeg, _ in batch], [name for _, name in batch])
        leaking = leaking_donors(rows.select("donor", "side").to_pandas())
        trained_on = set(rows.filter(pl.col("side") == "train")["tissue"])
        absent = sorted(set(study.selection.tissues) - trained_on)
        by_side = rows.group_by("tissue", "side").len("tiles").to_pandas()
        return result(
            rows,
            {
                "tiles": len(rows),
                **{f"{side}_tiles": int((rows["side"] == side).sum()) for side in ("train", "validation", "test")},
                "preview": picture(preview, "first batch"),
                "sides": picture(figures.sides_figure(by_side), "tiles per side"),
                **table_metadata(rows),
            },
            [
                verdict(
                    "no_donor_on_two_sides",
                    not leaking,
                    f"{len(leaking)} donors on two sides",
                    warn=study.split.unit == "tile",
                ),
                verdict(
                    "every_tissue_is_present", not absent, f"without training tiles: {', '.join(absent) or 'none'}"
                ),
            ],
        )

    @assets.asset(
        ROOM,
        "folders",
        kinds={"pytorch", "torchvision"},
        settings=[study.learning.model_copy(update=_NOT_TRAINED), study.selection.tissues],
        ins={"training_set": assets.one("training_set")},
        partitions=assets.partitions.experiments,
        pool="gpu",
        checks={"loss_is_finite": "Loss and accuracy of every epoch are numbers."},
        blocking=["loss_is_finite"],
    )
    def trained_model(
        context: dg.AssetExecutionContext, storage: StorageResource, training_set: LargeTable
    ) -> dg.MaterializeResult:
        """The weights of one experiment at its checkpoint epochs, and its history."""
        import numpy as np

        from histo_assets.core.figures.learning import training_history
        from histo_assets.core.learning.training import train
        from histo_assets.core.tiling.shards import TileReader

        name = context.partition_key
        experiment = study.learning.experiments[name]
        folder, resume = storage.scratch(f"training/{name}"), storage.scratch(f"resume/{name}")
        shutil.rmtree(folder)
        if _published_since(storage, name, resume):
            shutil.rmtree(resume)
        checkpoint = train(
            experiment,
            name,
            training_set,
            TileReader.at(storage.shard_root("tiles")),
            folder,
            study.selection.tissues,
            study.learning,
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


def _as_it_stands(storage: StorageResource, experiment: str) -> Checkpoint | None:
    """Return the experiment's checkpoint whatever it was made from, or None where none can be read.

    A study that gains an experiment has a new version of all of them; what has not changed is
    recognised by what decided it, and not trained again.
    """
    from histo_assets.core.learning.checkpoint import Checkpoint as Trained
    from histo_assets.core.learning.errors import LearningError

    artefact = Artefact("trained_model", experiment)
    pointer = storage.storage.pointer_or_none(artefact)
    if pointer is None:
        return None
    try:
        return Trained.read(storage.storage.fetch(artefact, pointer))
    except (LearningError, StorageError, OSError):
        return None


def _published_since(storage: StorageResource, experiment: str, resume: Path) -> bool:
    """Return whether the experiment was published after its resume state was written: that state is spent."""
    pointer = storage.storage.pointer_or_none(Artefact("trained_model", experiment))
    written = max((path.stat().st_mtime for path in resume.rglob("*")), default=0.0)
    return pointer is not None and pointer.written_at.timestamp() > written


def _choice(assets: StudyAssets) -> list[Any]:
    study = assets.study

    @assets.asset(
        ROOM,
        "tables",
        kinds={"pandas"},
        settings=[study.learning.studied],
        ins={"trained_model": assets.every("trained_model")},
        checks={"every_experiment_is_there": "Every experiment of the study has figures for each of its epochs."},
    )
    def experiment_comparison(trained_model: dict[str, Checkpoint]) -> dg.MaterializeResult:
        """Time, accuracy and loss of every experiment, epoch by epoch."""
        from histo_assets.core.figures.learning import epoch_table_figure, experiment_curves, experiment_times
        from histo_assets.core.learning.comparison import compare_experiments

        table = compare_experiments(list(trained_model.values()))
        studied = table[(table["experiment"] == study.learning.studied) & table["saved"]]
        epochs = sum(e.epochs for e in study.learning.experiments.values())
        return result(
            table,
            {
                "experiments": table["experiment"].nunique(),
                "best_validation_accuracy": float(table["validation_accuracy"].max()),
                "preview": picture(experiment_curves(table), "experiments"),
                "training_time": picture(experiment_times(table), "training time"),
                "checkpoint_epochs": picture(epoch_table_figure(studied), "checkpoint epochs"),
                **table_metadata(table),
            },
            [verdict("every_experiment_is_there", len(table) == epochs, f"{len(table)} of {epochs} epochs")],
        )

    @assets.asset(
        ROOM,
        "folders",
        kinds={"pytorch"},
        settings=[study.learning.selected],
        ins={
            "experiment_comparison": assets.one("experiment_comparison"),
            "trained_model": assets.every("trained_model"),
        },
    )
    def selected_model(experiment_comparison: Table, trained_model: dict[str, Checkpoint]) -> dg.MaterializeResult:
        """The experiment and epoch that serve from here on, why, and their weights."""
        from histo_assets.core.figures.learning import experiment_curves
        from histo_assets.core.learning.comparison import choose
        from histo_assets.core.learning.selected import SelectedModel as Model

        choice = choose(experiment_comparison, study.learning.selected)
        chosen = Model(trained_model[choice.experiment], choice.epoch, choice.why)
        return result(
            chosen,
            {
                "experiment": choice.experiment,
                "epoch": choice.epoch,
                "why": choice.why,
                "weights": chosen.weights_digest,
                "licence": chosen.licence,
                "preview": picture(experiment_curves(experiment_comparison), "experiments"),
            },
        )

    return [experiment_comparison, selected_model]


def _evaluation(assets: StudyAssets) -> Any:
    study = assets.study

    @assets.asset(
        ROOM,
        "tables",
        kinds={"pandas"},
        settings=[
            study.learning.batch_size,
            study.learning.input_px,
            study.prediction.bootstraps,
            study.prediction.seed,
            study.split.unit,
        ],
        ins={"selected_model": assets.one("selected_model"), "training_set": assets.one("training_set")},
        checks={"better_than_colour": "Slide accuracy on held-out donors exceeds the colour-histogram baseline."},
    )
    def model_evaluation(
        context: dg.AssetExecutionContext,
        storage: StorageResource,
        selected_model: SelectedModel,
        training_set: LargeTable,
    ) -> dg.MaterializeResult:
        """Confusion and per-tissue figures of tiles and slides beside the baselines, on held-out donors."""
        from histo_assets.core.figures.evaluation import classification_figure, confusion_figure
        from histo_assets.core.learning.report import confusion_of, evaluate, headline
        from histo_assets.core.tiling.shards import TileReader

        table = evaluate(
            selected_model,
            training_set,
            TileReader.at(storage.shard_root("tiles")),
            study.learning,
            bootstraps=study.prediction.bootstraps,
            seed=study.prediction.seed,
            progress=context.log.info,
        )
        figures = headline(table, study.split.unit)
        network, colours = float(figures["slide_accuracy"]), float(figures["colour_histogram_accuracy"])
        side = str(figures["judged_on"])
        return result(
            table,
            {
                **figures,
                "preview": picture(confusion_figure(confusion_of(table, "slide"), f"Slides of {side}"), "slides"),
                "tiles": picture(confusion_figure(confusion_of(table, "tile"), f"Tiles of {side}"), "tiles"),
                "recall": picture(classification_figure(table), "recall per tissue"),
                **table_metadata(table),
            },
            [
                verdict(
                    "better_than_colour",
                    network > colours,
                    f"{network:.3f} against {colours:.3f}",
                    warn=True,
                )
            ],
        )

    return model_evaluation
