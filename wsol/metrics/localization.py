"""Localization: is the box right, and is the class?"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from wsol.metrics.base import METRICS, LocalizationStats, Metric
from wsol.metrics.hits import are_hits


def localization_error(stats: LocalizationStats, k: int) -> NDArray[np.bool_]:
    """Return whether none of the first ``k`` predictions is right, bool ``(n, taus)``.

    A prediction is a class with the box of that class's own map. It is right if the class is the image's and the IoU
    reaches delta (Russakovsky et al., "ImageNet Large Scale Visual Recognition Challenge", IJCV 2015, section 4.2), so
    only the prediction of the ground-truth class counts, and its box is the one that the curve is computed from. Where
    a protocol has one box for all predictions, it is that of the first one's map.
    """
    return ~(_has_rank(stats, 1, k) & stats.prediction_hits(k))


@METRICS.register(
    "top1_loc_err",
    title="top-1 localization error",
    short_title="top-1 loc. error",
    better="lower",
    needs=("ranks",),
    row=10,
    headline=1,
)
def top1_localization_error(stats: LocalizationStats) -> NDArray[np.bool_]:
    """Return whether the first prediction is wrong, bool ``(n, taus)``."""
    return localization_error(stats, 1)


@METRICS.register(
    "top5_loc_err",
    title="top-5 localization error",
    short_title="top-5 loc. error",
    better="lower",
    needs=("ranks", "top5", "guesses"),
    row=20,
    headline=2,
)
def top5_localization_error(stats: LocalizationStats) -> NDArray[np.bool_]:
    """Return whether all of the first five predictions are wrong, bool ``(n, taus)``."""
    return localization_error(stats, 5)


@METRICS.register(
    "top5_loc_err_pairs",
    title="with two boxes a class",
    better="lower",
    needs=("ranks", "top5", "guesses", "second"),
    part_of="top5_loc_err",
)
def localization_error_of_pairs(stats: LocalizationStats) -> NDArray[np.bool_]:
    """Return whether all of five boxes are wrong: two of each of the first two classes and one of the third.

    Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016, section 3.2 (the heuristics).
    """
    assert stats.second is not None
    hits = stats.prediction_hits(3)
    either = hits | are_hits(stats.second, stats.delta, stats.strict != "none")
    return ~(_has_rank(stats, 1, 2) & either | _has_rank(stats, 3, 3) & hits)


@METRICS.register("gt_known_loc_acc", title="GT-known accuracy", row=50, headline=3)
@METRICS.register("max_box_acc", title="MaxBoxAcc", rules=("oracle",), row=60)
@METRICS.register("corloc", title="CorLoc", by_class=True, row=90)
def box_hits(stats: LocalizationStats) -> NDArray[np.bool_]:
    """Return whether the box of the ground-truth class's own map reaches delta, bool ``(n, taus)``.

    The ground-truth class is given, so only the box counts: GT-known accuracy. MaxBoxAcc (Choe et al., CVPR 2020,
    eq. 3) is its oracle value. CorLoc (Deselaers et al., "Weakly Supervised Localization and Learning with Generic
    Knowledge", IJCV 2012, section 5) is the mean over classes of the share of their images with a right box.
    """
    return stats.hits


def contour_hits(stats: LocalizationStats, deltas: Sequence[float]) -> NDArray[np.bool_]:
    """Return whether the box of any contour reaches each delta, bool ``(n, taus, deltas)``.

    MaxBoxAccV2 (Choe et al., "Evaluation for Weakly Supervised Object Localization", TPAMI 2022, section 5) is the mean
    over delta in {0.3, 0.5, 0.7} of the best hit rate over thresholds; each delta has its own threshold.
    """
    assert stats.contours is not None
    return stats.contours[:, :, None] >= np.array(deltas, np.float32)


DELTAS = (0.3, 0.5, 0.7)
"""The deltas of MaxBoxAccV2."""

METRICS.register(
    "max_box_acc_v2", title="MaxBoxAccV2", rules=("oracle",), needs=("complete", "contours"), row=70, headline=4
)(partial(contour_hits, deltas=DELTAS))
for _delta in DELTAS:
    METRICS.register(
        f"max_box_acc_v2_{100 * _delta:.0f}",
        title=f"at IoU {_delta}",
        rules=("oracle",),
        needs=("complete", "contours"),
        part_of="max_box_acc_v2",
    )(partial(contour_hits, deltas=(_delta,)))


def metrics_at(deltas: Sequence[float]) -> list[Metric]:
    """Return the registered metrics, with those of contours at the given deltas.

    ``max_box_acc_v2_75`` is the metric at 0.75; ``max_box_acc_v2`` is left out where one of its deltas is.
    """
    registered = [METRICS.get(name) for name in METRICS.names()]
    parts = [metric for metric in registered if metric.part_of == "max_box_acc_v2"]
    dropped = {metric.name for metric in parts}
    if not {*DELTAS} <= {*deltas}:
        dropped.add("max_box_acc_v2")
    return [metric for metric in registered if metric.name not in dropped] + [
        replace(parts[0], name=f"max_box_acc_v2_{100 * delta:g}", per_image=partial(contour_hits, deltas=(delta,)))
        for delta in dict.fromkeys(deltas)
    ]


@METRICS.register("mean_iou", title="mean IoU", row=80)
def box_iou(stats: LocalizationStats) -> NDArray[np.float32]:
    """Return the IoU of the box of the ground-truth class's own map, float32 ``(n, taus)``."""
    return stats.curves


@METRICS.register("pointing_game", title="pointing game", rules=(), needs=("peaks",), row=100)
def peaks_inside(stats: LocalizationStats) -> NDArray[np.bool_]:
    """Return whether the map's highest pixel is in a ground-truth box, bool ``(n,)``.

    The pointing game (Zhang et al., "Top-down Neural Attention by Excitation Backprop", ECCV 2016, section 4.1), for
    the ground-truth class, over images, without a margin around the object.
    """
    assert stats.peaks is not None
    return stats.peaks


def _has_rank(stats: LocalizationStats, first: int, last: int) -> NDArray[np.bool_]:
    """Return whether the rank of the ground-truth class is in a range, bool ``(n, 1)``."""
    assert stats.ranks is not None
    return ((stats.ranks >= first) & (stats.ranks <= last))[:, None]
