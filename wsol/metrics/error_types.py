"""Why a guess fails: every one gets exactly one type."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from wsol.metrics.bootstrap import intervals, resampled_means
from wsol.metrics.iou import overlap

ERROR_TYPES = ("class", "correct", "multi", "part", "more", "other")


def error_type(box: NDArray[np.float64], truth: NDArray[np.float64], right_class: bool, delta: float) -> str:
    """Name the error of one guess, after Gao et al., "TS-CAM", ICCV 2021, section 4.

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
    if intersection[best] > 0.5 * area[0]:  # an empty box has neither
        return "part"
    return "more" if intersection[best] / true_area[best] >= 0.7 else "other"


def error_table(types: NDArray[np.str_], own_hits: NDArray[np.bool_]) -> pd.DataFrame:
    """Count error types, and what mending each would bring.

    After Bolya et al., "TIDE: A General Toolbox for Identifying Object Detection Errors", ECCV 2020, section 2.3: an
    error is mended in every image that has it, all else left as it is, and the change of the error rate is its cost. A
    wrong class is mended by the right one, with the box of that class's map; a wrong box by a right one.

    Args:
        types: str ``(n,)``, the type of each image's first guess.
        own_hits: bool ``(n,)``, whether the box of the ground-truth class's map is right.

    Returns:
        error, n, share (percent of the images) and gain (points by which top-1 localization error would fall), each
        with its 95 % bootstrap interval.
    """
    rows = []
    for name in ERROR_TYPES:
        of_type = types == name
        gains = of_type & own_hits if name == "class" else of_type & (name != "correct")
        pair = np.stack([of_type, gains], 1)
        share, gain = 100 * pair.mean(0)
        (low, gain_low), (high, gain_high) = 100 * intervals(resampled_means(pair))
        rows.append([name, int(of_type.sum()), share, low, high, gain, gain_low, gain_high])
    columns = ["error", "n", "share", "share_low", "share_high", "gain", "gain_low", "gain_high"]
    return pd.DataFrame(rows, columns=columns)
