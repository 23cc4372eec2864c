"""What the machine at hand offers."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import TypeVar


def processor_count() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


S = TypeVar("S")
T = TypeVar("T")


def map_ordered(pool: Executor, function: Callable[[S], T], items: Iterable[S], ahead: int = 64) -> Iterator[T]:
    """Map in threads, in order, at most ``ahead`` results waiting, so that memory does not grow with the items."""
    waiting: deque[Future[T]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) >= ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
