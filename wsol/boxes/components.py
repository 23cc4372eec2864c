"""Components of the masks at every threshold, by union-find in one pass over the pixels."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsol.boxes._neighbors import links
from wsol.runtime.jit import jit, jit_inline

# Numba's cache on disk watches the file of the function that was compiled and no other, so all that is compiled
# together lies in this one file.
#
# Maps are padded by one pixel on every side and flattened; ``stride`` is the width of that. ``order`` has pixels as
# ``y << 16 | x`` in padded coordinates. ``parent``, by pixel, leads to a component's root; 0, a corner of the padding,
# stands for "not in the set". ``parts``, ``(pixels, 6)``, has at the root what the component keeps: its extent
# (inclusive, in padded coordinates), number of pixels, first pixel. Indexes are unsigned: Numba makes signed ones wrap.
_X0, _Y0, _X1, _Y1, _SIZE, _FIRST = range(6)
_LARGEST = 65533  # sides that fit

_EIGHT, _FOUR = links(diagonals=True), links(diagonals=False)

Ints = NDArray[np.int64]
Indexes = NDArray[np.uint32]
Links = NDArray[np.int8]


def largest_component_boxes(levels: NDArray[np.int16], count: int) -> NDArray[np.int64]:
    """Box the component of most pixels in the mask ``levels >= l``, for every ``l`` from 0 to ``count - 1``.

    Components are 8-connected. Of equally large ones that whose topmost, then leftmost pixel comes first in raster
    order wins.

    Args:
        levels: int16 ``(h, w)``, for each pixel the highest level whose mask has it, or -1.
        count: Number of levels.

    Returns:
        int64 ``(count, 4)``, half-open pixel edges ``(x0, y0, x1, y1)``; zeros where the mask is empty.
    """
    order, end = _by_level(levels, count)
    nothing = np.empty((0, 4))
    return _sweep(order, end[::-1].copy(), _padded(levels), _EIGHT, False, nothing, 0)[0][::-1]


def best_contour_ious(
    levels: NDArray[np.int16], count: int, truth: NDArray[np.float64], reach: int = 0
) -> NDArray[np.float64]:
    """Return the best IoU of any contour's box with any ground-truth box in the mask ``levels >= l``, for every ``l``.

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
    order, end = _by_level(levels, count)
    shape, true = _padded(levels), truth.astype(np.float64)
    outer = _sweep(order, end[::-1].copy(), shape, _EIGHT, False, true, reach)[1][::-1]
    # The background grows with the level: first what no mask has, then the pixels of each level in turn.
    y, x = np.nonzero(levels == -1)
    behind = np.concatenate([((y + 1) << 16 | (x + 1)).astype(np.uint32), order[::-1]])
    holes = _sweep(behind, len(behind) - end, shape, _FOUR, True, true, reach)[1]
    best: NDArray[np.float64] = np.maximum(outer, holes)
    return best


def _padded(levels: NDArray[np.int16]) -> tuple[int, int]:
    height, width = levels.shape
    if max(height, width) > _LARGEST:
        raise ValueError(f"a map of {width} x {height} pixels is too large; sides up to {_LARGEST} are possible")
    return height + 2, width + 2


@jit
def _by_level(levels: NDArray[np.int16], count: int) -> tuple[Indexes, Ints]:
    """Sort pixels by level, the highest first (counting sort); ``end[l]`` counts those of level ``l`` or above."""
    height, width = levels.shape
    end = np.zeros(count, np.int64)
    for y in range(height):
        for x in range(width):
            if levels[y, x] >= 0:
                end[levels[y, x]] += 1
    position = np.int64(0)
    for level in range(count - 1, -1, -1):
        end[level], position = position, position + end[level]
    order = np.empty(position, np.uint32)
    for y in range(height):
        for x in range(width):
            level = levels[y, x]
            if level >= 0:
                order[end[level]] = (y + 1) << 16 | (x + 1)
                end[level] += 1
    return order, end


@jit
def _sweep(  # noqa: PLR0912, PLR0915  # one function: calls that pass arrays cost more than a pixel does
    order: Indexes,
    ends: Ints,
    shape: tuple[int, int],
    joins: Links,
    holes: bool,
    truth: NDArray[np.float64],
    reach: int,
) -> tuple[Ints, NDArray[np.float64]]:
    """Add pixels one by one, joins the components that they touch, and looks at the components after every level.

    Args:
        order: Pixels in the order in which they enter.
        ends: ``(levels,)``, how many are in at each level.
        shape: Of the padded map.
        joins: For 8-connectivity, or for 4-connectivity in the background.
        holes: Whether components are those of the background: one that hangs together with the padding does not count,
            and boxes are one pixel larger on each side.
        truth: ``(g, 4)``; none to leave IoU out.
        reach: As for ``best_contour_ious``.

    Returns:
        The box of the largest component, int64 ``(levels, 4)``, and the best IoU of all, ``(levels,)``. Without a
        component the box is empty; its IoU is that of the empty rectangle that reaches further, and with ``holes`` 0.
    """
    h, w = shape
    pixels = h * w
    margin = 1 if holes else 0
    one, stride = np.uint32(1), np.uint32(w)
    # Clockwise from north-west; backwards is modulo 2^32.
    steps = np.array([-w - 1, -w, -w + 1, 1, w + 1, w, w - 1, -1], np.int32).view(np.uint32)
    parent = np.zeros(pixels + 1, np.uint32)
    parts = np.empty((pixels + 1, 6), np.int32)
    measured = len(truth) > 0
    ious = np.empty(pixels + 1 if measured else 0, np.float64)
    alive = np.empty(len(order) if measured else 0, np.uint32)
    boxes, best_ious = np.zeros((len(ends), 4), np.int64), np.zeros(len(ends), np.float64)
    if holes:  # a pixel of its own, of which the padding is part, larger than anything, so that it stays the root
        parent[pixels] = pixels
        parts[pixels] = 0
        parts[pixels, _SIZE] = pixels
        parent[1:w] = pixels
        parent[pixels - w : pixels] = pixels
        for start in range(w, pixels, w):
            parent[start] = parent[start + w - 1] = pixels
    largest: Any = np.uint64(0)
    root: Any = largest  # where the last pixel went
    count, done = 0, 0
    for k in range(len(ends)):
        if k and ends[k] == done:
            boxes[k], best_ious[k] = boxes[k - 1], best_ious[k - 1]
            continue
        for i in range(done, ends[k]):
            x: Any = np.int32(order[i] & np.uint32(0xFFFF))
            y: Any = np.int32(order[i] >> np.uint32(16))
            pixel = np.uint32(y) * stride + np.uint32(x)
            above, below = pixel - stride, pixel + stride
            near = np.uint32(parent[above - one] != 0)
            near |= np.uint32(parent[above] != 0) << np.uint32(1)
            near |= np.uint32(parent[above + one] != 0) << np.uint32(2)
            near |= np.uint32(parent[pixel + one] != 0) << np.uint32(3)
            near |= np.uint32(parent[below + one] != 0) << np.uint32(4)
            near |= np.uint32(parent[below] != 0) << np.uint32(5)
            near |= np.uint32(parent[below - one] != 0) << np.uint32(6)
            near |= np.uint32(parent[pixel - one] != 0) << np.uint32(7)
            neighbour = joins[near, 0]
            if neighbour == 8:
                root = pixel
                parent[pixel] = pixel
                parts[pixel, _X0], parts[pixel, _Y0], parts[pixel, _X1], parts[pixel, _Y1] = x, y, x, y
                parts[pixel, _SIZE], parts[pixel, _FIRST] = 1, np.int32(pixel)
                if measured:
                    alive[count] = pixel
                    count += 1
            else:
                touched = np.uint32(pixel + steps[neighbour])
                if parent[touched] != root:
                    root = _root(touched, parent)
                for c in range(1, 5):
                    neighbour = joins[near, c]
                    if neighbour == 8:
                        break
                    other = _root(np.uint32(pixel + steps[neighbour]), parent)
                    if other == root:
                        continue
                    if parts[other, _SIZE] > parts[root, _SIZE]:
                        root, other = other, root
                    parent[other] = root
                    parts[root, _X0] = min(parts[root, _X0], parts[other, _X0])
                    parts[root, _Y0] = min(parts[root, _Y0], parts[other, _Y0])
                    parts[root, _X1] = max(parts[root, _X1], parts[other, _X1])
                    parts[root, _Y1] = max(parts[root, _Y1], parts[other, _Y1])
                    parts[root, _SIZE] += parts[other, _SIZE]
                    parts[root, _FIRST] = min(parts[root, _FIRST], parts[other, _FIRST])
                parent[pixel] = root
                parts[root, _X0] = min(parts[root, _X0], x)
                parts[root, _Y0] = min(parts[root, _Y0], y)
                parts[root, _X1] = max(parts[root, _X1], x)
                parts[root, _Y1] = max(parts[root, _Y1], y)
                parts[root, _FIRST] = min(parts[root, _FIRST], np.int32(pixel))
                parts[root, _SIZE] += 1
            if measured:
                ious[root] = -1.0  # changed: to be measured when the level is complete
            if largest == 0:  # one that was merged away is outgrown by what it went into
                largest = root
            elif largest != root:
                size, most = parts[root, _SIZE], parts[largest, _SIZE]
                if size > most or (size == most and parts[root, _FIRST] < parts[largest, _FIRST]):
                    largest = root
        done = ends[k]
        if largest:
            boxes[k, 0], boxes[k, 1] = parts[largest, _X0] - 1, parts[largest, _Y0] - 1
            boxes[k, 2], boxes[k, 3] = parts[largest, _X1], parts[largest, _Y1]
        if not measured:
            continue
        best_ious[k], count = _measure(alive, count, parent, parts, ious, shape, margin, truth, reach)
        if not holes and not done:
            best_ious[k] = _iou(0, 0, min(reach, w - 2), min(reach, h - 2), truth)
    return boxes, best_ious


@jit
def _measure(
    alive: Indexes,
    count: int,
    parent: Indexes,
    parts: NDArray[np.int32],
    ious: NDArray[np.float64],
    shape: tuple[int, int],
    margin: int,
    truth: NDArray[np.float64],
    reach: int,
) -> tuple[float, int]:
    """Return the best IoU among the roots in ``alive``, and how many of them are still roots; those come first now."""
    h, w = shape
    kept, best = 0, 0.0
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
    return best, kept


@jit
def _iou(x0: int, y0: int, x1: int, y1: int, truth: NDArray[np.float64]) -> float:
    """Return the IoU of a box with the ground-truth box that it fits best."""
    best = 0.0
    area = (x1 - x0) * (y1 - y0)
    for g in range(len(truth)):
        across = min(x1, truth[g, 2]) - max(x0, truth[g, 0])
        down = min(y1, truth[g, 3]) - max(y0, truth[g, 1])
        shared = max(across, 0.0) * max(down, 0.0)
        true = (truth[g, 2] - truth[g, 0]) * (truth[g, 3] - truth[g, 1])
        best = max(best, shared / (area + true - shared))
    return best


@jit_inline
def _root(pixel: Any, parent: Indexes) -> Any:
    above = parent[pixel]
    while above != pixel:
        parent[pixel] = parent[above]
        pixel = parent[above]
        above = parent[pixel]
    return pixel
