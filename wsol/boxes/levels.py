"""From a float map to 8 bit, and from tau to an integer threshold."""

import numpy as np
from numpy.typing import NDArray


def to_uint8(maps: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Min-max normalises each map to [0, 1] and truncates ``255 * map``.

    Args:
        maps: float32 ``(n, h, w)``.

    Returns:
        uint8 ``(n, h, w)``; all zeros for a map that is constant, holds a value that is not finite, or spans more than
        float32 can hold.
    """
    out = np.zeros(maps.shape, np.uint8)
    for level, values in zip(out, maps, strict=True):
        low, high = values.min(), values.max()
        with np.errstate(over="ignore", invalid="ignore"):
            scales = 0 < high - low < np.inf  # not where anything is NaN or infinite
        if scales:
            level[...] = (values - low) / (high - low) * np.float32(255)
    return out


def tau_grid(step: float) -> NDArray[np.float64]:
    """Returns tau = 0, step, 2 step, ... < 1 as float64 ``(levels,)``."""
    return np.arange(0, 1, step)


def entry_levels(maps: NDArray[np.uint8], thresholds: NDArray[np.int64]) -> NDArray[np.int16]:
    """Returns the highest level whose mask ``map > threshold`` has each pixel, or -1.

    Args:
        maps: uint8 ``(n, h, w)``.
        thresholds: int64 ``(n, levels)``, ascending along the levels.

    Returns:
        int16 ``(n, h, w)``.
    """
    values = np.arange(256)
    tables = [np.searchsorted(row, values, side="left") - 1 for row in thresholds]
    return np.stack([table.astype(np.int16)[map_] for table, map_ in zip(tables, maps, strict=True)])


def thresholds(taus: NDArray[np.float64], peaks: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Returns ``trunc(tau * peak)``: a pixel is foreground if its 8-bit value is strictly above it.

    Args:
        taus: float64 ``(levels,)``, in [0, 1).
        peaks: uint8 ``(n,)``, the largest value of each map.

    Returns:
        int64 ``(n, levels)``.
    """
    return (peaks[:, None] * taus).astype(np.int64)
