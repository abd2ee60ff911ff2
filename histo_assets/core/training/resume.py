"""The state of an unfinished training run, in one safetensors file. Imports torch: import this inside functions."""

from __future__ import annotations

import hashlib
import json
import platform
import time
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import polars as pl
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from histo_assets.core.files import atomic_path
from histo_assets.core.networks.network import Network

STATE_FILE = "state.safetensors"


@dataclass
class TrainingProgress:
    """Where a run stands: `batches` done of `epoch`, what they summed to, and the finished epochs' history."""

    epoch: int = 1
    batches: int = 0
    loss_sum: float = 0.0
    correct: int = 0
    seen: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)


class Clock:
    """Adds the time since it was made to what an epoch had taken before."""

    def __init__(self, at: TrainingProgress) -> None:
        self._wall, self._cpu = time.monotonic() - at.seconds, time.process_time() - at.cpu_seconds

    def stamp(self, at: TrainingProgress) -> None:
        """Write the epoch's time so far into `at`."""
        at.seconds, at.cpu_seconds = time.monotonic() - self._wall, time.process_time() - self._cpu


def save_state(
    folder: Path,
    network: Network,
    optimizer: torch.optim.Optimizer,
    progress: TrainingProgress,
    identity: dict[str, Any],
    environment: dict[str, str],
) -> None:
    """Write the whole state of a run into `folder`, replacing the one before it in one step."""
    tensors = {f"model.{name}": tensor for name, tensor in network.model.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors.update({f"optimizer.{index}.{key}": value for key, value in state.items()})
    described = {"progress": asdict(progress), "identity": identity, "environment": environment}
    with atomic_path(folder / STATE_FILE) as temporary:
        plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        save_file(plain, temporary, {"state": json.dumps(described)})


@dataclass(frozen=True)
class State:
    """What `save_state` wrote, as it was read again."""

    tensors: dict[str, Tensor]
    progress: TrainingProgress
    identity: dict[str, Any]
    environment: dict[str, str]

    def restore(self, network: Network, optimizer: torch.optim.Optimizer) -> None:
        """Put the state into a network and an optimiser that are built like those that were saved."""
        network.model.load_state_dict(self._below("model."))
        parameters = optimizer.param_groups[0]["params"]
        for name, value in self._below("optimizer.").items():
            index, key = name.split(".")
            parameter = parameters[int(index)]
            placed = torch.empty_like(parameter).copy_(value) if value.ndim else value.to(parameter.device)
            optimizer.state[parameter][key] = placed

    def _below(self, prefix: str) -> dict[str, Tensor]:
        return {name.removeprefix(prefix): value for name, value in self.tensors.items() if name.startswith(prefix)}


def read_state(folder: Path) -> State | str | None:
    """Return the state in `folder`, None where there is none, or a sentence on why it cannot be read."""
    path = folder / STATE_FILE
    if not path.exists():
        return None
    try:
        with safe_open(path, "pt") as file:
            described = json.loads(file.metadata()["state"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        progress = TrainingProgress(**described["progress"])
        return State(tensors, progress, described["identity"], described["environment"])
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        return f"the state in {path} cannot be read ({error})"


def differences(stored: dict[str, Any], wanted: dict[str, Any]) -> str:
    """Return which entries differ, as `key: stored -> wanted, ...`; empty where none does."""
    keys = sorted(key for key in stored.keys() | wanted.keys() if stored.get(key) != wanted.get(key))
    return ", ".join(f"{key}: {stored.get(key)} -> {wanted.get(key)}" for key in keys)


def training_set_digest(training_set: pl.DataFrame) -> str:
    """Return 16 hexadecimal characters over every cell of a training set."""
    return hashlib.sha256(training_set.write_csv().encode()).hexdigest()[:16]


def network_digest(network: Network) -> str:
    """Return 16 hexadecimal characters over every tensor of a network."""
    total = hashlib.sha256()
    for name, tensor in network.model.state_dict().items():
        total.update(name.encode())
        total.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return total.hexdigest()[:16]


def describe_environment(device: torch.device, thread_count: int, precision: torch.dtype) -> dict[str, str]:
    """Return where a result is exact: processor, versions, threads and the frozen trunk's precision."""
    processor = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    return {
        "processor": processor,
        "torch": torch.__version__,
        "torchvision": version("torchvision"),
        "threads": str(thread_count),
        "frozen_precision": str(precision).removeprefix("torch."),
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    return f"{name} ({torch.backends.cpu.get_cpu_capability()})"
