"""What a study decides about networks and their training."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from histo_assets.core.files import Settings
from histo_assets.core.networks.registry import BACKBONES
from histo_assets.core.settings import FILE_OR_NAME, INDIFFERENT, by_partition

Unit = Literal["donor", "tile"] | None


class ExperimentSettings(Settings):
    """One training run."""

    backbone: str = Field(description="A name of `networks.registry.BACKBONES`.")
    weights: Annotated[str, FILE_OR_NAME] = Field(
        default="imagenet", description="`imagenet` (the package's or torchvision's download), `random`, or a path."
    )
    epochs: int = Field(default=5, ge=1, description="How long to train.")
    checkpoints: tuple[int, ...] = Field(
        default=(), description="Epochs whose weights are kept besides the last, counted from 1."
    )
    learning_rate: float = Field(default=1e-4, gt=0, description="Learning rate of AdamW at the start.")
    schedule: Literal["constant", "cosine"] = Field(
        default="constant", description="`cosine` lets the learning rate fall to nothing over the whole run."
    )
    mode: Literal["at_once", "restart"] = Field(
        default="at_once", description="`restart` makes a new optimiser every epoch, as the post did."
    )
    freeze_up_to: int | None = Field(
        default=None,
        description="Keeps `features[:n+1]` fixed and in evaluation mode; None: everything learns.",
    )
    weight_decay: float = Field(default=0.01, ge=0, description="Weight decay of AdamW.")
    label_smoothing: float = Field(
        default=0.0, ge=0, lt=1, description="Share of every tile's label that is spread over all tissues."
    )
    clip_norm: float | None = Field(
        default=None,
        gt=0,
        description="Largest length of a step's gradient, of all parameters together; None leaves it as it is.",
    )
    patience: int | None = Field(
        default=None,
        ge=1,
        description="Stop after so many epochs without a better one on the validation side; the best epoch is kept. "
        "None trains to the end.",
    )
    split: Unit = Field(
        default=None,
        description="Split by `donor` or by `tile`, to show what a leak makes of the figures; None: as the study "
        "does. An experiment with a split of its own is never chosen to serve unless the study names it.",
    )
    seed: int = Field(default=0, description="Decides new weights, augmentation and dropout.")
    order: int = Field(default=0, ge=0, description="Which of the frozen orders of tiles.")

    @model_validator(mode="after")
    def _checkpoints_lie_within_the_epochs(self) -> ExperimentSettings:
        wrong = [epoch for epoch in self.checkpoints if not 1 <= epoch <= self.epochs]
        if wrong:
            raise ValueError(f"checkpoints {wrong} lie outside epochs 1 to {self.epochs}")
        return self

    @property
    def saved_epochs(self) -> tuple[int, ...]:
        """Epochs whose weights are kept: the named ones and the last, ascending."""
        return tuple(sorted({*self.checkpoints, self.epochs}))


class FrozenSettings(Settings):
    """A backbone that serves as it is."""

    backbone: str = Field(description="A name of `networks.registry.BACKBONES`.")
    weights: Annotated[str, FILE_OR_NAME] = Field(
        default="published", description="`published` (the package's, torchvision's or the hub's), `random`, or a path."
    )
    revision: str | None = Field(
        default=None, description="The hub's commit, tag or branch; None: main (what was fetched is recorded)."
    )
    seed: int = Field(default=0, description="Decides `random` weights.")


class LearningSettings(Settings):
    """Experiments and what they share."""

    experiments: Annotated[dict[str, ExperimentSettings], by_partition("experiment")] = Field(
        default_factory=dict, description="Name -> experiment."
    )
    studied: str = Field(
        default="", description="The experiment whose checkpoint epochs are compared (`epoch_projection`)."
    )
    frozen: FrozenSettings | None = Field(
        default=None,
        description="A backbone that serves without training: experiments of a parent study are left out, and a "
        "foundation model sees tiles at the size that it was made for. None: an experiment serves.",
    )
    commercial: Annotated[bool, INDIFFERENT] = Field(
        default=False, description="Refuse weights whose licence forbids commercial use."
    )
    offline: Annotated[bool, INDIFFERENT] = Field(
        default=False,
        description="Never touch the network for weights (`histo-assets fetch-weights` fills the cache before).",
    )
    selected: str | None = Field(
        default=None, description="The experiment that serves; None: the best on the validation side."
    )
    input_px: int = Field(default=224, ge=32, description="Side to which a tile is scaled for the network, in pixels.")
    batch_size: int = Field(default=32, ge=1, description="Tiles of a training step.")
    augment: bool = Field(default=True, description="Turn, flip and restain training tiles at random.")
    class_weights: bool = Field(
        default=True, description="Let every tissue count alike in the loss, however many tiles it has."
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="Where the network computes; `auto`: CUDA where there is one."
    )
    threads: int = Field(default=1, ge=1, description="Threads of training and evaluation on the CPU.")
    workers: Annotated[int, INDIFFERENT] = Field(
        default=0, ge=0, le=32, description="Threads that prepare training batches ahead; 0: none."
    )
    seed: int = Field(default=0, description="Decides the orders of tiles and which training tiles are looked at.")
    look_alikes: tuple[tuple[str, ...], ...] = Field(
        default=(),
        description="Groups of tissues that pass for one another: the evaluation says how often, and what the "
        "accuracy is where each group counts as one.",
    )

    @model_validator(mode="after")
    def _no_tissue_is_in_two_groups(self) -> LearningSettings:
        tissues = [tissue for group in self.look_alikes for tissue in group]
        twice = sorted({tissue for tissue in tissues if tissues.count(tissue) > 1})
        if twice:
            raise ValueError(f"look_alikes: {twice[0]} is in two groups; make them one")
        return self

    @model_validator(mode="before")
    @classmethod
    def _frozen_trains_nothing(cls, values: Any) -> Any:
        """Return the settings without experiments, and with the frozen backbone's size of tiles."""
        if not isinstance(values, dict) or not values.get("frozen"):
            return values
        kept = {key: value for key, value in values.items() if key not in ("experiments", "studied", "selected")}
        frozen = values["frozen"]
        backbone = BACKBONES.get(frozen.backbone if isinstance(frozen, FrozenSettings) else frozen.get("backbone"))
        return kept | ({"input_px": backbone.input_px} if backbone and backbone.input_px else {})

    @model_validator(mode="after")
    def _licences_allow_the_use(self) -> LearningSettings:
        chosen: list[ExperimentSettings | FrozenSettings] = [*self.experiments.values()]
        chosen += [self.frozen] if self.frozen else []
        for one in chosen:
            if one.backbone not in BACKBONES:
                raise ValueError(f"backbone {one.backbone!r} is none of {', '.join(BACKBONES)}")
            known = BACKBONES[one.backbone]
            if isinstance(one, ExperimentSettings) and known.is_foundation:
                raise ValueError(f"backbone {one.backbone!r} is not trained here; serve it with `frozen`")
            if self.commercial and not known.commercial and one.weights != "random":
                raise ValueError(
                    f"backbone {one.backbone!r} is under {known.licence} and the study is `commercial`; take one of "
                    f"{', '.join(name for name, backbone in BACKBONES.items() if backbone.commercial)}"
                )
        return self

    @model_validator(mode="after")
    def _named_experiments_exist(self) -> LearningSettings:
        if self.frozen:
            return self
        if not self.experiments:
            raise ValueError("experiments: there is none; name one, or a `frozen` backbone")
        for field in ("studied", "selected"):
            name = getattr(self, field)
            if name is not None and name not in self.experiments:
                raise ValueError(f"{field}: {name!r} is none of the experiments {sorted(self.experiments)}")
        if self.experiments[self.studied].patience is not None:
            raise ValueError(f"studied: {self.studied!r} may stop early, so its checkpoint epochs are not certain")
        return self

    @property
    def orders(self) -> dict[tuple[Unit, int], int]:
        """For how many epochs each order of tiles is wanted, by unit of the split (None: the study's) and number.

        The study's own split and its order 0 are always among them.
        """
        epochs: dict[tuple[Unit, int], int] = {(None, 0): 1}
        for experiment in self.experiments.values():
            key = (experiment.split, experiment.order)
            epochs[key] = max(experiment.epochs, epochs.get(key, 0))
        return dict(sorted(epochs.items(), key=lambda item: (item[0][0] or "", item[0][1])))
