"""How far a number would move with other images: the percentile bootstrap."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000
_CHUNK = 1 << 24  # weights held at a time


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
    means = np.empty((RESAMPLES, values.shape[1]), np.float64)
    rows = max(1, _CHUNK // n)
    columns = values.astype(np.float32)
    for start in range(0, RESAMPLES, rows):
        stop = min(start + rows, RESAMPLES)
        means[start:stop] = _counts(n, start, stop, seed) @ columns
    return means / n


@lru_cache(maxsize=2)
def _counts(n: int, start: int, stop: int, seed: int) -> NDArray[np.float32]:
    """Returns how often each of ``n`` images is drawn in each resample, ``(stop - start, n)``."""
    counts = np.empty((stop - start, n), np.float32)
    for row, resample in enumerate(range(start, stop)):
        drawn = np.random.RandomState([seed, resample]).randint(0, n, n)  # its stream is frozen
        counts[row] = np.bincount(drawn, minlength=n)
    return counts
