"""Numba with types: compiled on first call, cached on disk, and free of the interpreter lock."""

from collections.abc import Callable
from functools import cache
from typing import Any, ParamSpec, TypeVar, cast

import numba
import numpy as np
from llvmlite.binding import get_host_cpu_name
from numpy.typing import NDArray

P = ParamSpec("P")
R = TypeVar("R")
_OPTIONS: dict[str, Any] = {"nogil": True, "no_cfunc_wrapper": True}  # that wrapper takes time to compile


def jit(function: Callable[P, R]) -> Callable[P, R]:
    """Compile ``function`` in nopython mode; the type checker sees its signature."""
    try:
        compiled = numba.njit(cache=True, **_OPTIONS)(function)
    except RuntimeError:  # no cache folder is writable, neither next to the code nor the user's
        compiled = numba.njit(**_OPTIONS)(function)
    return cast(Callable[P, R], compiled)


def jit_inline(function: Callable[P, R]) -> Callable[P, R]:
    """Compile ``function`` into each of its callers, for calls per pixel, where passing arrays is expensive."""
    return cast(Callable[P, R], numba.njit(nogil=True, inline="always")(function))


def as_input(array: NDArray[Any]) -> NDArray[Any]:
    """Return an array as a kernel takes it, C-contiguous and read-only, so that one compiled version serves all."""
    view = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view


@cache
def cache_folder() -> str | None:
    """Return the folder in which Numba stores the functions of this file's folder; None if it stores none."""

    def probe() -> None: ...

    stats = getattr(jit(probe), "stats", None)  # Numba has none where it is switched off (NUMBA_DISABLE_JIT)
    return getattr(stats, "cache_path", None)


def processor_name() -> str:
    """Return the processor that Numba compiles for."""
    return str(get_host_cpu_name())
