"""Calling a function for each of many files, from local disks and network file systems alike."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")

_THREADS = 32  # on a network file system nearly all of the time is spent waiting
_CHUNK = 256
_LONG_WAIT = 1e-4  # seconds per file; a file in the cache needs none, and threads would only take turns
_MOSTLY_WAITING = 4  # times the processor time: more than where others use the processors as well


def map_small_files(function: Callable[[S], T], files: Sequence[S]) -> Iterator[T]:
    """Map over files that take microseconds each, in threads as soon as most of the time is spent waiting for them.

    Args:
        function: Called once for each file; the first error in the order of the files is raised.
        files: The files, or what stands for them.

    Yields:
        The results, in order.
    """
    done, waiting = 0, False
    while done < len(files) and not waiting:
        wall, busy = time.perf_counter(), time.thread_time()
        results = [function(file) for file in files[done : done + _CHUNK]]
        busy = time.thread_time() - busy
        waited = time.perf_counter() - wall - busy
        waiting = waited > max(_LONG_WAIT * len(results), _MOSTLY_WAITING * busy)
        yield from results
        done += _CHUNK
    yield from map_files(function, files[done:], _CHUNK)


def map_files(function: Callable[[S], T], files: Sequence[S], at_once: int = 1) -> Iterator[T]:
    """Map over files in threads and yield the results in order.

    Args:
        function: As for ``map_small_files``.
        files: As for ``map_small_files``.
        at_once: Files per task of a thread.
    """
    chunks = [files[i : i + at_once] for i in range(0, len(files), at_once)]
    if not chunks:
        return
    with ThreadPoolExecutor(_THREADS) as pool:
        for results in pool.map(lambda chunk: [function(file) for file in chunk], chunks):
            yield from results
