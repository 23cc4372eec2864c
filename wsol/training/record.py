"""The files that a training leaves, epoch by epoch."""

import warnings
from pathlib import Path

import torch

from wsol.processes import Processes
from wsol.training.job import Job
from wsol.training.log import Log
from wsol.training.state import read_state, restore, save_state, shared_state, write_tensors

_THREADS = (
    "the training was stopped with {0} threads of torch and goes on with {1}, which divide sums otherwise: the last "
    "digits of the weights may differ from those of one never stopped; OMP_NUM_THREADS={0} keeps them"
)


class Record:
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

    def __init__(self, folder: Path, job: Job, optimizer: torch.optim.Optimizer, group: Processes) -> None:
        self._folder, self._job, self._optimizer, self._group = folder, job, optimizer, group
        self._state = folder / "state.safetensors"
        state = None
        with group.together():
            if group.first:
                state = read_state(self._state, job.request)
                if state and job.device.type == "cpu" and state.threads != torch.get_num_threads():
                    warnings.warn(_THREADS.format(state.threads, torch.get_num_threads()), stacklevel=4)
                self._log = Log(folder, state.epochs if state else 0)
        state = shared_state(state, group)
        if state:
            restore(state, self._state, job.network, optimizer)
        self.epochs = state.epochs if state else 0

    def add(self, row: dict[str, float]) -> None:
        """Adds an epoch."""
        with self._group.together():
            if self._group.first:
                self._log.write(row)
                save_state(self._state, self._job.network, self._optimizer, int(row["epoch"]), self._job.request)

    def end(self, path: Path, half: bool) -> None:
        """Writes the weights and draws the log."""
        with self._group.together():
            if self._group.first:
                self._log.plot()
                write_tensors(path, *self._job.trained(half, self._log.last()))
