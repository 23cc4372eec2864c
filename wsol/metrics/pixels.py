"""Masks: how well do the scores tell the object's pixels from the others?"""

import numpy as np
from numpy.typing import NDArray

from wsol.metrics.base import LocalizationStats, Metric, register


def average_precision(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the area under the precision-recall curve of pixels pooled over images.

    PxAP (Choe et al., "Evaluating Weakly Supervised Object Localization Methods Right", CVPR 2020, section 4.1):
    ``sum_k P_k (R_k - R_{k-1})`` over the taus from the highest down, a pixel counting as foreground where its score
    reaches tau. Taus that no pixel reaches are skipped.

    Args:
        shares: ``(..., 2 * bins)``, foreground and background pixels in turn, by score in ascending order, to any
            common scale.

    Returns:
        ``(...)`` in [0, 1]; NaN where there is no foreground.
    """
    found = np.cumsum(shares.reshape(*shares.shape[:-1], -1, 2)[..., ::-1, :], axis=-2)
    hits, reached = found[..., 0], found.sum(-1)
    precision = np.divide(hits, reached, out=np.zeros_like(hits), where=reached > 0)
    with np.errstate(invalid="ignore"):
        recall = hits / hits[..., -1:]
    area: NDArray[np.float64] = (precision * np.diff(recall, axis=-1, prepend=0)).sum(-1)
    return area


def pixel_iou(evidence: LocalizationStats) -> NDArray[np.float64]:
    """Return the IoU of the pixels whose score reaches tau with the object's, ``(n, levels)``; 1 where neither is any.

    Ignored pixels have no part in it. Its oracle value is the peak IoU (Zhang et al., "Rethinking Localization Map",
    2020), here of the mean over images.
    """
    assert evidence.pixels is not None
    reached = np.cumsum(evidence.pixels[:, ::-1].astype(np.int64), axis=1)[:, ::-1]
    union = reached[:, :1, 0] + reached[..., 1]
    every = np.divide(reached[..., 0], union, out=np.ones(union.shape), where=union > 0)
    ious: NDArray[np.float64] = every[:, : evidence.curves.shape[1]]
    return ious


def _flat(evidence: LocalizationStats) -> NDArray[np.uint32]:
    assert evidence.pixels is not None
    return evidence.pixels.reshape(len(evidence.pixels), -1)


register(Metric("pxap", _flat, rules=(), needs=("pixels",), aggregate=average_precision))
register(Metric("pixel_iou", pixel_iou, needs=("pixels",)))
register(Metric("peak_iou", pixel_iou, rules=("oracle",), needs=("pixels",)))
# Over all thresholds: no choice of tau enters.
register(Metric("mean_pixel_iou", lambda e: pixel_iou(e).mean(1), rules=(), needs=("pixels",)))
