"""An object in a process of its own: two slow imports take their time at once, which threads cannot do."""

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
    """Calls the methods of an object that lives in a child process, one after the other.

    A context: the process begins when it is entered and ends when it is left, with the calls that still wait.

    Args:
        kind: ``MODULE:CLASS`` of the object, which only the child imports.
        args: What it is made with.
    """

    def __init__(self, kind: str, *args: Hashable) -> None:
        self._made = kind, args
        self._pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _enter)

    def submit(self, method: str, *args: Any) -> "Future[Any]":
        """Call a method; its result, or its error and that of making the object, comes with the future."""
        return self._pool.submit(_call, *self._made, method, args)

    def __enter__(self) -> "ChildProcess":
        usual = signal.signal(signal.SIGINT, signal.SIG_IGN)  # inherited: Ctrl-C is the parent's business
        self._pool.submit(int)
        signal.signal(signal.SIGINT, usual)
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)


def _enter() -> None:
    """Prepare the child; a parent that is killed leaves no orphan."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where it is not inherited
    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # as in every command
    Finalize(None, os._exit, (0,), exitpriority=0)  # without the tidying up, which takes a quarter of a second
    threading.Thread(target=_end_with, args=(multiprocessing.parent_process(),), daemon=True).start()


def _end_with(parent: Any) -> None:
    parent.join()
    os._exit(1)


def _call(kind: str, args: tuple[Hashable, ...], method: str, more: tuple[Any, ...]) -> Any:
    return getattr(_object(kind, args), method)(*more)


@cache
def _object(kind: str, args: tuple[Hashable, ...]) -> Any:
    module, name = kind.split(":")
    return getattr(importlib.import_module(module), name)(*args)
