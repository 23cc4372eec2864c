"""The box of the contour with the largest area, at every threshold, in one pass over the pixels."""

import numpy as np
from numpy.typing import NDArray

from wsol.boxes._neighbors import cluster_representatives
from wsol.runtime.jit import jit

# Numba's disk cache is invalidated only by changes of the file of the compiled function, so all functions that are
# compiled together are in this one file.
#
# Masks are padded by one empty pixel on every side and flattened; ``stride`` is the padded width. ``parent``, by pixel,
# leads to a component's root; 0, a border pixel, means "not in the mask" (unsigned indices are faster). ``records``,
# ``(pixels, 10)``, has at the root what is known of the component: extent (inclusive), first pixel in raster order,
# number of pixels, twice the contour area as if it had no holes, four times the Euler number, and twice the area inside
# the outer border with the number of pixels at the time that the border was traced.
_X0, _Y0, _X1, _Y1, _FIRST, _SIZE, _AREA2, _EULER4, _TRACED_AREA2, _TRACED_SIZE = range(10)


def largest_contour_boxes(maps: NDArray[np.uint8], thresholds: NDArray[np.int64]) -> NDArray[np.int32]:
    """Return the box of the contour of largest area in the mask ``map > threshold``, for many thresholds at once.

    The area is that of the polygon through the pixel centers of an outer contour (8-connected), as in OpenCV's
    ``contourArea``: holes count as area, and a line one pixel wide has none. Ties go to the component whose topmost,
    then leftmost pixel comes last in raster order; that is the first contour of OpenCV's ``findContours(RETR_TREE)``.
    Contours of holes are not needed: each is at most as large as the one around it, and where it is as large it has the
    same box.

    The mask of the highest threshold is added run by run, the pixels of each lower one are added one by one, and
    components merge. Each keeps its extent, the contour area that it would have without holes, and its Euler number.
    Only a component with holes that competes for the largest area is traced along its border.

    Args:
        maps: uint8 ``(n, h, w)``.
        thresholds: int64 ``(n, thresholds)``, ascending for each map.

    Returns:
        int32 ``(n, thresholds, 4)``, half-open pixel edges ``(x0, y0, x1, y1)``; zeros where the mask is empty.
    """
    out = np.zeros((*thresholds.shape, 4), np.int32)
    _sweep(np.ascontiguousarray(maps), thresholds, out)
    return out


def _tabulate_gains() -> tuple[NDArray[np.int8], NDArray[np.int8]]:
    """Tabulate the changes when a pixel is added to a neighborhood (one of 256).

    Returns:
        area: ``(256,)``, gain of twice the contour area: of the four 2 x 2 windows around the pixel, each with three
            pixels set contains half a unit of polygon, each with four a whole unit.
        euler: ``(256,)``, gain of four times the Euler number, by Gray's bit quads for 8-connectivity,
            4 E = Q1 - Q3 - 2 QD (Gray, "Local properties of binary images in two dimensions", 1971).
    """
    area, euler = np.zeros(256, np.int8), np.zeros(256, np.int8)
    quads = {0: 0, 1: 1, 2: 0, 3: -1, 4: 0}
    for neighborhood in range(256):
        is_set = [bool(neighborhood >> k & 1) for k in range(8)]
        for corner in (0, 2, 4, 6):
            sides = is_set[corner - 1], is_set[(corner + 1) % 8]
            before = sum(sides) + is_set[corner]
            area[neighborhood] += before >= 2
            diagonal_before = all(sides) and not is_set[corner]
            diagonal_after = is_set[corner] and not any(sides)
            euler[neighborhood] += quads[before + 1] - quads[before] - 2 * diagonal_after + 2 * diagonal_before
    return area, euler


_AREA_GAIN, _EULER_GAIN = _tabulate_gains()
_CLUSTERS = cluster_representatives(diagonals=True)


@jit
def _sweep(maps: NDArray[np.uint8], thresholds: NDArray[np.int64], out: NDArray[np.int32]) -> None:
    """Write the boxes of ``largest_contour_boxes`` into ``out``."""
    n, h, w = maps.shape
    n_thresholds = thresholds.shape[1]
    stride = w + 2
    offsets = np.array([-stride - 1, -stride, -stride + 1, 1, stride + 1, stride, stride - 1, -1])
    parent = np.empty(stride * (h + 2), np.uint32)
    records = np.empty((stride * (h + 2), 10), np.int32)
    order = np.empty(h * w, np.uint32)
    end = np.empty(n_thresholds, np.int64)
    roots = np.empty(h * w, np.uint32)
    for m in range(n):
        _sort_by_threshold(maps[m], thresholds[m], order, end)
        parent[:] = 0
        count = _add_rows(maps[m], thresholds[m, n_thresholds - 1], parent, records, roots)
        added = 0
        for index in range(n_thresholds - 1, -1, -1):
            if index < n_thresholds - 1 and end[index] == added:
                out[m, index] = out[m, index + 1]
                continue
            for i in range(added, end[index]):
                if _add_pixel(order[i], stride, offsets, parent, records):
                    roots[count] = order[i]
                    count += 1
            added = end[index]
            kept = 0
            for i in range(count):
                if parent[roots[i]] == roots[i]:
                    roots[kept] = roots[i]
                    kept += 1
            count = kept
            if count:
                best = _find_largest(roots[:count], stride, offsets, parent, records)
                out[m, index] = records[best, :4]
                out[m, index, 2:] += 1


@jit
def _sort_by_threshold(
    map_: NDArray[np.uint8], thresholds: NDArray[np.int64], order: NDArray[np.uint32], end: NDArray[np.int64]
) -> None:
    """Sort the pixels that the highest threshold excludes by the highest threshold below them, in descending order.

    A counting sort: ``order`` gets their positions in the padded map, ``end[index]`` the end of those whose highest
    threshold below them has that index.
    """
    h, w = map_.shape
    entry = np.empty(256, np.int64)  # by pixel value: index of the highest threshold below it, or -1
    index = -1
    for value in range(256):
        while index + 1 < len(thresholds) and thresholds[index + 1] < value:
            index += 1
        entry[value] = index
    end[:] = 0
    top = len(thresholds) - 1
    if top == 0:
        return
    for y in range(h):
        for x in range(w):
            if 0 <= entry[map_[y, x]] < top:
                end[entry[map_[y, x]]] += 1
    position = 0
    for index in range(len(thresholds) - 1, -1, -1):
        end[index], position = position, position + end[index]
    for y in range(h):
        for x in range(w):
            index = entry[map_[y, x]]
            if 0 <= index < top:
                order[end[index]] = (y + 1) * (w + 2) + x + 1
                end[index] += 1


@jit
def _find_largest(
    roots: NDArray[np.uint32],
    stride: int,
    offsets: NDArray[np.int64],
    parent: NDArray[np.uint32],
    records: NDArray[np.int32],
) -> np.uint32:
    """Return the root of the component of largest contour area; ties go to the last in raster order."""
    certain = np.int64(-1)
    for root in roots:
        certain = max(certain, records[root, _AREA2])
    candidates = 0
    winner: np.uint32 = roots[0]
    for root in roots:
        if _area2_bound(root, records) >= certain:
            candidates += 1
            winner = root
    if candidates == 1:
        return winner
    largest, first = np.int64(-1), np.int64(-1)
    for root in roots:
        if _area2_bound(root, records) < max(certain, largest):
            continue
        area = records[root, _AREA2]
        if records[root, _EULER4] != 4:  # the component has holes
            if records[root, _TRACED_SIZE] != records[root, _SIZE]:
                records[root, _TRACED_AREA2] = _trace_area2(records[root, _FIRST], stride, offsets, parent)
                records[root, _TRACED_SIZE] = records[root, _SIZE]
            area = records[root, _TRACED_AREA2]
        if area > largest or (area == largest and records[root, _FIRST] > first):
            winner, largest, first = root, area, records[root, _FIRST]
    return winner


@jit
def _area2_bound(root: np.uint32, records: NDArray[np.int32]) -> int:
    """Return an upper bound of twice the contour area of a component."""
    bound: int = records[root, _AREA2]
    if records[root, _EULER4] != 4:
        bound = 2 * (records[root, _X1] - records[root, _X0]) * (records[root, _Y1] - records[root, _Y0])
    return bound


@jit
def _add_rows(
    map_: NDArray[np.uint8],
    threshold: int,
    parent: NDArray[np.uint32],
    records: NDArray[np.int32],
    roots: NDArray[np.uint32],
) -> int:
    """Add all pixels above a threshold to an empty mask, run by run; list candidate roots and return their number.

    A run and one that touches it in the row above enclose ``shared - 1`` whole units of polygon between them, and half
    a unit at each end where one is longer; every such pair reduces the Euler number by one, every run adds one.
    """
    h, w = map_.shape
    stride = w + 2
    runs = np.empty((2, w, 2), np.int64)  # first and last column of each, in this row and the one above
    counts = np.zeros(2, np.int64)
    total = 0
    for y in range(h):
        now, above = y % 2, 1 - y % 2
        counts[now] = 0
        nearest = 0  # a run above that ends before this one begins cannot touch a later one
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
            _create_record(first, x0, y, x1, records)
            roots[total] = first
            total += 1
            while nearest < counts[above] and runs[above, nearest, 1] < x0 - 1:
                nearest += 1
            k = nearest
            while k < counts[above] and runs[above, k, 0] <= x1 + 1:
                a0, a1 = runs[above, k, 0], runs[above, k, 1]
                shared = min(a1, x1) - max(a0, x0) + 1
                root = _merge(
                    _find_root(first, parent), _find_root(np.uint32(y * stride + a0 + 1), parent), parent, records
                )
                records[root, _EULER4] -= 4
                if shared > 0:
                    records[root, _AREA2] += 2 * (shared - 1) + (a0 != x0) + (a1 != x1)
                k += 1
    return total


@jit
def _add_pixel(
    pixel: np.uint32,
    stride: int,
    offsets: NDArray[np.int64],
    parent: NDArray[np.uint32],
    records: NDArray[np.int32],
) -> bool:
    """Add one pixel and join the components that it touches; return whether it is a new component."""
    neighborhood = _neighborhood(pixel, np.uint32(stride), parent)
    if neighborhood == 0:
        parent[pixel] = pixel
        y, x = np.int32(pixel // stride) - 1, np.int32(pixel % stride) - 1
        _create_record(pixel, int(x), int(y), int(x), records)
        return True
    root = _find_root(np.uint32(pixel + offsets[_CLUSTERS[neighborhood, 0]]), parent)
    k = 1
    while _CLUSTERS[neighborhood, k] < 8:
        other = _find_root(np.uint32(pixel + offsets[_CLUSTERS[neighborhood, k]]), parent)
        if other != root:
            root = _merge(root, other, parent, records)
        k += 1
    parent[pixel] = root
    y, x = np.int32(pixel // stride) - 1, np.int32(pixel % stride) - 1
    records[root, _X0] = min(records[root, _X0], x)
    records[root, _Y0] = min(records[root, _Y0], y)
    records[root, _X1] = max(records[root, _X1], x)
    records[root, _Y1] = max(records[root, _Y1], y)
    records[root, _FIRST] = min(records[root, _FIRST], np.int32(pixel))
    records[root, _SIZE] += 1
    records[root, _AREA2] += _AREA_GAIN[neighborhood]
    records[root, _EULER4] += _EULER_GAIN[neighborhood]
    return False


@jit
def _trace_area2(first: int, stride: int, offsets: NDArray[np.int64], parent: NDArray[np.uint32]) -> int:
    """Return twice the area inside the outer border that starts at a component's first pixel in raster order.

    Border following after Suzuki and Abe, "Topological structural analysis of digitized binary images", 1985.
    """
    k = 7  # the pixel to the west is background; search clockwise for the last pixel of the border
    while parent[first + offsets[k]] == 0:
        k = (k + 1) % 8
    last = first + offsets[k]
    pixel = first
    twice = 0
    while True:
        k = (k + 7) % 8  # counterclockwise from the previous border pixel
        while parent[pixel + offsets[k]] == 0:
            k = (k + 7) % 8
        following = pixel + offsets[k]
        twice += (pixel % stride) * (following // stride) - (following % stride) * (pixel // stride)
        if following == first and pixel == last:
            return abs(int(twice))
        pixel = following
        k = (k + 4) % 8


@jit
def _neighborhood(pixel: np.uint32, stride: np.uint32, parent: NDArray[np.uint32]) -> int:
    """Return the neighbors of a pixel that are in the mask, one bit each."""
    one = np.uint32(1)
    neighborhood: int = (
        (parent[pixel - stride - one] != 0)
        | (parent[pixel - stride] != 0) << 1
        | (parent[pixel - stride + one] != 0) << 2
        | (parent[pixel + one] != 0) << 3
        | (parent[pixel + stride + one] != 0) << 4
        | (parent[pixel + stride] != 0) << 5
        | (parent[pixel + stride - one] != 0) << 6
        | (parent[pixel - one] != 0) << 7
    )
    return neighborhood


@jit
def _create_record(first: np.uint32, x0: int, y: int, x1: int, records: NDArray[np.int32]) -> None:
    """Create the record of a component of one run of pixels."""
    records[first, _X0], records[first, _Y0], records[first, _X1], records[first, _Y1] = x0, y, x1, y
    records[first, _FIRST], records[first, _SIZE] = first, x1 - x0 + 1
    records[first, _AREA2], records[first, _EULER4], records[first, _TRACED_SIZE] = 0, 4, 0


@jit
def _merge(root: np.uint32, other: np.uint32, parent: NDArray[np.uint32], records: NDArray[np.int32]) -> np.uint32:
    """Merge two components and return the new root."""
    if other == root:
        return root
    if records[other, _SIZE] > records[root, _SIZE]:
        root, other = other, root
    parent[other] = root
    records[root, _X0] = min(records[root, _X0], records[other, _X0])
    records[root, _Y0] = min(records[root, _Y0], records[other, _Y0])
    records[root, _X1] = max(records[root, _X1], records[other, _X1])
    records[root, _Y1] = max(records[root, _Y1], records[other, _Y1])
    records[root, _FIRST] = min(records[root, _FIRST], records[other, _FIRST])
    records[root, _SIZE] += records[other, _SIZE]
    records[root, _AREA2] += records[other, _AREA2]
    records[root, _EULER4] += records[other, _EULER4]
    return root


@jit
def _find_root(pixel: np.uint32, parent: NDArray[np.uint32]) -> np.uint32:
    while parent[pixel] != pixel:
        parent[pixel] = parent[parent[pixel]]
        pixel = parent[pixel]
    return pixel
