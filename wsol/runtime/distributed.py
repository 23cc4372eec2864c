"""The processes that share the work: one, or those that torchrun started."""

import atexit
import contextlib
import os
import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed
from torch.distributed import PrefixStore  # type: ignore[attr-defined]  # it is documented
from torch.distributed.rendezvous import rendezvous

from wsol.runtime.threads import processor_count

T = TypeVar("T")

_PATIENCE = timedelta(days=7)  # torchrun sees to processes that died; those that live may wait for the slowest


@dataclass(frozen=True)
class ProcessGroup:
    """What one process knows of all.

    Attributes:
        rank: Its number, from 0.
        size: How many there are.
        beside: How many of them run on this machine.
        restarted: Whether torchrun started them again after one died.
        patient: The process group in which they wait for each other; None for the default one.
    """

    rank: int = 0
    size: int = 1
    local_size: int = 1
    restarted: bool = False
    gloo_group: Any = None

    @property
    def is_main(self) -> bool:
        """Whether this is the one that writes what they found together."""
        return self.rank == 0

    @property
    def threads(self) -> int:
        """How many threads each should take so that all on this machine have a processor."""
        return max(1, processor_count() // self.local_size)

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """Return this process's share: every item is in exactly one, and shares differ by at most one item."""
        return items[self.rank :: self.size]

    @contextlib.contextmanager
    def sync_errors(self) -> Iterator[None]:
        """Let no process leave the context before all have; what one raises, all raise.

        All of them have to come through the same contexts in the same order.
        """
        error: Exception | None = None
        try:
            yield
        except Exception as raised:  # whatever it is, the others must not wait for ever
            error = raised
        if self.size > 1:
            told: list[Exception | None] = [None] * self.size
            distributed.all_gather_object(told, _sendable(error), group=self.gloo_group)
            error = error or next((other for other in told if other is not None), None)
        if error is not None:
            raise error

    def broadcast(self, value: T) -> T:
        """Return what the first process says, in all of them."""
        said = [value]
        if self.size > 1:
            distributed.broadcast_object_list(said, group=self.gloo_group)
        return said[0]

    def all_reduce_sum(self, numbers: Tensor) -> Tensor:
        """Return the sum of the numbers of all processes, on the device that they came from."""
        if self.size > 1:
            numbers = numbers.clone()
            distributed.all_reduce(numbers, group=None if numbers.is_cuda else self.gloo_group)
        return numbers


@cache
def process_group() -> ProcessGroup:
    """Join the processes that torchrun started, if it did: NCCL between GPUs, gloo between CPUs.

    A script that has made its own default process group keeps it.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size < 2:
        return ProcessGroup()
    if not distributed.is_initialized():
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        distributed.init_process_group(backend, **_meeting_place(size))
        atexit.register(distributed.destroy_process_group)
    return ProcessGroup(
        distributed.get_rank(),
        distributed.get_world_size(),
        int(os.environ.get("LOCAL_WORLD_SIZE", "1")),
        int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0,
        distributed.new_group(backend="gloo", timeout=_PATIENCE),
    )


def _meeting_place(size: int) -> dict[str, Any]:
    """Return where processes find each other.

    Where torchrun starts them again, PyTorch lets them find the addresses of those that died (its issue 135712), unless
    each start has a room of its own. Machines count their starts apart, so this helps on a single one alone; of several
    ``TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1`` has to be set.
    """
    if int(os.environ.get("LOCAL_WORLD_SIZE", "0")) != size:
        return {}
    store, rank, _ = next(rendezvous("env://"))
    room = f"start {os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
    return {"store": PrefixStore(room, store), "rank": rank, "world_size": size}


def _sendable(error: Exception | None) -> Exception | None:
    try:
        pickle.dumps(error)
    except Exception:  # it holds something that belongs to its process
        return RuntimeError(f"another process failed: {error!r}")
    return error
