"""Overlap of boxes."""

import numpy as np
from numpy.typing import NDArray


def overlap(boxes: NDArray[np.float64], ground_truth: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Compute intersections and areas.

    Args:
        boxes: ``(..., 4)``, half-open edges ``(x0, y0, x1, y1)``.
        ground_truth: ``(g, 4)``, half-open edges.

    Returns:
        Intersections ``(..., g)``, areas of the boxes ``(..., 1)`` and of the ground truth ``(g,)``, in square pixels.
    """
    low = np.maximum(boxes[..., None, :2], ground_truth[:, :2])
    high = np.minimum(boxes[..., None, 2:], ground_truth[:, 2:])
    return np.clip(high - low, 0, None).prod(-1), _area(boxes)[..., None], _area(ground_truth)


def iou(boxes: NDArray[np.float64], ground_truth: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the intersection over union of boxes, pair by pair.

    Inclusive corners (the + 1 of PASCAL VOC and Choe et al.) give the same result once they are converted to edges.

    Args:
        boxes: ``(..., 4)``, half-open edges, not inverted.
        ground_truth: ``(..., 4)``, half-open edges of boxes that are not empty; the two arrays are broadcast.

    Returns:
        ``(...)`` in [0, 1].
    """
    sides = np.minimum(boxes[..., 2:], ground_truth[..., 2:]) - np.maximum(boxes[..., :2], ground_truth[..., :2])
    intersection = np.clip(sides, 0, None).prod(-1)
    ratio: NDArray[np.float64] = intersection / (_area(boxes) + _area(ground_truth) - intersection)
    return ratio


def best_iou(boxes: NDArray[np.float64], ground_truth: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the intersection over union of each box with the ground-truth box that fits it best.

    Args:
        boxes: ``(..., 4)``, half-open edges, not inverted.
        ground_truth: ``(g, 4)``, half-open edges, at least one box.

    Returns:
        ``(...)`` in [0, 1].
    """
    best: NDArray[np.float64] = iou(boxes[..., None, :], ground_truth).max(-1)
    return best


def _area(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    area: NDArray[np.float64] = (boxes[..., 2:] - boxes[..., :2]).prod(-1)
    return area
