"""Pixel annotations in a protocol's frame."""

import numpy as np
from numpy.typing import NDArray

from wsol.boxes.levels import Reals, levels_reached
from wsol.boxes.resize import nearest
from wsol.datasets import Mask
from wsol.metrics.trace import count_pixels


def pixel_counts(prepared: Reals, taus: NDArray[np.float64], mask: Mask) -> NDArray[np.uint32]:
    """Counts the pixels of a prepared map by score, see ``Trace.pixels``.

    Args:
        prepared: ``(h, w)``, in [0, 1].
        taus: The protocol's grid.
        mask: Resized to the map by nearest neighbour.
    """
    below = taus[taus < 1]
    foreground, ignore = (nearest(part, prepared.shape) for part in (mask.foreground, mask.ignore))
    return count_pixels(levels_reached(prepared, below), prepared >= 1, foreground, ignore, len(below))
