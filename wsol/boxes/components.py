"""Components of the masks at every threshold, by union-find in one pass over the pixels."""

import numpy as np
from numpy.typing import NDArray

from wsol._jit import jit
from wsol.boxes._neighbours import links

# Numba's cache on disk watches the file of the function that was compiled and no other, so all that is compiled
# together lies in this one file.
#
# Maps are padded by one pixel on every side and flattened; ``stride`` is the width of that. ``parent``, by pixel, leads
# to a component's root; 0, a corner of the padding, stands for "not in the set". ``parts``, ``(pixels, 6)``, has at the
# root what the component keeps: its extent (inclusive, in padded coordinates), number of pixels, first pixel.
_X0, _Y0, _X1, _Y1, _SIZE, _FIRST = range(6)

_EIGHT, _FOUR = links(diagonals=True), links(diagonals=False)

Ints = NDArray[np.int64]
Links = NDArray[np.int8]


def largest_component_boxes(levels: NDArray[np.int16], count: int) -> NDArray[np.int64]:
    """Boxes the component of most pixels in the mask ``levels >= l``, for every ``l`` from 0 to ``count - 1``.

    Components are 8-connected. Of equally large ones that whose topmost, then leftmost pixel comes first in raster
    order wins.

    Args:
        levels: int16 ``(h, w)``, for each pixel the highest level whose mask has it, or -1.
        count: Number of levels.

    Returns:
        int64 ``(count, 4)``, half-open pixel edges ``(x0, y0, x1, y1)``; zeros where the mask is empty.
    """
    padded = np.pad(levels, 1, constant_values=-1)
    order, end = _by_level(padded.ravel(), count)
    return _largest(order, end[::-1].copy(), padded.shape, _EIGHT)[::-1]


def best_contour_ious(
    levels: NDArray[np.int16], count: int, truth: NDArray[np.float64], reach: int = 0
) -> NDArray[np.float64]:
    """Returns the best IoU of any contour's box with any ground-truth box in the mask ``levels >= l``, for every ``l``.

    The contours are those of OpenCV's ``findContours(RETR_TREE)``: the outer border of every 8-connected component, and
    the border of every hole (a 4-connected component of the background that does not reach the border of the map),
    whose bounding rectangle is the hole's, one pixel larger on each side. Where there is no contour the box is the
    empty rectangle in the top-left corner, reaching further like the others.

    Args:
        levels: int16 ``(h, w)``, for each pixel the highest level whose mask has it, or -1.
        count: Number of levels.
        truth: ``(g, 4)``, half-open edges.
        reach: Pixels by which every box reaches further to the right and down, as far as the map goes.

    Returns:
        ``(count,)`` in [0, 1].
    """
    padded = np.pad(levels, 1, constant_values=-1)
    frame = np.ones(padded.shape, bool)
    frame[1:-1, 1:-1] = False
    order, end = _by_level(padded.ravel(), count)
    true = truth.astype(np.float64)
    outer = _best_ious(order, end[::-1].copy(), padded.shape, _EIGHT, np.empty(0, np.int64), true, reach)[::-1]
    # The background grows with the level: first what no mask has, then the pixels of each level in turn.
    never = np.flatnonzero((padded == -1) & ~frame)
    behind = np.concatenate([never, order[::-1]])
    holes = _best_ious(behind, len(behind) - end, padded.shape, _FOUR, np.flatnonzero(frame), true, reach)
    best: NDArray[np.float64] = np.maximum(outer, holes)
    return best


@jit
def _by_level(levels: NDArray[np.int16], count: int) -> tuple[Ints, Ints]:
    """Sorts pixels by level, the highest first (counting sort); ``end[l]`` counts those of level ``l`` or above."""
    end = np.zeros(count, np.int64)
    for level in levels:
        if level >= 0:
            end[level] += 1
    position = np.int64(0)
    for level in range(count - 1, -1, -1):
        end[level], position = position, position + end[level]
    order = np.empty(position, np.int64)
    for pixel in range(len(levels)):
        level = levels[pixel]
        if level >= 0:
            order[end[level]] = pixel
            end[level] += 1
    return order, end


@jit
def _largest(order: Ints, ends: Ints, shape: tuple[int, int], joins: Links) -> Ints:
    """Boxes the largest component of the first ``ends[k]`` pixels, for every ``k``."""
    stride = shape[1]
    parent = np.zeros(shape[0] * stride, np.int32)
    parts = np.empty((shape[0] * stride, 6), np.int32)
    out = np.zeros((len(ends), 4), np.int64)
    best, done = 0, 0
    for k in range(len(ends)):
        for i in range(done, ends[k]):
            root = _add(order[i], stride, joins, parent, parts)
            best = _root(best, parent) if best else root
            size, most = parts[root, _SIZE], parts[best, _SIZE]
            if size > most or (size == most and parts[root, _FIRST] < parts[best, _FIRST]):
                best = root
        done = ends[k]
        if best:
            out[k, 0], out[k, 1] = parts[best, _X0] - 1, parts[best, _Y0] - 1
            out[k, 2], out[k, 3] = parts[best, _X1], parts[best, _Y1]
    return out


@jit
def _best_ious(
    order: Ints, ends: Ints, shape: tuple[int, int], joins: Links, outside: Ints, truth: NDArray[np.float64], reach: int
) -> NDArray[np.float64]:
    """Returns the best IoU among the components of the first ``ends[k]`` pixels, for every ``k``.

    With pixels ``outside`` to begin with, components are 4-connected, theirs does not count, and boxes are one pixel
    larger on each side: they are holes. Without them and without a component the box is empty; without holes the
    result is 0.
    """
    h, w = shape
    pixels = h * w
    margin = 1 if len(outside) else 0
    parent = np.zeros(pixels + 1, np.int32)
    parts = np.empty((pixels + 1, 6), np.int32)
    ious = np.empty(pixels + 1, np.float64)
    alive = np.empty(len(order), np.int64)
    out = np.zeros(len(ends), np.float64)
    beyond = pixels  # a pixel of its own, of which the outside is part
    if margin:
        _begin(beyond, w, parent, parts)
        parts[beyond, _SIZE] = pixels  # larger than anything, so that it stays the root
        parent[outside] = beyond
        parent[0] = 0
    count, done = 0, 0
    for k in range(len(ends)):
        if k and ends[k] == done:
            out[k] = out[k - 1]
            continue
        for i in range(done, ends[k]):
            root = _add(order[i], w, joins, parent, parts)
            ious[root] = -1.0  # changed: to be measured when the level is complete
            if root == order[i]:
                alive[count] = root
                count += 1
        done = ends[k]
        kept = 0
        best = 0.0 if margin or done else _iou(0, 0, min(reach, w - 2), min(reach, h - 2), truth)
        for i in range(count):
            root = alive[i]
            if parent[root] != root:
                continue
            alive[kept] = root
            kept += 1
            if ious[root] < 0:
                x1 = min(parts[root, _X1] + margin + reach, w - 2)
                y1 = min(parts[root, _Y1] + margin + reach, h - 2)
                ious[root] = _iou(parts[root, _X0] - 1 - margin, parts[root, _Y0] - 1 - margin, x1, y1, truth)
            best = max(best, ious[root])
        count = kept
        out[k] = best
    return out


@jit
def _iou(x0: int, y0: int, x1: int, y1: int, truth: NDArray[np.float64]) -> float:
    """Returns the IoU of a box with the ground-truth box that it fits best."""
    best = 0.0
    area = (x1 - x0) * (y1 - y0)
    for g in range(len(truth)):
        across = min(x1, truth[g, 2]) - max(x0, truth[g, 0])
        down = min(y1, truth[g, 3]) - max(y0, truth[g, 1])
        shared = max(across, 0.0) * max(down, 0.0)
        true = (truth[g, 2] - truth[g, 0]) * (truth[g, 3] - truth[g, 1])
        best = max(best, shared / (area + true - shared))
    return best


@jit
def _add(pixel: int, stride: int, joins: Links, parent: NDArray[np.int32], parts: NDArray[np.int32]) -> int:
    """Adds a pixel, joins the components it touches, and returns the root of what comes out."""
    near = (
        (parent[pixel - stride - 1] != 0)
        | (parent[pixel - stride] != 0) << 1
        | (parent[pixel - stride + 1] != 0) << 2
        | (parent[pixel + 1] != 0) << 3
        | (parent[pixel + stride + 1] != 0) << 4
        | (parent[pixel + stride] != 0) << 5
        | (parent[pixel + stride - 1] != 0) << 6
        | (parent[pixel - 1] != 0) << 7
    )
    if joins[near, 0] == 8:
        _begin(pixel, stride, parent, parts)
        return pixel
    root = _root(pixel + _offset(joins[near, 0], stride), parent)
    k = 1
    while k < 5 and joins[near, k] < 8:
        root = _merge(root, _root(pixel + _offset(joins[near, k], stride), parent), parent, parts)
        k += 1
    parent[pixel] = root
    y, x = pixel // stride, pixel % stride
    parts[root, _X0] = min(parts[root, _X0], x)
    parts[root, _Y0] = min(parts[root, _Y0], y)
    parts[root, _X1] = max(parts[root, _X1], x)
    parts[root, _Y1] = max(parts[root, _Y1], y)
    parts[root, _SIZE] += 1
    parts[root, _FIRST] = min(parts[root, _FIRST], pixel)
    return root


@jit
def _offset(k: int, stride: int) -> int:
    """Returns where neighbour ``k`` lies, clockwise from north-west."""
    if k < 3:
        return k - 1 - stride
    if k == 3:
        return 1
    return stride + 5 - k if k < 7 else -1


@jit
def _begin(pixel: int, stride: int, parent: NDArray[np.int32], parts: NDArray[np.int32]) -> None:
    """Writes down a component of one pixel."""
    y, x = pixel // stride, pixel % stride
    parent[pixel] = pixel
    parts[pixel, _X0], parts[pixel, _Y0], parts[pixel, _X1], parts[pixel, _Y1] = x, y, x, y
    parts[pixel, _SIZE], parts[pixel, _FIRST] = 1, pixel


@jit
def _merge(root: int, other: int, parent: NDArray[np.int32], parts: NDArray[np.int32]) -> int:
    """Makes two components one and returns its root."""
    if other == root:
        return root
    if parts[other, _SIZE] > parts[root, _SIZE]:
        root, other = other, root
    parent[other] = root
    parts[root, _X0] = min(parts[root, _X0], parts[other, _X0])
    parts[root, _Y0] = min(parts[root, _Y0], parts[other, _Y0])
    parts[root, _X1] = max(parts[root, _X1], parts[other, _X1])
    parts[root, _Y1] = max(parts[root, _Y1], parts[other, _Y1])
    parts[root, _SIZE] += parts[other, _SIZE]
    parts[root, _FIRST] = min(parts[root, _FIRST], parts[other, _FIRST])
    return root


@jit
def _root(pixel: int, parent: NDArray[np.int32]) -> int:
    while parent[pixel] != pixel:
        parent[pixel] = parent[parent[pixel]]
        pixel = parent[pixel]
    return pixel
