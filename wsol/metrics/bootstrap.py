"""The percentile bootstrap over images: uncertainty of a number due to the choice of images."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsol.metrics import resampling
from wsol.metrics.percentiles import find_group_quantiles, find_quantiles
from wsol.metrics.resamples import RESAMPLES
from wsol.metrics.resampling import sum_by_class, sum_hits, sum_values, sum_weighted

CHUNK = 1 << 21  # numbers converted to floats at a time
_BLOCK = 8  # columns that are bounded together
_FEW = 3  # columns; for more, a product of matrices is faster
# Fractions are rounded to multiples of it, so that sums of 2^22 of them are exact in double precision.
_GRAIN = 2.0**-30


def intervals(draws: NDArray[np.float64], coverage: float = 0.95) -> NDArray[np.float64]:
    """Return the percentile intervals of resampled values.

    Efron, "Bootstrap Methods: Another Look at the Jackknife", Annals of Statistics 1979; the percentile method.

    Args:
        draws: ``(resamples, k)``; a resample with NaN is ignored, and if none remains the ends are NaN.
        coverage: Share of the draws inside the interval.

    Returns:
        ``(2, k)``, the lower and the upper ends.
    """
    return find_quantiles(draws[~np.isnan(draws).any(1)].T, _tails(coverage))


def group_intervals(
    values: NDArray[np.float64], groups: Sequence[NDArray[np.int64]], seed: int = 0
) -> NDArray[np.float64]:
    """Return the percentile intervals of the means over groups of images, where all images are resampled.

    Args:
        values: ``(n, k)``, numbers in [0, 1], which are rounded to 2^-30.
        groups: Indices of the images of each group, at least one group.
        seed: Seed of the resamples.

    Returns:
        ``(groups, k, 2)``, the ends; as the ``intervals`` of ``resampled_means_within``.
    """
    exact = _round_to_grain(values.copy())
    ends = np.cumsum([len(group) for group in groups])
    counts = _counts_by_image(len(values), seed)
    return find_group_quantiles(counts, exact, np.concatenate(groups), ends, _tails(0.95))


def resampled_means(values: NDArray[np.generic], seed: int = 0) -> NDArray[np.float64]:
    """Return the mean over images in every resample.

    The resamples depend only on the number of images and the seed: two runs on the same images have the same resamples,
    so the difference of their draws is paired. Every sum is exact, so its bits do not depend on the order of additions,
    which linear algebra libraries choose by processor and number of threads.

    Args:
        values: ``(n, k)``, a value for each image and, for example, threshold: bool, integers whose sum is below 2^52,
            or numbers in [0, 1], which are rounded to 2^-30.
        seed: Seed of the resamples.

    Returns:
        ``(RESAMPLES, k)``.
    """
    return _sum_exactly(_counts_by_image(len(values), seed), values) / len(values)


def best_resampled_means(values: NDArray[np.generic], seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the largest of the ``k`` means of ``resampled_means`` in every resample, and its column.

    Returns:
        The means, float64 ``(RESAMPLES,)``, and int64 ``(RESAMPLES,)``; of equal means, the first column.
    """
    counts = _counts_by_image(len(values), seed)
    columns = np.arange(values.shape[1])
    if np.issubdtype(values.dtype, np.floating):
        # No mean in a block of columns exceeds that of each image's largest value in it, so few blocks are looked into.
        reached = _sum_exactly(counts, values[:, [int(values.mean(0, dtype=np.float64).argmax())]])
        largest = values[:, ::_BLOCK].copy()
        for offset in range(1, min(_BLOCK, values.shape[1])):
            others = values[:, offset::_BLOCK]
            np.maximum(largest[:, : others.shape[1]], others, out=largest[:, : others.shape[1]])
        reaching = (_sum_exactly(counts, largest) >= reached).any(0)
        columns = np.flatnonzero(np.repeat(reaching, _BLOCK)[: values.shape[1]])
    sums = _sum_exactly(counts, values.take(columns, axis=1) if len(columns) < values.shape[1] else values)
    places = sums.argmax(1)
    best: NDArray[np.float64] = np.take_along_axis(sums, places[:, None], 1)[:, 0]
    return best / len(values), columns[places]


def resampled_means_within(
    values: NDArray[np.generic], members: NDArray[np.int64], n: int, seed: int = 0
) -> NDArray[np.float64]:
    """Return the mean over a subset of the images in every resample of all images.

    Args:
        values: ``(m, k)``, the values of the images of the subset, as for ``resampled_means``.
        members: ``(m,)``, their indices among all images.
        n: Number of all images.
        seed: Seed of the resamples.

    Returns:
        ``(RESAMPLES, k)``; NaN where a resample has no image of the subset.
    """
    counts = _counts_by_image(n, seed)[members]
    size = counts.sum(0, dtype=np.float64)[:, None]
    sums = _sum_exactly(counts, values)
    means: NDArray[np.float64] = np.divide(sums, size, out=np.full(sums.shape, np.nan), where=size > 0)
    return means


def resampled_class_means(values: NDArray[np.generic], labels: NDArray[np.int64], seed: int = 0) -> NDArray[np.float64]:
    """Return the mean over classes of their means over images in every resample.

    Args:
        values: ``(n, k)``; sums of bool are exact.
        labels: ``(n,)``, the classes; a resample ignores classes of which it has no image.
        seed: Seed of the resamples.

    Returns:
        ``(RESAMPLES, k)``.
    """
    class_index, weights = _class_weights(labels.astype(np.int64).tobytes(), seed)
    return _sum_by_weight(class_index, weights, values, seed)


def resampled_weighted_means(
    values: NDArray[np.generic], labels: NDArray[np.int64], seed: int = 0
) -> NDArray[np.float64]:
    """Return the weighted mean over images in every resample, with the weights that give the mean over classes.

    In contrast to ``resampled_class_means``, an image that is alone in its class counts as often as it is drawn, so
    that the means vary as those of other images would. The arguments are the same.

    Returns:
        ``(RESAMPLES, k)``.
    """
    _, class_index, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    weights = _round_weights(np.repeat(1 / (len(sizes) * sizes[:, None]), RESAMPLES, axis=1))
    totals = _sum_by_weight(class_index, weights, np.ones((len(values), 1), np.bool_), seed)
    return _sum_by_weight(class_index, weights, values, seed) / totals


def _sum_by_weight(
    class_index: NDArray[np.int64], weights: NDArray[np.float64], values: NDArray[np.generic], seed: int
) -> NDArray[np.float64]:
    """Sum values times the weight of their class in every resample, ``(RESAMPLES, k)``."""
    counts = _counts_by_image(len(values), seed)
    out = np.zeros((values.shape[1], RESAMPLES))
    for rows in _slices(len(values), values.shape[1]):
        out += sum_weighted(counts[rows], weights, class_index[rows], values[rows].astype(np.float64))
    return out.T


def _sum_exactly(counts: NDArray[np.uint8], values: NDArray[Any]) -> NDArray[np.float64]:
    """Return ``counts.T @ values``, exactly: products and partial sums have no rounding in double precision."""
    if values.dtype == np.bool_:
        return sum_hits(counts, values).T.astype(np.float64)
    out = np.zeros((counts.shape[1], values.shape[1]))
    for rows in _slices(len(values), max(values.shape[1], counts.shape[1])):
        chunk: NDArray[Any] = values[rows].astype(np.float64)
        if np.issubdtype(values.dtype, np.floating):
            chunk = _round_to_grain(chunk)
        if values.shape[1] <= _FEW:
            out += sum_values(counts[rows], chunk).T
        else:
            out += counts[rows].T.astype(np.float64) @ chunk
    return out


def _round_to_grain(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Round numbers in place; return them."""
    np.rint(np.divide(values, _GRAIN, out=values), out=values)
    values *= _GRAIN
    return values


def _tails(coverage: float) -> NDArray[np.float64]:
    """Return the shares of the draws below the lower and the upper end of an interval."""
    tail = 50 * (1 - coverage)
    return np.array([tail, 100 - tail]) / 100


def _slices(count: int, width: int) -> list[slice]:
    """Divide ``count`` rows of ``width`` numbers into chunks whose size does not depend on ``width``."""
    step = max(1, CHUNK // max(1, width))
    return [slice(start, start + step) for start in range(0, count, step)]


@lru_cache(maxsize=1)  # the same for all metrics of a split
def _class_weights(labels: bytes, seed: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the class index of each image, ``(n,)``, and the weight of an image by class, ``(classes, RESAMPLES)``.

    The weights of a resample add up to 1 and are rounded to 2^-48, so that any sum of them is exact.
    """
    classes, class_index = np.unique(np.frombuffer(labels, np.int64), return_inverse=True)
    sizes = sum_by_class(_counts_by_image(len(class_index), seed), class_index, len(classes))
    weights = 1 / (np.maximum(sizes, 1) * (sizes > 0).sum(0))
    return class_index, _round_weights(weights)


def _round_weights(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    rounded: NDArray[np.float64] = np.ldexp(np.rint(np.ldexp(weights, 48)), -48)
    return rounded


def _counts_by_image(n: int, seed: int) -> NDArray[np.uint8]:
    return np.ascontiguousarray(draw_counts(n, seed).T)


@lru_cache(maxsize=3)  # localization and classification of the evaluated split, and the validation split
def draw_counts(n: int, seed: int) -> NDArray[np.uint8]:
    """Draw the resamples: the number of times that each of ``n`` images is in each, ``(RESAMPLES, n)``."""
    return resampling.draw_counts(n, RESAMPLES, seed)
