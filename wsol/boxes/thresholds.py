"""Constant score maps, conversion to 8 bit, and the thresholds that each pixel passes."""

import numpy as np
from numpy.typing import NDArray

from wsol.runtime.jit import jit

FloatArray = NDArray[np.float32] | NDArray[np.float64]


def are_constant(maps: FloatArray) -> NDArray[np.bool_]:
    """Return which maps have one value only, and so say nothing about where the object is.

    Args:
        maps: ``(n, h, w)``; or ``(n, crops, h, w)``, where every crop has to be constant by itself.

    Returns:
        bool ``(n,)``.
    """
    pixels = maps.reshape(len(maps), -1, maps.shape[-2] * maps.shape[-1])
    constant: NDArray[np.bool_] = (pixels.min(2) == pixels.max(2)).all(1)
    return constant


def to_uint8(maps: FloatArray) -> NDArray[np.uint8]:
    """Truncate ``255 * map``, computed in the precision of the map.

    Args:
        maps: ``(n, h, w)`` in [0, 1].
    """
    return (maps * np.float32(255)).astype(np.uint8)


def tau_grid(step: float) -> NDArray[np.float64]:
    """Return tau = 0, step, 2 step, ... < 1 as float64 ``(taus,)``."""
    return np.arange(0, 1, step)


def uint8_thresholds(taus: NDArray[np.float64], peaks: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return ``trunc(tau * peak)``: a pixel is foreground if its 8-bit value is strictly above it.

    Args:
        taus: float64 ``(taus,)``, in [0, 1).
        peaks: uint8 ``(n,)``, the largest value of each map.

    Returns:
        int64 ``(n, taus)``.
    """
    return (peaks[:, None] * taus).astype(np.int64)


def highest_threshold_below(maps: NDArray[np.uint8], thresholds: NDArray[np.int64]) -> NDArray[np.int16]:
    """Return for each pixel the index of the highest threshold strictly below its value; -1 if there is none.

    Args:
        maps: uint8 ``(n, h, w)``.
        thresholds: int64 ``(n, thresholds)``, ascending for each map.

    Returns:
        int16 ``(n, h, w)``.
    """
    values = np.arange(256)
    tables = [np.searchsorted(row, values, side="left") - 1 for row in thresholds]
    return np.stack([table.astype(np.int16)[map_] for table, map_ in zip(tables, maps, strict=True)])


def highest_tau_below(score_map: FloatArray, taus: NDArray[np.float64]) -> NDArray[np.int16]:
    """Return for each pixel the index of the highest tau strictly below its score, not rounded; -1 if there is none.

    Args:
        score_map: ``(h, w)``.
        taus: float64 ``(taus,)``, strictly ascending from 0 or more; fast if they are evenly spaced from 0.

    Returns:
        int16 ``(h, w)``.
    """
    return _highest_tau(score_map, taus, strictly=True)


def highest_tau_reached(score_map: FloatArray, taus: NDArray[np.float64]) -> NDArray[np.int16]:
    """Return the same for the highest tau that the score reaches: tau may be equal to it."""
    return _highest_tau(score_map, taus, strictly=False)


def _highest_tau(score_map: FloatArray, taus: NDArray[np.float64], strictly: bool) -> NDArray[np.int16]:
    out = np.empty(score_map.shape, np.int16)
    _find_highest_tau(score_map.reshape(-1), taus, out.reshape(-1), strictly)
    return out


@jit
def _find_highest_tau(values: FloatArray, taus: NDArray[np.float64], out: NDArray[np.int16], strictly: bool) -> None:
    last = len(taus) - 1
    scale = 1.0 / taus[1] if last else 1.0
    for i in range(len(values)):
        value = np.float64(values[i])
        tau_index = min(max(int(value * scale), 0), last)  # off by at most one, which the comparisons correct
        while tau_index >= 0 and (value < taus[tau_index] or (strictly and value == taus[tau_index])):
            tau_index -= 1
        while tau_index < last and (value > taus[tau_index + 1] or (not strictly and value == taus[tau_index + 1])):
            tau_index += 1
        out[i] = tau_index
