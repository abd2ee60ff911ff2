"""What a study decides about networks and their training."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from histo_assets.core.files import Settings
from histo_assets.core.networks.registry import BACKBONES
from histo_assets.core.settings import FILE_OR_NAME, INDIFFERENT, by_partition

Unit = Literal["donor", "tile"] | None


class ExperimentSettings(Settings):
    """One training run.

    Attributes
    ----------
    backbone, weights
        A name of `networks.registry.BACKBONES`; `imagenet` (the package or torchvision's
        download), `random`, or a path.
    epochs, checkpoints
        How long to train, and the epochs whose weights are kept besides the last.
    schedule
        `cosine` lets the learning rate fall to nothing over the whole run.
    mode
        `restart` makes a new optimiser every epoch, as the post did.
    freeze_up_to
        Keeps `features[:n+1]` fixed and in evaluation mode.
    label_smoothing
        Share of every tile's label that is spread over all tissues.
    clip_norm
        The largest length of a step's gradient, of all parameters together; None leaves it as it is.
    patience
        Stop after so many epochs without a better one on the validation side; the best epoch is
        kept. None trains to the end.
    split
        Split by `donor` or by `tile`, whatever the study does: to show what a leak makes of the
        figures. Such an experiment is never chosen to serve unless the study names it.
    seed, order
        What decides weights, augmentation and dropout; and which of the frozen orders of tiles.
    """

    backbone: str
    weights: Annotated[str, FILE_OR_NAME] = "imagenet"
    epochs: int = Field(default=5, ge=1)
    checkpoints: tuple[int, ...] = ()
    learning_rate: float = Field(default=1e-4, gt=0)
    schedule: Literal["constant", "cosine"] = "constant"
    mode: Literal["at_once", "restart"] = "at_once"
    freeze_up_to: int | None = None
    weight_decay: float = Field(default=0.01, ge=0)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    clip_norm: float | None = Field(default=None, gt=0)
    patience: int | None = Field(default=None, ge=1)
    split: Unit = None
    seed: int = 0
    order: int = Field(default=0, ge=0)

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
    """A backbone that serves as it is.

    `weights`: `published` (the package's, torchvision's or the hub's), `random`, or a path; `revision` is
    the hub's commit, tag or branch (None: main; what was fetched is recorded).
    """

    backbone: str
    weights: Annotated[str, FILE_OR_NAME] = "published"
    revision: str | None = None
    seed: int = 0


class LearningSettings(Settings):
    """Experiments and what they share.

    `input_px` is what the network sees of a tile. `studied` is the experiment whose checkpoint
    epochs are compared (`epoch_projection`). `selected` names the experiment that serves, or None
    for the best on validation donors. `look_alikes` are groups of tissues that pass for one another:
    the evaluation says how often, and what the accuracy is where each group counts as one.

    With `frozen` nothing is trained: that backbone serves, experiments that a parent study names are
    left out, and a foundation model sees tiles at the size that it was made for.
    `commercial: true` refuses weights whose licence forbids commercial use, `offline: true` never
    touches the network for weights (`histo-assets fetch-weights` fills the cache before).
    """

    experiments: Annotated[dict[str, ExperimentSettings], by_partition("experiment")] = Field(default_factory=dict)
    studied: str = ""
    frozen: FrozenSettings | None = None
    commercial: Annotated[bool, INDIFFERENT] = False
    offline: Annotated[bool, INDIFFERENT] = False
    selected: str | None = None
    input_px: int = Field(default=224, ge=32)
    batch_size: int = Field(default=32, ge=1)
    augment: bool = True
    class_weights: bool = True
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int = Field(default=1, ge=1)
    workers: Annotated[int, INDIFFERENT] = Field(default=0, ge=0, le=32)
    seed: int = 0
    look_alikes: tuple[tuple[str, ...], ...] = ()

    @model_validator(mode="after")
    def _no_tissue_is_in_two_groups(self) -> LearningSettings:
        tissues = [tissue for group in self.look_alikes for tissue in group]
        twice = sorted({tissue for tissue in tissues if tissues.count(tissue) > 1})
        if twice:
            raise ValueError(f"look_alikes: {twice[0]} is in two groups; make them one")
        return self

    @model_validator(mode="before")
    @classmethod
    def _frozen_trains_nothing(cls, given: Any) -> Any:
        """Return the settings without experiments, and with the frozen backbone's size of tiles."""
        if not isinstance(given, dict) or not given.get("frozen"):
            return given
        kept = {key: value for key, value in given.items() if key not in ("experiments", "studied", "selected")}
        frozen = given["frozen"]
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
