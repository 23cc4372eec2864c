"""The processes that share the work: one, or those that torchrun started."""

import atexit
import contextlib
import os
import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import TypeVar

import torch
from torch import Tensor, distributed

from wsol._machine import processors

T = TypeVar("T")

_PATIENCE = timedelta(days=7)  # torchrun sees to processes that died; those that live may wait for the slowest


@dataclass(frozen=True)
class Processes:
    """What one process knows of all.

    Attributes:
        rank: Its number, from 0.
        size: How many there are.
        beside: How many of them run on this machine.
        restarted: Whether torchrun started them again after one died.
    """

    rank: int = 0
    size: int = 1
    beside: int = 1
    restarted: bool = False

    @property
    def first(self) -> bool:
        """Whether this is the one that writes what they found together."""
        return self.rank == 0

    @property
    def threads(self) -> int:
        """How many threads each should take so that all on this machine have a processor."""
        return max(1, processors() // self.beside)

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """Returns this process's share: every item is in exactly one, and shares differ by at most one item."""
        return items[self.rank :: self.size]

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Lets no process leave the context before all have; what one raises, all raise.

        All of them have to come through the same contexts in the same order.
        """
        error: Exception | None = None
        try:
            yield
        except Exception as raised:  # whatever it is, the others must not wait for ever
            error = raised
        if self.size > 1:
            told: list[Exception | None] = [None] * self.size
            distributed.all_gather_object(told, _sendable(error))
            error = error or next((other for other in told if other is not None), None)
        if error is not None:
            raise error

    def told(self, value: T) -> T:
        """Returns what the first process says, in all of them."""
        said = [value]
        if self.size > 1:
            distributed.broadcast_object_list(said)
        return said[0]

    def added(self, numbers: Tensor) -> Tensor:
        """Returns the sum of the numbers of all processes, on the device that they came from."""
        if self.size > 1:
            numbers = numbers.clone()
            distributed.all_reduce(numbers)
        return numbers


@cache
def processes() -> Processes:
    """Joins the processes that torchrun started, if it did: NCCL between GPUs, gloo between CPUs.

    A script that has made its own default process group keeps it.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size < 2:
        return Processes()
    if not distributed.is_initialized():
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        distributed.init_process_group(backend, timeout=_PATIENCE)
        atexit.register(distributed.destroy_process_group)
    return Processes(
        distributed.get_rank(),
        distributed.get_world_size(),
        int(os.environ.get("LOCAL_WORLD_SIZE", "1")),
        int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0,
    )


def _sendable(error: Exception | None) -> Exception | None:
    try:
        pickle.dumps(error)
    except Exception:  # it holds something that belongs to its process
        return RuntimeError(f"another process failed: {error!r}")
    return error
