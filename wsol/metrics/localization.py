"""Localization: is the box right, and is the class?"""

from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from wsol.metrics.base import LocalizationStats, Metric, register


def localization_error(evidence: LocalizationStats, k: int) -> NDArray[np.bool_]:
    """Return where none of ``k`` guesses is right, bool ``(n, levels)``.

    A guess is a predicted class with the box of its own map. It is right if the class is the image's and the IoU
    reaches delta (Russakovsky et al., "ImageNet Large Scale Visual Recognition Challenge", IJCV 2015, section 4.2), so
    the guess of the ground-truth class decides, and its box is the one that the curve was taken from.
    """
    return ~(_guessed(evidence, 1, k) & evidence.hits)


def localization_error_of_pairs(evidence: LocalizationStats) -> NDArray[np.bool_]:
    """Return where none of five guesses is right that are two boxes for the first two classes and one for the third.

    Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016, section 3.2 (the heuristics).
    """
    assert evidence.second is not None
    either = evidence.hits | (evidence.second >= np.float32(evidence.delta))
    return ~(_guessed(evidence, 1, 2) & either | _guessed(evidence, 3, 3) & evidence.hits)


def contour_hits(evidence: LocalizationStats, deltas: Sequence[float]) -> NDArray[np.bool_]:
    """Return whether any contour's box reaches each delta, bool ``(n, levels, deltas)``.

    MaxBoxAccV2 (Choe et al., "Evaluation for Weakly Supervised Object Localization", TPAMI 2022, section 5) is the mean
    over delta in {0.3, 0.5, 0.7} of the best hit rate over thresholds, each delta with a threshold of its own.
    """
    assert evidence.contours is not None
    return evidence.contours[:, :, None] >= np.array(deltas, np.float32)


def peaks_inside(evidence: LocalizationStats) -> NDArray[np.bool_]:
    """Return whether the map's highest pixel lies in a ground-truth box, bool ``(n,)``.

    The pointing game (Zhang et al., "Top-down Neural Attention by Excitation Backprop", ECCV 2016, section 4.1), for
    the ground-truth class, over images, without a margin around the object.
    """
    assert evidence.peaks is not None
    return evidence.peaks


def _guessed(evidence: LocalizationStats, first: int, last: int) -> NDArray[np.bool_]:
    assert evidence.ranks is not None
    return ((evidence.ranks >= first) & (evidence.ranks <= last))[:, None]


register(Metric("top1_loc_err", lambda e: localization_error(e, 1), better="lower", needs=("ranks",)))
register(Metric("top5_loc_err", lambda e: localization_error(e, 5), better="lower", needs=("ranks",)))
register(Metric("top5_loc_err_pairs", localization_error_of_pairs, better="lower", needs=("ranks", "second")))
# The ground-truth class is given: only the box counts. MaxBoxAcc (Choe et al., CVPR 2020, eq. 3) is its oracle value.
register(Metric("gt_known_loc_acc", lambda e: e.hits))
register(Metric("max_box_acc", lambda e: e.hits, rules=("oracle",)))
# CorLoc (Deselaers et al., "Weakly Supervised Localization and Learning with Generic Knowledge", IJCV 2012, section 5):
# the mean over classes of the share of their images with a right box.
register(Metric("corloc", lambda e: e.hits, by_class=True))
for _name, _deltas in (("", (0.3, 0.5, 0.7)), ("_30", (0.3,)), ("_50", (0.5,)), ("_70", (0.7,))):
    _hits = partial(contour_hits, deltas=_deltas)
    register(Metric(f"max_box_acc_v2{_name}", _hits, rules=("oracle",), needs=("complete", "contours")))
register(Metric("mean_iou", lambda e: e.curves))
register(Metric("pointing_game", peaks_inside, rules=(), needs=("peaks",)))
