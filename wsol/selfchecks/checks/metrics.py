"""Metrics of five images at three taus, and intervals, by hand."""

import numpy as np
from numpy.typing import NDArray

from wsol.metrics.base import LocalizationStats
from wsol.metrics.bootstrap import intervals, resampled_means
from wsol.metrics.error_types import error_type
from wsol.metrics.summary import summarize
from wsol.selfchecks.expect import Checks, assert_close, assert_equal, by_name

_TAUS = np.array([0, 0.25, 0.5])
_CURVES = [[0.8, 0.6, 0.2], [0.55, 0.45, 0.5], [0.3, 0.5, 0.7], [0.1, 0.4, 0.9], [0.45, 0.75, 0.3]]
# Hits at 0.5: images 0, 1 at tau 0; 0, 2, 4 at 0.25; 1, 2, 3 at 0.5.
_CONTOURS = [[0.8, 0.6, 0.25], [0.55, 0.45, 0.5], [0.35, 0.5, 0.75], [0.1, 0.4, 0.9], [0.45, 0.75, 0.35]]
_LABELS = [0, 0, 1, 1, 1]
_RANKS = [1, 2, 1, 0, 1]

# (metric, rule): percent and tau, NaN where there is none. The fixed tau is 0.5.
_BY_HAND = {
    ("top1_cls_err", ""): (40, np.nan),  # images 1 and 3
    ("top5_cls_err", ""): (20, np.nan),
    ("gt_known_loc_acc", "fixed"): (60, 0.5),
    ("gt_known_loc_acc", "val"): (40, 0),  # where the validation images are best: images 0 and 1
    ("top1_loc_err", "val"): (80, 0),  # image 0
    ("max_box_acc", "oracle"): (60, 0.25),  # as much at 0.5: the smaller tau
    ("mean_iou", "fixed"): (52, 0.5),
    ("mean_iou", "oracle"): (54, 0.25),
    ("corloc", "fixed"): (100 * (1 / 2 + 2 / 3) / 2, 0.5),
    ("top1_loc_err", "fixed"): (80, 0.5),  # image 2 alone is right in both
    ("top1_loc_err", "oracle"): (40, 0.25),
    ("top5_loc_err", "fixed"): (60, 0.5),  # image 1 too
    ("max_box_acc_v2_30", "oracle"): (100, 0.25),
    ("max_box_acc_v2_50", "oracle"): (60, 0.25),
    ("max_box_acc_v2_70", "oracle"): (40, 0.5),  # images 2 and 3
    ("max_box_acc_v2", "oracle"): (100 * (1 + 0.6 + 0.4) / 3, np.nan),
}

# How often each of eight images is drawn in resamples 0 and 999, RandomState([0, resample]).randint(0, 8, 8) of NumPy.
DRAWN = [[1, 3, 1, 0, 0, 2, 1, 0], [2, 0, 1, 0, 1, 1, 1, 2]]


def _metrics() -> None:
    curves, contours = np.array(_CURVES, np.float32), np.array(_CONTOURS, np.float32)
    evidence = LocalizationStats(curves, 0.5, np.array(_LABELS), np.array(_RANKS), contours=contours)
    validation = LocalizationStats(
        np.array([[0.9, 0.1, 0.1], [0.8, 0.2, 0.1]], np.float32), 0.5, np.array([0, 1]), np.array([1, 1])
    )
    found = by_name(summarize(evidence, _TAUS, 0.5, validation))
    for (metric, rule), (value, tau) in _BY_HAND.items():
        name = f"{metric} {rule}".strip()
        row = found.get((metric, rule), (np.nan, np.nan))
        assert_close(row[0], value, 1e-4, name)
        assert_equal(str(row[1]), str(float(tau)), f"the tau of {name}")


def _error_types() -> None:
    whole, halves = [(0, 0, 100, 100)], [(0, 0, 40, 100), (60, 0, 100, 100)]
    cases = [
        ("class", (0, 0, 100, 100), whole, False),
        ("correct", (0, 0, 100, 50), whole, True),  # IoU 0.5
        ("multi", (0, 0, 100, 100), halves, True),  # IoU 0.4 with either, all of both
        ("part", (10, 10, 40, 40), whole, True),
        ("more", (0, 0, 100, 100), [(0, 0, 50, 50)], True),
        ("other", (60, 60, 160, 160), whole, True),
    ]
    for name, box, truth, right in cases:
        assert_equal(error_type(np.array(box, float), np.array(truth, float), right, 0.5), name, "the type")


def _ends(values: NDArray[np.floating]) -> NDArray[np.float64]:
    return intervals(resampled_means(values[:, None]))[:, 0]


def _intervals() -> None:
    assert_close(intervals(np.arange(1001.0)[:, None])[:, 0], (25, 975), 1e-9, "the percentiles of 0 to 1000")
    assert_close(_ends(np.ones(7)), (1, 1), 1e-6, "the interval of seven ones")
    assert_close(
        _ends(np.array([0.0, 1])), (0, 1), 0, "the interval of 0 and 1"
    )  # a quarter of the resamples have one alone
    # 200 of 400: 0.5 -+ 1.96 sqrt(0.25 / 400), to within what 1,000 resamples leave open
    assert_close(_ends(np.arange(400) % 2.0), (0.451, 0.549), 0.0075, "the interval of 200 in 400")


def _resamples() -> None:
    """The resamples are a part of every interval: they follow from NumPy's frozen stream of random numbers."""
    counts = resampled_means(np.eye(8))[[0, 999]] * 8
    assert_close(counts, DRAWN, 1e-5, "how often each of eight images is drawn:")


CHECKS: Checks = {
    "metrics: five images by hand": _metrics,
    "metrics: error types by hand": _error_types,
    "intervals: known ends": _intervals,
    "intervals: the resamples are the published ones": _resamples,
}
