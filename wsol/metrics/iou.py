"""Overlap of boxes."""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from wsol.runtime.jit import jit

T = TypeVar("T", bound=np.generic)


def iou(boxes: NDArray[np.float64], ground_truth: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the intersection over union of boxes, pair by pair.

    Inclusive corners (the + 1 of PASCAL VOC and Choe et al.) give the same result once they are converted to edges.

    Args:
        boxes: ``(..., 4)``, half-open edges, not inverted.
        ground_truth: ``(..., 4)``, half-open edges; the two arrays are broadcast.

    Returns:
        ``(...)`` in [0, 1]; 0 for two empty boxes.
    """
    sides = np.minimum(boxes[..., 2:], ground_truth[..., 2:]) - np.maximum(boxes[..., :2], ground_truth[..., :2])
    intersection = np.clip(sides, 0, None).prod(-1)
    union = _area(boxes) + _area(ground_truth) - intersection
    ratio: NDArray[np.float64] = np.divide(intersection, union, out=np.zeros(union.shape), where=union > 0)
    return ratio


def best_iou(boxes: NDArray[np.float64], ground_truth: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the intersection over union of each box with the ground-truth box that fits it best.

    Args:
        boxes: ``(..., 4)``, half-open edges, not inverted.
        ground_truth: ``(g, 4)``, half-open edges.

    Returns:
        ``(...)`` in [0, 1]; 0 without a ground-truth box.
    """
    best: NDArray[np.float64] = iou(boxes[..., None, :], ground_truth).max(-1, initial=0)
    return best


def best_iou_curves(
    boxes: NDArray[np.float64], ground_truth: NDArray[np.float64], starts: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the ``best_iou`` of the boxes of several images, each with the ground truth of its image.

    Args:
        boxes: ``(n, taus, 4)``.
        ground_truth: ``(m, 4)``, the boxes of all images in turn.
        starts: ``(n,)``, index of the first box of each image.

    Returns:
        ``(n, taus)`` in [0, 1]; 0 for an image without ground-truth boxes.
    """
    curves = np.empty(boxes.shape[:2])
    _fill_curves(boxes, ground_truth, np.append(starts, len(ground_truth)), curves)
    return curves


@jit
def _fill_curves(
    boxes: NDArray[np.float64],
    ground_truth: NDArray[np.float64],
    starts: NDArray[np.int64],
    curves: NDArray[np.float64],
) -> None:
    for i in range(len(boxes)):
        for tau in range(boxes.shape[1]):
            x0, y0, x1, y1 = boxes[i, tau, 0], boxes[i, tau, 1], boxes[i, tau, 2], boxes[i, tau, 3]
            best = 0.0
            for g in range(starts[i], starts[i + 1]):
                width = min(x1, ground_truth[g, 2]) - max(x0, ground_truth[g, 0])
                height = min(y1, ground_truth[g, 3]) - max(y0, ground_truth[g, 1])
                shared = max(width, 0.0) * max(height, 0.0)
                area = (ground_truth[g, 2] - ground_truth[g, 0]) * (ground_truth[g, 3] - ground_truth[g, 1])
                union = (x1 - x0) * (y1 - y0) + area - shared
                if union > 0:
                    best = max(best, shared / union)
            curves[i, tau] = best


def reduce_by_image(operation: np.ufunc, values: NDArray[T], counts: NDArray[np.int64]) -> NDArray[T]:
    """Reduce the values of each image.

    Args:
        operation: Such as ``np.maximum``.
        values: ``(m,)``, the values of all images in turn.
        counts: int64 ``(n,)``, number of values of each image.

    Returns:
        ``(n,)``; 0 or false for an image without values.
    """
    out, has_values = np.zeros(len(counts), values.dtype), counts > 0
    if len(values):
        out[has_values] = operation.reduceat(values, (np.cumsum(counts) - counts)[has_values])
    return out


def _area(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    area: NDArray[np.float64] = (boxes[..., 2:] - boxes[..., :2]).prod(-1)
    return area
