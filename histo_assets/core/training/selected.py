"""The network that serves: one epoch of one experiment, and why."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from histo_assets.core.files import settings_digest, write_json
from histo_assets.core.networks.registry import find_backbone
from histo_assets.core.training.checkpoint import Checkpoint

if TYPE_CHECKING:
    from histo_assets.core.networks.network import Network

_CHOICE = "selected.json"


@dataclass(frozen=True)
class SelectedModel:
    """A handle on a folder with the weights of one epoch, self-contained: it outlives its experiment."""

    checkpoint: Checkpoint
    epoch: int
    why: str

    @property
    def name(self) -> str:
        """The experiment's name."""
        return self.checkpoint.name

    @property
    def labels(self) -> tuple[str, ...]:
        """The tissues in the order of the network's outputs."""
        return self.checkpoint.labels

    @property
    def backbone(self) -> str:
        """The backbone's name in the registry."""
        return self.checkpoint.experiment.backbone

    @property
    def weights_digest(self) -> str:
        """The sha256 of the weights."""
        return self.checkpoint.weights_digest(self.epoch)

    @property
    def licence(self) -> str:
        """The licence of the weights that training started from."""
        return find_backbone(self.backbone).licence

    @property
    def revision(self) -> str:
        """Where weights come from a hub, their commit; not so here."""
        return ""

    def network(self) -> Network:
        """Return the network in evaluation mode, on the CPU."""
        return self.checkpoint.network(self.epoch)

    def write(self, folder: Path) -> None:
        """Write weights, history and the choice into `folder`."""
        self.checkpoint.write(folder, epochs=(self.epoch,))
        write_json(folder / _CHOICE, {"epoch": self.epoch, "why": self.why})

    @classmethod
    def read(cls, folder: Path) -> SelectedModel:
        """Return the model that `write` put in `folder`, its weights verified."""
        choice = json.loads((Path(folder) / _CHOICE).read_text())
        return cls(Checkpoint.read(folder), int(choice["epoch"]), choice["why"])

    def content_digest(self) -> str:
        """Return a digest that changes when another network serves, of weights, labels and input size."""
        return settings_digest(self.weights_digest, self.labels, self.backbone, self.checkpoint.input_px)
