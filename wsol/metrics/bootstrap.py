"""How far a number would move with other images: the percentile bootstrap."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000
_CHUNK = 1 << 24  # counts held as floats at a time


def intervals(draws: NDArray[np.float64], coverage: float = 0.95) -> NDArray[np.float64]:
    """Returns the percentile intervals of resampled values.

    Efron, "Bootstrap Methods: Another Look at the Jackknife", Annals of Statistics 1979; the percentile method.

    Args:
        draws: ``(resamples, k)``; a resample with NaN is left out, and without any left the ends are NaN.
        coverage: Share of the draws inside.

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
    """Returns the mean over images in every resample.

    The resamples depend on the number of images and the seed alone: two runs on the same images meet the same ones, so
    the difference of their draws is a paired one.

    Args:
        values: ``(n, k)``, a value for each image and, say, threshold; any real dtype.
        seed: Of the resamples.

    Returns:
        ``(RESAMPLES, k)``. Sums of whole numbers are exact below 2^24.
    """
    n = len(values)
    counts = _counts(n, seed)
    columns = values.astype(np.float32)
    means = np.empty((RESAMPLES, columns.shape[1]), np.float64)
    rows = max(1, _CHUNK // n)
    for start in range(0, RESAMPLES, rows):
        means[start : start + rows] = counts[start : start + rows].astype(np.float32) @ columns
    return means / n


def resampled_means_within(
    values: NDArray[np.generic], members: NDArray[np.int64], n: int, seed: int = 0
) -> NDArray[np.float64]:
    """Returns the mean over some of the images in every resample of all.

    Args:
        values: ``(m, k)``, the values of these images.
        members: ``(m,)``, their places among all.
        n: Number of all images.
        seed: Of the resamples.

    Returns:
        ``(RESAMPLES, k)``; NaN where a resample has none of these images.
    """
    drawn = _counts(n, seed)[:, members].astype(np.float32)
    size = drawn.sum(1, dtype=np.float64)[:, None]
    sums = drawn @ values.astype(np.float32)
    means: NDArray[np.float64] = np.divide(sums, size, out=np.full(sums.shape, np.nan), where=size > 0)
    return means


def resampled_class_means(values: NDArray[np.generic], labels: NDArray[np.int64], seed: int = 0) -> NDArray[np.float64]:
    """Returns the mean over classes of their means over images in every resample.

    Args:
        values: ``(n, k)``.
        labels: ``(n,)``, the classes; a resample leaves out those of which it has no image.
        seed: Of the resamples.

    Returns:
        ``(RESAMPLES, k)``.
    """
    n = len(values)
    counts, columns = _counts(n, seed), values.astype(np.float32)
    order = np.argsort(labels, kind="stable")
    starts = np.flatnonzero(np.concatenate([[True], np.diff(labels[order]) != 0]))
    place = np.empty(n, np.int64)
    place[order] = np.repeat(np.arange(len(starts)), np.diff(starts, append=n))
    means = np.empty((RESAMPLES, columns.shape[1]), np.float64)
    rows = max(1, _CHUNK // n)
    for start in range(0, RESAMPLES, rows):
        drawn = counts[start : start + rows].astype(np.float32)
        sizes = np.add.reduceat(drawn[:, order], starts, axis=1)
        weights = drawn / np.maximum(sizes, 1)[:, place]
        means[start : start + rows] = (weights @ columns) / (sizes > 0).sum(1, keepdims=True)
    return means


@lru_cache(maxsize=2)  # the evaluated split and the validation split
def _counts(n: int, seed: int) -> NDArray[np.uint8]:
    """Returns how often each of ``n`` images is drawn in each resample, ``(RESAMPLES, n)``."""
    counts = np.empty((RESAMPLES, n), np.uint8)
    for resample, row in enumerate(counts):
        drawn = np.random.RandomState([seed, resample]).randint(0, n, n)  # its stream is frozen
        row[:] = np.bincount(drawn, minlength=n)
    return counts
