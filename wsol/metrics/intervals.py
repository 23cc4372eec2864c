"""The 95 % interval of each metric: closed forms for proportions, percentiles of resamples for everything else.

``results/coverage`` has the measured coverage of each kind and of the alternatives.
"""

from statistics import NormalDist
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wsol.metrics.base import Metric
from wsol.metrics.bootstrap import intervals

IntervalKind = Literal["wilson", "class-wilson", "percentile"]
INTERVAL_KINDS: tuple[IntervalKind, ...] = ("wilson", "class-wilson", "percentile")

COVERAGE = 0.95
OPTIMISM_SHIFT = 0.75
"""The share of its optimism by which the interval of an oracle number is moved.

The number exceeds the population value by half of its optimism where the curve over tau has one clear peak, by all of
it where the curve is flat.
"""

_Z = NormalDist().inv_cdf((1 + COVERAGE) / 2)


class Interval(NamedTuple):
    """An interval of a metric in [0, 1]; NaN where there is none."""

    kind: IntervalKind | None
    low: float
    high: float


NO_INTERVAL = Interval(None, np.nan, np.nan)


def interval_kind(metric: Metric, values: NDArray[np.generic]) -> IntervalKind:
    """Return the kind of a metric's interval.

    Args:
        metric: The metric.
        values: Its values of the images at the threshold.

    Returns:
        ``class-wilson`` for a mean over classes; ``wilson`` for a plain proportion, whose values are bool;
        ``percentile`` for other means and for functions of means.
    """
    if metric.by_class:
        return "class-wilson"
    return "wilson" if values.dtype == np.bool_ and not metric.aggregate else "percentile"


def find_interval(
    metric: Metric,
    value: float,
    values: NDArray[np.generic],
    labels: NDArray[np.int64],
    draws: NDArray[np.float64],
    optimism: float = 0.0,
) -> Interval:
    """Return the 95 % interval of a metric.

    Args:
        metric: The metric.
        value: Its value on all images, in [0, 1].
        values: Its values of the images at the threshold, ``(n,)``, or ``(n, k)`` for a function of means.
        labels: ``(n,)``, the classes.
        draws: ``(resamples,)``, its value in each resample at the threshold of all images.
        optimism: Optimism of the choice of this threshold, in [0, 1]; 0 if it was not chosen on these images.

    Returns:
        The interval, inside [0, 1], for the expected value over all images that could have been drawn; for an oracle
        number, at the threshold that is best for these. It is moved by ``OPTIMISM_SHIFT`` of the optimism towards worse
        values, but always contains ``value``.
    """
    kind = interval_kind(metric, values)
    if kind == "percentile":
        ends = intervals(draws[:, None], COVERAGE)[:, 0]
    else:
        ends = wilson_ends(value, effective_size(values, labels) if kind == "class-wilson" else len(values))
    return bound_interval(kind, metric, value, ends, optimism)


def bound_interval(
    kind: IntervalKind, metric: Metric, value: float, ends: NDArray[np.float64], optimism: float
) -> Interval:
    """Return an interval moved by ``OPTIMISM_SHIFT`` of the optimism, inside [0, 1] and not without the value.

    Args:
        kind: Its kind.
        metric: The metric.
        value: Its value on all images, in [0, 1].
        ends: The lower and the upper end.
        optimism: As for ``find_interval``.
    """
    shift = OPTIMISM_SHIFT * optimism * (-1 if metric.better == "higher" else 1)
    low, high = np.clip(ends + shift, 0, 1).tolist()
    return Interval(kind, min(low, value), max(high, value))


def wilson_ends(share: Any, n: Any) -> NDArray[np.float64]:
    """Return the 95 % Wilson intervals of proportions.

    Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", JASA 1927, with the quantile
    z = 1.96 of the normal distribution:
    ``(p + z^2 / 2n -+ z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)``.

    Args:
        share: The proportions p in [0, 1], a number or an array.
        n: The numbers of images, of the same shape or a number; positive, not necessarily whole.

    Returns:
        ``(2, ...)``, the lower and the upper ends in [0, 1]; exactly 0 and 1 where the proportion is.
    """
    p, size = np.broadcast_arrays(np.asarray(share, np.float64), np.asarray(n, np.float64))
    middle = p + _Z**2 / (2 * size)
    half = _Z * np.sqrt(p * (1 - p) / size + (_Z / (2 * size)) ** 2)
    ends = np.stack([middle - half, middle + half]) / (1 + _Z**2 / size)
    ends[0] = np.where(p == 0, 0, np.clip(ends[0], 0, p))
    ends[1] = np.where(p == 1, 1, np.clip(ends[1], p, 1))
    return ends


def effective_size(values: NDArray[np.generic], labels: NDArray[np.int64]) -> float:
    """Return the number of images whose plain proportion varies as much as a mean over classes.

    It is ``p (1 - p) / V`` (Korn & Graubard, "Confidence Intervals for Proportions with Small Expected Number of
    Positive Counts Estimated from Survey Data", Survey Methodology 1998). The classes are given, so V is the mean of
    the variances of the class means divided by their number. An image that is alone in its class is compared with the
    mean over classes, which makes the interval rather too wide than too narrow.

    Args:
        values: ``(n,)``, values in [0, 1].
        labels: ``(n,)``, the classes.

    Returns:
        The number, positive; where V is 0, that of equally variable images with the same weights.
    """
    _, class_index, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    numbers = values.astype(np.float64)
    means = np.bincount(class_index, numbers) / sizes
    mean = float(means.mean())
    center = np.where(sizes > 1, means, mean)[class_index]
    factor = np.where(sizes > 1, sizes / np.maximum(sizes - 1, 1), 1)[class_index]
    weights = 1 / (len(sizes) * sizes[class_index])
    variance = float((factor * (weights * (numbers - center)) ** 2).sum())
    return mean * (1 - mean) / variance if variance > 0 and 0 < mean < 1 else float(1 / (weights**2).sum())
