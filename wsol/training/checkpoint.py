"""The state of a training between two epochs, on disk."""

import json
import warnings
from collections.abc import Mapping
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
from wsol.training.config import Job
from wsol.training.log import Log


@dataclass(frozen=True)
class TrainState:
    """What the next epoch depends on.

    Attributes:
        epochs: Done.
        threads: Of torch, in the process that wrote it.
        tensors: Of the network, and the optimizer's momentum.
    """

    epochs: int
    threads: int
    tensors: Mapping[str, Tensor]


def save_state(
    path: Path, network: nn.Module, optimizer: torch.optim.Optimizer, epoch: int, request: Mapping[str, Any]
) -> None:
    """Write everything that the next epoch depends on; the file appears whole or not at all.

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
    facts = {"epoch": str(epoch), "request": json.dumps(request), "threads": str(torch.get_num_threads())}
    write_tensors(path, tensors, facts)


def read_state(path: Path, request: Mapping[str, Any]) -> TrainState | None:
    """Read a state; None if there is none.

    Raises:
        InputError: The file is damaged, or belongs to a training that was asked to do something else.
    """
    if not path.exists():
        return None
    try:
        with safetensors.safe_open(path, "pt") as file:
            facts = dict(file.metadata() or {})
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  # not a mapping
        began, epoch = {**_ALONE, **json.loads(facts["request"])}, int(facts["epoch"])
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is no state of a training ({error}); {_MEND}") from error
    asked = {**_ALONE, **json.loads(json.dumps(request))}
    for key in sorted({*began, *asked}):
        if began.get(key) != asked.get(key):
            raise InputError(
                f"{path} belongs to a training with {key} = {began.get(key)}, not {asked.get(key)}; ask for the same, "
                "or give another --out"
            )
    return TrainState(epoch, int(facts.get("threads", torch.get_num_threads())), tensors)


def broadcast_state(state: TrainState | None, group: ProcessGroup) -> TrainState | None:
    """Return what the first process has read, in all."""
    if group.size == 1:
        return state
    shapes = [(key, tensor.shape, tensor.dtype) for key, tensor in state.tensors.items()] if state else []
    outline = group.broadcast((state.epochs, state.threads, shapes) if state else None)
    if outline is None:
        return None
    epochs, threads, shapes = outline
    tensors = state.tensors if state else {key: torch.empty(shape, dtype=dtype) for key, shape, dtype in shapes}
    for tensor in tensors.values():
        distributed.broadcast(tensor, 0, group=group.gloo_group)
    return TrainState(epochs, threads, tensors)


def restore_state(state: TrainState, path: Path, network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Put a state back into network and optimizer.

    Args:
        state: The state.
        path: Where it was read.
        network: To be trained.
        optimizer: Its optimizer.

    Raises:
        InputError: It does not fit.
    """
    try:
        network.load_state_dict(_part(state.tensors, "network."))
    except RuntimeError as error:  # other names, as another version of a library may have them
        raise InputError(f"{path} does not fit the network ({str(error).splitlines()[0]}); {_MEND}") from error
    momentum = _part(state.tensors, "momentum.")
    for i, parameter in enumerate(_parameters(optimizer)):
        if str(i) in momentum:
            buffer = torch.zeros_like(parameter, requires_grad=False)  # in the same memory format
            optimizer.state[parameter]["momentum_buffer"] = buffer.copy_(momentum[str(i)])


def write_tensors(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, str]) -> None:
    """Write a ``.safetensors`` file whole or not at all.

    Raises:
        OSError: It cannot be written.
    """
    plain = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    with atomic_write(path) as part:  # save_file would leave a file of its own where it is killed
        part.write_bytes(safetensors.torch.save(plain, dict(facts)))


_ALONE = {"processes": 1}
_MEND = "delete it to begin again"


def _parameters(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


_THREADS = (
    "the training was stopped with {0} threads of torch and goes on with {1}, which divide sums otherwise: the last "
    "digits of the weights may differ from those of one never stopped; OMP_NUM_THREADS={0} keeps them"
)


class Checkpointer:
    """Keeps what the next epoch depends on, and the log; takes up what an earlier call left.

    The log is written before the state: an interruption between the two leaves a row too many, which is dropped. The
    first process alone reads and writes.

    Args:
        folder: Gets the files.
        job: The training; its network goes on from the state there.
        optimizer: Its momentum as well.
        group: The processes that train.

    Attributes:
        epochs: Done before.

    Raises:
        InputError: The folder holds another training, or a damaged one.
    """

    def __init__(self, folder: Path, job: Job, optimizer: torch.optim.Optimizer, group: ProcessGroup) -> None:
        self._folder, self._job, self._optimizer, self._group = folder, job, optimizer, group
        self._state = folder / "state.safetensors"
        state = None
        with group.sync_errors():
            if group.is_main:
                state = read_state(self._state, job.request)
                if state and job.device.type == "cpu" and state.threads != torch.get_num_threads():
                    warnings.warn(_THREADS.format(state.threads, torch.get_num_threads()), stacklevel=4)
                self._log = Log(folder, state.epochs if state else 0)
        state = broadcast_state(state, group)
        if state:
            restore_state(state, self._state, job.network, optimizer)
        self.epochs = state.epochs if state else 0

    def add(self, row: dict[str, float]) -> None:
        """Add an epoch."""
        with self._group.sync_errors():
            if self._group.is_main:
                self._log.write(row)
                save_state(self._state, self._job.network, self._optimizer, int(row["epoch"]), self._job.request)

    def end(self, path: Path, half: bool) -> None:
        """Write the weights and draws the log."""
        with self._group.sync_errors():
            if self._group.is_main:
                self._log.plot()
                write_tensors(path, *self._job.export_state(half, self._log.last()))
