"""The process group of a run: one process, or those that torchrun started."""

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

_TIMEOUT = timedelta(days=7)  # torchrun handles processes that died; the others may wait for the slowest


@dataclass(frozen=True)
class ProcessGroup:
    """One process's view of the group.

    Attributes:
        rank: Number of this process, from 0.
        size: Number of processes.
        local_size: Number of processes on this machine.
        restarted: Whether torchrun restarted them after one died.
        gloo_group: Group in which they wait for each other; None for the default one.
    """

    rank: int = 0
    size: int = 1
    local_size: int = 1
    restarted: bool = False
    gloo_group: Any = None

    @property
    def is_main(self) -> bool:
        """True for the process that merges the work of all and writes the results."""
        return self.rank == 0

    @property
    def threads(self) -> int:
        """Threads per process, so that the processes on this machine share its processors."""
        return max(1, processor_count() // self.local_size)

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """Return this process's share: every item is in exactly one, and shares differ by at most one item."""
        return items[self.rank :: self.size]

    @contextlib.contextmanager
    def sync_errors(self) -> Iterator[None]:
        """Barrier on exit; if any process raised, all raise.

        All processes must enter the same contexts in the same order.
        """
        error: Exception | None = None
        try:
            yield
        except Exception as raised:  # whatever it is, the others must not wait forever
            error = raised
        if self.size > 1:
            errors: list[Exception | None] = [None] * self.size
            distributed.all_gather_object(errors, _as_picklable(error), group=self.gloo_group)
            error = error or next((other for other in errors if other is not None), None)
        if error is not None:
            raise error

    def broadcast(self, value: T) -> T:
        """Return the main process's value in all processes."""
        values = [value]
        if self.size > 1:
            distributed.broadcast_object_list(values, group=self.gloo_group)
        return values[0]

    def all_reduce_sum(self, numbers: Tensor) -> Tensor:
        """Return the sum of the numbers of all processes, on the device that they are on."""
        if self.size > 1:
            numbers = numbers.clone()
            distributed.all_reduce(numbers, group=None if numbers.is_cuda else self.gloo_group)
        return numbers


_separate: list[ProcessGroup] = []  # the group of this process alone, in the context of ``separate_processes``


@contextlib.contextmanager
def separate_processes() -> Iterator[None]:
    """Make each process that torchrun started a group of its own, which shares no work with the others."""
    _separate.append(ProcessGroup(local_size=int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))
    try:
        yield
    finally:
        _separate.pop()


def process_group() -> ProcessGroup:
    """Join the processes that torchrun started, if it did: NCCL between GPUs, gloo between CPUs.

    A script that has initialized its own default process group keeps it.
    """
    return _separate[-1] if _separate else _join()


@cache
def _join() -> ProcessGroup:
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size < 2:
        return ProcessGroup()
    if not distributed.is_initialized():
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        distributed.init_process_group(backend, **_rendezvous_arguments(size))
        atexit.register(distributed.destroy_process_group)
    return ProcessGroup(
        distributed.get_rank(),
        distributed.get_world_size(),
        int(os.environ.get("LOCAL_WORLD_SIZE", "1")),
        int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0,
        distributed.new_group(backend="gloo", timeout=_TIMEOUT),
    )


def _rendezvous_arguments(size: int) -> dict[str, Any]:
    """Return arguments of ``init_process_group`` that give each restart a store of its own.

    After a restart by torchrun, PyTorch hands out the addresses of the processes that died (its issue 135712), unless
    each start uses another prefix. Machines count restarts separately, so this works on a single machine only; on
    several, ``TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1`` has to be set.
    """
    if int(os.environ.get("LOCAL_WORLD_SIZE", "0")) != size:
        return {}
    store, rank, _ = next(rendezvous("env://"))
    prefix = f"start {os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
    return {"store": PrefixStore(prefix, store), "rank": rank, "world_size": size}


def _as_picklable(error: Exception | None) -> Exception | None:
    try:
        pickle.dumps(error)
    except Exception:  # it holds something that belongs to its process
        return RuntimeError(f"another process failed: {error!r}")
    return error
