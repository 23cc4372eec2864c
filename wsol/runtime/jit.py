"""Numba with types: compiled on first call, cached on disk, and free of the interpreter lock."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

import numba

P = ParamSpec("P")
R = TypeVar("R")


def jit(function: Callable[P, R]) -> Callable[P, R]:
    """Compile ``function`` in nopython mode; the type checker sees its signature."""
    try:
        compiled = numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:  # no cache folder is writable, neither next to the code nor the user's
        compiled = numba.njit(nogil=True)(function)
    return cast(Callable[P, R], compiled)


def jit_inline(function: Callable[P, R]) -> Callable[P, R]:
    """Compile ``function`` into each of its callers, for calls per pixel, where passing arrays is expensive."""
    return cast(Callable[P, R], numba.njit(nogil=True, inline="always")(function))
