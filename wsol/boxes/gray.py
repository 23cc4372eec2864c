"""Raw score maps as 8-bit maps of a larger size, many in one call."""

import math

import numpy as np
from numpy.typing import NDArray

from wsol.boxes.resize import cubic_taps
from wsol.runtime.jit import jit

# Numba's disk cache is invalidated only by changes of the file of the compiled function, so all functions that are
# compiled together are in this one file.

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def to_gray(maps: NDArray[np.float32], size: tuple[int, int]) -> tuple[NDArray[np.uint8], Ints]:
    """Return ``to_uint8(resize_and_normalize(maps, size, cubic_taps))``, and the place of each map's highest value.

    Args:
        maps: Raw maps ``(n, h, w)``.
        size: Target ``(height, width)``.

    Returns:
        uint8 ``(n, height, width)``, and int64 ``(n,)``, the index of the highest pixel before the conversion to 8 bit,
        the first in raster order; -1 for a map that becomes zeros.
    """
    out, peaks = np.empty((len(maps), *size), np.uint8), np.empty(len(maps), np.int64)
    filters = *cubic_taps(maps.shape[1], size[0]), *cubic_taps(maps.shape[2], size[1])
    _convert(np.ascontiguousarray(maps), *filters, out, peaks)
    return out, peaks


@jit
def _convert(
    maps: NDArray[np.float32],
    rows: Ints,
    row_weights: Floats,
    columns: Ints,
    column_weights: Floats,
    out: NDArray[np.uint8],
    peaks: Ints,
) -> None:
    """Write the results of ``to_gray`` into the last two arguments."""
    n, height, width = out.shape
    h, w = maps.shape[1:]
    values, stretched, resized = np.empty((w, h)), np.empty((h, width)), np.empty((height, width))
    for m in range(n):
        peaks[m] = -1
        low, high = 0.0, 0.0
        if _scale_from_zero(maps[m], values):
            _stretch(values, columns, column_weights, stretched)
            low, high = _combine(stretched, rows, row_weights, resized)
        if high <= low:
            for y in range(height):
                for x in range(width):
                    out[m, y, x] = 0
            continue
        factor = 1 / (high - low)
        top = np.float32((high - low) * factor)
        gray_top = np.uint8(np.int32(top * np.float32(255)))
        for y in range(height):
            line, row = resized[y], out[m, y]
            for x in range(width):
                row[x] = np.uint8(np.int32(np.float32((line[x] - low) * factor) * np.float32(255)))
            if peaks[m] < 0 and _count(row, gray_top):
                for x in range(width):
                    if np.float32((line[x] - low) * factor) == top:
                        peaks[m] = y * width + x
                        break


@jit
def _count(row: NDArray[np.uint8], value: np.uint8) -> int:
    """Count the pixels of a value."""
    count = 0
    for x in range(len(row)):
        count += row[x] == value
    return count


@jit
def _scale_from_zero(map_: NDArray[np.float32], out: Floats) -> bool:
    """Write ``scale_to_unit(map_)`` less its lowest value, transposed; return false if a value is not finite."""
    low, high = np.inf, -np.inf
    for y in range(map_.shape[0]):
        for x in range(map_.shape[1]):
            value = np.float64(map_[y, x])
            if not math.isfinite(value):
                return False
            low, high = min(low, value), max(high, value)
    factor = math.ldexp(1.0, min(1023, -math.frexp(max(abs(low), abs(high)))[1]))
    for y in range(map_.shape[0]):
        for x in range(map_.shape[1]):
            out[x, y] = np.float64(map_[y, x]) * factor - low * factor
    return True


@jit
def _stretch(values: Floats, columns: Ints, weights: Floats, out: Floats) -> None:
    """Resize every row of the transposed map."""
    h = values.shape[1]
    line = np.empty(h)
    for x in range(len(columns)):
        a, b, c, d = values[columns[x, 0]], values[columns[x, 1]], values[columns[x, 2]], values[columns[x, 3]]
        wa, wb, wc, wd = weights[x, 0], weights[x, 1], weights[x, 2], weights[x, 3]
        for y in range(h):
            line[y] = 0.0 + wa * a[y] + wb * b[y] + wc * c[y] + wd * d[y]
        for y in range(h):
            out[y, x] = line[y]


@jit
def _combine(stretched: Floats, rows: Ints, weights: Floats, out: Floats) -> tuple[float, float]:
    """Resize every column; return the lowest and the highest value."""
    width = stretched.shape[1]
    lows, highs = np.empty(width), np.empty(width)
    for x in range(width):
        lows[x], highs[x] = np.inf, -np.inf
    for y in range(len(rows)):
        a, b, c, d = stretched[rows[y, 0]], stretched[rows[y, 1]], stretched[rows[y, 2]], stretched[rows[y, 3]]
        wa, wb, wc, wd = weights[y, 0], weights[y, 1], weights[y, 2], weights[y, 3]
        line = out[y]
        for x in range(width):
            value = 0.0 + (wa * a[x] + wb * b[x]) + (wc * c[x] + wd * d[x])
            line[x] = value
            lows[x] = value if value < lows[x] else lows[x]
            highs[x] = value if value > highs[x] else highs[x]
    low, high = lows[0], highs[0]
    for x in range(1, width):
        low, high = min(low, lows[x]), max(high, highs[x])
    return low, high
