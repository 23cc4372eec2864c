"""Components of the mask at every threshold, by union-find in one pass over the pixels."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsol.boxes._neighbors import cluster_representatives
from wsol.boxes.thresholds import FloatArray, highest_tau_below
from wsol.runtime.jit import jit, jit_inline

# Numba's disk cache is invalidated only by changes of the file of the compiled function, so all functions that are
# compiled together are in this one file.
#
# Maps are padded by one pixel on every side and flattened; ``stride`` is the padded width. ``order`` has pixels as
# ``y << 16 | x`` in padded coordinates. ``parent``, by pixel, leads to a component's root; 0, a corner of the padding,
# means "not in the set". ``records``, ``(pixels, 6)``, has at the root the component's extent (inclusive, in padded
# coordinates), number of pixels and first pixel. Indices are unsigned: Numba adds wraparound code to signed ones.
_X0, _Y0, _X1, _Y1, _SIZE, _FIRST = range(6)
_MAX_SIDE = 65533  # padded coordinates fit into 16 bit

_EIGHT, _FOUR = cluster_representatives(diagonals=True), cluster_representatives(diagonals=False)

Ints = NDArray[np.int64]
Indices = NDArray[np.uint32]
Clusters = NDArray[np.int8]


def boxes_at_taus(score_maps: FloatArray, taus: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the box of the largest component in the mask ``map > tau`` for every tau, see ``largest_component_boxes``.

    Args:
        score_maps: ``(k, h, w)``.
        taus: ``(taus,)``, strictly ascending from 0 or more.

    Returns:
        float64 ``(k, taus, 4)``, half-open pixel edges; zeros where the mask is empty.
    """
    boxes = [largest_component_boxes(highest_tau_below(score_map, taus), len(taus)) for score_map in score_maps]
    return np.stack(boxes).astype(np.float64)


def largest_component_boxes(tau_indices: NDArray[np.int16], count: int) -> NDArray[np.int64]:
    """Return the box of the component with the most pixels, for every mask ``tau_indices >= t``.

    Components are 8-connected. Ties go to the component whose topmost, then leftmost pixel comes first in raster order.

    Args:
        tau_indices: int16 ``(h, w)``, for each pixel the highest tau index whose mask contains it, or -1.
        count: Number of taus; ``t`` runs from 0 to ``count - 1``.

    Returns:
        int64 ``(count, 4)``, half-open pixel edges ``(x0, y0, x1, y1)``; zeros where the mask is empty.
    """
    order, end = _sort_by_tau_index(tau_indices, count)
    no_boxes = np.empty((0, 4))
    return _sweep(order, end[::-1].copy(), _padded_shape(tau_indices), _EIGHT, False, no_boxes, 0)[0][::-1]


def best_contour_ious(
    tau_indices: NDArray[np.int16], count: int, ground_truth: NDArray[np.float64], extension: int = 0
) -> NDArray[np.float64]:
    """Return the best IoU of any contour's box with any ground-truth box, for every mask ``tau_indices >= t``.

    The contours are those of OpenCV's ``findContours(RETR_TREE)``: the outer border of every 8-connected component, and
    the border of every hole (a 4-connected component of the background that does not touch the border of the map),
    whose bounding rectangle is the hole's, one pixel larger on each side. Without a contour the box is the empty
    rectangle in the top-left corner, extended like the others.

    Args:
        tau_indices: int16 ``(h, w)``, for each pixel the highest tau index whose mask contains it, or -1.
        count: Number of taus; ``t`` runs from 0 to ``count - 1``.
        ground_truth: ``(g, 4)``, half-open edges.
        extension: Number of pixels by which every box is extended to the right and down, up to the edge of the map.

    Returns:
        ``(count,)`` in [0, 1].
    """
    order, end = _sort_by_tau_index(tau_indices, count)
    shape, boxes = _padded_shape(tau_indices), ground_truth.astype(np.float64)
    outer = _sweep(order, end[::-1].copy(), shape, _EIGHT, False, boxes, extension)[1][::-1]
    # The background grows with the tau index: first the pixels of no mask, then those of each index in turn.
    y, x = np.nonzero(tau_indices == -1)
    background = np.concatenate([((y + 1) << 16 | (x + 1)).astype(np.uint32), order[::-1]])
    holes = _sweep(background, len(background) - end, shape, _FOUR, True, boxes, extension)[1]
    best: NDArray[np.float64] = np.maximum(outer, holes)
    return best


def _padded_shape(tau_indices: NDArray[np.int16]) -> tuple[int, int]:
    height, width = tau_indices.shape
    if max(height, width) > _MAX_SIDE:
        raise ValueError(f"a map of {width} x {height} pixels is too large; sides of up to {_MAX_SIDE} are supported")
    return height + 2, width + 2


@jit
def _sort_by_tau_index(tau_indices: NDArray[np.int16], count: int) -> tuple[Indices, Ints]:
    """Sort pixels by tau index, the highest first (counting sort); ``end[t]`` counts those of index ``t`` or above."""
    height, width = tau_indices.shape
    end = np.zeros(count, np.int64)
    for y in range(height):
        for x in range(width):
            if tau_indices[y, x] >= 0:
                end[tau_indices[y, x]] += 1
    position = np.int64(0)
    for tau_index in range(count - 1, -1, -1):
        end[tau_index], position = position, position + end[tau_index]
    order = np.empty(position, np.uint32)
    for y in range(height):
        for x in range(width):
            tau_index = tau_indices[y, x]
            if tau_index >= 0:
                order[end[tau_index]] = (y + 1) << 16 | (x + 1)
                end[tau_index] += 1
    return order, end


@jit
def _sweep(  # noqa: PLR0912, PLR0915  # one function: calls that pass arrays cost more than the work on a pixel
    order: Indices,
    ends: Ints,
    shape: tuple[int, int],
    clusters: Clusters,
    holes: bool,
    ground_truth: NDArray[np.float64],
    extension: int,
) -> tuple[Ints, NDArray[np.float64]]:
    """Add pixels one by one, join the components that they touch, and evaluate the components at the end of every step.

    Args:
        order: Pixels in the order in which they are added.
        ends: ``(steps,)``, number of pixels in the set after each step; one step per tau.
        shape: Shape of the padded map.
        clusters: Cluster representatives for 8-connectivity, or for 4-connectivity in the background.
        holes: Whether the components are those of the background: one that is connected to the padding does not count,
            and boxes are one pixel larger on each side.
        ground_truth: ``(g, 4)``; no boxes to skip the IoUs.
        extension: As for ``best_contour_ious``.

    Returns:
        The box of the largest component, int64 ``(steps, 4)``, and the best IoU of all, ``(steps,)``. Without a
        component the box is empty; its IoU is that of the extended empty rectangle, and 0 with ``holes``.
    """
    h, w = shape
    pixels = h * w
    margin = 1 if holes else 0
    one, stride = np.uint32(1), np.uint32(w)
    # Clockwise from north-west; backwards is modulo 2^32.
    offsets = np.array([-w - 1, -w, -w + 1, 1, w + 1, w, w - 1, -1], np.int32).view(np.uint32)
    parent = np.zeros(pixels + 1, np.uint32)
    records = np.empty((pixels + 1, 6), np.int32)
    with_iou = len(ground_truth) > 0
    ious = np.empty(pixels + 1 if with_iou else 0, np.float64)
    roots = np.empty(len(order) if with_iou else 0, np.uint32)
    boxes, best_ious = np.zeros((len(ends), 4), np.int64), np.zeros(len(ends), np.float64)
    if holes:  # an extra root for the padding, larger than any component, so that it remains the root
        parent[pixels] = pixels
        records[pixels] = 0
        records[pixels, _SIZE] = pixels
        parent[1:w] = pixels
        parent[pixels - w : pixels] = pixels
        for start in range(w, pixels, w):
            parent[start] = parent[start + w - 1] = pixels
    largest: Any = np.uint64(0)
    root: Any = largest  # of the component of the last pixel
    count, added = 0, 0
    for k in range(len(ends)):
        if k and ends[k] == added:
            boxes[k], best_ious[k] = boxes[k - 1], best_ious[k - 1]
            continue
        for i in range(added, ends[k]):
            x: Any = np.int32(order[i] & np.uint32(0xFFFF))
            y: Any = np.int32(order[i] >> np.uint32(16))
            pixel = np.uint32(y) * stride + np.uint32(x)
            above, below = pixel - stride, pixel + stride
            neighborhood = np.uint32(parent[above - one] != 0)
            neighborhood |= np.uint32(parent[above] != 0) << np.uint32(1)
            neighborhood |= np.uint32(parent[above + one] != 0) << np.uint32(2)
            neighborhood |= np.uint32(parent[pixel + one] != 0) << np.uint32(3)
            neighborhood |= np.uint32(parent[below + one] != 0) << np.uint32(4)
            neighborhood |= np.uint32(parent[below] != 0) << np.uint32(5)
            neighborhood |= np.uint32(parent[below - one] != 0) << np.uint32(6)
            neighborhood |= np.uint32(parent[pixel - one] != 0) << np.uint32(7)
            neighbor = clusters[neighborhood, 0]
            if neighbor == 8:
                root = pixel
                parent[pixel] = pixel
                records[pixel, _X0], records[pixel, _Y0], records[pixel, _X1], records[pixel, _Y1] = x, y, x, y
                records[pixel, _SIZE], records[pixel, _FIRST] = 1, np.int32(pixel)
                if with_iou:
                    roots[count] = pixel
                    count += 1
            else:
                touched = np.uint32(pixel + offsets[neighbor])
                if parent[touched] != root:
                    root = _find_root(touched, parent)
                for c in range(1, 5):
                    neighbor = clusters[neighborhood, c]
                    if neighbor == 8:
                        break
                    other = _find_root(np.uint32(pixel + offsets[neighbor]), parent)
                    if other == root:
                        continue
                    if records[other, _SIZE] > records[root, _SIZE]:
                        root, other = other, root
                    parent[other] = root
                    records[root, _X0] = min(records[root, _X0], records[other, _X0])
                    records[root, _Y0] = min(records[root, _Y0], records[other, _Y0])
                    records[root, _X1] = max(records[root, _X1], records[other, _X1])
                    records[root, _Y1] = max(records[root, _Y1], records[other, _Y1])
                    records[root, _SIZE] += records[other, _SIZE]
                    records[root, _FIRST] = min(records[root, _FIRST], records[other, _FIRST])
                parent[pixel] = root
                records[root, _X0] = min(records[root, _X0], x)
                records[root, _Y0] = min(records[root, _Y0], y)
                records[root, _X1] = max(records[root, _X1], x)
                records[root, _Y1] = max(records[root, _Y1], y)
                records[root, _FIRST] = min(records[root, _FIRST], np.int32(pixel))
                records[root, _SIZE] += 1
            if with_iou:
                ious[root] = -1.0  # changed: to be computed at the end of the step
            if largest == 0:  # a component that was merged is smaller than the one it is part of now
                largest = root
            elif largest != root:
                size, most = records[root, _SIZE], records[largest, _SIZE]
                if size > most or (size == most and records[root, _FIRST] < records[largest, _FIRST]):
                    largest = root
        added = ends[k]
        if largest:
            boxes[k, 0], boxes[k, 1] = records[largest, _X0] - 1, records[largest, _Y0] - 1
            boxes[k, 2], boxes[k, 3] = records[largest, _X1], records[largest, _Y1]
        if not with_iou:
            continue
        best_ious[k], count = _find_best_iou(
            roots, count, parent, records, ious, shape, margin, ground_truth, extension
        )
        if not holes and not added:
            best_ious[k] = _iou(0, 0, min(extension, w - 2), min(extension, h - 2), ground_truth)
    return boxes, best_ious


@jit
def _find_best_iou(
    roots: Indices,
    count: int,
    parent: Indices,
    records: NDArray[np.int32],
    ious: NDArray[np.float64],
    shape: tuple[int, int],
    margin: int,
    ground_truth: NDArray[np.float64],
    extension: int,
) -> tuple[float, int]:
    """Return the best IoU of the components, and the number of roots; move these to the front of ``roots``."""
    h, w = shape
    kept, best = 0, 0.0
    for i in range(count):
        root = roots[i]
        if parent[root] != root:
            continue
        roots[kept] = root
        kept += 1
        if ious[root] < 0:
            x1 = min(records[root, _X1] + margin + extension, w - 2)
            y1 = min(records[root, _Y1] + margin + extension, h - 2)
            ious[root] = _iou(records[root, _X0] - 1 - margin, records[root, _Y0] - 1 - margin, x1, y1, ground_truth)
        best = max(best, ious[root])
    return best, kept


@jit
def _iou(x0: int, y0: int, x1: int, y1: int, ground_truth: NDArray[np.float64]) -> float:
    """Return the IoU of a box with the ground-truth box that it fits best."""
    best = 0.0
    area = (x1 - x0) * (y1 - y0)
    for g in range(len(ground_truth)):
        width = min(x1, ground_truth[g, 2]) - max(x0, ground_truth[g, 0])
        height = min(y1, ground_truth[g, 3]) - max(y0, ground_truth[g, 1])
        shared = max(width, 0.0) * max(height, 0.0)
        ground_truth_area = (ground_truth[g, 2] - ground_truth[g, 0]) * (ground_truth[g, 3] - ground_truth[g, 1])
        best = max(best, shared / (area + ground_truth_area - shared))
    return best


@jit_inline
def _find_root(pixel: Any, parent: Indices) -> Any:
    above = parent[pixel]
    while above != pixel:
        parent[pixel] = parent[above]
        pixel = parent[above]
        above = parent[pixel]
    return pixel
