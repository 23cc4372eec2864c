"""Numba with a type: compiled on first call, cached on disk, and free of the interpreter lock."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

import numba

P = ParamSpec("P")
R = TypeVar("R")


def jit(function: Callable[P, R]) -> Callable[P, R]:
    """Compile ``function`` in nopython mode, keeping its signature for the type checker."""
    try:
        compiled = numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:  # no folder can be written, neither beside the code nor in the user's cache
        compiled = numba.njit(nogil=True)(function)
    return cast(Callable[P, R], compiled)


def jit_inline(function: Callable[P, R]) -> Callable[P, R]:
    """Compile ``function`` into each of its callers: where it is called for every pixel, passing arrays is dear."""
    return cast(Callable[P, R], numba.njit(nogil=True, inline="always")(function))
