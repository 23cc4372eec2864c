"""How far a number would move with other images: the percentile bootstrap."""

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000
_CHUNK = 1 << 21  # numbers held as floats at a time
_GRAIN = 2.0**-30  # what fractions are rounded to, so that sums of 2^22 of them are exact in double precision


def intervals(draws: NDArray[np.float64], coverage: float = 0.95) -> NDArray[np.float64]:
    """Return the percentile intervals of resampled values.

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
    """Return the mean over images in every resample.

    The resamples depend on the number of images and the seed alone: two runs on the same images meet the same ones, so
    the difference of their draws is a paired one. Every sum is exact, so that its bits do not depend on the order of
    additions, which libraries of linear algebra choose by processor and threads.

    Args:
        values: ``(n, k)``, a value for each image and, say, threshold: bool, whole numbers whose sum is below 2^52, or
            numbers in [0, 1], which are rounded to 2^-30.
        seed: Of the resamples.

    Returns:
        ``(RESAMPLES, k)``.
    """
    return _sums(_counts(len(values), seed), values) / len(values)


def resampled_means_within(
    values: NDArray[np.generic], members: NDArray[np.int64], n: int, seed: int = 0
) -> NDArray[np.float64]:
    """Return the mean over some of the images in every resample of all.

    Args:
        values: ``(m, k)``, the values of these images, as for ``resampled_means``.
        members: ``(m,)``, their places among all.
        n: Number of all images.
        seed: Of the resamples.

    Returns:
        ``(RESAMPLES, k)``; NaN where a resample has none of these images.
    """
    drawn = _counts(n, seed)[:, members]
    size = drawn.sum(1, dtype=np.float64)[:, None]
    sums = _sums(drawn, values)
    means: NDArray[np.float64] = np.divide(sums, size, out=np.full(sums.shape, np.nan), where=size > 0)
    return means


def resampled_class_means(values: NDArray[np.generic], labels: NDArray[np.int64], seed: int = 0) -> NDArray[np.float64]:
    """Return the mean over classes of their means over images in every resample.

    Args:
        values: ``(n, k)``; sums of bool are exact.
        labels: ``(n,)``, the classes; a resample leaves out those of which it has no image.
        seed: Of the resamples.

    Returns:
        ``(RESAMPLES, k)``.
    """
    n = len(values)
    place, factors = _class_factors(labels.astype(np.int64).tobytes(), seed)
    counts = _counts(n, seed)
    out = np.empty((RESAMPLES, values.shape[1]), np.float64)
    for some in _slices(RESAMPLES, n):
        out[some] = _product(counts[some] * factors[some][:, place], values)
    return out


def _sums(counts: NDArray[np.uint8], values: NDArray[Any]) -> NDArray[np.float64]:
    """Return ``counts @ values``, exactly."""
    if np.issubdtype(values.dtype, np.floating):
        return _product(counts, values, _GRAIN)
    return _product(counts, values)


def _product(left: NDArray[Any], right: NDArray[Any], grain: float = 0) -> NDArray[np.float64]:
    """Multiply matrices whose products and sums double precision holds exactly, in pieces.

    Single precision is as exact, and twice as fast, where one side is bool and the other are counts of an image.

    Args:
        left: ``(m, n)``.
        right: ``(n, k)``.
        grain: What ``right`` is rounded to; 0 to leave it.
    """
    few = left.dtype == np.uint8 and right.dtype == np.bool_ and len(right) < 2**24
    precision = np.float32 if few else np.float64
    out = np.empty((len(left), right.shape[1]), np.float64)
    for columns in _slices(right.shape[1], len(right)):
        part: NDArray[Any] = right[:, columns].astype(precision)
        if grain:
            np.rint(np.divide(part, grain, out=part), out=part)
            part *= grain
        for rows in _slices(len(left), len(right)):
            out[rows, columns] = np.matmul(left[rows].astype(precision, copy=False), part)
    return out


def _slices(count: int, n: int) -> list[slice]:
    """Divide ``count`` vectors of ``n`` numbers into pieces that do not grow with ``n``."""
    step = max(1, _CHUNK // max(1, n))
    return [slice(start, start + step) for start in range(0, count, step)]


@lru_cache(maxsize=1)  # all metrics of a split ask for the same
def _class_factors(labels: bytes, seed: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the class of each image, ``(n,)``, and what an image of each weighs in each resample, ``(RESAMPLES, c)``.

    The weights of a resample add up to 1 and are rounded to 2^-48, so that any sum of them is exact.
    """
    _, place = np.unique(np.frombuffer(labels, np.int64), return_inverse=True)
    order = np.argsort(place, kind="stable")
    starts = np.flatnonzero(np.diff(place[order], prepend=-1))
    counts = _counts(len(place), seed)
    sizes = np.stack([np.add.reduceat(drawn[order], starts, dtype=np.int64) for drawn in counts])
    factors = 1 / (np.maximum(sizes, 1) * (sizes > 0).sum(1, keepdims=True))
    return place, np.ldexp(np.rint(np.ldexp(factors, 48)), -48)


@lru_cache(maxsize=2)  # the evaluated split and the validation split
def _counts(n: int, seed: int) -> NDArray[np.uint8]:
    """Return how often each of ``n`` images is drawn in each resample, ``(RESAMPLES, n)``."""
    counts = np.empty((RESAMPLES, n), np.uint8)
    for resample, row in enumerate(counts):
        drawn = np.random.RandomState([seed, resample]).randint(0, n, n)  # its stream is frozen
        row[:] = np.bincount(drawn, minlength=n)
    return counts
