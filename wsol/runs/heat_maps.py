"""Small score maps for display, kept by runs that store no raw maps."""

import numpy as np
from numpy.typing import NDArray

from wsol.runs.arrays import HEAT_MAP_SIDE

_PIXELS_PER_TILE = 4  # along each axis; more take time and look the same
_TINY = np.finfo(np.float32).tiny  # a constant map is zero


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
    """Return maps ``(n, h, w)`` as uint8 ``(n, side, side)``, each scaled to its own range."""
    small = _average_tiles(maps - maps.min((1, 2), keepdims=True), side)
    peaks = np.maximum(small.max((1, 2), keepdims=True), _TINY)
    gray: NDArray[np.uint8] = np.rint(255 * small / peaks).astype(np.uint8)
    return gray


def _average_tiles(maps: NDArray[np.number], side: int) -> NDArray[np.float64]:
    """Average maps ``(n, h, w)`` over ``side`` by ``side`` tiles; along an axis with fewer pixels, repeat them."""
    means = maps.astype(np.float64)
    for axis in (1, 2):
        length = means.shape[axis]
        starts = np.arange(side) * length // side
        if length < side:
            means = means.take(starts, axis)
        else:
            sizes = np.diff(starts, append=length)
            means = np.add.reduceat(means, starts, axis) / (sizes[:, None] if axis == 1 else sizes)
    return means
