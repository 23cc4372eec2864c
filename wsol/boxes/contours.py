"""The box of the contour with the largest area, at every threshold, in one pass over the pixels."""

import numpy as np
from numpy.typing import NDArray

from wsol.boxes._neighbors import links
from wsol.runtime.jit import jit

# Numba's cache on disk watches the file of the function that was compiled and no other, so all that is compiled
# together lies in this one file.
#
# A mask lives in a map padded by one empty pixel on every side, flattened; ``stride`` is the width of that. ``parent``,
# by pixel, leads to a component's root; 0, a border pixel, stands for "not in the mask" (unsigned indexes are faster).
# ``parts``, ``(pixels, 10)``, has at the root what the component keeps: extents (inclusive), first pixel in raster
# order, number of pixels, twice the contour area as if without holes, four times the Euler number, and the area inside
# the outer border with the number of pixels when it was followed.
_X0, _Y0, _X1, _Y1, _FIRST, _SIZE, _TWICE, _QUADS, _TRACED, _TRACED_SIZE = range(10)


def largest_contour_boxes(maps: NDArray[np.uint8], thresholds: NDArray[np.int64]) -> NDArray[np.int32]:
    """Box the contour of largest area in the mask ``map > threshold``, for many thresholds at once.

    The area is that of the polygon through the pixel centres of an outer contour (8-connected), as OpenCV's
    ``contourArea`` measures it: holes count as area, a line one pixel wide has none. Of equal areas the component
    whose topmost, then leftmost pixel comes last in raster order wins; that is the first contour of OpenCV's
    ``findContours(RETR_TREE)``. Contours of holes need no look: each is at most as large as the one around it, and
    where it is as large it has the same box.

    The mask of the highest threshold enters run by run, what each lower one adds pixel by pixel, and components merge.
    Each keeps its extent, the contour area it would have without holes, and its Euler number. Only a component with
    holes that competes for the largest area is followed along its border.

    Args:
        maps: uint8 ``(n, h, w)``.
        thresholds: int64 ``(n, levels)``, ascending along the levels.

    Returns:
        int32 ``(n, levels, 4)``, half-open pixel edges ``(x0, y0, x1, y1)``; zeros where the mask is empty.
    """
    out = np.zeros((*thresholds.shape, 4), np.int32)
    _sweep(np.ascontiguousarray(maps), thresholds, out)
    return out


def _tables() -> tuple[NDArray[np.int8], NDArray[np.int8]]:
    """Return what a pixel changes by entering a neighbourhood (one of 256).

    Returns:
        area: ``(256,)``, twice the contour area gained: of the four 2 x 2 windows around the pixel, each with three
            pixels set holds half a unit of polygon, each with four a whole one.
        euler: ``(256,)``, four times the Euler number gained, by Gray's bit quads for 8-connectivity,
            4 E = Q1 - Q3 - 2 QD (Gray, "Local properties of binary images in two dimensions", 1971).
    """
    area, euler = np.zeros(256, np.int8), np.zeros(256, np.int8)
    quads = {0: 0, 1: 1, 2: 0, 3: -1, 4: 0}
    for near in range(256):
        on = [bool(near >> k & 1) for k in range(8)]
        for corner in (0, 2, 4, 6):
            sides = on[corner - 1], on[(corner + 1) % 8]
            before = sum(sides) + on[corner]
            area[near] += before >= 2
            diagonal_before = all(sides) and not on[corner]
            diagonal_after = on[corner] and not any(sides)
            euler[near] += quads[before + 1] - quads[before] - 2 * diagonal_after + 2 * diagonal_before
    return area, euler


_AREA, _EULER = _tables()
_LINKS = links(diagonals=True)


@jit
def _sweep(maps: NDArray[np.uint8], thresholds: NDArray[np.int64], out: NDArray[np.int32]) -> None:
    n, h, w = maps.shape
    levels = thresholds.shape[1]
    stride = w + 2
    ring = np.array([-stride - 1, -stride, -stride + 1, 1, stride + 1, stride, stride - 1, -1])
    parent = np.empty(stride * (h + 2), np.uint32)
    parts = np.empty((stride * (h + 2), 10), np.int32)
    order = np.empty(h * w, np.uint32)
    end = np.empty(levels, np.int64)
    roots = np.empty(h * w, np.uint32)
    for m in range(n):
        _sort(maps[m], thresholds[m], order, end)
        parent[:] = 0
        count = _add_rows(maps[m], thresholds[m, levels - 1], parent, parts, roots)
        done = 0
        for level in range(levels - 1, -1, -1):
            if level < levels - 1 and end[level] == done:
                out[m, level] = out[m, level + 1]
                continue
            for i in range(done, end[level]):
                if _add_pixel(order[i], stride, ring, parent, parts):
                    roots[count] = order[i]
                    count += 1
            done = end[level]
            kept = 0
            for i in range(count):
                if parent[roots[i]] == roots[i]:
                    roots[kept] = roots[i]
                    kept += 1
            count = kept
            if count:
                best = _largest(roots[:count], stride, ring, parent, parts)
                out[m, level] = parts[best, :4]
                out[m, level, 2:] += 1


@jit
def _sort(
    map_: NDArray[np.uint8], thresholds: NDArray[np.int64], order: NDArray[np.uint32], end: NDArray[np.int64]
) -> None:
    """Sort the pixels below the highest level by the highest that has them, that one first (counting sort).

    ``order`` gets their places in the padded map, ``end[level]`` where those that enter at that level end.
    """
    h, w = map_.shape
    entry = np.empty(256, np.int64)  # by pixel value: the highest level that lies below it, or -1
    level = -1
    for value in range(256):
        while level + 1 < len(thresholds) and thresholds[level + 1] < value:
            level += 1
        entry[value] = level
    end[:] = 0
    top = len(thresholds) - 1
    if top == 0:
        return
    for y in range(h):
        for x in range(w):
            if 0 <= entry[map_[y, x]] < top:
                end[entry[map_[y, x]]] += 1
    position = 0
    for level in range(len(thresholds) - 1, -1, -1):
        end[level], position = position, position + end[level]
    for y in range(h):
        for x in range(w):
            level = entry[map_[y, x]]
            if 0 <= level < top:
                order[end[level]] = (y + 1) * (w + 2) + x + 1
                end[level] += 1


@jit
def _largest(
    roots: NDArray[np.uint32],
    stride: int,
    ring: NDArray[np.int64],
    parent: NDArray[np.uint32],
    parts: NDArray[np.int32],
) -> np.uint32:
    """Return the root of the component of largest contour area, of equals the last in raster order."""
    certain = np.int64(-1)
    for root in roots:
        certain = max(certain, parts[root, _TWICE])
    rivals = 0
    winner: np.uint32 = roots[0]
    for root in roots:
        if _bound(root, parts) >= certain:
            rivals += 1
            winner = root
    if rivals == 1:
        return winner
    largest, first = np.int64(-1), np.int64(-1)
    for root in roots:
        if _bound(root, parts) < max(certain, largest):
            continue
        area = parts[root, _TWICE]
        if parts[root, _QUADS] != 4:  # the component has holes
            if parts[root, _TRACED_SIZE] != parts[root, _SIZE]:
                parts[root, _TRACED] = _contour_area(parts[root, _FIRST], stride, ring, parent)
                parts[root, _TRACED_SIZE] = parts[root, _SIZE]
            area = parts[root, _TRACED]
        if area > largest or (area == largest and parts[root, _FIRST] > first):
            winner, largest, first = root, area, parts[root, _FIRST]
    return winner


@jit
def _bound(root: np.uint32, parts: NDArray[np.int32]) -> int:
    """Return what twice the contour area of a component cannot exceed."""
    bound: int = parts[root, _TWICE]
    if parts[root, _QUADS] != 4:
        bound = 2 * (parts[root, _X1] - parts[root, _X0]) * (parts[root, _Y1] - parts[root, _Y0])
    return bound


@jit
def _add_rows(
    map_: NDArray[np.uint8],
    threshold: int,
    parent: NDArray[np.uint32],
    parts: NDArray[np.int32],
    roots: NDArray[np.uint32],
) -> int:
    """Add all pixels above a threshold to an empty mask, run by run; lists candidates for roots, returns how many.

    A run and one that touches it in the row above close ``shared - 1`` whole units of polygon between them, and half
    a unit at each end where one is longer; every such pair takes one from the Euler number, every run adds one.
    """
    h, w = map_.shape
    stride = w + 2
    runs = np.empty((2, w, 2), np.int64)  # first and last column of each, in this row and the one above
    counts = np.zeros(2, np.int64)
    total = 0
    for y in range(h):
        now, above = y % 2, 1 - y % 2
        counts[now] = 0
        nearest = 0  # no run above that ends before this one begins can touch a later one
        x = 0
        while x < w:
            if map_[y, x] <= threshold:
                x += 1
                continue
            x0 = x
            first = np.uint32((y + 1) * stride + x0 + 1)
            while x < w and map_[y, x] > threshold:
                parent[(y + 1) * stride + x + 1] = first
                x += 1
            x1 = x - 1
            runs[now, counts[now], 0], runs[now, counts[now], 1] = x0, x1
            counts[now] += 1
            _begin(first, x0, y, x1, parts)
            roots[total] = first
            total += 1
            while nearest < counts[above] and runs[above, nearest, 1] < x0 - 1:
                nearest += 1
            k = nearest
            while k < counts[above] and runs[above, k, 0] <= x1 + 1:
                a0, a1 = runs[above, k, 0], runs[above, k, 1]
                shared = min(a1, x1) - max(a0, x0) + 1
                root = _merge(_root(first, parent), _root(np.uint32(y * stride + a0 + 1), parent), parent, parts)
                parts[root, _QUADS] -= 4
                if shared > 0:
                    parts[root, _TWICE] += 2 * (shared - 1) + (a0 != x0) + (a1 != x1)
                k += 1
    return total


@jit
def _add_pixel(
    pixel: np.uint32,
    stride: int,
    ring: NDArray[np.int64],
    parent: NDArray[np.uint32],
    parts: NDArray[np.int32],
) -> bool:
    """Add one pixel and joins the components it touches; returns whether it begins one of its own."""
    near = _near(pixel, np.uint32(stride), parent)
    if near == 0:
        parent[pixel] = pixel
        y, x = np.int32(pixel // stride) - 1, np.int32(pixel % stride) - 1
        _begin(pixel, int(x), int(y), int(x), parts)
        return True
    root = _root(np.uint32(pixel + ring[_LINKS[near, 0]]), parent)
    k = 1
    while _LINKS[near, k] < 8:
        other = _root(np.uint32(pixel + ring[_LINKS[near, k]]), parent)
        if other != root:
            root = _merge(root, other, parent, parts)
        k += 1
    parent[pixel] = root
    y, x = np.int32(pixel // stride) - 1, np.int32(pixel % stride) - 1
    parts[root, _X0] = min(parts[root, _X0], x)
    parts[root, _Y0] = min(parts[root, _Y0], y)
    parts[root, _X1] = max(parts[root, _X1], x)
    parts[root, _Y1] = max(parts[root, _Y1], y)
    parts[root, _FIRST] = min(parts[root, _FIRST], np.int32(pixel))
    parts[root, _SIZE] += 1
    parts[root, _TWICE] += _AREA[near]
    parts[root, _QUADS] += _EULER[near]
    return False


@jit
def _contour_area(first: int, stride: int, ring: NDArray[np.int64], parent: NDArray[np.uint32]) -> int:
    """Return twice the area inside the outer border that starts at a component's first pixel in raster order.

    Border following after Suzuki and Abe, "Topological structural analysis of digitized binary images", 1985.
    """
    k = 7  # west of the first pixel lies background; look clockwise for the last pixel of the border
    while parent[first + ring[k]] == 0:
        k = (k + 1) % 8
    last = first + ring[k]
    pixel = first
    twice = 0
    while True:
        k = (k + 7) % 8  # counter-clockwise from where the border came
        while parent[pixel + ring[k]] == 0:
            k = (k + 7) % 8
        following = pixel + ring[k]
        twice += (pixel % stride) * (following // stride) - (following % stride) * (pixel // stride)
        if following == first and pixel == last:
            return abs(int(twice))
        pixel = following
        k = (k + 4) % 8


@jit
def _near(pixel: np.uint32, stride: np.uint32, parent: NDArray[np.uint32]) -> int:
    """Return which neighbours of a pixel are in the mask, one bit each."""
    one = np.uint32(1)
    near: int = (
        (parent[pixel - stride - one] != 0)
        | (parent[pixel - stride] != 0) << 1
        | (parent[pixel - stride + one] != 0) << 2
        | (parent[pixel + one] != 0) << 3
        | (parent[pixel + stride + one] != 0) << 4
        | (parent[pixel + stride] != 0) << 5
        | (parent[pixel + stride - one] != 0) << 6
        | (parent[pixel - one] != 0) << 7
    )
    return near


@jit
def _begin(first: np.uint32, x0: int, y: int, x1: int, parts: NDArray[np.int32]) -> None:
    """Write down a component of one run of pixels."""
    parts[first, _X0], parts[first, _Y0], parts[first, _X1], parts[first, _Y1] = x0, y, x1, y
    parts[first, _FIRST], parts[first, _SIZE] = first, x1 - x0 + 1
    parts[first, _TWICE], parts[first, _QUADS], parts[first, _TRACED_SIZE] = 0, 4, 0


@jit
def _merge(root: np.uint32, other: np.uint32, parent: NDArray[np.uint32], parts: NDArray[np.int32]) -> np.uint32:
    """Make two components one and returns its root."""
    if other == root:
        return root
    if parts[other, _SIZE] > parts[root, _SIZE]:
        root, other = other, root
    parent[other] = root
    parts[root, _X0] = min(parts[root, _X0], parts[other, _X0])
    parts[root, _Y0] = min(parts[root, _Y0], parts[other, _Y0])
    parts[root, _X1] = max(parts[root, _X1], parts[other, _X1])
    parts[root, _Y1] = max(parts[root, _Y1], parts[other, _Y1])
    parts[root, _FIRST] = min(parts[root, _FIRST], parts[other, _FIRST])
    parts[root, _SIZE] += parts[other, _SIZE]
    parts[root, _TWICE] += parts[other, _TWICE]
    parts[root, _QUADS] += parts[other, _QUADS]
    return root


@jit
def _root(pixel: np.uint32, parent: NDArray[np.uint32]) -> np.uint32:
    while parent[pixel] != pixel:
        parent[pixel] = parent[parent[pixel]]
        pixel = parent[pixel]
    return pixel
