"""The tables of training: the frozen order of tiles, and the history of an experiment."""

from __future__ import annotations

from histo_assets.core.cohort.tables import SIDES
from histo_assets.core.tables import Flag, Number, Table, Text, Whole, column


class TrainingSet(Table):
    """The tiles that every experiment learns from, their side, and their place in every epoch."""

    tile: Text = column("Tile.", unique=True)
    slide: Text = column("Slide.")
    donor: Text = column("Donor.")
    tissue: Text = column("Tissue.")
    label: Whole = column("Place of the tissue in the study's list: what the network is to say.", ge=0)
    side: Text = column("Side of the split.", isin=SIDES)
    side_by_unit: Text | None = column(
        "Side for experiments that split by this unit.", like=r"side_by_(tile|donor)", isin=SIDES
    )
    shard: Text = column("The tar file that holds the tile.")
    offset: Whole = column("Where its JPEG begins.", "bytes", ge=0)
    length: Whole = column("Length of its JPEG.", "bytes", gt=0)
    place: Whole | None = column(
        "Place of the tile in the order of this epoch; missing for tiles that are not trained on.",
        like=r"(\w+_)?epoch_\d{3,}",
        missing=True,
        ge=0,
    )


class History(Table):
    """Loss and accuracy of an experiment, a row an epoch."""

    epoch: Whole = column("Epoch, from 1.", ge=1, unique=True)
    train_loss: Number = column("Mean loss of the batches as they were learned, with augmentation.", missing=True)
    train_accuracy: Number = column("Accuracy of the batches as they were learned.", missing=True, ge=0, le=1)
    train_eval_accuracy: Number = column("Accuracy on a sample of training tiles, in evaluation.", missing=True)
    train_eval_loss: Number = column("Loss on that sample.", missing=True)
    validation_accuracy: Number = column("Accuracy on validation tiles.", missing=True)
    validation_loss: Number = column("Loss on validation tiles.", missing=True)
    seconds: Number = column("Time of the epoch.", "s", ge=0)
    cpu_seconds: Number = column("Time of the processor in the epoch.", "CPU s", ge=0)
    learning_rate: Number = column("Learning rate at the end of the epoch.", missing=True)
    tiles: Whole = column("Tiles that were learned from.", ge=0)


class ExperimentEpochs(History):
    """Every epoch of every experiment beside its settings."""

    experiment: Text = column("Experiment.")
    epoch: Whole = column("Epoch, from 1.", ge=1)
    backbone: Text = column("Network.")
    weights: Text = column("Where its weights start.")
    mode: Text = column("What is trained: the whole network, or the classifier first.")
    schedule: Text = column("How the learning rate changes.")
    initial_learning_rate: Number = column("Learning rate at the start.", gt=0)
    split: Text = column("Unit of the split, where it is not the study's; else empty.")
    seed: Whole = column("Seed of the experiment.")
    order: Whole = column("Which frozen order of tiles it learns in.", ge=0)
    frozen_up_to: Whole = column("Last block that is not trained; -1 where all are.", ge=-1)
    weight_decay: Number = column("Weight decay.", ge=0)
    label_smoothing: Number = column("Label smoothing.", ge=0)
    clip_norm: Number = column("Gradients are clipped to this norm; 0 where they are not.", ge=0)
    patience: Whole = column("Epochs without progress after which it stops; 0 for never.", ge=0)
    saved: Flag = column("Whether the weights of the epoch are kept.")
    total_seconds: Number = column("Time since the first epoch began.", "s", ge=0)
    total_cpu_seconds: Number = column("Time of the processor since then.", "CPU s", ge=0)
