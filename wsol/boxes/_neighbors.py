"""What a pixel's eight neighbours say about how components meet in it."""

import numpy as np
from numpy.typing import NDArray

# Clockwise from north-west, as (dy, dx); bit k of a neighbourhood, a number below 256, is neighbour k.
_RING = ((-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1))


def links(diagonals: bool) -> NDArray[np.int8]:
    """List one neighbour of each cluster of neighbours that hang together without the pixel.

    Args:
        diagonals: Whether pixels that share a corner alone touch each other (8-connectivity).

    Returns:
        int8 ``(256, 5)`` by neighbourhood; 8 ends the list.
    """
    reach = 2 if diagonals else 1
    table = np.full((256, 5), 8, np.int8)
    for near in range(256):
        unseen = {k for k in range(8) if near >> k & 1}
        clusters = 0
        while touching := sorted(k for k in unseen if diagonals or k % 2):  # those that touch the pixel itself
            reached = {touching[0]}
            unseen -= reached
            table[near, clusters] = touching[0]
            clusters += 1
            while reached:
                y, x = _RING[reached.pop()]
                found = {k for k in unseen if _touch(_RING[k][0] - y, _RING[k][1] - x, reach)}
                unseen -= found
                reached |= found
    return table


def _touch(dy: int, dx: int, reach: int) -> bool:
    return max(abs(dy), abs(dx)) <= 1 and abs(dy) + abs(dx) <= reach
