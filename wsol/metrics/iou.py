"""Overlap of boxes."""

import numpy as np
from numpy.typing import NDArray


def overlap(boxes: NDArray[np.float64], truth: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Measure intersections and areas.

    Args:
        boxes: ``(..., 4)``, half-open edges ``(x0, y0, x1, y1)``.
        truth: ``(g, 4)``, likewise.

    Returns:
        intersection ``(..., g)``, area of the boxes ``(..., 1)``, area of the ground truth ``(g,)``, in square pixels.
    """
    low = np.maximum(boxes[..., None, :2], truth[:, :2])
    high = np.minimum(boxes[..., None, 2:], truth[:, 2:])
    return np.clip(high - low, 0, None).prod(-1), _area(boxes)[..., None], _area(truth)


def iou(boxes: NDArray[np.float64], truth: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the intersection over union of boxes, pair by pair.

    Inclusive corners (the +1 of PASCAL VOC and Choe et al.) are the same thing once they are edges.

    Args:
        boxes: ``(..., 4)``, half-open edges, not inverted.
        truth: ``(..., 4)``, likewise, of some area; the two are broadcast.

    Returns:
        ``(...)`` in [0, 1].
    """
    sides = np.minimum(boxes[..., 2:], truth[..., 2:]) - np.maximum(boxes[..., :2], truth[..., :2])
    shared = np.clip(sides, 0, None).prod(-1)
    ratio: NDArray[np.float64] = shared / (_area(boxes) + _area(truth) - shared)
    return ratio


def best_iou(boxes: NDArray[np.float64], truth: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the intersection over union of each box with the ground-truth box that it fits best.

    Args:
        boxes: ``(..., 4)``, half-open edges, not inverted.
        truth: ``(g, 4)``, likewise, at least one.

    Returns:
        ``(...)`` in [0, 1].
    """
    best: NDArray[np.float64] = iou(boxes[..., None, :], truth).max(-1)
    return best


def _area(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    area: NDArray[np.float64] = (boxes[..., 2:] - boxes[..., :2]).prod(-1)
    return area
