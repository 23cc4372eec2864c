"""Why a guess fails: every one gets exactly one type."""

import numpy as np
from numpy.typing import NDArray

from wsol.metrics.iou import overlap

ERROR_TYPES = ("class", "correct", "multi", "part", "more", "other")


def error_type(box: NDArray[np.float64], truth: NDArray[np.float64], right_class: bool, delta: float) -> str:
    """Names the error of one guess, after Gao et al., "TS-CAM", ICCV 2021, section 4.

    With IoG = intersection / ground-truth area and IoB = intersection / predicted area, in this order: ``class`` (the
    class is wrong), ``correct`` (IoU >= delta), ``multi`` (two or more ground-truth boxes with IoG > 0.3 each),
    ``part`` (IoB > 0.5 with the best box: the guess sits inside the object), ``more`` (IoG >= 0.7: it swallows the
    object), ``other``.

    Args:
        box: ``(4,)``, half-open edges.
        truth: ``(g, 4)``, likewise, at least one.
        right_class: Whether the guessed class is the image's.
        delta: IoU from which on a box is a hit.

    Returns:
        One of ``ERROR_TYPES``.
    """
    if not right_class:
        return "class"
    intersection, area, true_area = overlap(box, truth)
    iou = intersection / (area + true_area - intersection)
    best = int(iou.argmax())
    if iou[best] >= delta:
        return "correct"
    if (intersection / true_area > 0.3).sum() >= 2:
        return "multi"
    if intersection[best] / area[0] > 0.5:
        return "part"
    return "more" if intersection[best] / true_area[best] >= 0.7 else "other"
