"""Resizing of score maps and masks."""

import math
from collections.abc import Callable
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray

from wsol.boxes.thresholds import FloatArray
from wsol.runtime.jit import as_input, jit

CUBIC_A = -0.75  # of Keys' kernel
_MATLAB_CUBIC_A = -0.5
_ROUNDING = 1e-12  # more than the rounding errors of a resized value of order 1

Weights = tuple[NDArray[np.int64], NDArray[np.float64]]
Taps = Callable[[int, int], Weights]
"""Interpolation along one axis: from the source and target lengths to indices and weights ``(target, taps)``."""


def bicubic(maps: FloatArray, size: tuple[int, int]) -> NDArray[np.float32]:
    """Resize maps by bicubic convolution with a = -0.75, half-pixel centers and replicated borders, see ``cubic_taps``.

    Args:
        maps: ``(n, h, w)``.
        size: Target ``(height, width)``.

    Returns:
        float32 ``(n, height, width)``; a copy of ``maps`` if it has this size already.
    """
    return resize(maps, size, cubic_taps)


def bilinear(maps: FloatArray, size: tuple[int, int]) -> NDArray[np.float32]:
    """Resize maps by linear interpolation, see ``linear_taps``; arguments and result as those of ``bicubic``."""
    return resize(maps, size, linear_taps)


def resize(maps: FloatArray, size: tuple[int, int], taps: Taps) -> NDArray[np.float32]:
    """Resize maps by a separable filter: horizontally first, in double precision, additions in a fixed order.

    Args:
        maps: ``(n, h, w)``.
        size: Target ``(height, width)``.
        taps: The filter.

    Returns:
        float32 ``(n, height, width)``.
    """
    out = np.empty((len(maps), *size), np.float32)
    filters = *taps(maps.shape[1], size[0]), *taps(maps.shape[2], size[1])
    for values, resized in zip(maps, out, strict=True):
        _resize(values.astype(np.float64), *filters, resized)
    return out


def resize_to_double(values: NDArray[np.float64], taps: Taps, out: NDArray[np.float64]) -> None:
    """Write a map ``(h, w)``, resized as by ``resize`` but not rounded, into ``out`` ``(height, width)``."""
    _resize(values, *taps(values.shape[0], out.shape[0]), *taps(values.shape[1], out.shape[1]), out)


def resize_and_normalize(maps: FloatArray, size: tuple[int, int], taps: Taps) -> NDArray[np.float32]:
    """Resize maps, then min-max normalize each to [0, 1]; only the result is rounded to single precision.

    Rounding between the two steps would be amplified by the second: to noise of the full range for a map that is flat.

    Args:
        maps: Raw maps ``(n, h, w)``.
        size: Target ``(height, width)``.
        taps: The filter.

    Returns:
        float32 ``(n, height, width)``; all zeros for a map that is constant or has a value that is not finite.
    """
    out = np.empty((len(maps), *size), np.float32)
    filters = *taps(maps.shape[1], size[0]), *taps(maps.shape[2], size[1])
    _resize_and_normalize(as_input(maps), *filters, out)
    return out


def normalize_and_resize(
    maps: FloatArray, size: tuple[int, int], taps: Taps, epsilon: float = 0.0
) -> NDArray[np.float32]:
    """Min-max normalize maps, each to [0, 1], then resize them; only the result is rounded to single precision.

    Args:
        maps: Raw maps ``(n, h, w)``.
        size: Target ``(height, width)``.
        taps: The filter.
        epsilon: Added to the range of a map before the division by it.

    Returns:
        float32 ``(n, height, width)``; all zeros for a map that is constant or has a value that is not finite.
    """
    halves = maps.astype(np.float64) / 2  # exact, and the range of the largest numbers does not overflow
    low, high = halves.min(axis=(1, 2), keepdims=True), halves.max(axis=(1, 2), keepdims=True)
    usable = np.isfinite(low) & np.isfinite(high) & (high > low)
    unit = np.zeros(halves.shape)
    np.subtract(halves, low, out=unit, where=usable)
    np.divide(unit, high - low + epsilon / 2, out=unit, where=usable)
    return resize(unit, size, taps)


def resize_and_divide(maps: FloatArray, size: tuple[int, int], taps: Taps, absolute: bool) -> NDArray[np.float32]:
    """Resize maps, round them to single precision, then divide each by its maximum.

    Args:
        maps: Raw maps ``(n, h, w)``.
        size: Target ``(height, width)``.
        taps: The filter.
        absolute: Whether absolute values are taken after resizing.

    Returns:
        float32 ``(n, height, width)``; all zeros for a map that is constant, has a value that is not finite, or is
        nowhere positive.
    """
    out = np.empty((len(maps), *size), np.float32)
    filters = *taps(maps.shape[1], size[0]), *taps(maps.shape[2], size[1])
    _resize_and_divide(as_input(maps), *filters, absolute, out)
    return out


def nearest(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Resize a mask ``(h, w)`` to ``(height, width)``: a pixel takes the value at ``floor(index * h / height)``.

    Equivalent to ``cv2.resize(INTER_NEAREST)``.
    """
    rows, columns = (
        np.minimum((np.arange(target) * (source / target)).astype(np.int64), source - 1)
        for source, target in zip(mask.shape, size, strict=True)
    )
    resized: NDArray[np.bool_] = mask[rows[:, None], columns]
    return resized


@cache
def cubic_taps(source: int, target: int) -> Weights:
    """Return the taps of bicubic convolution with a = -0.75, half-pixel centers and replicated borders.

    Equivalent to ``cv2.resize(INTER_CUBIC)`` and ``torch.nn.functional.interpolate(mode="bicubic")`` (Keys, "Cubic
    convolution interpolation for digital image processing", 1981, eq. 4).
    """
    center = (np.arange(target) + 0.5) * (source / target) - 0.5
    first = np.floor(center)
    weights = _keys_kernel(np.abs((center - first)[:, None] - np.arange(-1, 3)), CUBIC_A)
    indices = np.clip(first[:, None].astype(np.int64) + np.arange(-1, 3), 0, source - 1)
    return indices, weights


@lru_cache(maxsize=4096)  # images of a data set come in many sizes
def linear_taps(source: int, target: int) -> Weights:
    """Return the taps of linear interpolation with half-pixel centers and replicated borders.

    Equivalent to ``cv2.resize(INTER_LINEAR)`` and ``torch.nn.functional.interpolate(mode="bilinear")``.
    """
    center = np.clip((np.arange(target) + 0.5) * (source / target) - 0.5, 0, source - 1)
    first = np.minimum(np.floor(center).astype(np.int64), source - 1)
    indices = np.stack([first, np.minimum(first + 1, source - 1)], 1)
    return indices, np.stack([1 - (center - first), center - first], 1)


@lru_cache(maxsize=4096)
def matlab_cubic_taps(source: int, target: int) -> Weights:
    """Return the taps of MATLAB's ``imresize(..., "bicubic")``.

    Keys' kernel with a = -0.5 and half-pixel centers; stretched by source / target where that is above 1, against
    aliasing; borders are mirrored; the weights of a target index are normalized to the sum 1.
    """
    stretch = max(1.0, source / target)
    center = (np.arange(target) + 0.5) * (source / target) - 0.5
    first = np.ceil(center - 2 * stretch).astype(np.int64)
    indices = first[:, None] + np.arange(math.floor(4 * stretch) + 1)
    weights = _keys_kernel(np.abs(indices - center[:, None]) / stretch, _MATLAB_CUBIC_A)
    mirrored = np.mod(indices, 2 * source)
    return np.minimum(mirrored, 2 * source - 1 - mirrored), weights / weights.sum(1, keepdims=True)


def _keys_kernel(distance: NDArray[np.float64], a: float) -> NDArray[np.float64]:
    near = ((a + 2) * distance - (a + 3)) * distance * distance + 1
    far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0.0))


# Numba's disk cache is invalidated only by changes of the file of the compiled function, so all functions that are
# compiled together are in this one file.


@jit
def _resize(
    values: NDArray[np.float64],
    rows: NDArray[np.int64],
    row_weights: NDArray[np.float64],
    columns: NDArray[np.int64],
    column_weights: NDArray[np.float64],
    out: FloatArray,
) -> None:
    """Write the resized map into ``out``."""
    stretched = _stretch_rows(values, columns, column_weights)
    line = np.empty(len(columns), np.float64)
    for y in range(len(rows)):
        _combine_rows(stretched, rows[y], row_weights[y], line)
        out[y] = line


@jit
def _resize_and_normalize(
    maps: FloatArray,
    rows: NDArray[np.int64],
    row_weights: NDArray[np.float64],
    columns: NDArray[np.int64],
    column_weights: NDArray[np.float64],
    out: NDArray[np.float32],
) -> None:
    """Write the maps of ``resize_and_normalize`` into ``out``; computing lines twice costs less than keeping them."""
    line = np.empty(len(columns))
    for i in range(len(maps)):
        values = _scale_to_unit(maps[i])
        if not len(values):
            _fill_with_zeros(out[i])
            continue
        _subtract_lowest(values)
        stretched = _stretch_rows(values, columns, column_weights)
        low, high = _find_range(stretched, rows, row_weights, line)
        factor = 1 / (high - low) if high > low else 0.0
        for y in range(len(rows)):
            _combine_rows(stretched, rows[y], row_weights[y], line)
            for x in range(len(line)):
                out[i, y, x] = (line[x] - low) * factor


@jit
def _resize_and_divide(
    maps: FloatArray,
    rows: NDArray[np.int64],
    row_weights: NDArray[np.float64],
    columns: NDArray[np.int64],
    column_weights: NDArray[np.float64],
    absolute: bool,
    out: NDArray[np.float32],
) -> None:
    """Write the maps of ``resize_and_divide`` into ``out``."""
    line = np.empty(len(columns))
    for i in range(len(maps)):
        values = _scale_to_unit(maps[i])
        peak = np.float32(0)
        if len(values) and values.min() < values.max():
            stretched = _stretch_rows(values, columns, column_weights)
            low, high = _find_range(stretched, rows, row_weights, line)
            peak = np.float32(max(-low, high) if absolute else high)
        if peak <= 0:
            _fill_with_zeros(out[i])
            continue
        for y in range(len(rows)):
            _combine_rows(stretched, rows[y], row_weights[y], line)
            for x in range(len(line)):
                score = np.float32(line[x])
                out[i, y, x] = (abs(score) if absolute else score) / peak


@jit
def _fill_with_zeros(out: NDArray[np.float32]) -> None:
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            out[y, x] = 0


@jit
def _subtract_lowest(values: NDArray[np.float64]) -> None:
    low = values[0, 0]
    for y in range(values.shape[0]):
        for x in range(values.shape[1]):
            low = min(low, values[y, x])
    for y in range(values.shape[0]):
        for x in range(values.shape[1]):
            values[y, x] -= low


@jit
def _scale_to_unit(values: FloatArray) -> NDArray[np.float64]:
    """Multiply a map by the power of two that brings it into [-1, 1], which is exact, so that no result overflows.

    Returns:
        float64, without any row if a value is not finite.
    """
    most = 0.0
    for y in range(values.shape[0]):
        for x in range(values.shape[1]):
            value = np.float64(values[y, x])
            if not math.isfinite(value):
                return np.empty((0, 0))
            most = max(most, abs(value))
    factor = math.ldexp(1.0, min(1023, -math.frexp(most)[1]))
    scaled = np.empty(values.shape)
    for y in range(values.shape[0]):
        for x in range(values.shape[1]):
            scaled[y, x] = values[y, x] * factor
    return scaled


@jit
def _find_range(
    stretched: NDArray[np.float64], rows: NDArray[np.int64], weights: NDArray[np.float64], line: NDArray[np.float64]
) -> tuple[float, float]:
    """Return the lowest and the highest value of the resized map, without the lines that cannot have either.

    Args:
        stretched: Rows to combine, with values up to 2.
        rows: Indices ``(height, taps)``.
        weights: Weights ``(height, taps)``.
        line: Memory for a line.
    """
    height, taps = rows.shape
    row_ranges = np.empty((len(stretched), 2))
    for row in range(len(stretched)):
        row_ranges[row, 0], row_ranges[row, 1] = _range_of(stretched[row])
    bounds = np.empty((height, 2))
    for y in range(height):
        bounds[y, 0], bounds[y, 1] = -_ROUNDING, _ROUNDING
        for k in range(taps):
            a, b = weights[y, k] * row_ranges[rows[y, k], 0], weights[y, k] * row_ranges[rows[y, k], 1]
            bounds[y, 0] += min(a, b)
            bounds[y, 1] += max(a, b)
    lowest = highest = 0
    for y in range(1, height):
        lowest = y if bounds[y, 0] < bounds[lowest, 0] else lowest
        highest = y if bounds[y, 1] > bounds[highest, 1] else highest
    low, high = np.inf, -np.inf
    for likely in (lowest, highest):  # then few others are needed
        _combine_rows(stretched, rows[likely], weights[likely], line)
        range_ = _range_of(line)
        low, high = min(low, range_[0]), max(high, range_[1])
    lows, highs = np.empty(len(line)), np.empty(len(line))
    for x in range(len(line)):
        lows[x], highs[x] = low, high
    for y in range(height):
        if bounds[y, 0] < low or bounds[y, 1] > high:
            _combine_rows(stretched, rows[y], weights[y], line)
            for x in range(len(line)):
                lows[x] = line[x] if line[x] < lows[x] else lows[x]
                highs[x] = line[x] if line[x] > highs[x] else highs[x]
    low, high = lows[0], highs[0]
    for x in range(1, len(line)):
        low, high = min(low, lows[x]), max(high, highs[x])
    return low, high


@jit
def _range_of(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return the lowest and the highest value, eight values at a time."""
    lows, highs = np.empty(8), np.empty(8)
    for k in range(8):
        lows[k], highs[k] = np.inf, -np.inf
    whole = len(values) // 8 * 8
    for start in range(0, whole, 8):
        for k in range(8):
            value = values[start + k]
            lows[k] = value if value < lows[k] else lows[k]
            highs[k] = value if value > highs[k] else highs[k]
    low, high = lows[0], highs[0]
    for k in range(1, 8):
        low, high = min(low, lows[k]), max(high, highs[k])
    for i in range(whole, len(values)):
        low, high = min(low, values[i]), max(high, values[i])
    return low, high


@jit
def _stretch_rows(
    values: NDArray[np.float64], columns: NDArray[np.int64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Resize every row."""
    h, (width, taps) = len(values), columns.shape
    stretched = np.empty((h, width), np.float64)
    for y in range(h):
        for x in range(width):
            total = 0.0
            for k in range(taps):
                total += weights[x, k] * values[y, columns[x, k]]
            stretched[y, x] = total
    return stretched


@jit
def _combine_rows(
    stretched: NDArray[np.float64], rows: NDArray[np.int64], weights: NDArray[np.float64], line: NDArray[np.float64]
) -> None:
    """Write the weighted sum of some rows into ``line``, two rows at a time."""
    for k in range(0, len(rows), 2):
        a, weight_a = rows[k], weights[k]
        b, weight_b = (rows[k + 1], weights[k + 1]) if k + 1 < len(rows) else (a, 0.0)
        if k == 0:
            for x in range(len(line)):
                line[x] = 0.0 + (weight_a * stretched[a, x] + weight_b * stretched[b, x])
        else:
            for x in range(len(line)):
                line[x] += weight_a * stretched[a, x] + weight_b * stretched[b, x]
