"""Error types of predictions: every prediction has exactly one."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from wsol.metrics.bootstrap import intervals, resampled_means
from wsol.metrics.iou import overlap

ERROR_TYPES = ("class", "correct", "multi", "part", "more", "other")


def error_type(box: NDArray[np.float64], ground_truth: NDArray[np.float64], right_class: bool, delta: float) -> str:
    """Return the error type of one prediction, after Gao et al., "TS-CAM", ICCV 2021, section 4.

    With IoG = intersection / ground-truth area and IoB = intersection / predicted area, in this order: ``class`` (the
    class is wrong), ``correct`` (IoU >= delta), ``multi`` (two or more ground-truth boxes with IoG > 0.3 each),
    ``part`` (IoB > 0.5 with the best box: the prediction covers a part of the object), ``more`` (IoG >= 0.7: it covers
    more than the object), ``other``.

    Args:
        box: ``(4,)``, half-open edges.
        ground_truth: ``(g, 4)``, half-open edges, at least one box.
        right_class: Whether the predicted class is the image's.
        delta: IoU from which on a box is a hit, inclusive.

    Returns:
        One of ``ERROR_TYPES``.
    """
    if not right_class:
        return "class"
    intersection, area, ground_truth_area = overlap(box, ground_truth)
    iou = intersection / (area + ground_truth_area - intersection)
    best = int(iou.argmax())
    if iou[best] >= delta:
        return "correct"
    if (intersection / ground_truth_area > 0.3).sum() >= 2:
        return "multi"
    if intersection[best] > 0.5 * area[0]:  # both are 0 for an empty box
        return "part"
    return "more" if intersection[best] / ground_truth_area[best] >= 0.7 else "other"


def error_table(types: NDArray[np.str_], own_hits: NDArray[np.bool_]) -> pd.DataFrame:
    """Count the error types, and compute the gain from fixing each.

    After Bolya et al., "TIDE: A General Toolbox for Identifying Object Detection Errors", ECCV 2020, section 2.3: one
    error type is fixed in every image that has it, everything else is left unchanged, and the change of the error rate
    is its cost. A wrong class is replaced by the right one, with the box of that class's map; a wrong box by a right
    one.

    Args:
        types: str ``(n,)``, the type of each image's first prediction.
        own_hits: bool ``(n,)``, whether the box of the ground-truth class's map is right.

    Returns:
        error, n, share (percent of the images) and gain (percentage points by which top-1 localization error would
        fall), each with its 95 % bootstrap interval.
    """
    rows = []
    for name in ERROR_TYPES:
        has_type = types == name
        gains = has_type & own_hits if name == "class" else has_type & (name != "correct")
        pair = np.stack([has_type, gains], 1)
        share, gain = 100 * pair.mean(0)
        (low, gain_low), (high, gain_high) = 100 * intervals(resampled_means(pair))
        rows.append([name, int(has_type.sum()), share, low, high, gain, gain_low, gain_high])
    columns = ["error", "n", "share", "share_low", "share_high", "gain", "gain_low", "gain_high"]
    return pd.DataFrame(rows, columns=columns)
