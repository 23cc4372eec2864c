"""Error types of predictions: every prediction has exactly one."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from wsol.metrics.intervals import wilson_ends
from wsol.metrics.resamples import RESAMPLES
from wsol.runtime.jit import jit

ERROR_TYPES = ("class", "correct", "multi", "part", "more", "other")
EMPTY = "empty"
"""Stands in place of the error type for images that show no object."""


def compare_predictions(
    boxes: NDArray[np.float64],
    ground_truth: NDArray[np.float64],
    starts: NDArray[np.int64],
    right: NDArray[np.bool_],
    delta: float,
    strict: bool = False,
) -> tuple[NDArray[np.float64], NDArray[np.object_]]:
    """Compare the boxes of predictions with the ground truth: their IoUs, and their error types.

    The error types follow Gao et al., "TS-CAM", ICCV 2021, section 4. With IoG = intersection / ground-truth area and
    IoB = intersection / predicted area, in this order: ``class`` (the class is wrong), ``correct`` (IoU >= delta),
    ``multi`` (two or more ground-truth boxes with IoG > 0.3 each), ``part`` (IoB > 0.5 with the best box: the
    prediction covers a part of the object), ``more`` (IoG >= 0.7: it covers more than the object), ``other``.

    Args:
        boxes: ``(n, k, 4)``, half-open edges; NaN where there is no prediction.
        ground_truth: ``(m, 4)``, half-open edges of the boxes of all images in turn.
        starts: ``(n,)``, index of the first box of each image.
        right: bool ``(n, k)``, whether the predicted class is the image's.
        delta: IoU from which on a box is a hit.
        strict: Whether the IoU of a hit must be above delta.

    Returns:
        float64 ``(n, k)``, the IoU with the best ground-truth box, 0 without a prediction; and str ``(n, k)``, one of
        ``ERROR_TYPES``, or ``none`` without a prediction. NaN and ``empty`` for an image without ground-truth boxes,
        which has no object to be wrong about.
    """
    ious, codes = np.zeros(right.shape), np.empty(right.shape, np.int64)
    _compare(
        np.ascontiguousarray(boxes, np.float64),
        ground_truth,
        np.append(starts, len(ground_truth)),
        right,
        delta,
        strict,
        ious,
        codes,
    )
    errors = np.array([*ERROR_TYPES, "none"], object)[codes]
    empty = np.diff(starts, append=len(ground_truth)) == 0
    ious[empty], errors[empty] = np.nan, EMPTY
    return ious, errors


_CLASS, _CORRECT, _MULTI, _PART, _MORE, _OTHER, _NONE = range(len(ERROR_TYPES) + 1)


@jit
def _compare(
    boxes: NDArray[np.float64],
    ground_truth: NDArray[np.float64],
    starts: NDArray[np.int64],
    right: NDArray[np.bool_],
    delta: float,
    strict: bool,
    ious: NDArray[np.float64],
    codes: NDArray[np.int64],
) -> None:
    limit = np.float32(delta)  # IoUs are compared in single precision, as in ``are_hits``
    for i in range(boxes.shape[0]):
        for k in range(boxes.shape[1]):
            x0, y0, x1, y1 = boxes[i, k]
            if np.isnan(x0):
                codes[i, k] = _NONE
                continue
            area = (x1 - x0) * (y1 - y0)
            best, shared, best_area, covered = -1.0, 0.0, 0.0, 0
            for j in range(starts[i], starts[i + 1]):
                left, top, right_edge, bottom = ground_truth[j]
                width, height = min(x1, right_edge) - max(x0, left), min(y1, bottom) - max(y0, top)
                intersection = max(width, 0.0) * max(height, 0.0)
                true_area = (right_edge - left) * (bottom - top)
                union = area + true_area - intersection
                iou = intersection / union if union > 0 else 0.0
                covered += true_area > 0 and intersection / true_area > 0.3
                if iou > best:
                    best, shared, best_area = iou, intersection, true_area
            ious[i, k] = best
            if not right[i, k]:
                codes[i, k] = _CLASS
            elif np.float32(best) > limit if strict else np.float32(best) >= limit:
                codes[i, k] = _CORRECT
            elif covered >= 2:
                codes[i, k] = _MULTI
            elif shared > 0.5 * area:  # both are 0 for an empty box
                codes[i, k] = _PART
            elif best_area > 0 and shared / best_area >= 0.7:
                codes[i, k] = _MORE
            else:
                codes[i, k] = _OTHER


def error_table(types: NDArray[np.str_], own_hits: NDArray[np.bool_], bootstrap: int = RESAMPLES) -> pd.DataFrame:
    """Count the error types, and compute the gain from fixing each.

    After Bolya et al., "TIDE: A General Toolbox for Identifying Object Detection Errors", ECCV 2020, section 2.3: one
    error type is fixed in every image that has it, everything else is left unchanged, and the change of the error rate
    is its cost. A wrong class is replaced by the right one, with the box of that class's map; a wrong box by a right
    one.

    Args:
        types: str ``(n,)``, the type of each image's first prediction.
        own_hits: bool ``(n,)``, whether the box of the ground-truth class's map is right.
        bootstrap: 0 for no intervals, whose ends are then NaN.

    Returns:
        error, n, share (percent of the images) and gain (percentage points by which top-1 localization error would
        fall), each with its 95 % Wilson interval.
    """
    rows = []
    for name in ERROR_TYPES:
        has_type = types == name
        gains = has_type & own_hits if name == "class" else has_type & (name != "correct")
        pair = np.stack([has_type, gains], 1).mean(0)
        share, gain = 100 * pair
        ends = wilson_ends(pair, len(types)) if bootstrap else np.full((2, 2), np.nan)
        (low, gain_low), (high, gain_high) = 100 * ends
        rows.append([name, int(has_type.sum()), share, low, high, gain, gain_low, gain_high])
    columns = ["error", "n", "share", "share_low", "share_high", "gain", "gain_low", "gain_high"]
    return pd.DataFrame(rows, columns=columns)
