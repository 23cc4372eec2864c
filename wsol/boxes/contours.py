"""The box of the contour with the largest area, at a few thresholds, by the runs of pixels in every row."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsol.runtime.jit import jit

# Numba's disk cache is invalidated only by changes of the file of the compiled function, so all functions that are
# compiled together are in this one file.
#
# ``runs`` has the first column and the one after the last of every run of a mask, in raster order from index 1 on;
# those of row ``y`` begin at ``row_starts[y]``. The gap to the left of a run has the index of the run. ``parent`` leads
# to the first run, or gap, of a component; 0 stands for the outside of all components. ``records``, by the first run,
# has the component's box and twice its area.
_MAX_SIDE = 32767
_BYTE_NUMBERS = np.uint64(0x0001020304050607)

Ints = NDArray[np.int64]
Numbers = NDArray[np.int32]
Number = Any  # its type follows from the array that it comes from


def largest_contour_boxes(maps: NDArray[np.uint8], thresholds: Ints) -> NDArray[np.int32]:
    """Return the box of the contour of largest area in the mask ``map > threshold``.

    The area is that of the polygon through the pixel centers of an outer contour (8-connected), as in OpenCV's
    ``contourArea``: holes count as area, and a line one pixel wide has none. Ties go to the component whose topmost,
    then leftmost pixel comes last in raster order; that is the first contour of OpenCV's ``findContours(RETR_TREE)``.
    Contours of holes are not needed: each is at most as large as the one around it, and where it is as large it has the
    same box. Neither are components in a hole: each is smaller than the one around it.

    Every threshold costs the same; ``wsol.boxes.contour_curves`` is faster for all of them.

    Args:
        maps: uint8 ``(n, h, w)``.
        thresholds: int64 ``(n, thresholds)``.

    Returns:
        int32 ``(n, thresholds, 4)``, half-open pixel edges ``(x0, y0, x1, y1)``; zeros where the mask is empty.
    """
    if max(maps.shape[1:]) > _MAX_SIDE:
        raise ValueError(f"a map of {maps.shape[2]} x {maps.shape[1]} pixels is too large; sides of up to {_MAX_SIDE}")
    out = np.zeros((*thresholds.shape, 4), np.int32)
    _find_boxes(np.ascontiguousarray(maps), thresholds, out)
    return out


@jit
def _find_boxes(maps: NDArray[np.uint8], thresholds: Ints, out: Numbers) -> None:
    """Write the boxes of ``largest_contour_boxes`` into ``out``."""
    n, h, w = maps.shape
    most = h * ((w + 1) // 2) + 1
    runs, row_starts = np.empty((most, 2), np.int32), np.empty(h + 1, np.int32)
    parent, records = np.empty(most, np.int32), np.empty((most, 5), np.int32)
    inside, edges = np.zeros(w // 8 * 8 + 17, np.uint8), np.zeros(w // 8 + 2, np.uint64)
    for m in range(n):
        for i in range(thresholds.shape[1]):
            if i and thresholds[m, i] == thresholds[m, i - 1]:
                for k in range(4):
                    out[m, i, k] = out[m, i - 1, k]
                continue
            _find_runs(maps[m], thresholds[m, i], inside, edges, runs, row_starts)
            _find_holes(w, runs, row_starts, parent)
            _fill_holes(runs, row_starts, parent)
            _find_largest(runs, row_starts, parent, records, out[m, i])


@jit
def _find_runs(
    map_: NDArray[np.uint8],
    threshold: int,
    inside: NDArray[np.uint8],
    edges: NDArray[np.uint64],
    runs: Numbers,
    row_starts: Numbers,
) -> None:
    """List the runs of the mask; the next two arguments are memory for a row, zeros at first."""
    h, w = map_.shape
    changes = edges.view(np.uint8)
    count = 2  # of the ends of runs
    ends = runs.reshape(-1)
    for y in range(h):
        row_starts[y] = count // 2
        row = map_[y]
        for x in range(w):
            inside[x + 1] = row[x] > threshold
        for x in range(w + 1):
            changes[x] = inside[x] ^ inside[x + 1]
        for k in range(len(edges)):
            word = edges[k]
            while word:  # little-endian, the first column is the lowest byte; the factor shifts its number to the top
                lowest = word & (~word + np.uint64(1))
                ends[np.uint64(count)] = 8 * k + np.int64(lowest * _BYTE_NUMBERS >> np.uint64(56))
                count += 1
                word ^= lowest
    row_starts[h] = count // 2


@jit
def _find_holes(w: int, runs: Numbers, row_starts: Numbers, parent: Numbers) -> None:
    """Join gaps that touch each other (4-connected), and those that touch the outside with 0."""
    h = len(row_starts) - 1
    parent[0] = 0
    for y in range(h):
        first, end = row_starts[y], row_starts[y + 1]
        above, above_end = (row_starts[y - 1], first) if y else (first, first)
        k = above  # the gap to the left of run k, or to the right of all
        for gap in range(first, end):
            if gap == first or y in (0, h - 1):
                parent[gap] = 0
            else:
                parent[gap] = gap
            left, right = runs[gap - 1, 1] if gap > first else 0, runs[gap, 0]
            while k < above_end and runs[k, 0] <= left:
                k += 1
            j = k
            while True:
                begin = runs[j - 1, 1] if j > above else 0
                if begin >= right or right == left:
                    break
                other = _find_root(j, parent) if above < j < above_end else np.int32(0)
                root = _find_root(gap, parent)
                parent[max(root, other)] = min(root, other)
                if j == above_end:
                    break
                j += 1
        # The gap to the right of all runs is part of the outside, and so is every gap above that it touches.
        if y and above < above_end:
            left = runs[end - 1, 1] if end > first else 0
            for j in range(above + 1, above_end):
                if runs[j, 0] > left:
                    parent[_find_root(j, parent)] = 0


@jit
def _fill_holes(runs: Numbers, row_starts: Numbers, parent: Numbers) -> None:
    """Join the runs on both sides of every gap that is a hole."""
    count = np.int32(1)
    first = row_starts[0]
    for y in range(len(row_starts) - 1):
        end = row_starts[y + 1]
        row_starts[y] = count
        for run in range(first, end):
            if run > first and _find_root(run, parent) != 0:
                runs[count - 1, 1] = runs[run, 1]
            else:
                runs[count, 0], runs[count, 1] = runs[run, 0], runs[run, 1]
                count += 1
        first = end
    row_starts[len(row_starts) - 1] = count


@jit
def _find_largest(  # noqa: PLR0912  # one loop: calls that pass arrays cost more than the work on a run
    runs: Numbers,
    row_starts: Numbers,
    parent: Numbers,
    records: Numbers,
    box: Numbers,
) -> None:
    """Join runs that touch each other (8-connected), without holes; write the box of the largest component."""
    for y in range(len(row_starts) - 1):
        first, end = row_starts[y], row_starts[y + 1]
        k, above_end = (row_starts[y - 1], first) if y else (first, first)
        for run in range(first, end):
            x0, x1 = np.int64(runs[run, 0]), np.int64(runs[run, 1])
            while k < above_end and runs[k, 1] < x0:
                k += 1
            root, area2 = np.int32(run), np.int64(0)
            j = k
            while j < above_end and runs[j, 0] <= x1:
                # Two runs enclose a whole unit of polygon between neighboring columns that they share, and half a unit
                # at each end where one is longer.
                a0, a1 = np.int64(runs[j, 0]), np.int64(runs[j, 1])
                shared = min(a1, x1) - max(a0, x0)
                if shared > 0:
                    area2 += 2 * (shared - 1) + (a0 != x0) + (a1 != x1)
                other = parent[j]
                if parent[other] != other:
                    other = _find_root(other, parent)
                if j == k:
                    root = other
                elif other != root:
                    root = _merge(root, other, parent, records)
                j += 1
            parent[run] = root
            if root == run:
                records[run, 0], records[run, 2] = x0, x1
                records[run, 1], records[run, 3], records[run, 4] = y, y + 1, 0
            else:
                records[root, 0] = min(np.int64(records[root, 0]), x0)
                records[root, 2] = max(np.int64(records[root, 2]), x1)
                records[root, 3] = y + 1
                records[root, 4] += area2
    largest, most = np.int32(0), np.int32(-1)
    for run in range(1, row_starts[len(row_starts) - 1]):
        if parent[run] == run and records[run, 4] >= most:
            largest, most = np.int32(run), records[run, 4]
    for k in range(4):
        box[k] = records[largest, k] if largest else 0


@jit
def _merge(a: Number, b: Number, parent: Numbers, records: Numbers) -> Number:
    """Merge two components and return the root, the run that comes first."""
    if a == b:
        return a
    root, other = min(a, b), max(a, b)
    parent[other] = root
    records[root, 0] = min(records[root, 0], records[other, 0])
    records[root, 1] = min(records[root, 1], records[other, 1])
    records[root, 2] = max(records[root, 2], records[other, 2])
    records[root, 3] = max(records[root, 3], records[other, 3])
    records[root, 4] += records[other, 4]
    return root


@jit
def _find_root(i: Number, parent: Numbers) -> Number:
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i
