"""The box of a mask."""

import numpy as np
from numpy.typing import NDArray


def extent_of(mask: NDArray[np.bool_]) -> tuple[int, int, int, int] | None:
    """Return the extent ``x0, y0, x1, y1`` of a mask ``(height, width)`` as half-open edges; None if it is empty."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
