"""How far a number would move with other images: the percentile bootstrap."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000
_CHUNK = 1 << 24  # counts held as floats at a time


def interval(draws: NDArray[np.float64], coverage: float = 0.95) -> tuple[float, float]:
    """Returns the percentile interval of resampled values.

    Efron, "Bootstrap Methods: Another Look at the Jackknife", Annals of Statistics 1979; the percentile method.

    Args:
        draws: ``(resamples,)``.
        coverage: Share of the draws inside.
    """
    tail = 50 * (1 - coverage)
    low, high = np.percentile(draws, [tail, 100 - tail])
    return float(low), float(high)


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


@lru_cache(maxsize=2)  # two: the evaluated split and the validation split
def _counts(n: int, seed: int) -> NDArray[np.uint8]:
    """Returns how often each of ``n`` images is drawn in each resample, ``(RESAMPLES, n)``."""
    counts = np.empty((RESAMPLES, n), np.uint8)
    for resample, row in enumerate(counts):
        drawn = np.random.RandomState([seed, resample]).randint(0, n, n)  # its stream is frozen
        row[:] = np.bincount(drawn, minlength=n)
    return counts
