"""Published weights: found in the local cache, or fetched into it.

Imports torch: import this inside functions.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from histo_assets.core.files import file_digest
from histo_assets.core.networks.errors import LearningError
from histo_assets.core.networks.registry import Backbone
from histo_assets.core.networks.weights import imagenet_file

_TIMM_FILES = ("model.safetensors", "pytorch_model.bin")
_TRANSFORMERS_FILES = ("config.json", "model.safetensors")


@dataclass(frozen=True)
class PublishedWeights:
    """Weights on this machine: a file, or the folder of a transformers model; and the hub's revision ('' elsewhere)."""

    path: Path
    revision: str = ""

    @property
    def file(self) -> Path:
        """The file of tensors."""
        return self.path / "model.safetensors" if self.path.is_dir() else self.path

    def digest(self) -> str:
        """Return the sha256 of the tensors' file."""
        return file_digest(self.file)


def published_weights(backbone: Backbone, revision: str | None = None, offline: bool = False) -> PublishedWeights:
    """Return a backbone's published weights, fetched once.

    Those of the hub lie in its own cache (`HF_HOME`), torchvision's in `TORCH_HOME`.

    Parameters
    ----------
    revision
        Commit, tag or branch of the hub's repository; None for its main branch. For other sources it means nothing.
    offline
        Look into the cache alone.

    Raises
    ------
    LearningError
        The weights are neither in the cache nor to be had: the licence is not accepted, the network or
        the repository is not there, or the extra `foundation` is not installed.
    """
    if not backbone.is_foundation:
        return PublishedWeights(imagenet_file(backbone, offline))
    kind, _, repository = backbone.source.partition(":")
    if kind == "transformers":
        files = [_from_hub(backbone, repository, [name], revision, offline) for name in _TRANSFORMERS_FILES]
        return PublishedWeights(files[-1].parent, _commit(files[-1]))
    file = _from_hub(backbone, repository, _TIMM_FILES, revision, offline)
    return PublishedWeights(file, _commit(file))


def _from_hub(
    backbone: Backbone, repository: str, names: tuple[str, ...] | list[str], revision: str | None, offline: bool
) -> Path:
    """Return the local copy of the first of `names` that the repository has."""
    try:
        from huggingface_hub import errors, hf_hub_download
    except ImportError:
        raise LearningError(
            f"backbone {backbone.name} needs the hub's client; run `pip install 'histo_assets[foundation]'`"
        ) from None
    absent: Any = None
    for name in names:
        try:
            return Path(hf_hub_download(repository, name, revision=revision, local_files_only=offline))
        except errors.GatedRepoError:
            raise LearningError(
                f"the weights of {backbone.name} are handed out only to those who accepted their licence "
                f"({backbone.licence}): do so at https://huggingface.co/{repository}, set HF_TOKEN, or give "
                f"`weights: <path>`"
            ) from None
        except (errors.LocalEntryNotFoundError, errors.EntryNotFoundError) as error:
            absent = error
        except (errors.HfHubHTTPError, errors.HFValidationError, OSError) as error:
            raise _not_fetched(backbone, repository, error) from None
    if offline:
        raise LearningError(
            f"the weights of {backbone.name} are not in this machine's cache and the study is `offline`; run "
            f"`histo-assets fetch-weights` where there is a network, or give `weights: <path>`"
        )
    raise _not_fetched(backbone, repository, absent)


def _not_fetched(backbone: Backbone, repository: str, error: Exception) -> LearningError:
    reason = " ".join(str(error).split())[:200]
    return LearningError(
        f"the weights of {backbone.name} could not be fetched from https://huggingface.co/{repository} ({reason}); "
        f"try again, or give `weights: <path>`"
    )


def _commit(file: Path) -> str:
    """Return the commit that a file of the hub's cache belongs to: the cache keeps a folder for each."""
    snapshots = [place for place, part in enumerate(file.parts) if part == "snapshots"]
    return file.parts[snapshots[-1] + 1] if snapshots else ""
