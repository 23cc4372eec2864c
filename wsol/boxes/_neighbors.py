"""Connectivity of the eight neighbors of a pixel: which components does a new pixel join?"""

import numpy as np
from numpy.typing import NDArray

RING = ((-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1))
"""The neighbors clockwise from north-west, as (dy, dx); bit k of a neighborhood, a number below 256, is neighbor k."""


def cluster_representatives(diagonals: bool) -> NDArray[np.int8]:
    """List one neighbor of each cluster of neighbors that are connected without the pixel.

    Args:
        diagonals: Whether pixels that share only a corner touch each other (8-connectivity).

    Returns:
        int8 ``(256, 5)`` by neighborhood; 8 ends the list.
    """
    reach = 2 if diagonals else 1
    table = np.full((256, 5), 8, np.int8)
    for neighborhood in range(256):
        unvisited = {k for k in range(8) if neighborhood >> k & 1}
        clusters = 0
        while touching := sorted(k for k in unvisited if diagonals or k % 2):  # those that touch the pixel itself
            queue = {touching[0]}
            unvisited -= queue
            table[neighborhood, clusters] = touching[0]
            clusters += 1
            while queue:
                y, x = RING[queue.pop()]
                connected = {k for k in unvisited if _touch(RING[k][0] - y, RING[k][1] - x, reach)}
                unvisited -= connected
                queue |= connected
    return table


def _touch(dy: int, dx: int, reach: int) -> bool:
    return max(abs(dy), abs(dx)) <= 1 and abs(dy) + abs(dx) <= reach


def contour_area_gains() -> NDArray[np.uint32]:
    """Tabulate the gain of twice the contour area when a pixel is added to a neighborhood (one of 256).

    Of the four 2 x 2 windows around the pixel, each with three pixels set contains half a unit of polygon, each with
    four a whole unit.
    """
    area2 = np.zeros(256, np.uint32)
    for neighborhood in range(256):
        is_set = [bool(neighborhood >> k & 1) for k in range(8)]
        for corner in (0, 2, 4, 6):
            area2[neighborhood] += is_set[corner - 1] + is_set[corner] + is_set[(corner + 1) % 8] >= 2
    return area2
