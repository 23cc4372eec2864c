"""Score maps of 224 x 224 whose boxes follow from their geometry."""

import numpy as np
from numpy.typing import NDArray

Map = NDArray[np.float32]


def rectangles(*painted: tuple[tuple[int, int, int, int], float]) -> Map:
    """Paint rectangles ``((x0, y0, x1, y1), value)``, half-open edges, over each other on zeros."""
    values = np.zeros((224, 224), np.float32)
    for (x0, y0, x1, y1), value in painted:
        values[y0:y1, x0:x1] = value
    return values


def disc() -> Map:
    """Paint the pixels whose center is within 30 of that of pixel (100, 90): x from 70 to 130, y from 60 to 120."""
    y, x = np.mgrid[:224, :224]
    values: Map = ((x - 100) ** 2 + (y - 90) ** 2 <= 30**2).astype(np.float32)
    return values


def two_blobs() -> Map:
    """Paint a small blob of 1 and a separate large one of 0.5."""
    return rectangles(((20, 30, 40, 50), 1), ((100, 90, 160, 130), 0.5))


def touching_squares() -> Map:
    """Paint two squares that touch at a corner."""
    return rectangles(((50, 60, 70, 80), 1), ((70, 80, 90, 100), 1))


def ring_and_block() -> Map:
    """Paint a ring one pixel wide, 40 x 40 outside with 156 pixels, and a block of 20 x 20 = 400 pixels."""
    return rectangles(((30, 30, 70, 70), 1), ((31, 31, 69, 69), 0), ((120, 100, 140, 120), 1))


def maps_without_signal() -> dict[str, Map]:
    """Return maps without information: constant ones, also of fewer pixels, and one with NaN."""
    with_nan = disc()
    with_nan[5, 7] = np.nan
    return {
        "of zeros": np.zeros((224, 224), np.float32),
        "of threes": np.full((224, 224), 3, np.float32),
        "of 0.3, 13 x 13": np.full((13, 13), 0.3, np.float32),
        "of one pixel": np.full((1, 1), -2, np.float32),
        "with a NaN": with_nan,
    }
