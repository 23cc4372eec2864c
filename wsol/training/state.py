"""The state of a training between two epochs, on disk."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from wsol.errors import InputError


def save_state(
    path: Path, network: nn.Module, optimizer: torch.optim.Optimizer, epoch: int, request: Mapping[str, Any]
) -> None:
    """Writes everything that the next epoch depends on; the file appears whole or not at all.

    Args:
        path: The file.
        network: Its parameters and buffers are kept.
        optimizer: Its momentum is kept.
        epoch: Epochs done.
        request: What the training was asked to do.
    """
    tensors = {f"network.{key}": value for key, value in network.state_dict().items()}
    for i, parameter in enumerate(_parameters(optimizer)):
        buffer = optimizer.state[parameter].get("momentum_buffer")
        if buffer is not None:
            tensors[f"momentum.{i}"] = buffer
    write_tensors(path, tensors, {"epoch": str(epoch), "request": json.dumps(request)})


def load_state(path: Path, network: nn.Module, optimizer: torch.optim.Optimizer, request: Mapping[str, Any]) -> int:
    """Restores network and optimizer in place.

    Returns:
        Epochs done.

    Raises:
        InputError: The file is damaged, or belongs to a training that was asked to do something else.
    """
    try:
        with safetensors.safe_open(path, "pt") as file:
            facts = dict(file.metadata() or {})
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  # not a mapping
        began, epoch = json.loads(facts["request"]), int(facts["epoch"])
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise InputError(f"{path} is no state of a training ({error}); {_MEND}") from error
    asked = json.loads(json.dumps(request))
    for key in sorted({*began, *asked}):
        if began.get(key) != asked.get(key):
            raise InputError(
                f"{path} belongs to a training with {key} = {began.get(key)}, not {asked.get(key)}; ask for the same, "
                "or give another --out"
            )
    try:
        network.load_state_dict(_part(tensors, "network."))
    except RuntimeError as error:  # other names, as another version of a library may have them
        raise InputError(f"{path} does not fit the network ({str(error).splitlines()[0]}); {_MEND}") from error
    momentum = _part(tensors, "momentum.")
    for i, parameter in enumerate(_parameters(optimizer)):
        if str(i) in momentum:
            optimizer.state[parameter]["momentum_buffer"] = momentum[str(i)].to(parameter.device)
    return epoch


_MEND = "delete it to begin again"


def write_tensors(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, str]) -> None:
    """Writes a ``.safetensors`` file whole or not at all."""
    draft = path.with_name(path.name + ".part")
    plain = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    safetensors.torch.save_file(plain, draft, dict(facts))
    draft.replace(path)


def _parameters(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
