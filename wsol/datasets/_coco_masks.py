"""COCO's polygons and run lengths to pixels, fully checked: pycocotools' C code writes wherever a file tells it to."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsol.datasets.base import MAX_PIXELS

_MAX_GROUPS = 7  # of five bits, in a number of a compressed run length
_MAX_STEPS = 10_000_000  # pixels along a polygon: pycocotools allocates five points for each


def decode_segmentation(segmentation: Any, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Rasterize one annotation.

    Args:
        segmentation: Polygons ``[[x, y, x, y, x, y, ...], ...]``, or RLE ``{"size": [height, width], "counts": ...}``
            with counts as a list or compressed, as pycocotools writes them.
        size: ``(width, height)`` of the image.

    Returns:
        bool ``(height, width)``.

    Raises:
        ValueError: The segmentation is neither, or does not fit the image; the message gives the reason.
    """
    if isinstance(segmentation, list):
        return _fill_polygons(segmentation, size)
    if not isinstance(segmentation, dict):
        raise ValueError("it is neither a list of polygons nor RLE")
    width, height = size
    if segmentation.get("size") != [height, width]:
        raise ValueError(f"its RLE does not have the image's size [{height}, {width}]")
    counts = segmentation.get("counts")
    runs = _decompress_runs(counts) if isinstance(counts, str) else counts
    if not isinstance(runs, list) or not all(type(run) is int and 0 <= run <= MAX_PIXELS for run in runs):
        raise ValueError("its counts are not non-negative integers")
    if sum(runs) != width * height:
        raise ValueError(f"its counts sum to {sum(runs)}, not to {width} x {height} pixels")
    pixels = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return np.ascontiguousarray(pixels.reshape(width, height).T)


def _fill_polygons(polygons: list[Any], size: tuple[int, int]) -> NDArray[np.bool_]:
    from pycocotools import mask  # noqa: PLC0415

    for polygon in polygons:
        _check_polygon(polygon, size)
    parts = mask.frPyObjects([[float(value) for value in polygon] for polygon in polygons], size[1], size[0])
    pixels: NDArray[np.bool_] = mask.decode(mask.merge(parts)).astype(bool)
    return pixels


def _check_polygon(polygon: Any, size: tuple[int, int]) -> None:
    if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
        raise ValueError("a polygon is not a list of three points or more, x, y, x, y, ...")
    sides = size * (len(polygon) // 2)
    if not all(
        type(value) in (int, float) and -side <= value <= 2 * side for value, side in zip(polygon, sides, strict=True)
    ):
        raise ValueError(f"a polygon has a corner that is not a number or far outside the {size[0]} x {size[1]} image")
    corners = np.array(polygon, float).reshape(-1, 2)
    if np.abs(np.diff(corners, axis=0, append=corners[:1])).max(1).sum() > _MAX_STEPS:
        raise ValueError("a polygon is longer than any outline")


def _decompress_runs(text: str) -> list[int]:
    """Return the run lengths of a compressed string, as ``rleFrString`` of pycocotools' maskApi.c defines them.

    Each character holds five bits of a number, the lowest first; from the fourth number on it is the difference to the
    last but one.
    """
    runs: list[int] = []
    value = groups = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or groups == _MAX_GROUPS:
            raise ValueError("its counts are not valid run lengths")
        value |= (bits & 31) << 5 * groups
        groups += 1
        if not bits & 32:
            if bits & 16:
                value -= 1 << 5 * groups
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = groups = 0
    if groups:
        raise ValueError("its counts are not valid run lengths")
    return runs
