"""Several trainings that differ in the seed alone: the mean of a metric over seeds, and its hierarchical bootstrap."""

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from wsol.metrics.bootstrap import intervals
from wsol.metrics.intervals import Interval, bound_interval, wilson_ends
from wsol.metrics.resamples import RESAMPLES
from wsol.metrics.summary import ResampledMetric


def seed_picks(weights: Iterable[str], resamples: int = RESAMPLES) -> NDArray[np.int64]:
    """Draw the seeds of every resample, with replacement.

    The stream depends on the weights alone: groups of the same trainings, such as two methods on the same networks,
    have the same seeds in every resample, so that their difference is paired; all other groups are independent.

    Args:
        weights: A string that identifies the weights of each seed, such as their SHA-256, sorted.
        resamples: Number of resamples.

    Returns:
        int64 ``(seeds, resamples)``, the number of times that each seed is in each resample; columns add up to the
        number of seeds.
    """
    identities = [*weights]
    digest = hashlib.sha256("\0".join(identities).encode()).digest()
    stream = np.random.RandomState(np.frombuffer(digest, "<u4"))  # its sequence is frozen
    drawn = stream.randint(0, len(identities), (resamples, len(identities)))
    return np.stack([(drawn == i).sum(1) for i in range(len(identities))])


def resample_seeds(draws: NDArray[np.float64], picks: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the mean over seeds in every resample of seeds and images.

    In a resample r of the images, the seeds have the values ``x_s(r)`` with the mean ``x(r)``, and ``x*(r)`` is the
    mean of ``n`` of them, drawn with replacement. The value of the resample is
    ``x(r) + sqrt(n / (n - 1)) (x*(r) - x(r))``.

    Without the factor, the variance between seeds would be underestimated by ``(n - 1) / n``, by half for two seeds.
    The rescaling is that of Rao & Wu, "Resampling Inference With Complex Survey Data", JASA 1988, for samples of the
    size of the data. Two limits remain.

    - Seeds and images are crossed, so that what is particular to one seed on one image is resampled with both: its
      part of the variance is overestimated, up to threefold (Owen, "The Pigeonhole Bootstrap", Annals of Applied
      Statistics 2007, theorem 3). Where seeds hardly differ except image by image, intervals are too wide.
    - A standard deviation of few seeds is a rough estimate, which percentiles do not know: where the spread over seeds
      dominates, intervals of two or three seeds are too narrow. ``results/coverage`` has the measured coverage.

    Args:
        draws: ``(seeds, resamples)``, the value of each seed in every resample of the images.
        picks: ``(seeds, resamples)``, from ``seed_picks``.

    Returns:
        ``(resamples,)``; of a single seed its draws, to the last bit. Values may leave [0, 1] a little.
    """
    n = len(draws)
    if n == 1:
        return draws.reshape(-1)
    mean: NDArray[np.float64] = draws.sum(0) / n
    resampled: NDArray[np.float64] = (picks * draws).sum(0) / n
    return mean + (resampled - mean) * math.sqrt(n / (n - 1))


def average_seeds(results: Sequence[ResampledMetric], picks: NDArray[np.int64]) -> ResampledMetric:
    """Return the mean of a metric over trainings that differ in the seed alone.

    Args:
        results: The metric of each training under the same rule, on the same images.
        picks: ``(seeds, resamples)``, from ``seed_picks``.

    Returns:
        Of a single training, its result. Of several: the mean of their values, thresholds and optimism; the spread,
        which is the standard deviation over seeds (n - 1); the draws of ``resample_seeds``; and the interval of
        ``seed_interval``.
    """
    first = results[0]
    if len(results) == 1:
        return first
    n = len(results)
    value = _mean([each.value for each in results])
    optimism = _mean([each.optimism for each in results])
    at_tau = resample_seeds(np.stack([each.at_tau for each in results]), picks)
    return replace(
        first,
        tau=_mean([each.tau for each in results]),
        value=value,
        draws=resample_seeds(np.stack([each.draws for each in results]), picks),
        at_tau=at_tau,
        interval=seed_interval(results, value, at_tau, optimism if first.rule == "oracle" else 0.0),
        optimism=optimism,
        per_image=np.mean([each.per_image.astype(np.float64) for each in results], axis=0),
        spread=math.sqrt(math.fsum((each.value - value) ** 2 for each in results) / (n - 1)),
        seeds=n,
    )


def seed_interval(
    results: Sequence[ResampledMetric], value: float, draws: NDArray[np.float64], optimism: float
) -> Interval:
    """Return the 95 % interval of the expected value of a metric over images and seeds.

    Its kind is that of a single run, see ``wsol.metrics.intervals``: percentiles of the draws, or, for proportions,
    Wilson's interval at the number of images whose plain proportion varies as much as the draws (Korn & Graubard 1998),
    which also holds near 0 and 1. Where no draw differs, the ends are the means of those of the runs. A mean over
    classes with one or two images varies too little in resamples, and so in the draws.

    Args:
        results: The metric of each of several trainings.
        value: Their mean.
        draws: ``(resamples,)``, its draws of ``resample_seeds`` at the thresholds of all images.
        optimism: The mean optimism of their thresholds, in [0, 1]; 0 if they were not chosen on these images.
    """
    metric, kind = results[0].metric, results[0].interval.kind
    variance = float(draws.var())
    if kind is None or variance == 0 or not 0 < value < 1:
        own = [each.interval for each in results]
        return Interval(kind, _mean([each.low for each in own]), _mean([each.high for each in own]))
    ends = intervals(draws[:, None])[:, 0]
    if kind != "percentile":
        ends = wilson_ends(value, value * (1 - value) / variance)
    return bound_interval(kind, metric, value, ends, optimism)


def _mean(numbers: Sequence[float]) -> float:
    """Return the mean; of equal numbers exactly that number."""
    return numbers[0] if len({*numbers}) == 1 else math.fsum(numbers) / len(numbers)
