"""A backbone that serves as it is, in a study that trains nothing."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histo_assets.core.files import settings_digest, write_json
from histo_assets.core.networks.errors import LearningError
from histo_assets.core.networks.registry import find_backbone
from histo_assets.core.training.settings import FrozenSettings

if TYPE_CHECKING:
    from histo_assets.core.networks.foundation import FoundationNetwork
    from histo_assets.core.networks.network import Network

_CHOICE = "frozen.json"


@dataclass(frozen=True)
class FrozenModel:
    """A handle on a backbone and the weights that it was first opened with; the weights stay where they are.

    It knows no tissues: `embedding.linear_probe` predicts those of tiles and slides.

    Attributes
    ----------
    weights
        `published`, `random` or a path, as in the study.
    revision
        The hub's commit that the weights came from, '' where they come from elsewhere.
    weights_digest
        The sha256 of the weights' file, or of the tensors of random ones.
    """

    backbone: str
    weights: str
    revision: str
    weights_digest: str
    seed: int = 0

    labels: tuple[str, ...] = ()
    epoch: int = 0

    @property
    def name(self) -> str:
        """The backbone and where its weights are from, as pages name it."""
        return f"{self.backbone}, {self.weights} weights"

    @property
    def licence(self) -> str:
        """The licence of the weights."""
        return find_backbone(self.backbone).licence

    def network(self) -> Network | FoundationNetwork:
        """Return the network in evaluation mode, on the CPU, from weights that are on this machine.

        Raises
        ------
        LearningError
            The weights are not there, or are not those that the model was made with.
        """
        file, _ = _weights(self.backbone, self.weights, self.revision or None, offline=False)
        network: Network | FoundationNetwork = _built(self.backbone, file, self.seed)
        digest = _digest(network, file)
        if digest != self.weights_digest:
            raise LearningError(
                f"the weights of {self.backbone} ({file or 'random'}) have changed since selected_model was made "
                f"({digest[:12]}, then {self.weights_digest[:12]}); "
                "run `histo-assets materialize --select selected_model --force`"
            )
        return network

    def write(self, folder: Path) -> None:
        """Write what finds the weights again into `folder`."""
        write_json(Path(folder) / _CHOICE, asdict(self))

    @classmethod
    def read(cls, folder: str | Path) -> FrozenModel:
        """Return the model that `write` put in `folder`.

        Raises
        ------
        LearningError
            Its description is absent or damaged.
        """
        source = Path(folder) / _CHOICE
        try:
            content = json.loads(source.read_text())
            return cls(**{**content, "labels": tuple(content["labels"])})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise LearningError(f"{source} cannot be read ({error}); materialise selected_model again") from None

    def content_digest(self) -> str:
        """Return a digest that changes when another network serves."""
        return settings_digest(self.backbone, self.weights_digest, self.seed)


def frozen_model(settings: FrozenSettings, offline: bool = False) -> FrozenModel:
    """Return the backbone that a study serves, its weights fetched where they are not on this machine.

    Raises
    ------
    LearningError
        The weights are absent, not to be had, unreadable or of another architecture.
    """
    file, revision = _weights(settings.backbone, settings.weights, settings.revision, offline)
    network = _built(settings.backbone, file, settings.seed)
    return FrozenModel(settings.backbone, settings.weights, revision, _digest(network, file), settings.seed)


def _weights(backbone: str, weights: str, revision: str | None, offline: bool) -> tuple[Path | None, str]:
    """Return the file or folder of the weights, None for random ones, and the hub's commit."""
    from histo_assets.core.networks.published import published_weights

    if weights == "random":
        return None, ""
    if weights != "published":
        return Path(weights).expanduser(), ""
    downloaded = published_weights(find_backbone(backbone), revision, offline)
    return downloaded.path, downloaded.revision


def _built(backbone: str, file: Path | None, seed: int) -> Any:
    from histo_assets.core.networks.backbones import build_network
    from histo_assets.core.networks.foundation import foundation_network

    chosen = find_backbone(backbone)
    if chosen.is_foundation:
        return foundation_network(chosen, file, seed)
    return build_network(backbone, 1, "random" if file is None else str(file), seed=seed)


def _digest(network: Any, file: Path | None) -> str:
    from histo_assets.core.networks.published import PublishedWeights
    from histo_assets.core.training.resume import network_digest

    return network_digest(network) if file is None else PublishedWeights(file).digest()
