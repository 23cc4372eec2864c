"""Thresholds as users name them: a number on the protocol's grid, or the rule that chooses one."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wsol.errors import InputError

Tau = float | Literal["val", "oracle"]

DEFAULT_TAU = 0.2
"""The threshold of the CAM paper: the default, and the rule ``fixed`` next to ``val`` and ``oracle``."""


def check_tau(tau: Tau, taus: NDArray[np.float64]) -> Tau:
    """Return a tau, a number rounded as its grid names it; the default where the grid is empty.

    Args:
        tau: A number, ``val`` or ``oracle``.
        taus: Threshold grid of the protocol, float64 ``(taus,)``.

    Raises:
        InputError: It is neither on the grid nor ``val`` or ``oracle``.
    """
    if isinstance(tau, str) and tau not in ("val", "oracle"):
        raise InputError(f"unknown tau {tau!r}; give a number, val or oracle")
    if not len(taus):
        return DEFAULT_TAU
    if isinstance(tau, str):
        return tau
    return round_tau(taus, find_tau_index(tau, taus))


def fixed_tau(tau: Tau, taus: NDArray[np.float64]) -> float | None:
    """Return the tau of the rule ``fixed``: the run's own if it is a number, else the default if it is on the grid."""
    if not isinstance(tau, str):
        return tau
    return DEFAULT_TAU if np.isclose(taus, DEFAULT_TAU, rtol=0, atol=1e-6).any() else None


def find_tau_index(tau: float, taus: NDArray[np.float64]) -> int:
    """Return the index of a tau on the grid.

    Raises:
        InputError: It is not on the grid.
    """
    tau_index = int(np.abs(taus - tau).argmin())
    if not abs(taus[tau_index] - tau) <= 1e-6:  # negated, so that NaN is rejected too
        grid = f"0 to {taus[-1]:g} by {taus[1]:g}"
        raise InputError(f"tau {tau:g} is not on the protocol's grid, {grid}; the nearest is {taus[tau_index]:.6g}")
    return tau_index


def round_tau(taus: NDArray[np.float64], tau_index: int) -> float:
    """Return a tau without the rounding error of the grid: 0.142, not 0.14200000000000002."""
    return round(float(taus[tau_index]), 9)
