"""The state of a training between two epochs, on disk."""

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, distributed, nn

from wsol.errors import InputError
from wsol.io.atomic import atomic_write
from wsol.runtime.distributed import ProcessGroup
from wsol.training.config import TrainPlan
from wsol.training.divergence import check_growth
from wsol.training.log import Log
from wsol.training.recipe import LATER_DEFAULTS

STATE_FILE = "state.safetensors"


@dataclass(frozen=True)
class TrainState:
    """The state of a training after an epoch.

    Attributes:
        epochs: Number of finished epochs.
        threads: Number of torch's threads in the process that wrote it.
        tensors: Tensors of the network, and the optimizer's momentum.
    """

    epochs: int
    threads: int
    tensors: Mapping[str, Tensor]


def save_state(
    path: Path, network: nn.Module, optimizer: torch.optim.Optimizer, epoch: int, request: Mapping[str, Any]
) -> None:
    """Write everything that the next epoch depends on, atomically.

    Args:
        path: The file.
        network: Its parameters and buffers are written.
        optimizer: Its momentum is written.
        epoch: Number of finished epochs.
        request: Options of the training.
    """
    tensors = {f"network.{key}": value for key, value in network.state_dict().items()}
    for i, parameter in enumerate(_list_parameters(optimizer)):
        buffer = optimizer.state[parameter].get("momentum_buffer")
        if buffer is not None:
            tensors[f"momentum.{i}"] = buffer
    facts = {"epoch": str(epoch), "request": json.dumps(request), "threads": str(torch.get_num_threads())}
    write_tensors(path, tensors, facts)


def read_state(path: Path, request: Mapping[str, Any], weights: str | Path | None) -> TrainState | None:
    """Read a state; None if there is no file.

    Args:
        path: The file.
        request: Options of the training.
        weights: The weights that it starts from, for messages.

    Raises:
        InputError: The file is damaged, or belongs to a training with other options.
    """
    if not path.exists():
        return None
    try:
        with safetensors.safe_open(path, "pt") as file:
            facts = dict(file.metadata() or {})
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  # not a mapping
        stored, epoch = {**_DEFAULTS, **json.loads(facts["request"])}, int(facts["epoch"])
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is not the state of a training ({error}); {_HOW_TO_FIX}") from error
    requested = {**_DEFAULTS, **json.loads(json.dumps(request))}
    for key in sorted({*stored, *requested}, key=lambda key: (key == "dataset", key)):  # its hash follows from others
        if stored.get(key) != requested.get(key):
            if key == "weights":
                started = _describe_weights(stored.get(key))
                difference = f"from {started}, not from {weights or _describe_weights(requested.get(key))}"
            else:
                difference = _describe_difference(key, stored.get(key), requested.get(key))
            raise InputError(
                f"{path} belongs to a training {difference}; give the same value or another --out, or remove the "
                f"folder {path.parent} to start again"
            )
    return TrainState(epoch, int(facts.get("threads", torch.get_num_threads())), tensors)


def _describe_difference(key: str, stored: Any, requested: Any) -> str:
    """Return how a stored option differs from the requested one, as far inside it as both have the same structure."""
    place = ""
    if key == "stages":
        if len(stored) != len(requested):
            return f"in {_count_stages(stored)}, not {_count_stages(requested)}"
        number = next(i for i, pair in enumerate(zip(stored, requested, strict=True)) if pair[0] != pair[1])
        place = f" in stage {number + 1}" if len(stored) > 1 else ""
        stored, requested, key = stored[number], requested[number], ""
    while isinstance(stored, dict) and isinstance(requested, dict):
        inner = next(each for each in sorted({*stored, *requested}) if stored.get(each) != requested.get(each))
        key, stored, requested = f"{key}.{inner}".strip("."), stored.get(inner), requested.get(inner)
    return f"with {key} = {stored}{place}, not {requested}"


def _describe_weights(sha256: str | None) -> str:
    return f"weights with the SHA-256 {sha256[:8]}..." if sha256 else "random weights (none were given)"


def _count_stages(stages: Sequence[object]) -> str:
    return f"{len(stages)} stage{'s' * (len(stages) > 1)}"


def broadcast_state(state: TrainState | None, group: ProcessGroup) -> TrainState | None:
    """Return the state of the first process in all processes."""
    if group.size == 1:
        return state
    shapes = [(key, tensor.shape, tensor.dtype) for key, tensor in state.tensors.items()] if state else []
    header = group.broadcast((state.epochs, state.threads, shapes) if state else None)
    if header is None:
        return None
    epochs, threads, shapes = header
    tensors = state.tensors if state else {key: torch.empty(shape, dtype=dtype) for key, shape, dtype in shapes}
    for tensor in tensors.values():
        distributed.broadcast(tensor, 0, group=group.gloo_group)
    return TrainState(epochs, threads, tensors)


def restore_state(state: TrainState, path: Path, network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Load a state into network and optimizer.

    Args:
        state: The state.
        path: The file of the state, for the message.
        network: The network.
        optimizer: Its optimizer.

    Raises:
        InputError: The state does not fit the network.
    """
    try:
        network.load_state_dict(_select_prefix(state.tensors, "network."))
    except RuntimeError as error:  # another version of a library may use other names
        raise InputError(f"{path} does not fit the network ({str(error).splitlines()[0]}); {_HOW_TO_FIX}") from error
    momentum = _select_prefix(state.tensors, "momentum.")
    for i, parameter in enumerate(_list_parameters(optimizer)):
        if str(i) in momentum:
            buffer = torch.zeros_like(parameter, requires_grad=False)  # in the memory format of the parameter
            optimizer.state[parameter]["momentum_buffer"] = buffer.copy_(momentum[str(i)])


def write_tensors(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, str]) -> None:
    """Write a ``.safetensors`` file atomically.

    Raises:
        OSError: The file cannot be written.
    """
    arrays = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    with atomic_write(path) as temporary:  # save_file would leave a temporary file behind when it is killed
        temporary.write_bytes(safetensors.torch.save(arrays, dict(facts)))


_DEFAULTS = {"processes": 1, "precision": "float32", "train_method": "cam", **LATER_DEFAULTS}
_HOW_TO_FIX = "delete it to start again"


def _list_parameters(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _select_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


_OTHER_THREADS = (
    "the training was stopped with {0} threads of torch and resumes with {1}, which split sums differently: the last "
    "digits of the weights may differ from those of an uninterrupted training; OMP_NUM_THREADS={0} avoids this"
)


class Checkpointer:
    """Writes state and log after every epoch, and restores those of an earlier call.

    The log is written before the state: an interruption between the two leaves a surplus row, which is dropped. Only
    the first process reads and writes.

    Args:
        folder: Folder of the files.
        plan: The training; a state in the folder is loaded into its network.
        optimizer: Its momentum is restored too.
        group: The processes that train together.

    Attributes:
        epochs: Number of epochs that earlier calls have finished.

    Raises:
        InputError: The folder holds another training, or a damaged one.
    """

    def __init__(self, folder: Path, plan: TrainPlan, optimizer: torch.optim.Optimizer, group: ProcessGroup) -> None:
        self._plan, self._optimizer, self._group = plan, optimizer, group
        self._state = folder / STATE_FILE
        state = None
        with group.sync_errors():
            if group.is_main:
                state = read_state(self._state, plan.request, plan.config.weights)
                if state and plan.device.type == "cpu" and state.threads != torch.get_num_threads():
                    warnings.warn(_OTHER_THREADS.format(state.threads, torch.get_num_threads()), stacklevel=4)
                self._log = Log(folder, state.epochs if state else 0)
        state = broadcast_state(state, group)
        if state:
            restore_state(state, self._state, plan.network, optimizer)
        self.epochs = state.epochs if state else 0

    def save_epoch(self, row: dict[str, float], speed: float) -> None:
        """Write the log and the state after an epoch.

        Args:
            row: Log row of the epoch.
            speed: Its images per second, for the terminal.

        Raises:
            InputError: The loss grows; neither log nor state has the epoch then.
        """
        with self._group.sync_errors():
            if self._group.is_main:
                config = self._plan.config
                chance = config.train_method.chance_loss(len(self._plan.classes))
                check_growth((*self._log.rows, row), config.recipe, chance)
                self._log.add_row(row, speed)
                save_state(self._state, self._plan.network, self._optimizer, int(row["epoch"]), self._plan.request)

    def finish(self, path: Path, half: bool) -> None:
        """Write the weights file and the plot of the log.

        Args:
            path: The weights file.
            half: Whether to write the weights in half precision.
        """
        with self._group.sync_errors():
            if self._group.is_main:
                self._log.plot()
                write_tensors(path, *self._plan.export_state(half, self._log.rows[-1]))
