"""Attributions: how much of the score map is on the object? Computed from the map itself, without a threshold.

The *region* is the object in the protocol's frame: its mask, or the union of its ground-truth boxes. An image whose
region has no pixel is left out of a mean, and of the AUC also one whose region has all of them.
"""

import numpy as np
from numpy.typing import NDArray

from wsol.metrics.base import METRICS, LocalizationStats

COLUMNS = ("energy", "mass", "rank", "top_k", "auc", "near")
"""Columns of ``LocalizationStats.attribution``."""

TOP_K = 1000
"""Pixels that the top-k intersection takes."""

TOLERANCE = 15
"""Distance in pixels of the protocol's frame within which the pointing game with tolerance counts a hit."""


def attribution_values(
    prepared: NDArray[np.floating],
    relevance: NDArray[np.floating],
    region: NDArray[np.bool_],
    counted: NDArray[np.bool_],
    peak: tuple[int, int] | None = None,
) -> NDArray[np.float32]:
    """Compare a score map with the region of the object.

    Args:
        prepared: ``(h, w)``, the map as the protocol normalizes it.
        relevance: ``(h, w)``, the raw map in the protocol's frame, with its signs, up to a positive factor.
        region: bool ``(h, w)``, pixels of the object.
        counted: bool ``(h, w)``, pixels that count, those of the region among them.
        peak: Row and column of the highest pixel; None for the first in raster order.

    Returns:
        float32 ``(6,)``, the ``COLUMNS``, each in [0, 1]; NaN where it is undefined.
    """
    inside, values = region[counted], prepared[counted]
    size = int(inside.sum())
    if not size:
        return np.array([*[np.nan] * (len(COLUMNS) - 1), 0], np.float32)
    numbers = (
        _positive_share(values, inside),
        _positive_share(relevance[counted], inside),
        _share_of_highest(values, inside, size),
        _share_of_highest(values, inside, min(TOP_K, len(values))),
        _roc_auc(values, inside),
        _is_near(prepared, region, peak),
    )
    return np.array(numbers, np.float32)


def _positive_share(values: NDArray[np.floating], inside: NDArray[np.bool_]) -> float:
    """Return the share of the sum of positive values that is inside; 0 without a positive value."""
    positive = np.maximum(values, 0).astype(np.float64)
    total = float(positive.sum())
    return min(1.0, float(positive[inside].sum()) / total) if total > 0 else 0.0


def _share_of_highest(values: NDArray[np.floating], inside: NDArray[np.bool_], k: int) -> float:
    """Return the share of the ``k`` highest values that is inside: its mean over all orders of equal values."""
    lowest = np.partition(values, len(values) - k)[len(values) - k]
    above, equal = values > lowest, values == lowest
    missing = (k - int(above.sum())) / int(equal.sum())
    return float((above & inside).sum() + missing * (equal & inside).sum()) / k


def _roc_auc(values: NDArray[np.floating], inside: NDArray[np.bool_]) -> float:
    """Return the area under the ROC curve, as the Mann-Whitney statistic; NaN if all or no values are inside."""
    own, others = np.sort(values[inside]), np.sort(values[~inside])
    if not len(own) or not len(others):
        return float("nan")
    lower, not_higher = (int(np.searchsorted(others, own, side).sum()) for side in ("left", "right"))
    return (lower + not_higher) / (2 * len(own) * len(others))


def _is_near(score_map: NDArray[np.floating], region: NDArray[np.bool_], peak: tuple[int, int] | None) -> bool:
    """Return whether the region has a pixel nearer than ``TOLERANCE`` to the peak; false without a positive value."""
    highest = int(score_map.argmax())
    if not score_map.flat[highest] > 0:
        return False
    row, column = divmod(highest, score_map.shape[1]) if peak is None else peak
    top, left = max(0, row - TOLERANCE), max(0, column - TOLERANCE)
    rows, columns = np.nonzero(region[top : row + TOLERANCE + 1, left : column + TOLERANCE + 1])
    return bool(((rows + top - row) ** 2 + (columns + left - column) ** 2 < TOLERANCE**2).any())


def mean_where_defined(means: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean over the images that have a value.

    Args:
        means: ``(..., 2)``, means over images of the value, 0 where there is none, and of whether there is one.

    Returns:
        ``(...)``; NaN if no image has a value.
    """
    total, share = means[..., 0], means[..., 1]
    defined: NDArray[np.float64] = np.divide(total, share, out=np.full(share.shape, np.nan), where=share > 0)
    return defined


def _column(stats: LocalizationStats, name: str) -> NDArray[np.float32]:
    assert stats.attribution is not None
    return stats.attribution[:, COLUMNS.index(name)]


def _with_defined(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return values, 0 for NaN, and whether they are not NaN, ``(n, 2)``."""
    return np.stack([np.nan_to_num(values), ~np.isnan(values)], 1).astype(np.float32)


@METRICS.register(
    "energy_pointing_game",
    title="energy-based pointing game",
    rules=(),
    needs=("attribution",),
    aggregate=mean_where_defined,
    row=140,
)
def energy_inside(stats: LocalizationStats) -> NDArray[np.float32]:
    """Return the share of the sum of the prepared map that is in the region, and whether it is defined, ``(n, 2)``.

    ``sum_(region) m / sum m`` (Wang et al., "Score-CAM", CVPR workshops 2020), of the min-max normalized map and a
    bounding box; here the map as the protocol normalizes it, and the mask where there is one.
    Negative values of a protocol that keeps them count as zero. A constant map has the value 0.
    """
    return _with_defined(_column(stats, "energy"))


@METRICS.register(
    "relevance_mass_accuracy",
    title="relevance mass accuracy",
    rules=(),
    needs=("attribution",),
    aggregate=mean_where_defined,
    row=150,
)
def mass_inside(stats: LocalizationStats) -> NDArray[np.float32]:
    """Return the share of the positive relevance that is in the region, and whether it is defined, ``(n, 2)``.

    ``sum_(region) max(r, 0) / sum max(r, 0)`` (Arras et al., "CLEVR-XAI", Information Fusion 2022), where r is the
    raw map, not normalized, resized to the frame by the protocol's interpolation. It is 0 without positive
    relevance. Quantus 0.6 adds up the values with their signs, so it agrees on maps without negative ones.
    """
    return _with_defined(_column(stats, "mass"))


@METRICS.register(
    "relevance_rank_accuracy",
    title="relevance rank accuracy",
    rules=(),
    needs=("attribution",),
    aggregate=mean_where_defined,
    row=160,
)
def ranks_inside(stats: LocalizationStats) -> NDArray[np.float32]:
    """Return the share of the K highest pixels in the region, which has K, and whether it is defined, ``(n, 2)``.

    Arras et al., "CLEVR-XAI", Information Fusion 2022. Of pixels that are equal at the K-th place, the share that is in
    the region counts: the mean over all orders of them. Quantus 0.6 takes them in the order of its sort.
    """
    return _with_defined(_column(stats, "rank"))


@METRICS.register(
    "top_k_intersection",
    title=f"top-{TOP_K} intersection",
    rules=(),
    needs=("attribution",),
    aggregate=mean_where_defined,
    row=170,
)
def top_k_inside(stats: LocalizationStats) -> NDArray[np.float32]:
    """Return the share of the 1,000 highest pixels in the region, and whether it is defined, ``(n, 2)``.

    Theiner et al., "Interpretable Semantic Photo Geolocation", WACV 2022; all pixels, if the frame has
    fewer. Equal pixels as for ``ranks_inside``.
    """
    return _with_defined(_column(stats, "top_k"))


@METRICS.register(
    "pixel_auc",
    title="pixel ROC AUC",
    rules=(),
    needs=("attribution",),
    aggregate=mean_where_defined,
    row=180,
)
def pixel_auc(stats: LocalizationStats) -> NDArray[np.float32]:
    """Return the area under the ROC curve of the pixels of each image, and whether it is defined, ``(n, 2)``.

    The probability that a pixel of the region has a higher score than another pixel, where equal scores count half
    (Fawcett, "An introduction to ROC analysis", 2006), as Quantus and scikit-learn have it. A constant map has 0.5. It
    is the mean over images, unlike PxAP, which pools the pixels of all.
    """
    return _with_defined(_column(stats, "auc"))


@METRICS.register(
    "pointing_game_15", title=f"pointing game within {TOLERANCE} px", rules=(), needs=("attribution",), row=190
)
@METRICS.register(
    "pointing_game_15_classes",
    title="mean over classes",
    rules=(),
    needs=("attribution",),
    by_class=True,
    part_of="pointing_game_15",
)
def peaks_near(stats: LocalizationStats) -> NDArray[np.bool_]:
    """Return whether the region has a pixel nearer than 15 pixels to the map's highest one, bool ``(n,)``.

    The pointing game with the margin of Zhang et al., "Top-down Neural Attention by Excitation Backprop", ECCV 2016, as
    TorchRay counts it: pixel centers nearer than 15 pixels, in the frame of the protocol (TorchRay: in the image), and
    the mean over classes. The first of equal pixels is the highest; a constant map has none. TorchRay's "difficult"
    subsets of VOC 2007 and COCO 2014 are lists of images, which are not part of this package.
    """
    return _column(stats, "near") > 0
