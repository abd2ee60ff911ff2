"""Room `model`, what comes of the experiments: side by side, the one that serves, and how good it is."""

from dataclasses import asdict
from typing import Any

import dagster as dg

from histo_assets.defs.metadata import picture
from histo_assets.defs.study_assets import StudyAssets, result, verdict
from histo_assets.defs.types import Checkpoint, LargeTable, SelectedModel, Table, TileSet
from histo_assets.studies.study import Study

ROOM = "model"


def serves(study: Study) -> bool:
    """Return whether the study trains anything that is to be judged."""
    return not study.learning.frozen


def build(assets: StudyAssets) -> list[Any]:
    """Return the assets of the room that judge what was trained."""
    return [*_choice(assets), _evaluation(assets)]


def _choice(assets: StudyAssets) -> list[Any]:
    @assets.asset(
        ROOM,
        "tables",
        table="training.ExperimentEpochs",
        kinds={"pandas"},
        reads=["learning.studied", "learning.experiments", "selection.tissues", "split.unit"],
        revision=2,
        ins={"trained_model": assets.every("trained_model")},
        checks={"every_experiment_is_there": "Every experiment of the study has figures for each of its epochs."},
    )
    def experiment_comparison(study: Study, trained_model: dict[str, Checkpoint]) -> dg.MaterializeResult:
        """Time, accuracy and loss of every experiment, epoch by epoch."""
        from histo_assets.core.evaluation.experiments import answers, compare_experiments, leak
        from histo_assets.core.evaluation.model_evaluation import validation_confusions
        from histo_assets.core.figures import learning as figures
        from histo_assets.core.figures.evaluation import confusion_grid

        table = compare_experiments(list(trained_model.values()))
        studied = table[(table["experiment"] == study.learning.studied) & table["saved"]]
        by_question = answers(table)
        curves = {
            question: picture(figures.experiment_curves(table, names, _named(question)), question)
            for question, names in by_question.items()
            if question != "first_epochs"
        }
        if names := by_question.get("first_epochs"):
            curves["first_epochs"] = picture(figures.first_epochs_figure(table, names), "first epochs")
        confusions = validation_confusions(trained_model.values(), study.selection.tissues)
        leaked = leak(table, study.split.unit)
        whole = {name for name, rows in table.groupby("experiment") if _is_whole(study, str(name), len(rows))}
        absent = sorted(set(study.learning.experiments) - whole)
        return result(
            table,
            {
                "experiments": table["experiment"].nunique(),
                "best_validation_accuracy": float(table["validation_accuracy"].max()),
                **({"leak_of_a_split_by_tile": leaked[0], "leak_after_epoch": leaked[1]} if leaked else {}),
                "preview": picture(figures.experiment_curves(table), "experiments"),
                "training_time": picture(figures.experiment_times(table), "training time"),
                "checkpoint_epochs": picture(figures.epoch_table_figure(studied), "checkpoint epochs"),
                "confusions": picture(confusion_grid(confusions, "Validation tiles, by experiment"), "confusions"),
                **curves,
            },
            [verdict("every_experiment_is_there", not absent, f"without all epochs: {', '.join(absent) or 'none'}")],
        )

    @assets.asset(
        ROOM,
        "folders",
        kinds={"pytorch"},
        reads=["learning.selected"],
        ins={
            "experiment_comparison": assets.one("experiment_comparison"),
            "trained_model": assets.every("trained_model"),
        },
    )
    def selected_model(
        study: Study, experiment_comparison: Table, trained_model: dict[str, Checkpoint]
    ) -> dg.MaterializeResult:
        """The experiment and epoch that serve from here on, why, and their weights."""
        from histo_assets.core.evaluation.experiments import choose
        from histo_assets.core.figures.learning import experiment_curves
        from histo_assets.core.training.selected import SelectedModel as Model

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


def _named(question: str) -> str:
    return question.replace("_", " ").capitalize()


def _is_whole(study: Study, experiment: str, epochs: int) -> bool:
    """Return whether an experiment has figures for each of its epochs, or was allowed to stop early."""
    settings = study.learning.experiments.get(experiment)
    return settings is not None and (epochs == settings.epochs or settings.patience is not None)


def _evaluation(assets: StudyAssets) -> Any:
    @assets.asset(
        ROOM,
        "tables",
        table="evaluation.Evaluation",
        kinds={"pandas"},
        reads=[
            "learning.batch_size",
            "learning.input_px",
            "learning.threads",
            "learning.device",
            "learning.look_alikes",
            "prediction.bootstraps",
            "prediction.seed",
            "split.unit",
        ],
        revision=2,
        ins={
            "selected_model": assets.one("selected_model"),
            "training_set": assets.one("training_set"),
            "tiles": assets.every("tiles"),
            "slide_manifest": assets.one("slide_manifest"),
        },
        formerly={"tiles": "training_set"},
        checks={"better_than_colour": "Slide accuracy on held-out donors exceeds the colour-histogram baseline."},
    )
    def model_evaluation(
        study: Study,
        context: dg.AssetExecutionContext,
        selected_model: SelectedModel,
        training_set: LargeTable,
        tiles: dict[str, TileSet],
        slide_manifest: Table,
    ) -> dg.MaterializeResult:
        """Confusion and per-tissue figures of tiles and slides beside the baselines, on held-out donors."""
        from histo_assets.core.evaluation.look_alikes import donor_sexes
        from histo_assets.core.evaluation.model_evaluation import Resampling, confusion_of, evaluate, headline
        from histo_assets.core.figures.evaluation import classification_figure, confusion_figure, mistaken_figure
        from histo_assets.core.tiling.tile_set import TileReader

        table = evaluate(
            selected_model,
            training_set,
            TileReader(list(tiles.values())),
            study.learning,
            sexes=donor_sexes(slide_manifest),
            resampling=Resampling(study.prediction.bootstraps, study.prediction.seed),
            progress=context.log.info,
        )
        figures = headline(table, study.split.unit)
        network, colours, side = figures.slide_accuracy, figures.colour_histogram_accuracy, figures.judged_on
        return result(
            table,
            {
                **asdict(figures),
                "preview": picture(confusion_figure(confusion_of(table, "slide"), f"Slides of {side}"), "slides"),
                "tiles": picture(confusion_figure(confusion_of(table, "tile"), f"Tiles of {side}"), "tiles"),
                "recall": picture(classification_figure(table), "recall per tissue"),
                "look_alikes": picture(mistaken_figure(table), "tissues that pass for one another"),
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
