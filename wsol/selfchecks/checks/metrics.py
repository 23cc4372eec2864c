"""Metrics of five images at three taus, and intervals, worked out by hand."""

import numpy as np
from numpy.typing import NDArray

from wsol.metrics.base import LocalizationStats
from wsol.metrics.bootstrap import intervals, resampled_means
from wsol.metrics.error_types import compare_predictions
from wsol.metrics.summary import summarize
from wsol.selfchecks.expect import assert_close, assert_equal, index_metrics
from wsol.selfchecks.outcome import Checks

_TAUS = np.array([0, 0.25, 0.5])
_CURVES = [[0.8, 0.6, 0.2], [0.55, 0.45, 0.5], [0.3, 0.5, 0.7], [0.1, 0.4, 0.9], [0.45, 0.75, 0.3]]
# Hits at 0.5: images 0, 1 at tau 0; 0, 2, 4 at 0.25; 1, 2, 3 at 0.5.
_CONTOURS = [[0.8, 0.6, 0.25], [0.55, 0.45, 0.5], [0.35, 0.5, 0.75], [0.1, 0.4, 0.9], [0.45, 0.75, 0.35]]
_LABELS = [0, 0, 1, 1, 1]
_RANKS = [1, 2, 1, 0, 1]

# (metric, rule): percent and tau, NaN if there is none. The fixed tau is 0.5.
_BY_HAND = {
    ("top1_cls_err", ""): (40, np.nan),  # images 1 and 3
    ("top5_cls_err", ""): (20, np.nan),
    ("gt_known_loc_acc", "fixed"): (60, 0.5),
    ("gt_known_loc_acc", "val"): (40, 0),  # the best tau of the validation images; images 0 and 1
    ("top1_loc_err", "val"): (80, 0),  # image 0
    ("max_box_acc", "oracle"): (60, 0.25),  # the same at 0.5: ties go to the smaller tau
    ("mean_iou", "fixed"): (52, 0.5),
    ("mean_iou", "oracle"): (54, 0.25),
    ("corloc", "fixed"): (100 * (1 / 2 + 2 / 3) / 2, 0.5),
    ("top1_loc_err", "fixed"): (80, 0.5),  # only image 2 has a correct class and a hit
    ("top1_loc_err", "oracle"): (40, 0.25),
    ("top5_loc_err", "fixed"): (60, 0.5),  # image 1 too
    ("max_box_acc_v2_30", "oracle"): (100, 0.25),
    ("max_box_acc_v2_50", "oracle"): (60, 0.25),
    ("max_box_acc_v2_70", "oracle"): (40, 0.5),  # images 2 and 3
    ("max_box_acc_v2", "oracle"): (100 * (1 + 0.6 + 0.4) / 3, np.nan),
}

# How often each of eight images occurs in resamples 0 and 999, RandomState([0, resample]).randint(0, 8, 8) of NumPy.
DRAWN = [[1, 3, 1, 0, 0, 2, 1, 0], [2, 0, 1, 0, 1, 1, 1, 2]]


def _check_metrics() -> None:
    curves, contours = np.array(_CURVES, np.float32), np.array(_CONTOURS, np.float32)
    stats = LocalizationStats(curves, 0.5, np.array(_LABELS), np.array(_RANKS), contours=contours)
    validation = LocalizationStats(
        np.array([[0.9, 0.1, 0.1], [0.8, 0.2, 0.1]], np.float32), 0.5, np.array([0, 1]), np.array([1, 1])
    )
    found = index_metrics(summarize(stats, _TAUS, 0.5, validation))
    for (metric, rule), (value, tau) in _BY_HAND.items():
        name = f"{metric} {rule}".strip()
        row = found.get((metric, rule), (np.nan, np.nan))
        assert_close(row[0], value, 1e-4, name)
        assert_equal(str(row[1]), str(float(tau)), f"the tau of {name}")


def _check_error_types() -> None:
    full, halves = [(0, 0, 100, 100)], [(0, 0, 40, 100), (60, 0, 100, 100)]
    cases = [
        ("class", (0, 0, 100, 100), full, False),
        ("correct", (0, 0, 100, 50), full, True),  # IoU 0.5
        ("multi", (0, 0, 100, 100), halves, True),  # IoU 0.4 with each, covers both
        ("part", (10, 10, 40, 40), full, True),
        ("more", (0, 0, 100, 100), [(0, 0, 50, 50)], True),
        ("other", (60, 60, 160, 160), full, True),
    ]
    for name, box, truth, right in cases:
        arrays = np.array([[box]], float), np.array(truth, float), np.zeros(1, np.int64), np.array([[right]])
        assert_equal(str(compare_predictions(*arrays, 0.5)[1][0, 0]), name, "the type")


def _interval(values: NDArray[np.floating]) -> NDArray[np.float64]:
    return intervals(resampled_means(values[:, None]))[:, 0]


def _check_intervals() -> None:
    assert_close(intervals(np.arange(1001.0)[:, None])[:, 0], (25, 975), 1e-9, "the percentiles of 0 to 1000")
    assert_close(_interval(np.ones(7)), (1, 1), 1e-6, "the interval of seven ones")
    # A quarter of the resamples of 0 and 1 have only zeros, a quarter only ones.
    assert_close(_interval(np.array([0.0, 1])), (0, 1), 0, "the interval of 0 and 1")
    # 200 of 400: 0.5 -+ 1.96 sqrt(0.25 / 400), up to the error of 1,000 resamples
    assert_close(_interval(np.arange(400) % 2.0), (0.451, 0.549), 0.0075, "the interval of 200 in 400")


def _check_resamples() -> None:
    """Check the resamples of all intervals, which follow from NumPy's frozen stream of random numbers."""
    counts = resampled_means(np.eye(8))[[0, 999]] * 8
    assert_close(counts, DRAWN, 1e-5, "how often each of eight images occurs:")


CHECKS: Checks = {
    "metrics: five images by hand": _check_metrics,
    "metrics: error types by hand": _check_error_types,
    "intervals: known ends": _check_intervals,
    "intervals: the published resamples": _check_resamples,
}
