"""The box of the largest component of the mask at every threshold, in one pass over the pixels."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsol.boxes.thresholds import FloatArray, highest_tau_below
from wsol.runtime.jit import jit, jit_inline

# Numba's disk cache is invalidated only by changes of the file of the compiled function, so all functions that are
# compiled together are in this one file.
#
# A row is cut into hills, stretches on which the tau index rises, then falls: whatever the threshold, the pixels of a
# hill that are in the mask are an interval. A hill takes the label of one that it touches in the row above if the two
# are connected in every mask that has a pixel of the lower one, and the one above has the highest peak of its label or
# the lower peak of the two is that of the new one: so the pixels of a label are connected in every mask. A smooth map
# has few labels, about one per local maximum. Other pairs of hills that touch are edges: they say from which mask on,
# counted from the highest threshold down, the components of two labels are one.
#
# An entry has the pixels of a label with one tau index: for the first labels those of the whole map, for the others,
# of which only noise has many, those of a run, which is a stretch of equal values. From the highest threshold down,
# entries are added to the components of their labels, and edges join components.
_X0, _X1, _PEAK, _PEAK_X, _LAST, _LABEL = range(6)  # hill: inclusive columns, highest tau index and where, last one
_INDEX, _LABEL_A, _LABEL_B = range(3)  # edge: tau index of the highest mask that connects the two labels
_OF_LABEL, _START, _LENGTH = range(1, 4)  # run, after its tau index: label, first pixel, number of pixels
_SIZE, _FIRST, _LEFT, _RIGHT, _BOTTOM, _ROOT = range(6)  # entry or component: pixels, first in raster order, extent
_GATHERED = 16384  # entries for whole maps
_MAX_PIXELS = 2**31 - 1  # pixels have numbers of 32 bit

Indices = NDArray[np.int16]
Ints = NDArray[np.int32]
Boxes = NDArray[np.float64]


def boxes_at_taus(score_maps: FloatArray, taus: NDArray[np.float64]) -> Boxes:
    """Return the box of the largest component in the mask ``map > tau`` for every tau, see ``largest_component_boxes``.

    Args:
        score_maps: ``(k, h, w)``.
        taus: ``(taus,)``, strictly ascending from 0 or more.

    Returns:
        float64 ``(k, taus, 4)``, half-open pixel edges; zeros where the mask is empty.
    """
    return np.stack([largest_component_boxes(highest_tau_below(each, taus), len(taus)) for each in score_maps])


def largest_component_boxes(tau_indices: Indices, count: int) -> Boxes:
    """Return the box of the component with the most pixels, for every mask ``tau_indices >= t``.

    Components are 8-connected. Ties go to the component whose topmost, then leftmost pixel comes first in raster order.

    Args:
        tau_indices: int16 ``(h, w)``, for each pixel the highest tau index whose mask contains it, or -1.
        count: Number of taus; ``t`` runs from 0 to ``count - 1``.

    Returns:
        float64 ``(count, 4)``, half-open pixel edges ``(x0, y0, x1, y1)``; zeros where the mask is empty.
    """
    if tau_indices.size > _MAX_PIXELS:
        height, width = tau_indices.shape
        raise ValueError(f"a map of {width} x {height} pixels is too large; up to {_MAX_PIXELS} are supported")
    boxes = np.zeros((count, 4))
    _find_boxes(np.ascontiguousarray(tau_indices), boxes)
    return boxes


@jit
def _find_boxes(tau_indices: Indices, boxes: Boxes) -> None:  # noqa: PLR0912, PLR0915  # calls cost more than the work
    """Write the boxes of ``largest_component_boxes`` into ``boxes``: label the hills row by row, then join them."""
    height, width = tau_indices.shape
    count, most = len(boxes), (width + 1) // 2  # hills in a row
    hills = np.empty((2, most, 6), np.int32)  # of the row and the one above, by the parity of y
    starts, values = np.empty(width + 1, np.uint32), np.empty(width + 1, np.int16)  # of the runs of a row
    zero, one = np.uint64(0), np.uint64(1)  # Numba adds code for wraparound to signed indices
    peaks = np.empty(height * most, np.int32)  # by label
    edges = np.empty((5 * height * most, 4), np.int32)
    gathering = _GATHERED // count  # labels with entries for the whole map
    entries = np.empty((gathering * count, 8), np.int32)
    runs = np.empty((height * width, 4), np.int32)
    n_labels = n_edges = n_runs = n_above = 0
    for y in range(height):
        now, before = y % 2, 1 - y % 2
        row_runs = _find_runs(tau_indices, y, starts, values)
        found = nearest = 0  # a hill above that ends before this one begins cannot touch a later one
        run = zero
        while run < row_runs:
            value = values[run]
            if value < 0:
                run += one
                continue
            first = run
            while values[run + one] > value:
                run += one
                value = values[run]
            peak, peak_x = value, np.int64(starts[run])
            while 0 <= values[run + one] < value:
                run += one
                value = values[run]
            run += one
            x0, x1 = np.int64(starts[first]), np.int64(starts[run]) - 1
            hills[now, found, _X0], hills[now, found, _X1], hills[now, found, _LAST] = x0, x1, value
            hills[now, found, _PEAK], hills[now, found, _PEAK_X] = peak, peak_x
            while nearest < n_above and hills[before, nearest, _X1] < x0 - 1:
                nearest += 1
            label, first_edge, other = -1, n_edges, nearest
            while other < n_above and hills[before, other, _X0] <= x1 + 1:
                above, above_peak = hills[before, other, _LABEL], hills[before, other, _PEAK]
                if above != label:
                    index = _find_connection(tau_indices, y, hills, other, found)
                    if label < 0 and (index == peak or index == above_peak == peaks[above]):
                        label = above
                        peaks[label] = max(peaks[label], peak)
                    else:
                        edges[n_edges, _INDEX], edges[n_edges, _LABEL_A] = index, above
                        n_edges += 1
                other += 1
            if label < 0:
                label = n_labels
                n_labels += 1
                peaks[label] = peak
                if label < gathering:
                    entries[label * count : (label + 1) * count, _SIZE] = 0
            hills[now, found, _LABEL] = label
            for edge in range(first_edge, n_edges):
                edges[edge, _LABEL_B] = label
            if found and hills[now, found - 1, _X1] == x0 - 1 and hills[now, found - 1, _LABEL] != label:
                edges[n_edges, _INDEX] = hills[now, found - 1, _LAST]  # the lower one of the two pixels that touch
                edges[n_edges, _LABEL_A], edges[n_edges, _LABEL_B] = hills[now, found - 1, _LABEL], label
                n_edges += 1
            found += 1
            for part in range(first, run):
                start, end, value = starts[part], starts[part + one], values[part]
                if label >= gathering:
                    runs[n_runs, _INDEX], runs[n_runs, _OF_LABEL] = value, label
                    runs[n_runs, _START], runs[n_runs, _LENGTH] = y * width + start, end - start
                    n_runs += 1
                    continue
                entry = np.uint64(label * count + value)
                if entries[entry, _SIZE]:
                    entries[entry, _SIZE] += np.int32(end - start)
                    entries[entry, _LEFT] = min(entries[entry, _LEFT], np.int32(start))
                    entries[entry, _RIGHT] = max(entries[entry, _RIGHT], np.int32(end))
                else:
                    entries[entry, _SIZE], entries[entry, _FIRST] = end - start, y * width + start
                    entries[entry, _LEFT], entries[entry, _RIGHT] = start, end
                entries[entry, _BOTTOM] = y
        n_above = found
    _join_labels(n_labels, gathering, entries, runs[:n_runs], edges[:n_edges], width, boxes)


@jit_inline
def _find_runs(tau_indices: Indices, y: int, starts: Any, values: Indices) -> Any:
    """List the starts and values of the runs of a row, ended by its width and -1; return the number of runs."""
    width, one = tau_indices.shape[1], np.uint64(1)
    starts[0], values[0] = 0, tau_indices[y, 0]
    count, previous = one, tau_indices[y, 0]
    for x in range(one, np.uint64(width)):
        value = tau_indices[y, x]
        starts[count], values[count] = x, value  # overwritten unless a run starts here
        count += np.uint64(value != previous)
        previous = value
    starts[count], values[count] = width, -1
    return count


@jit_inline
def _find_connection(tau_indices: Indices, y: int, hills: Ints, upper: int, lower: int) -> Any:
    """Return the highest tau index whose mask connects a hill of the row above with one of this row."""
    now, before = y % 2, 1 - y % 2
    upper_x0, upper_x1 = hills[before, upper, _X0], hills[before, upper, _X1]
    lower_x0, lower_x1 = hills[now, lower, _X0], hills[now, lower, _X1]
    peak, peak_x = hills[now, lower, _PEAK], hills[now, lower, _PEAK_X]
    for x in range(max(peak_x - 1, upper_x0), min(peak_x + 1, upper_x1) + 1):
        if tau_indices[y - 1, x] >= peak:
            return peak
    peak, peak_x = hills[before, upper, _PEAK], hills[before, upper, _PEAK_X]
    for x in range(max(peak_x - 1, lower_x0), min(peak_x + 1, lower_x1) + 1):
        if tau_indices[y, x] >= peak:
            return peak
    best = np.int16(-1)
    for shift in range(-1, 2):
        for x in range(max(lower_x0, upper_x0 - shift), min(lower_x1, upper_x1 - shift) + 1):
            best = max(best, min(tau_indices[y, x], tau_indices[y - 1, x + shift]))
    return best


@jit
def _join_labels(
    n_labels: int, gathering: int, entries: Ints, runs: Ints, edges: Ints, width: int, boxes: Boxes
) -> None:
    """Add entries and edges from the highest tau index down; write the box of the largest component at each."""
    count = len(boxes)
    components = np.empty((n_labels, 8), np.int32)
    for label in range(n_labels):
        components[label, _SIZE], components[label, _ROOT] = 0, label
    runs, run_ends = _sort_by_index(runs, count)
    edges, edge_ends = _sort_by_index(edges, count)
    run = edge = 0
    largest = -1
    for index in range(count - 1, -1, -1):
        for label in range(min(n_labels, gathering)):
            entry = label * count + index
            if entries[entry, _SIZE]:
                size, first, bottom = entries[entry, _SIZE], entries[entry, _FIRST], entries[entry, _BOTTOM]
                left, right = entries[entry, _LEFT], entries[entry, _RIGHT]
                root = _find_root(label, components)
                largest = _add(size, first, left, right, bottom, components, root, largest)
        while run < run_ends[index]:
            first, size = runs[run, _START], runs[run, _LENGTH]
            bottom, left = first // width, first % width
            root = _find_root(runs[run, _OF_LABEL], components)
            largest = _add(size, first, left, left + size, bottom, components, root, largest)
            run += 1
        while edge < edge_ends[index]:
            root = _find_root(edges[edge, _LABEL_A], components)
            other = _find_root(edges[edge, _LABEL_B], components)
            edge += 1
            if root != other:
                if components[root, _SIZE] < components[other, _SIZE]:
                    root, other = other, root
                components[other, _ROOT] = root
                size, first, bottom = components[other, _SIZE], components[other, _FIRST], components[other, _BOTTOM]
                left, right = components[other, _LEFT], components[other, _RIGHT]
                largest = _add(size, first, left, right, bottom, components, root, largest)
        if largest >= 0:
            largest = _find_root(largest, components)
            boxes[index, 0], boxes[index, 1] = components[largest, _LEFT], components[largest, _FIRST] // width
            boxes[index, 2], boxes[index, 3] = components[largest, _RIGHT], components[largest, _BOTTOM] + 1


@jit
def _sort_by_index(records: Ints, count: int) -> tuple[Ints, Ints]:
    """Sort records by their tau index, the highest first (counting sort); also return where those of each end."""
    ends = np.zeros(count, np.int32)
    for i in range(len(records)):
        ends[records[i, _INDEX]] += 1
    position = np.int32(0)
    for index in range(count - 1, -1, -1):
        ends[index], position = position, position + ends[index]
    ordered = np.empty_like(records)
    for i in range(len(records)):
        place = ends[records[i, _INDEX]]
        for column in range(1, 4):
            ordered[place, column] = records[i, column]
        ends[records[i, _INDEX]] += 1
    return ordered, ends


@jit_inline
def _add(size: int, first: int, left: int, right: int, bottom: int, components: Ints, root: int, largest: int) -> int:
    """Add pixels to the component ``root``; return which of it and ``largest`` has more pixels, or comes first."""
    if components[root, _SIZE]:
        size += components[root, _SIZE]
        first = min(components[root, _FIRST], first)
        left = min(components[root, _LEFT], left)
        right = max(components[root, _RIGHT], right)
        bottom = max(components[root, _BOTTOM], bottom)
    components[root, _SIZE], components[root, _FIRST], components[root, _BOTTOM] = size, first, bottom
    components[root, _LEFT], components[root, _RIGHT] = left, right
    if largest < 0:
        return root
    most = components[largest, _SIZE]
    return root if size > most or (size == most and first < components[largest, _FIRST]) else largest


@jit_inline
def _find_root(label: int, components: Ints) -> int:
    while components[label, _ROOT] != label:
        components[label, _ROOT] = components[components[label, _ROOT], _ROOT]
        label = components[label, _ROOT]
    return label
