"""Small score maps for display, kept by runs that store no raw maps."""

import numpy as np
from numpy.typing import NDArray

from wsol.runs.arrays import HEAT_MAP_SIDE
from wsol.runtime.jit import jit

_PIXELS_PER_TILE = 4  # along each axis; more take time and look the same
_TINY = float(np.finfo(np.float32).tiny)  # a constant map is zero
_LANES = 8  # sums that numpy.add.reduceat makes at the same time


class HeatMaps:
    """Collects the maps of the ground-truth class while images are scored.

    Args:
        n: Number of images.
    """

    def __init__(self, n: int) -> None:
        self.array = np.zeros((n, HEAT_MAP_SIDE, HEAT_MAP_SIDE), np.uint8)

    def keep(self, i: int, score_map: NDArray[np.floating]) -> None:
        """Keep the prepared map ``(h, w)`` of image ``i``; safe to call from any thread."""
        step = max(1, min(score_map.shape) // (_PIXELS_PER_TILE * HEAT_MAP_SIDE))
        self.array[i] = shrink_maps(score_map[None, ::step, ::step], HEAT_MAP_SIDE)[0]


def shrink_maps(maps: NDArray[np.number], side: int) -> NDArray[np.uint8]:
    """Return maps ``(n, h, w)`` as uint8 ``(n, side, side)``, each scaled to its own range.

    A pixel is the average over a tile; along an axis with fewer pixels than tiles, pixels are repeated.
    """
    gray = np.empty((len(maps), side, side), np.uint8)
    row_starts, column_starts = (np.arange(side + 1) * length // side for length in maps.shape[1:])
    _shrink(maps, row_starts, column_starts, gray)
    return gray


@jit
def _shrink(
    maps: NDArray[np.number], row_starts: NDArray[np.int64], column_starts: NDArray[np.int64], gray: NDArray[np.uint8]
) -> None:
    """Write the maps of ``shrink_maps`` into ``gray``; the starts of the tiles end with the length of the axis."""
    n, h, w = maps.shape
    side = len(row_starts) - 1
    values, rows, small = np.empty((h, w)), np.empty((side, w)), np.empty((side, side))
    for i in range(n):
        low = maps[i].min()
        for y in range(h):
            for x in range(w):
                values[y, x] = maps[i, y, x] - low
        _average_tiles(values, row_starts, rows)
        _average_tiles(rows.T.copy(), column_starts, small)
        peak = max(small.max(), _TINY)
        for y in range(side):
            for x in range(side):
                gray[i, y, x] = np.uint8(np.rint(255 * small[x, y] / peak))


@jit
def _average_tiles(values: NDArray[np.float64], starts: NDArray[np.int64], means: NDArray[np.float64]) -> None:
    """Average ``(n, k)`` over tiles of rows into ``means``; add in the order of ``numpy.add.reduceat``."""
    k = values.shape[1]
    sums = np.empty((_LANES, k))
    for tile in range(len(starts) - 1):
        first, count = starts[tile], max(1, starts[tile + 1] - starts[tile])
        lanes = _LANES if count > _LANES else 1
        paired = 1 + (count - 1) // lanes * lanes
        sums[:lanes] = 0.0
        for i in range(1, paired):
            for x in range(k):
                sums[(i - 1) % lanes, x] += values[first + i, x]
        if lanes > 1:
            for x in range(k):
                left = (sums[0, x] + sums[1, x]) + (sums[2, x] + sums[3, x])
                sums[0, x] = left + ((sums[4, x] + sums[5, x]) + (sums[6, x] + sums[7, x]))
        for i in range(paired, count):
            for x in range(k):
                sums[0, x] += values[first + i, x]
        for x in range(k):
            means[tile, x] = (values[first, x] + sums[0, x]) / count
