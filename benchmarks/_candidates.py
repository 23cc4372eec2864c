"""Intervals for one number of one data set, for ``interval_coverage.py``: that of the package, and the alternatives."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv, ndtr, ndtri

from wsol.metrics.base import Metric
from wsol.metrics.bootstrap import intervals
from wsol.metrics.intervals import OPTIMISM_SHIFT, find_interval

_Z = ndtri(0.975)
Candidates = dict[str, tuple[float, float, float]]
"""Lower end, upper end and estimate of each candidate."""


@dataclass(frozen=True)
class Number:
    """A metric of a data set, resampled.

    Attributes:
        metric: The metric.
        value: Its value.
        per_image: Values of the images at the tau, ``(n,)`` or ``(n, k)``.
        labels: Classes of the images.
        best: Value in each resample, under ``oracle`` at the best tau of the resample.
        at_tau: Value in each resample at the tau of all images.
        optimism: Bootstrap estimate of the optimism; 0 where the tau was not chosen on these images.
        cross_fitted: Optimism by ten folds, ten times over; 0 likewise.
    """

    metric: Metric
    value: float
    per_image: NDArray[np.generic]
    labels: NDArray[np.int64]
    best: NDArray[np.float64]
    at_tau: NDArray[np.float64]
    optimism: float = 0.0
    cross_fitted: float = 0.0

    def candidates(self) -> Candidates:
        """Return the intervals to compare."""
        value, optimism = self.value, self.optimism
        low, high = intervals(self.best[:, None])[:, 0]
        bias = self.best.mean() - value
        package = find_interval(self.metric, value, self.per_image, self.labels, self.at_tau, optimism)
        found = {
            "package": (package.low, package.high, value - OPTIMISM_SHIFT * optimism),
            "percentile": (low, high, value),
            "basic": (2 * value - high, 2 * value - low, value - bias),
            "bias-corrected": (*self._quantiles(0.0), value),
            "centered": (low - 2 * bias, high - 2 * bias, value - bias),
        }
        if not self.metric.aggregate:
            found["BCa"] = (*self._quantiles(self._acceleration()), value)
        if self.per_image.dtype == np.bool_ and not self.metric.by_class:
            found["exact"] = (*exact_interval(value, len(self.per_image)), value)
        if self.best is not self.at_tau:
            ends = np.array([low, high])
            moved = ends - bias - OPTIMISM_SHIFT * optimism
            found["centered, optimism"] = (*moved, value - OPTIMISM_SHIFT * optimism)
            at_tau = intervals(self.at_tau[:, None])[:, 0]
            found["at tau"] = (*at_tau, value)
            found["at tau, cross-fitted"] = (*(at_tau - self.cross_fitted / 2), value - self.cross_fitted / 2)
        return found

    def _quantiles(self, acceleration: float) -> NDArray[np.float64]:
        """Return the ends of BCa (Efron, "Better Bootstrap Confidence Intervals", JASA 1987); of BC at 0."""
        below = (self.best < self.value).mean() + (self.best == self.value).mean() / 2
        middle = ndtri(np.clip(below, 1e-3, 1 - 1e-3))
        steps = middle + np.array([-_Z, _Z])
        ends: NDArray[np.float64] = np.quantile(self.best, ndtr(middle + steps / (1 - acceleration * steps)))
        return ends

    def _acceleration(self) -> float:
        deviations = self.per_image - self.per_image.mean(0, dtype=np.float64)
        squares = float((deviations**2).sum())
        return float((deviations**3).sum()) / (6 * squares**1.5) if squares > 0 else 0.0


def exact_interval(share: float, n: int) -> tuple[float, float]:
    """Return the exact interval of a proportion (Clopper & Pearson, Biometrika 1934)."""
    hits = round(share * n)
    low = betaincinv(hits, n - hits + 1, 0.025) if hits else 0.0
    high = betaincinv(hits + 1, n - hits, 0.975) if hits < n else 1.0
    return float(low), float(high)
