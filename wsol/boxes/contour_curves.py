"""Boxes and IoUs of contours at every threshold, by one sort of the pixels and two sweeps over them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsol.boxes._neighbors import RING, cluster_representatives, contour_area_gains
from wsol.boxes.contours import largest_contour_boxes
from wsol.runtime.jit import jit

# Numba's disk cache is invalidated only by changes of the file of the compiled function, so all functions that are
# compiled together are in this one file.
#
# Maps are padded by one pixel of value 0 on every side and flattened; ``stride`` is the padded width. ``order`` has
# pixels as ``y << 20 | x << 8 | neighborhood``, the neighbors that come before it, one bit each. ``labels``, by pixel
# of the padded map, is the number of a component; ``parent``, by number, leads to that of the component that it became
# part of. ``records``, by number, has the component's first and last column, first and last pixel in raster order, and
# the threshold since which these are the same; in the foreground also twice the contour area as far as it is known, an
# upper bound of twice the area that is not, and the epoch of the last change. ``log`` has ranges of thresholds and the
# extent of a component at them. Numbers are unsigned: Numba adds code for wraparound to signed indices.
_X0, _X1, _FIRST, _LAST, _SINCE, _AREA2, _UNKNOWN, _CHANGED = range(8)
_MAX_SIDE = 4096
_FEW = 32  # thresholds for which a search for contours at each is faster than the sweeps
_MOST_AREA2 = np.uint32(2 * _MAX_SIDE**2)  # sums that are larger say nothing

_ONE, _EIGHT, _TWENTY, _LOW = np.uint32(1), np.uint32(8), np.uint32(20), np.uint32(0xFFF)
_EIGHT_CLUSTERS, _FOUR_CLUSTERS = cluster_representatives(diagonals=True), cluster_representatives(diagonals=False)
_CLUSTERS = np.stack([_EIGHT_CLUSTERS, _FOUR_CLUSTERS])
_COUNTS = (_CLUSTERS < 8).sum(2)
_AREA_GAIN = contour_area_gains()
_DY, _DX = np.array(RING).T.copy()

Numbers = NDArray[np.uint32]
Number = Any  # its type follows from the array that it comes from
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def contour_curves(
    maps: NDArray[np.uint8], thresholds: Ints, truths: Floats, counts: Ints, extension: int = 0
) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.float32]]:
    """Return the box of the largest contour, its IoU, and the best IoU of any contour, for masks ``map > threshold``.

    The contours are those of OpenCV's ``findContours(RETR_TREE)``: the outer border of every 8-connected component, and
    the border of every hole (a 4-connected component of the background that does not touch the border of the map),
    whose bounding rectangle is the hole's, one pixel larger on each side. The largest one is that of
    ``wsol.boxes.contours``. Without a contour the box is the empty rectangle in the top-left corner.

    Pixels are added to the mask in descending order, and to the background in ascending order; components merge. Each
    keeps its extent. The IoU of a component is computed when its extent changes, for the range of thresholds at which
    it had the one before.

    Args:
        maps: uint8 ``(n, h, w)``.
        thresholds: int64 ``(n, thresholds)``, from 0 to 255, ascending for each map.
        truths: Ground-truth boxes ``(g, 4)`` of all maps in turn, half-open edges.
        counts: int64 ``(n,)``, number of boxes of each map.
        extension: Number of pixels by which every box is extended to the right and down, up to the edge of the map.

    Returns:
        Boxes, int32 ``(n, thresholds, 4)``, half-open pixel edges ``(x0, y0, x1, y1)``, and the two IoUs
        with the ground-truth box that fits best, float32 ``(n, thresholds)`` in [0, 1].
    """
    if max(maps.shape[1:]) > _MAX_SIDE:
        raise ValueError(f"a map of {maps.shape[2]} x {maps.shape[1]} pixels is too large; sides of up to {_MAX_SIDE}")
    boxes = np.empty((*thresholds.shape, 4), np.int32)
    largest, best = np.empty(thresholds.shape, np.float32), np.empty(thresholds.shape, np.float32)
    boxes_of = (np.ascontiguousarray(truths), np.cumsum(counts))
    _evaluate_maps(np.ascontiguousarray(maps), thresholds, *boxes_of, extension, boxes, largest, best)
    return boxes, largest, best


def contour_boxes(maps: NDArray[np.uint8], thresholds: Ints) -> NDArray[np.int32]:
    """Return the boxes of ``wsol.boxes.contours.largest_contour_boxes`` by whichever of the two ways is faster.

    Args:
        maps: uint8 ``(n, h, w)``.
        thresholds: int64 ``(n, thresholds)``, from 0 to 255, ascending for each map.

    Returns:
        int32 ``(n, thresholds, 4)``, half-open pixel edges; zeros where the mask is empty.
    """
    if thresholds.shape[1] <= _FEW:
        return largest_contour_boxes(maps, thresholds)
    no_truths = np.empty((0, 4)), np.zeros(len(maps), np.int64)
    return contour_curves(maps, thresholds, *no_truths)[0]


@jit
def _evaluate_maps(
    maps: NDArray[np.uint8],
    thresholds: Ints,
    truths: Floats,
    ends: Ints,
    extension: int,
    boxes: NDArray[np.int32],
    largest: NDArray[np.float32],
    best: NDArray[np.float32],
) -> None:
    """Write the results of ``contour_curves`` into the last three arguments."""
    n, h, w = maps.shape
    stride, pixels = w + 2, (h + 2) * (w + 2)
    grid, labels = np.zeros(pixels, np.uint8), np.zeros(pixels, np.uint32)
    order, starts = np.empty(h * w, np.uint32), np.empty(257, np.int64)
    pockets, log = np.empty(pixels, np.uint32), np.empty((2 * h * w, 6), np.uint32)
    most = (h * w + 1) // 2 + 1  # no two pixels that begin a component touch each other
    parent, records, touched = np.empty(most, np.uint32), np.empty((most, 8), np.uint32), np.empty(most, np.uint32)
    rank, ranges, rank_boxes = np.empty(258, np.int64), np.empty((9, 257)), np.empty((257, 4), np.int64)
    zero: Number = np.int64(0)  # literal arguments would be compiled apart
    one: Number = np.int64(1)
    start = zero
    for m in range(n):
        truth, start = truths[start : ends[m]], ends[m]
        _pad(maps[m], grid)
        _sort(grid, h, w, order, starts)
        _rank_thresholds(thresholds[m], rank)
        for k in range(rank[256]):
            for level in range(9):
                ranges[level, k] = 0.0
        size = _sweep_holes(order, starts, stride, labels, parent, records, pockets, log)
        _evaluate_log(log, size, one, (h, w), extension, truth, rank, ranges)
        for k in range(rank[256]):
            rank_boxes[k, 0] = rank_boxes[k, 1] = rank_boxes[k, 2] = rank_boxes[k, 3] = 0
        size = _sweep_components(
            order, starts, stride, labels, parent, records, pockets, log, grid, touched, rank, rank_boxes
        )
        _evaluate_log(log, size, zero, (h, w), extension, truth, rank, ranges)
        _spread_ranges(ranges, rank[256])
        peak = np.int64(255)
        while peak > 0 and starts[peak] == 0:
            peak -= 1
        empty = _iou(zero, zero, min(extension, w), min(extension, h), truth)
        for k in range(rank[peak], rank[256]):
            ranges[0, k] = empty
        previous, value = np.int64(-1), 0.0
        for i in range(thresholds.shape[1]):
            k = rank[thresholds[m, i]]
            if k != previous:
                x0, x1 = rank_boxes[k, 0], min(rank_boxes[k, 2] + extension, w)
                y0, y1 = rank_boxes[k, 1], min(rank_boxes[k, 3] + extension, h)
                value = _iou(x0, y0, x1, y1, truth)
                previous = k
            boxes[m, i, 0], boxes[m, i, 1], boxes[m, i, 2], boxes[m, i, 3] = x0, y0, x1, y1
            largest[m, i] = value
            best[m, i] = ranges[0, k]


@jit
def _pad(map_: NDArray[np.uint8], grid: NDArray[np.uint8]) -> None:
    """Copy a map into the padded one."""
    h, w = map_.shape
    for y in range(h):
        row, padded = map_[y], grid[(y + 1) * (w + 2) + 1 :]
        for x in range(w):
            padded[x] = row[x]


@jit
def _sort(grid: NDArray[np.uint8], h: int, w: int, order: Numbers, starts: Ints) -> None:
    """Sort pixels by value, descending, then in raster order; those of value ``v`` begin at ``starts[v + 1]``."""
    stride = w + 2
    places = np.zeros(256, np.uint32)
    for y in range(h):
        row = grid[(y + 1) * stride + 1 :]
        for x in range(w):
            places[row[x]] += _ONE
    starts[256] = 0
    for value in range(255, -1, -1):
        starts[value] = starts[value + 1] + np.int64(places[value])
        places[value] = starts[value + 1]
    neighborhoods = np.empty(w, np.uint8)
    for y in range(h):
        row = grid[(y + 1) * stride + 1 :]
        _find_earlier_neighbors(grid, y, w, neighborhoods)
        place = np.uint32(y) << _TWENTY
        for x in range(w):
            position = places[row[x]]
            order[position] = place | np.uint32(x) << _EIGHT | neighborhoods[x]
            places[row[x]] = position + _ONE


@jit
def _find_earlier_neighbors(grid: NDArray[np.uint8], y: int, w: int, out: NDArray[np.uint8]) -> None:
    """Write the neighbors of a row's pixels that come before these in the order of ``_sort``."""
    stride = w + 2
    i = (y + 1) * stride + 1
    here, west, east = grid[i:], grid[i - 1 :], grid[i + 1 :]
    nw, n, ne = grid[i - stride - 1 :], grid[i - stride :], grid[i - stride + 1 :]
    sw, s, se = grid[i + stride - 1 :], grid[i + stride :], grid[i + stride + 1 :]
    for x in range(w):
        v = here[x]
        bits = np.uint8(nw[x] >= v)
        bits |= np.uint8(np.uint8(n[x] >= v) << np.uint8(1))
        bits |= np.uint8(np.uint8(ne[x] >= v) << np.uint8(2))
        bits |= np.uint8(np.uint8(east[x] > v) << np.uint8(3))
        bits |= np.uint8(np.uint8(se[x] > v) << np.uint8(4))
        bits |= np.uint8(np.uint8(s[x] > v) << np.uint8(5))
        bits |= np.uint8(np.uint8(sw[x] > v) << np.uint8(6))
        bits |= np.uint8(np.uint8(west[x] >= v) << np.uint8(7))
        out[x] = bits
    if here[0] == 0:  # the padding comes after everything
        out[0] &= np.uint8(0b01111110)
    if here[w - 1] == 0:
        out[w - 1] &= np.uint8(0b11111011)
    if y == 0:
        for x in range(w):
            if here[x] == 0:
                out[x] &= np.uint8(0b11111000)


@jit
def _rank_thresholds(thresholds: Ints, rank: Ints) -> None:
    """Count the distinct thresholds below each number from 0 to 256."""
    rank[:] = 0
    for threshold in thresholds:
        rank[threshold + 1] = 1
    for i in range(1, 257):
        rank[i] += rank[i - 1]


@jit
def _sweep_holes(  # one loop: calls that pass arrays cost more than the work on a pixel
    order: Numbers,
    starts: Ints,
    stride: int,
    labels: Numbers,
    parent: Numbers,
    records: Numbers,
    pockets: Numbers,
    log: Numbers,
) -> Number:
    """Add pixels to the background in ascending order, log its components, and return the size of the log.

    Number 0 is the component of the padding. ``labels`` is 0 afterwards where a pixel was not part of a hole when it
    was added. ``pockets``, for pixels whose neighbors in the background are separate without it, gets an upper bound of
    twice the area that the pixel encloses.
    """
    width, corner = np.uint32(stride), np.uint32(stride + 1)
    offsets, table = _tabulate(stride, np.int64(1))
    parent[0] = 0
    count = np.uint32(1)
    size: Number = np.int64(0)
    for now in range(256):
        for i in range(starts[now] - 1, starts[now + 1] - 1, -1):
            place = order[np.uint64(i)]
            x = place >> _EIGHT & _LOW
            pixel = (place >> _TWENTY) * width + x + corner
            neighborhood = (place & np.uint32(255)) ^ np.uint32(255)
            entry = table[neighborhood]
            root = parent[labels[np.uint32(pixel + (entry >> _EIGHT))]]
            if parent[root] != root:
                root = _find_root(root, parent)
            if entry & np.uint32(255) != 1:
                if entry & np.uint32(255) == 0:
                    labels[pixel] = count
                    parent[count] = count
                    records[count, _X0] = records[count, _X1] = x
                    records[count, _FIRST] = records[count, _LAST] = place
                    records[count, _SINCE] = now
                    count = np.uint32(count + _ONE)
                    continue
                pockets[pixel] = 0
                for c in range(1, np.int64(entry & np.uint32(255))):
                    other = labels[np.uint32(pixel + offsets[_FOUR_CLUSTERS[neighborhood, c]])]
                    other = _find_root(other, parent)
                    if other == root:
                        continue
                    if other < root:
                        root, other = other, root
                    size = _close(records, other, now, log, size)
                    parent[other] = root
                    if root:
                        size = _close(records, root, now, log, size)
                        _unite(records, root, other)
                    else:
                        pockets[pixel] = min(pockets[pixel] + _hole_area2(records, other), _MOST_AREA2)
            labels[pixel] = root
            if root == 0:
                continue
            if (
                place < records[root, _FIRST]
                or place > records[root, _LAST]
                or x < records[root, _X0]
                or x > records[root, _X1]
            ):
                size = _close(records, root, now, log, size)
                _include(records, root, place, x)
    return size


@jit
def _sweep_components(  # noqa: PLR0912, PLR0915  # one loop: calls that pass arrays cost more than the work on a pixel
    order: Numbers,
    starts: Ints,
    stride: int,
    labels: Numbers,
    parent: Numbers,
    records: Numbers,
    pockets: Numbers,
    log: Numbers,
    grid: NDArray[np.uint8],
    touched: Numbers,
    rank: Ints,
    boxes: Ints,
) -> Number:
    """Add pixels to the mask in descending order, log its components, and return the size of the log.

    The area of a component with holes is known only between two bounds: a pixel in a hole adds nothing to it, but one
    that encloses a hole adds an area that is not known. Only a component that competes for the largest area is traced
    along its border. ``boxes`` gets the box of the largest by rank.
    """
    width, corner = np.uint32(stride), np.uint32(stride + 1)
    offsets, table = _tabulate(stride, np.int64(0))
    count, changes, epoch = np.uint32(0), np.uint32(0), _ONE
    size: Number = np.int64(0)
    largest, first = np.uint32(0), np.uint32(0)
    area2: Number = np.int64(-1)
    for now in range(254, -1, -1):
        for i in range(starts[now + 2], starts[now + 1]):
            place = order[np.uint64(i)]
            x = place >> _EIGHT & _LOW
            pixel = (place >> _TWENTY) * width + x + corner
            neighborhood = place & np.uint32(255)
            entry = table[neighborhood]
            is_outer = labels[pixel] == 0
            if entry & np.uint32(255) == 0:
                labels[pixel] = count
                parent[count] = count
                records[count, _X0] = records[count, _X1] = x
                records[count, _FIRST] = records[count, _LAST] = place
                records[count, _SINCE] = now
                records[count, _AREA2] = records[count, _UNKNOWN] = 0
                records[count, _CHANGED] = epoch
                touched[changes] = count
                changes = np.uint32(changes + _ONE)
                count = np.uint32(count + _ONE)
                continue
            root = parent[labels[np.uint32(pixel + (entry >> _EIGHT))]]
            if parent[root] != root:
                root = _find_root(root, parent)
            if entry & np.uint32(255) != 1:
                for c in range(1, np.int64(entry & np.uint32(255))):
                    other = labels[np.uint32(pixel + offsets[_EIGHT_CLUSTERS[neighborhood, c]])]
                    other = _find_root(other, parent)
                    if other == root:
                        continue
                    if other < root:
                        root, other = other, root
                    size = _close(records, other, now, log, size)
                    size = _close(records, root, now, log, size)
                    parent[other] = root
                    _unite(records, root, other)
                    _add_areas(records, root, other, is_outer)
                if is_outer:
                    records[root, _UNKNOWN] = min(records[root, _UNKNOWN] + pockets[pixel], _MOST_AREA2)
            labels[pixel] = root
            records[root, _AREA2] += is_outer * _AREA_GAIN[neighborhood]
            if records[root, _CHANGED] != epoch:
                records[root, _CHANGED] = epoch
                touched[changes] = root
                changes = np.uint32(changes + _ONE)
            if (
                place < records[root, _FIRST]
                or place > records[root, _LAST]
                or x < records[root, _X0]
                or x > records[root, _X1]
            ):
                size = _close(records, root, now, log, size)
                _include(records, root, place, x)
        k = rank[now]
        if rank[now + 1] == k or count == 0:
            continue
        if changes:
            if area2 >= 0:
                largest = _find_root(largest, parent)
                if records[largest, _CHANGED] != epoch:
                    touched[changes] = largest
                    changes = np.uint32(changes + _ONE)
            largest = _find_largest(touched, changes, now, stride, offsets, grid, parent, records)
            if records[largest, _FIRST] < first and records[largest, _AREA2] <= area2:
                # A component that has not changed, of the same area, may be the last one in raster order now.
                for label in range(count):
                    touched[label] = label
                largest = _find_largest(touched, count, now, stride, offsets, grid, parent, records)
            first, area2 = records[largest, _FIRST], _most_area2(records, largest)
            changes = np.uint32(0)
            epoch = np.uint32(epoch + _ONE)
        boxes[k, 0], boxes[k, 1] = records[largest, _X0], records[largest, _FIRST] >> _TWENTY
        boxes[k, 2], boxes[k, 3] = records[largest, _X1] + 1, (records[largest, _LAST] >> _TWENTY) + 1
    for label in range(count):
        if parent[label] == label:
            size = _close(records, np.uint32(label), np.int64(-1), log, size)
    return size


@jit
def _find_largest(
    candidates: Numbers,
    count: Number,
    threshold: int,
    stride: int,
    offsets: NDArray[np.uint64],
    grid: NDArray[np.uint8],
    parent: Numbers,
    records: Numbers,
) -> Number:
    """Return the component of largest contour area among some; ties go to the last in raster order."""
    certain = np.int64(-1)
    for i in range(count):
        label = candidates[i]
        if parent[label] == label:
            certain = max(certain, np.int64(records[label, _AREA2]))
    contenders, winner = 0, candidates[0]
    for i in range(count):
        label = candidates[i]
        if parent[label] == label and _most_area2(records, label) >= certain:
            contenders += 1
            winner = label
    if contenders == 1:
        return winner
    largest, first = np.int64(-1), np.uint32(0)
    for i in range(count):
        label = candidates[i]
        if parent[label] != label or _most_area2(records, label) < max(certain, largest):
            continue
        if records[label, _UNKNOWN]:
            records[label, _AREA2] = _trace_area2(records[label, _FIRST], threshold, stride, offsets, grid)
            records[label, _UNKNOWN] = 0
        area2 = np.int64(records[label, _AREA2])
        if area2 > largest or (area2 == largest and records[label, _FIRST] > first):
            winner, largest, first = label, area2, records[label, _FIRST]
    return winner


@jit
def _most_area2(records: Numbers, label: Number) -> Number:
    """Return an upper bound of twice the contour area of a component; the area itself if nothing of it is unknown."""
    least, unknown = np.int64(records[label, _AREA2]), np.int64(records[label, _UNKNOWN])
    if unknown == 0:
        return least
    width = np.int64(records[label, _X1]) - np.int64(records[label, _X0])
    height = np.int64(records[label, _LAST] >> _TWENTY) - np.int64(records[label, _FIRST] >> _TWENTY)
    return min(2 * width * height, least + unknown)


@jit
def _hole_area2(records: Numbers, label: Number) -> Number:
    """Return twice the area of the rectangle around a hole, through the centers of the pixels next to it."""
    width = records[label, _X1] - records[label, _X0] + np.uint32(2)
    height = (records[label, _LAST] >> _TWENTY) - (records[label, _FIRST] >> _TWENTY) + np.uint32(2)
    return np.uint32(np.uint32(2) * width * height)


@jit
def _add_areas(records: Numbers, label: Number, other: Number, is_outer: bool) -> None:
    """Add the area of another component, or, where they meet in a hole, keep that of the one around the other."""
    area2, unknown = records[label, _AREA2], records[label, _UNKNOWN]
    other_area2, other_unknown = records[other, _AREA2], records[other, _UNKNOWN]
    if is_outer:
        records[label, _AREA2] = area2 + other_area2
        records[label, _UNKNOWN] = min(unknown + other_unknown, _MOST_AREA2)
    else:  # which one that is, is not known: its bounds are not below those of the other
        least, most = max(area2, other_area2), max(area2 + unknown, other_area2 + other_unknown)
        records[label, _AREA2] = least
        records[label, _UNKNOWN] = min(most - least, _MOST_AREA2)


@jit
def _trace_area2(
    place: Number, threshold: int, stride: int, offsets: NDArray[np.uint64], grid: NDArray[np.uint8]
) -> int:
    """Return twice the area inside the outer border that starts at a component's first pixel in raster order.

    Border following after Suzuki and Abe, "Topological structural analysis of digitized binary images", 1985.
    """
    x, y = np.int64(place >> _EIGHT & _LOW), np.int64(place >> _TWENTY)
    first = np.uint64((y + 1) * stride + x + 1)
    k = 7  # the pixel to the west is background; search clockwise for the last pixel of the border
    while grid[first + offsets[k]] <= threshold:
        k = (k + 1) & 7
    last = first + offsets[k]
    pixel, twice = first, np.int64(0)
    while True:
        k = (k + 7) & 7  # counterclockwise from the previous border pixel
        while grid[pixel + offsets[k]] <= threshold:
            k = (k + 7) & 7
        following = pixel + offsets[k]
        dx, dy = _DX[k], _DY[k]
        twice += x * dy - y * dx
        if following == first and pixel == last:
            return abs(int(twice))
        pixel, x, y = following, x + dx, y + dy
        k = (k + 4) & 7


@jit
def _tabulate(stride: int, kind: Number) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Return the distances of the eight neighbors in the padded map, and what the sweeps look up by neighborhood.

    That is the number of clusters in the last 8 bits and, above, the distance of the first one's first neighbor.
    Indices with these distances are right modulo 2^32. ``kind`` is 0 for the foreground's clusters, 1 for those of the
    background.
    """
    offsets, table = np.empty(8, np.uint64), np.empty(256, np.uint64)
    for k in range(8):
        offsets[k] = np.uint64(_DY[k] * stride + _DX[k])
    for neighborhood in range(256):
        neighbor = _CLUSTERS[kind, neighborhood, 0] & 7
        table[neighborhood] = np.uint64((_DY[neighbor] * stride + _DX[neighbor]) << 8 | _COUNTS[kind, neighborhood])
    return offsets, table


@jit
def _find_root(label: Number, parent: Numbers) -> Number:
    while parent[label] != label:
        parent[label] = parent[parent[label]]
        label = parent[label]
    return label


@jit
def _include(records: Numbers, label: Number, place: Number, x: Number) -> None:
    """Extend a component to a pixel."""
    records[label, _X0] = min(records[label, _X0], x)
    records[label, _X1] = max(records[label, _X1], x)
    records[label, _FIRST] = min(records[label, _FIRST], place)
    records[label, _LAST] = max(records[label, _LAST], place)


@jit
def _unite(records: Numbers, label: Number, other: Number) -> None:
    """Extend a component to another one."""
    records[label, _X0] = min(records[label, _X0], records[other, _X0])
    records[label, _X1] = max(records[label, _X1], records[other, _X1])
    records[label, _FIRST] = min(records[label, _FIRST], records[other, _FIRST])
    records[label, _LAST] = max(records[label, _LAST], records[other, _LAST])


@jit
def _close(records: Numbers, label: Number, now: Number, log: Numbers, size: Number) -> Number:
    """Log the extent of a component, before it changes, for the thresholds at which it had it; return the new size."""
    since = np.int64(records[label, _SINCE])
    if since == now:
        return size
    records[label, _SINCE] = now
    log[size, 0], log[size, 1] = (since, now) if since < now else (now + 1, since + 1)
    for k in range(4):
        log[size, 2 + k] = records[label, k]
    return size + 1


@jit
def _evaluate_log(
    log: Numbers,
    size: int,
    margin: int,
    shape: tuple[int, int],
    extension: int,
    truth: Floats,
    rank: Ints,
    ranges: Floats,
) -> None:
    """Enter the IoUs of extents, made larger by a margin, into ``ranges``, see ``_spread_ranges``."""
    h, w = shape
    for n in range(size):
        begin, end = rank[log[n, 0]], rank[log[n, 1]]
        if begin == end:
            continue
        x0, x1 = np.int64(log[n, 2]) - margin, np.int64(log[n, 3]) + 1 + margin
        y0, y1 = np.int64(log[n, 4] >> _TWENTY) - margin, np.int64(log[n, 5] >> _TWENTY) + 1 + margin
        iou = _iou(x0, y0, min(x1 + extension, w), min(y1 + extension, h), truth)
        level, length = 0, end - begin
        while length > 1:
            level, length = level + 1, length >> 1
        ranges[level, begin] = max(ranges[level, begin], iou)
        ranges[level, end - (1 << level)] = max(ranges[level, end - (1 << level)], iou)


@jit
def _spread_ranges(ranges: Floats, count: int) -> None:
    """Take the maximum over all ranges: ``ranges[level, i]`` holds for the ``2 ** level`` ranks from ``i`` on."""
    for level in range(8, 0, -1):
        half = 1 << (level - 1)
        for i in range(count - half):
            value = ranges[level, i]
            ranges[level - 1, i] = max(ranges[level - 1, i], value)
            ranges[level - 1, i + half] = max(ranges[level - 1, i + half], value)


@jit
def _iou(x0: Number, y0: Number, x1: Number, y1: Number, truth: Floats) -> float:
    """Return the IoU of a box with the ground-truth box that it fits best."""
    best = 0.0
    area = (x1 - x0) * (y1 - y0)
    for g in range(len(truth)):
        width = min(x1, truth[g, 2]) - max(x0, truth[g, 0])
        height = min(y1, truth[g, 3]) - max(y0, truth[g, 1])
        shared = max(width, 0.0) * max(height, 0.0)
        truth_area = (truth[g, 2] - truth[g, 0]) * (truth[g, 3] - truth[g, 1])
        union = area + truth_area - shared
        if union > 0:
            best = max(best, shared / union)
    return best
