"""From a float map to 8 bit, and from tau to the masks."""

import numpy as np
from numpy.typing import NDArray

from wsol.runtime.jit import jit

Reals = NDArray[np.float32] | NDArray[np.float64]


def normalize(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Min-max normalises each map to [0, 1].

    Args:
        maps: float32 ``(n, h, w)``.

    Returns:
        float32 ``(n, h, w)``; all zeros for a map that is constant, holds a value that is not finite, or spans more
        than float32 can hold.
    """
    out = np.zeros(maps.shape, np.float32)
    for scaled, values in zip(out, maps, strict=True):
        low, high = values.min(), values.max()
        with np.errstate(over="ignore", invalid="ignore"):
            span = high - low
        if 0 < span < np.inf:  # not where anything is NaN or infinite
            np.divide(values - low, span, out=scaled)
    return out


def to_uint8(maps: Reals) -> NDArray[np.uint8]:
    """Truncate ``255 * map``, in the precision that the map has.

    Args:
        maps: ``(n, h, w)`` in [0, 1].
    """
    return (maps * np.float32(255)).astype(np.uint8)


def tau_grid(step: float) -> NDArray[np.float64]:
    """Return tau = 0, step, 2 step, ... < 1 as float64 ``(levels,)``."""
    return np.arange(0, 1, step)


def thresholds(taus: NDArray[np.float64], peaks: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return ``trunc(tau * peak)``: a pixel is foreground if its 8-bit value is strictly above it.

    Args:
        taus: float64 ``(levels,)``, in [0, 1).
        peaks: uint8 ``(n,)``, the largest value of each map.

    Returns:
        int64 ``(n, levels)``.
    """
    return (peaks[:, None] * taus).astype(np.int64)


def entry_levels(maps: NDArray[np.uint8], thresholds: NDArray[np.int64]) -> NDArray[np.int16]:
    """Return the highest level whose mask ``map > threshold`` has each pixel, or -1.

    Args:
        maps: uint8 ``(n, h, w)``.
        thresholds: int64 ``(n, levels)``, ascending along the levels.

    Returns:
        int16 ``(n, h, w)``.
    """
    values = np.arange(256)
    tables = [np.searchsorted(row, values, side="left") - 1 for row in thresholds]
    return np.stack([table.astype(np.int16)[map_] for table, map_ in zip(tables, maps, strict=True)])


def levels_above(score_map: Reals, taus: NDArray[np.float64]) -> NDArray[np.int16]:
    """Return the highest level whose mask ``map > tau`` has each pixel, or -1; nothing is rounded.

    Args:
        score_map: ``(h, w)``.
        taus: float64 ``(levels,)``, strictly ascending from 0 or more; fast where they are evenly spaced from 0.

    Returns:
        int16 ``(h, w)``.
    """
    return _placed(score_map, taus, strictly=True)


def levels_reached(score_map: Reals, taus: NDArray[np.float64]) -> NDArray[np.int16]:
    """Return the same for the mask ``map >= tau``."""
    return _placed(score_map, taus, strictly=False)


def _placed(score_map: Reals, taus: NDArray[np.float64], strictly: bool) -> NDArray[np.int16]:
    out = np.empty(score_map.shape, np.int16)
    _place(score_map.reshape(-1), taus, out.reshape(-1), strictly)
    return out


@jit
def _place(values: Reals, taus: NDArray[np.float64], out: NDArray[np.int16], strictly: bool) -> None:
    last = len(taus) - 1
    scale = 1.0 / taus[1] if last else 1.0
    for i in range(len(values)):
        value = np.float64(values[i])
        level = min(max(int(value * scale), 0), last)  # to within one, which the comparisons mend
        while level >= 0 and (value < taus[level] or (strictly and value == taus[level])):
            level -= 1
        while level < last and (value > taus[level + 1] or (not strictly and value == taus[level + 1])):
            level += 1
        out[i] = level
