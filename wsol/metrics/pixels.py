"""Masks: how well do the scores separate the pixels of the object from the others?"""

import numpy as np
from numpy.typing import NDArray

from wsol.metrics.base import METRICS, LocalizationStats


def average_precision(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the area under the precision-recall curve of pixels pooled over images.

    PxAP (Choe et al., "Evaluating Weakly Supervised Object Localization Methods Right", CVPR 2020, section 4.1):
    ``sum_k P_k (R_k - R_{k-1})`` over the taus in descending order; a pixel counts as foreground if its score reaches
    tau. Taus that no pixel reaches are skipped. An image that shows no object adds background pixels.

    Args:
        shares: ``(..., 2 * bins)``, foreground and background pixels in turn, by score in ascending order, in any
            common unit.

    Returns:
        ``(...)`` in [0, 1]; NaN where there is no foreground.
    """
    counts = np.cumsum(shares.reshape(*shares.shape[:-1], -1, 2)[..., ::-1, :], axis=-2)
    hits, reached = counts[..., 0], counts.sum(-1)
    precision = np.divide(hits, reached, out=np.zeros_like(hits), where=reached > 0)
    with np.errstate(invalid="ignore"):
        recall = hits / hits[..., -1:]
    area: NDArray[np.float64] = (precision * np.diff(recall, axis=-1, prepend=0)).sum(-1)
    return area


@METRICS.register(
    "pxap",
    title="PxAP",
    rules=(),
    needs=("pixels",),
    aggregate=average_precision,
    row=110,
    headline=5,
    counts_empty=True,
)
def pixels_by_score(stats: LocalizationStats) -> NDArray[np.uint32]:
    """Return foreground and background pixels in turn, by score in ascending order, uint32 ``(n, 2 * bins)``."""
    assert stats.pixels is not None
    return stats.pixels.reshape(len(stats.pixels), -1)


@METRICS.register("pixel_iou", title="mean IoU of pixels", needs=("pixels",), row=130, counts_empty=True)
@METRICS.register(
    "peak_iou", title="peak IoU of pixels", rules=("oracle",), needs=("pixels",), row=120, counts_empty=True
)
def pixel_iou(stats: LocalizationStats) -> NDArray[np.float64]:
    """Return the IoU of the pixels whose score reaches tau with the object's, ``(n, taus)``; 1 if both are empty.

    Ignored pixels are not counted. An image that shows no object has 0 where any of its pixels reaches tau, as in every
    normalized map. The oracle value is the peak IoU (Zhang et al., "Rethinking Localization Map", 2020), here of the
    mean over images.
    """
    assert stats.pixels is not None
    reached = np.cumsum(stats.pixels[:, ::-1].astype(np.int64), axis=1)[:, ::-1]
    union = reached[:, :1, 0] + reached[..., 1]
    all_ious = np.divide(reached[..., 0], union, out=np.ones(union.shape), where=union > 0)
    ious: NDArray[np.float64] = all_ious[:, : stats.curves.shape[1]]
    return ious


@METRICS.register(
    "mean_pixel_iou", title="over all thresholds", rules=(), needs=("pixels",), part_of="pixel_iou", counts_empty=True
)
def mean_pixel_iou(stats: LocalizationStats) -> NDArray[np.float64]:
    """Return the mean over all taus of ``pixel_iou``, ``(n,)``: no choice of tau enters."""
    means: NDArray[np.float64] = pixel_iou(stats).mean(1)
    return means
