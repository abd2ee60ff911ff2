"""A trained network at rest: weights at each saved epoch, history and what it was trained with."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from histo_assets.core.files import atomic_path, file_digest, settings_digest, write_json
from histo_assets.core.networks.errors import LearningError
from histo_assets.core.networks.registry import find_backbone
from histo_assets.core.training.settings import ExperimentSettings

if TYPE_CHECKING:
    from histo_assets.core.networks.network import Network


def weights_name(epoch: int) -> str:
    """Return the file name of the weights of an epoch."""
    return f"epoch_{epoch:03d}.safetensors"


def predictions_name(epoch: int) -> str:
    """Return the file name of the predictions of the validation tiles by the network of an epoch."""
    return f"epoch_{epoch:03d}.parquet"


def save_weights(network: Network, path: Path) -> None:
    """Write every tensor of a network to a safetensors file, whole or not at all."""
    from safetensors.torch import save_file

    state = network.model.state_dict()
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, {"backbone": network.backbone.name})


@dataclass(frozen=True)
class Checkpoint:
    """A handle on the folder of one trained experiment.

    The folder holds `epoch_003.safetensors` (torchvision's tensor names), one for each saved epoch,
    `epoch_003.parquet` (that network's prediction of every validation tile), `history.parquet` (a row an
    epoch) and `checkpoint.json` (everything else).

    Attributes
    ----------
    digests
        The sha256 of the weights by epoch.
    training_set
        Digest of the tiles, sides and orders that it was trained with.
    identity
        Digest of everything that decided it; equal ones need no second training.
    environment
        What the result is exact for: processor, versions, threads, precision.
    """

    folder: Path
    name: str
    experiment: ExperimentSettings
    labels: tuple[str, ...]
    input_px: int
    digests: Mapping[int, str] = field(repr=False)
    training_set: str
    environment: Mapping[str, str] = field(repr=False)
    identity: str = ""

    @classmethod
    def read(cls, folder: str | Path) -> Checkpoint:
        """Return the checkpoint in `folder`, whose files it verifies by name, tensor and shape.

        Raises
        ------
        LearningError
            A file is absent or damaged, or the weights are not those of the named backbone.
        """
        source = Path(folder) / "checkpoint.json"
        try:
            content: dict[str, Any] = json.loads(source.read_text())
            checkpoint = cls(
                folder=Path(folder),
                name=content["name"],
                experiment=ExperimentSettings.model_validate(content["experiment"]),
                labels=tuple(content["labels"]),
                input_px=int(content["input_px"]),
                digests={int(epoch): digest for epoch, digest in content["digests"].items()},
                training_set=content["training_set"],
                environment=content["environment"],
                identity=content.get("identity", ""),
            )
        except FileNotFoundError:
            raise LearningError(f"{source} is absent, so {folder} holds no finished checkpoint; train again") from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            reason = str(error).splitlines()[0]
            raise LearningError(f"{source} is damaged ({reason}); train the experiment again") from None
        for epoch in checkpoint.epochs:
            checkpoint._verify_shapes(epoch)
        return checkpoint

    def write(self, folder: Path, epochs: Sequence[int] | None = None) -> None:
        """Copy the weights of `epochs` (None: all), history and description into `folder`."""
        kept = {epoch: self.digests[self._known(epoch)] for epoch in (self.epochs if epochs is None else epochs)}
        copy = replace(self, folder=Path(folder), digests=kept)
        for epoch in copy.epochs:
            shutil.copyfile(self.weights_path(epoch), copy.weights_path(epoch))
            predicted = self.folder / predictions_name(epoch)
            if predicted.exists():
                shutil.copyfile(predicted, copy.folder / predicted.name)
        copy.describe(self.history)

    def content_digest(self) -> str:
        """Return a digest of the weights and of what they were trained from, not of the time it took."""
        return settings_digest(dict(self.digests), self.labels, self.input_px, self.experiment, self.training_set)

    def describe(self, history: pd.DataFrame) -> None:
        """Write history and description into the folder, the description last."""
        from histo_assets.core.tables import write_table
        from histo_assets.core.training.tables import History

        write_table(history, self.folder / "history.parquet", History)
        content = asdict(self) | {"experiment": self.experiment.model_dump(mode="json")}
        del content["folder"]
        write_json(self.folder / "checkpoint.json", content)

    @property
    def epochs(self) -> tuple[int, ...]:
        """The epochs whose weights are here, ascending."""
        return tuple(sorted(self.digests))

    @property
    def history(self) -> pd.DataFrame:
        """Loss, accuracy and time, a row an epoch, as `tables.History` declares it."""
        from histo_assets.core.tables import read_pandas
        from histo_assets.core.training.tables import History

        return read_pandas(self.folder / "history.parquet", History)

    def validation(self, epoch: int | None = None) -> pd.DataFrame:
        """Return the prediction of each validation tile by the network of an epoch (None: the last).

        Columns as `networks.tables.TilePredictions` declares them.

        Raises
        ------
        LearningError
            The epoch was not saved, or its predictions are gone.
        """
        from histo_assets.core.networks.tables import TilePredictions
        from histo_assets.core.tables import read_pandas

        path = self.folder / predictions_name(self._known(epoch))
        try:
            return read_pandas(path, TilePredictions)
        except (OSError, ValueError) as error:
            raise LearningError(f"{path} cannot be read ({error}); train {self.name} again") from None

    def weights_path(self, epoch: int | None = None) -> Path:
        """Return the weights file of an epoch (None: the last)."""
        return self.folder / weights_name(self._known(epoch))

    def weights_digest(self, epoch: int | None = None) -> str:
        """Return the sha256 of the weights of an epoch (None: the last)."""
        return self.digests[self._known(epoch)]

    def network(self, epoch: int | None = None) -> Network:
        """Return the network of an epoch (None: the last) in evaluation mode, on the CPU.

        Raises
        ------
        LearningError
            The epoch was not saved, or its file is not the one that was written.
        """
        from safetensors.torch import load_file

        from histo_assets.core.networks.network import initial_network

        path = self.weights_path(epoch)
        if file_digest(path) != self.weights_digest(epoch):
            raise LearningError(f"{path} is not the file that was saved (another sha256); train {self.name} again")
        network = initial_network(find_backbone(self.experiment.backbone), len(self.labels), seed=0)
        network.model.load_state_dict(load_file(path))
        return network.eval()

    def _known(self, epoch: int | None) -> int:
        if epoch is None:
            return self.epochs[-1]
        if epoch not in self.digests:
            raise LearningError(f"epoch {epoch} of {self.name} was not saved; saved are {list(self.epochs)}")
        return epoch

    def _verify_shapes(self, epoch: int) -> None:
        from safetensors import SafetensorError, safe_open

        from histo_assets.core.networks.network import tensor_shapes

        path = self.weights_path(epoch)
        wanted = tensor_shapes(find_backbone(self.experiment.backbone), len(self.labels))
        try:
            with safe_open(path, "pt") as file:
                shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
                backbone = (file.metadata() or {}).get("backbone", "an unknown architecture")
        except (SafetensorError, OSError) as error:
            raise LearningError(f"{path} cannot be read ({error}); train {self.name} again") from None
        if shapes == wanted:
            return
        if backbone != self.experiment.backbone:
            raise LearningError(f"{path} holds weights of {backbone}, not of {self.experiment.backbone}")
        raise LearningError(
            f"{path} holds weights of {backbone} for another number of classes than the {len(self.labels)} labels"
        )
