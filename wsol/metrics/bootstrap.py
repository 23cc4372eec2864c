"""The percentile bootstrap over images: uncertainty of a number due to the choice of images."""

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000
CHUNK = 1 << 21  # numbers converted to floats at a time
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
    tail = 50 * (1 - coverage)
    draws = draws[~np.isnan(draws).any(1)]
    if not len(draws):
        return np.full((2, draws.shape[1]), np.nan)
    ends: NDArray[np.float64] = np.percentile(draws, [tail, 100 - tail], axis=0)
    return ends


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
    return _sum_exactly(draw_counts(len(values), seed), values) / len(values)


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
    counts = draw_counts(n, seed)[:, members]
    size = counts.sum(1, dtype=np.float64)[:, None]
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
    n = len(values)
    class_index, factors = _class_factors(labels.astype(np.int64).tobytes(), seed)
    counts = draw_counts(n, seed)
    out = np.empty((RESAMPLES, values.shape[1]), np.float64)
    for rows in _slices(RESAMPLES, n):
        out[rows] = _product(counts[rows] * factors[rows][:, class_index], values)
    return out


def _sum_exactly(counts: NDArray[np.uint8], values: NDArray[Any]) -> NDArray[np.float64]:
    """Return ``counts @ values``, exactly."""
    if np.issubdtype(values.dtype, np.floating):
        return _product(counts, values, _GRAIN)
    return _product(counts, values)


def _product(left: NDArray[Any], right: NDArray[Any], grain: float = 0) -> NDArray[np.float64]:
    """Multiply matrices whose products and sums are exact in double precision, in chunks.

    Single precision is as exact, and twice as fast, if one side is bool and the other has counts of images.

    Args:
        left: ``(m, n)``.
        right: ``(n, k)``.
        grain: ``right`` is rounded to its multiples; 0 for no rounding.
    """
    is_exact_in_single = left.dtype == np.uint8 and right.dtype == np.bool_ and len(right) < 2**24
    precision = np.float32 if is_exact_in_single else np.float64
    out = np.empty((len(left), right.shape[1]), np.float64)
    for columns in _slices(right.shape[1], len(right)):
        chunk: NDArray[Any] = right[:, columns].astype(precision)
        if grain:
            np.rint(np.divide(chunk, grain, out=chunk), out=chunk)
            chunk *= grain
        for rows in _slices(len(left), len(right)):
            out[rows, columns] = np.matmul(left[rows].astype(precision, copy=False), chunk)
    return out


def _slices(count: int, n: int) -> list[slice]:
    """Divide ``count`` vectors of ``n`` numbers into chunks whose size does not depend on ``n``."""
    step = max(1, CHUNK // max(1, n))
    return [slice(start, start + step) for start in range(0, count, step)]


@lru_cache(maxsize=1)  # the same for all metrics of a split
def _class_factors(labels: bytes, seed: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the class index of each image, ``(n,)``, and the weight of an image by class, ``(RESAMPLES, classes)``.

    The weights of a resample add up to 1 and are rounded to 2^-48, so that any sum of them is exact.
    """
    _, class_index = np.unique(np.frombuffer(labels, np.int64), return_inverse=True)
    order = np.argsort(class_index, kind="stable")
    starts = np.flatnonzero(np.diff(class_index[order], prepend=-1))
    counts = draw_counts(len(class_index), seed)
    sizes = np.stack([np.add.reduceat(row[order], starts, dtype=np.int64) for row in counts])
    factors = 1 / (np.maximum(sizes, 1) * (sizes > 0).sum(1, keepdims=True))
    return class_index, np.ldexp(np.rint(np.ldexp(factors, 48)), -48)


@lru_cache(maxsize=3)  # localization and classification of the evaluated split, and the validation split
def draw_counts(n: int, seed: int) -> NDArray[np.uint8]:
    """Draw the resamples: the number of times that each of ``n`` images is in each, ``(RESAMPLES, n)``."""
    counts = np.empty((RESAMPLES, n), np.uint8)
    for resample, row in enumerate(counts):
        indices = np.random.RandomState([seed, resample]).randint(0, n, n)  # its stream is frozen
        row[:] = np.bincount(indices, minlength=n)
    return counts
