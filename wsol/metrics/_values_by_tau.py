"""Values of metrics at every threshold, and the best of them."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from wsol.metrics.base import LocalizationStats, Metric
from wsol.metrics.optimism import OracleDraws, resample_oracle
from wsol.metrics.resampling import count_hits


def average(metric: Metric, stats: LocalizationStats, per_image: NDArray[np.generic]) -> NDArray[np.float64]:
    """Return the mean over images, or the mean over classes of the mean over their images, along the first axis."""
    if metric.by_class:
        order = np.argsort(stats.labels, kind="stable")
        _, starts, counts = np.unique(stats.labels[order], return_index=True, return_counts=True)
        sums = np.add.reduceat(per_image[order], starts, axis=0, dtype=np.float64)
        per_image = sums / counts[:, None]
    elif per_image.dtype == np.bool_ and per_image.ndim == 2:
        return count_hits(per_image.view(np.bool_)) / len(per_image)
    means: NDArray[np.float64] = per_image.mean(axis=0, dtype=np.float64)
    return means


class ValuesByTau:
    """Values of metrics at every tau, computed at the distinct taus only; those of the last metric are kept.

    Args:
        stats: The statistics.
    """

    def __init__(self, stats: LocalizationStats) -> None:
        self.stats = stats
        self._last: Callable[[LocalizationStats], NDArray[np.generic]] | None = None
        self._values: NDArray[np.generic] = np.empty(0)
        self._means: dict[bool, NDArray[np.float64]] = {}
        self._oracles: dict[tuple[str, bool], OracleDraws] = {}

    def per_image(self, metric: Metric) -> tuple[NDArray[np.generic], NDArray[np.int64]]:
        """Return the values of a metric and the tau indices of their columns; pixels differ at every tau."""
        stats, starts = self.stats.distinct
        if "pixels" in metric.needs:
            stats, starts = self.stats, np.arange(self.stats.curves.shape[1])
        if metric.per_image is not self._last:
            self._values, self._last = metric.per_image(stats), metric.per_image
            self._means, self._oracles = {}, {}
        return self._values, starts

    def values_at(self, metric: Metric, tau_index: int) -> NDArray[np.generic]:
        """Return the values of a metric at one tau, ``(n,)``."""
        per_image, starts = self.per_image(metric)
        return per_image[:, int(np.searchsorted(starts, tau_index, side="right")) - 1].copy()

    def means(self, metric: Metric) -> NDArray[np.float64]:
        """Return the means over images, or over classes, of the values of ``per_image``."""
        per_image, _ = self.per_image(metric)
        if metric.by_class not in self._means:
            self._means[metric.by_class] = average(metric, self.stats, per_image)
        return self._means[metric.by_class]

    def best_tau_indices(self, metric: Metric) -> NDArray[np.int64]:
        """Return the index of the smallest tau at which a metric, or each part of it, is best."""
        means, (_, starts) = self.means(metric), self.per_image(metric)
        best: NDArray[np.int64] = starts[means.argmax(0) if metric.better == "higher" else means.argmin(0)]
        return best

    def resample_oracle(self, metric: Metric) -> OracleDraws:
        """Choose the tau of a metric, or of each part of it, again in every resample; metrics may be equal."""
        per_image, _ = self.per_image(metric)
        key = metric.better, metric.by_class
        if key not in self._oracles:
            labels = self.stats.labels if metric.by_class else None
            parts = per_image.reshape(*per_image.shape[:2], -1)
            means = self.means(metric).reshape(parts.shape[1:])
            drawn = [
                resample_oracle(parts[..., k], means[:, k], metric.better == "higher", labels)
                for k in range(parts.shape[2])
            ]
            best, at_tau, optimism = (np.mean(each, axis=0) for each in zip(*drawn, strict=True))
            self._oracles[key] = OracleDraws(best, at_tau, float(optimism))
        return self._oracles[key]
