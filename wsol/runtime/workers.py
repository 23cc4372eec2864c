"""Worker processes that take Python code off the process that feeds the device, and memory that they share with it."""

import contextlib
import gc
import multiprocessing
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from mmap import mmap
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from wsol.errors import InputError

T = TypeVar("T")

_NICENESS = 5  # the thread that feeds the device goes first
_function: Callable[..., Any]  # what this worker process computes


@contextlib.contextmanager
def start_workers(function: Callable[..., T], count: int, processes: bool) -> Iterator[Callable[..., Future[T]]]:
    """Start workers that call one function; a context that yields ``submit(*arguments)``.

    Worker processes are forked, so the function may be any, and what it refers to is not copied; its arguments and
    results are pickled. Large arrays belong into ``shared_array``. Workers end with their parent, however that ends.
    Threads take their place where processes cannot be forked safely (on macOS and Windows, and outside of the main
    thread, as other threads may hold locks then) or at all (in daemons).

    Args:
        function: The function that the workers call; it must not use a GPU.
        count: Number of workers.
        processes: Whether the workers are processes; for little work threads start faster.

    Raises:
        InputError: A worker process died while the context waited for it.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if processes and is_main and sys.platform == "linux" and not multiprocessing.current_process().daemon:
        pool, call = _fork(function, count), _call
    else:
        pool, call = ThreadPoolExecutor(count), function
    try:
        yield partial(pool.submit, call)
    except BrokenProcessPool as error:
        raise InputError(
            "a worker process was stopped from outside, probably because memory ran out; give fewer --workers"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def shared_array(shape: tuple[int, ...], dtype: type[np.generic]) -> NDArray[Any]:
    """Return an array of zeros that worker processes started later share with this process."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.frombuffer(mmap(-1, max(1, size)), dtype, size // np.dtype(dtype).itemsize).reshape(shape)


def _fork(function: Callable[..., Any], count: int) -> Executor:
    pool = ProcessPoolExecutor(count, multiprocessing.get_context("fork"), _start, (function,))
    with warnings.catch_warnings():  # workers neither use nor wait for what the other threads of this process hold
        warnings.simplefilter("ignore", DeprecationWarning)
        pool.submit(_call_nothing).result()
    return pool


def _start(function: Callable[..., Any]) -> None:
    """Prepare a worker process."""
    global _function  # noqa: PLW0603  # it cannot be pickled with every call
    _function = function
    gc.freeze()  # a collection would write to, and so copy, every page that the parent has
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent stops its workers
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with contextlib.suppress(OSError):
        os.nice(_NICENESS)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _call(*arguments: Any) -> Any:
    return _function(*arguments)


def _call_nothing() -> None:
    """Make the pool start its processes."""
