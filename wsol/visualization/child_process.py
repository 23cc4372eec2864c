"""An object in a child process, so that two slow imports run at the same time, which threads cannot do."""

import importlib
import multiprocessing
import os
import signal
import threading
import warnings
from collections.abc import Hashable
from concurrent.futures import Future, ProcessPoolExecutor
from functools import cache
from multiprocessing.util import Finalize
from typing import Any

from PIL import Image


class ChildProcess:
    """A child process that holds an object and calls its methods one after the other.

    Use it as a context manager: the process starts on entry and ends on exit, where pending calls are cancelled.

    Args:
        kind: ``MODULE:CLASS`` of the object, which only the child imports.
        args: Arguments of the constructor.
    """

    def __init__(self, kind: str, *args: Hashable) -> None:
        self._constructor = kind, args
        self._pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _initialize_child)

    def submit(self, method: str, *args: Any) -> "Future[Any]":
        """Call a method; the future holds its result or its error, or the error of constructing the object."""
        return self._pool.submit(_call, *self._constructor, method, args)

    def __enter__(self) -> "ChildProcess":
        handler = signal.signal(signal.SIGINT, signal.SIG_IGN)  # inherited by the child: the parent handles Ctrl-C
        self._pool.submit(int)
        signal.signal(signal.SIGINT, handler)
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)


def _initialize_child() -> None:
    """Set up the child, which ends when its parent is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where it is not inherited
    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # as in every command
    Finalize(None, os._exit, (0,), exitpriority=0)  # skips the interpreter's cleanup, a quarter of a second
    threading.Thread(target=_exit_with, args=(multiprocessing.parent_process(),), daemon=True).start()


def _exit_with(parent: Any) -> None:
    parent.join()
    os._exit(1)


def _call(kind: str, args: tuple[Hashable, ...], method: str, method_args: tuple[Any, ...]) -> Any:
    return getattr(_construct(kind, args), method)(*method_args)


@cache
def _construct(kind: str, args: tuple[Hashable, ...]) -> Any:
    module, name = kind.split(":")
    return getattr(importlib.import_module(module), name)(*args)
