"""Constant score maps, conversion to 8 bit, and the thresholds that each pixel passes."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from wsol.runtime.jit import as_input, jit

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
    values, taus, indices = as_input(score_map.reshape(-1)), as_input(taus), out.reshape(-1)
    scale, shift, corrections = _fit_guess(taus.tobytes(), score_map.dtype.char, strictly)
    _guess_highest_tau(values, taus, scale, shift, strictly, indices)
    limits = as_input(np.concatenate([[np.nan], taus if strictly else np.nextafter(taus, -np.inf)]))
    for _ in range(corrections):
        _lower_wrong_guesses(values, limits, indices)
    return out


@lru_cache(maxsize=64)
def _fit_guess(taus: bytes, kind: str, strictly: bool) -> tuple[float, int, int]:
    """Find a rule that guesses the index of a tau from the value by arithmetic, which is faster than a search.

    Args:
        taus: Content of a float64 array.
        kind: Character code of the type of the values.
        strictly: Whether the tau is strictly below the value.

    Returns:
        Factor of what the value has above the first tau, number to add to the guess, and by how much the result may be
        too high then; 0 for evenly spaced taus and values in single precision.
    """
    grid = np.frombuffer(taus)
    step = float(grid[1] - grid[0]) if len(grid) > 1 else 1.0
    scale = round(1 / step) if abs(1 / step - round(1 / step)) < 1e-6 else 1 / step
    # Guess and index both grow with the value, so they differ most at the values next to a tau.
    near = grid.astype(kind)
    low, high = np.array([-np.inf, np.inf], kind)
    probes = np.sort(np.concatenate([near, np.nextafter(near, low), np.nextafter(near, high), [low, high]]))
    guesses = np.empty(len(probes), np.int16)
    _guess_highest_tau(as_input(probes), grid, float(scale), 0, strictly, guesses)
    indices = np.searchsorted(grid, probes.astype(np.float64), "left" if strictly else "right") - 1
    errors = indices - guesses
    return float(scale), int(errors.max()), int(np.ptp(errors))


@jit
def _guess_highest_tau(
    values: FloatArray, taus: NDArray[np.float64], scale: float, shift: int, strictly: bool, out: NDArray[np.int16]
) -> None:
    first, count = taus[0], len(taus)
    for i in range(len(values)):
        scaled = (np.float64(values[i]) - first) * scale
        guess = shift + (np.ceil(scaled) if strictly else np.floor(scaled) + 1.0)
        guess = guess if guess > 0.0 else 0.0
        guess = guess if guess < count else np.float64(count)
        out[i] = np.int32(guess) - 1


@jit
def _lower_wrong_guesses(values: FloatArray, limits: NDArray[np.float64], out: NDArray[np.int16]) -> None:
    """Lower an index by one where the value is up to ``limits[index + 1]``."""
    for i in range(len(values)):
        place = np.uint64(np.int64(out[i]) + 1)
        out[i] = np.int16(place) - np.int16(1) - np.int16(np.float64(values[i]) <= limits[place])
