"""Localization: is the box right, and is the class?"""

from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from wsol.metrics.base import Evidence, Metric, register


def localization_error(evidence: Evidence, k: int) -> NDArray[np.bool_]:
    """Says where none of ``k`` guesses is right, bool ``(n, levels)``.

    A guess is a predicted class with the box of its own map. It is right if the class is the image's and the IoU
    reaches delta (Russakovsky et al., "ImageNet Large Scale Visual Recognition Challenge", IJCV 2015, section 4.2), so
    the guess of the ground-truth class decides, and its box is the one that the curve was taken from.
    """
    guessed = (evidence.ranks >= 1) & (evidence.ranks <= k)
    return ~(guessed[:, None] & evidence.hits)


register(Metric("top1_loc_err", lambda e: localization_error(e, 1), better="lower"))
register(Metric("top5_loc_err", lambda e: localization_error(e, 5), better="lower"))
# The ground-truth class is given: only the box counts. MaxBoxAcc (Choe et al., CVPR 2020, eq. 3) is its oracle value.
register(Metric("gt_known_loc_acc", lambda e: e.hits))
register(Metric("max_box_acc", lambda e: e.hits, rules=("oracle",)))


def contour_hits(evidence: Evidence, deltas: Sequence[float]) -> NDArray[np.bool_]:
    """Says whether any contour's box reaches each delta, bool ``(n, levels, deltas)``.

    MaxBoxAccV2 (Choe et al., "Evaluation for Weakly Supervised Object Localization", TPAMI 2022, section 5) is the mean
    over delta in {0.3, 0.5, 0.7} of the best hit rate over thresholds, each delta with a threshold of its own.
    """
    assert evidence.contours is not None
    return evidence.contours[:, :, None] >= np.array(deltas, np.float32)


for _name, _deltas in (("", (0.3, 0.5, 0.7)), ("_30", (0.3,)), ("_50", (0.5,)), ("_70", (0.7,))):
    _hits = partial(contour_hits, deltas=_deltas)
    register(Metric(f"max_box_acc_v2{_name}", _hits, rules=("oracle",), contours=True))
register(Metric("mean_iou", lambda e: e.curves))
