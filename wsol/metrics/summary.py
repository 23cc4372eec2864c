"""All metrics of a run under all threshold rules, overall and by groups of images."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from wsol.errors import InputError
from wsol.metrics.base import METRICS, LocalizationStats, Metric, TauRule
from wsol.metrics.bootstrap import intervals, resampled_class_means, resampled_means, resampled_means_within

COLUMNS = ["metric", "tau_rule", "tau", "value", "ci_low", "ci_high", "n"]


def summarize(
    evidence: LocalizationStats,
    taus: NDArray[np.float64],
    fixed: float | None,
    validation: LocalizationStats | None = None,
) -> pd.DataFrame:
    """Compute every metric under every threshold rule that applies.

    ``fixed`` takes the given tau; ``val`` the tau at which the same metric is best on the validation split; ``oracle``
    the tau at which it is best on these images themselves. Of equally good taus the smallest is taken.

    Args:
        evidence: Of the evaluated images.
        taus: float64 ``(levels,)``, the grid of the curves; empty where no threshold enters.
        fixed: The fixed tau, one of the grid; None for no row with that rule.
        validation: Of the validation split; without it no row has the rule ``val``.

    Returns:
        One row a metric and rule: metric, tau_rule, tau, value (percent), ci_low, ci_high, n. Rule and tau are empty
        where no threshold enters. The interval is the 95 % bootstrap over images; under ``oracle`` the best tau is
        taken again in every resample, the tau of ``val`` stays.
    """
    rows = []
    for found in resample_metrics(evidence, taus, fixed, validation):
        numbers = [found.value, *intervals(found.draws[:, None])[:, 0]]
        rows.append([found.metric.name, found.rule, found.tau, *(100 * np.array(numbers)), len(evidence)])
    return pd.DataFrame(rows, columns=COLUMNS)


@dataclass(frozen=True)
class ResampledMetric:
    """A metric under a threshold rule, on all images and in every resample of them.

    Attributes:
        metric: The metric.
        rule: The threshold rule; None where no threshold enters.
        tau: The threshold; NaN where there is none, or several.
        value: On all images, in [0, 1].
        draws: float64 ``(RESAMPLES,)``, in each resample; runs on the same number of images meet the same resamples.
    """

    metric: Metric
    rule: TauRule | None
    tau: float
    value: float
    draws: NDArray[np.float64]


def resample_metrics(
    evidence: LocalizationStats,
    taus: NDArray[np.float64],
    fixed: float | None,
    validation: LocalizationStats | None = None,
) -> Iterator[ResampledMetric]:
    """Yield every metric under every threshold rule that applies, with its resamples; arguments as ``summarise``."""
    source = _Source.of(evidence)
    for metric, rule, tau, values in _values(source, taus, fixed, _Source.of(validation) if validation else None):
        yield ResampledMetric(
            metric, rule, tau, _overall(metric, evidence, values), _draws(metric, rule, source, values)
        )


def summarize_groups(
    evidence: LocalizationStats,
    groups: Mapping[tuple[str, str], NDArray[np.int64]],
    taus: NDArray[np.float64],
    fixed: float | None,
    validation: LocalizationStats | None = None,
) -> pd.DataFrame:
    """Compute the same for groups of images, at the taus of all images together.

    Args:
        evidence: Of the evaluated images.
        groups: Indices of the images, by what divides them and the group's name; empty ones are left out.
        taus: float64 ``(levels,)``, the grid of the curves; empty where no threshold enters.
        fixed: The fixed tau, one of the grid; None for no row with that rule.
        validation: Of the validation split, if there is one.

    Returns:
        The columns of ``summarise`` behind ``by`` and ``group``. Intervals resample all images; the tau stays.
    """
    found = [
        (metric, rule, tau, values)
        for metric, rule, tau, values in _values(
            _Source.of(evidence), taus, fixed, _Source.of(validation) if validation else None
        )
        if not metric.by_class
    ]
    plain = [values for metric, *_, values in found if not metric.aggregate]
    columns = np.stack(plain, 1) if plain else np.empty((len(evidence), 0))
    rows = []
    for (by, name), indices in groups.items():
        if not len(indices):
            continue
        draws = resampled_means_within(columns[indices], indices, len(evidence))
        means, ends = iter(columns[indices].mean(0)), iter(intervals(draws).T)
        for metric, rule, tau, values in found:
            if metric.aggregate:
                part = values[indices]
                draws = metric.aggregate(resampled_means_within(part, indices, len(evidence)))
                numbers = [_overall(metric, evidence, part), *intervals(draws[:, None])[:, 0]]
            else:
                numbers = [next(means), *next(ends)]
            rows.append([by, name, metric.name, rule, tau, *(100 * np.array(numbers)), len(indices)])
    return pd.DataFrame(rows, columns=["by", "group", *COLUMNS])


def best_tau_index(metric: Metric, evidence: LocalizationStats) -> int:
    """Return the index of the smallest tau at which a metric is best."""
    return int(_Source.of(evidence).best(metric))


def find_tau_index(tau: float, taus: NDArray[np.float64]) -> int:
    """Return the index of a tau on the grid.

    Raises:
        InputError: It is not on the grid.
    """
    level = int(np.abs(taus - tau).argmin())
    if not abs(taus[level] - tau) <= 1e-6:  # so that NaN is refused too
        grid = f"0 to {taus[-1]:g} by {taus[1]:g}"
        raise InputError(f"tau {tau:g} is not on the protocol's grid, {grid}; the nearest is {taus[level]:.6g}")
    return level


def round_tau(taus: NDArray[np.float64], level: int) -> float:
    """Return a tau as people write it: 0.142, not the 0.14200000000000002 that the grid's product gives."""
    return round(float(taus[level]), 9)


def _overall(metric: Metric, evidence: LocalizationStats, values: NDArray[np.generic]) -> float:
    """Return a metric from each image's value."""
    if metric.aggregate:
        return float(metric.aggregate(values.mean(0, dtype=np.float64)))
    return float(_means(metric, evidence, values[:, None])[0])


def _means(metric: Metric, evidence: LocalizationStats, per_image: NDArray[np.generic]) -> NDArray[np.float64]:
    """Return the mean over images, or over classes of that, along the first axis."""
    if metric.by_class:
        order = np.argsort(evidence.labels, kind="stable")
        _, starts, counts = np.unique(evidence.labels[order], return_index=True, return_counts=True)
        sums = np.add.reduceat(per_image[order], starts, axis=0, dtype=np.float64)
        per_image = sums / counts[:, None]
    means: NDArray[np.float64] = per_image.mean(axis=0, dtype=np.float64)
    return means


@dataclass(frozen=True)
class _Source:
    """Evidence, and the same with one level for each run of thresholds that give the same boxes everywhere."""

    stats: LocalizationStats
    distinct: LocalizationStats
    starts: NDArray[np.int64]

    @classmethod
    def of(cls, evidence: LocalizationStats) -> "_Source":
        parts = {"curves": evidence.curves, "contours": evidence.contours, "second": evidence.second}
        curves = {name: part for name, part in parts.items() if part is not None}
        changes = [(curve[:, 1:] != curve[:, :-1]).any(0) for curve in curves.values()]
        starts = np.flatnonzero(np.concatenate([[True], np.any(changes, axis=0)]))
        narrow: dict[str, Any] = {name: curve[:, starts] for name, curve in curves.items()}
        return cls(evidence, replace(evidence, pixels=None, **narrow), starts)

    def per_image(self, metric: Metric) -> tuple[NDArray[np.generic], NDArray[np.int64]]:
        """Return the values of a metric, and which levels they are at; pixels differ from every tau to the next."""
        if "pixels" in metric.needs:
            return metric.per_image(self.stats), np.arange(self.stats.curves.shape[1])
        return metric.per_image(self.distinct), self.starts

    def best(self, metric: Metric) -> NDArray[np.int64]:
        """Return the index of the smallest tau at which a metric, or each part of it, is best."""
        per_image, starts = self.per_image(metric)
        means = _means(metric, self.stats, per_image)
        best: NDArray[np.int64] = starts[means.argmax(0) if metric.better == "higher" else means.argmin(0)]
        return best


def _draws(metric: Metric, rule: TauRule | None, source: _Source, values: NDArray[np.generic]) -> NDArray[np.float64]:
    """Return the value of a metric in every resample."""
    if metric.aggregate:
        return metric.aggregate(resampled_means(values))
    means = partial(resampled_class_means, labels=source.stats.labels) if metric.by_class else resampled_means
    if rule != "oracle":
        return means(values[:, None])[:, 0]
    every, _ = source.per_image(metric)
    parts = [every] if every.ndim == 2 else [every[..., p] for p in range(every.shape[2])]
    best = []
    for part in parts:
        changes = (part[:, 1:] != part[:, :-1]).any(0)  # other boxes may hit the same
        draws = means(part[:, np.concatenate([[True], changes])])
        best.append(draws.max(1) if metric.better == "higher" else draws.min(1))
    mean: NDArray[np.float64] = np.mean(best, axis=0)
    return mean


def _values(
    source: _Source, taus: NDArray[np.float64], fixed: float | None, validation: _Source | None
) -> Iterator[tuple[Metric, TauRule | None, float, NDArray[np.generic]]]:
    """Yield metric, rule, tau and the value of each image."""
    for metric in map(METRICS.get, METRICS.names()):
        if not metric.applies(source.stats):
            continue
        per_image, starts = source.per_image(metric)
        if not metric.rules:
            yield metric, None, np.nan, per_image
        elif not len(taus):
            if "fixed" in metric.rules:
                yield metric, None, np.nan, per_image[:, 0]
        elif per_image.ndim == 3:
            levels = source.best(metric)
            columns = np.searchsorted(starts, levels, side="right") - 1
            values = per_image[:, columns, np.arange(len(levels))].mean(1)
            yield metric, "oracle", round_tau(taus, int(levels[0])) if len(levels) == 1 else np.nan, values
        else:
            for rule in metric.rules:
                if rule == "fixed" and fixed is not None:
                    level = find_tau_index(fixed, taus)
                elif rule == "val" and validation and metric.applies(validation.stats):
                    level = int(validation.best(metric))
                elif rule == "oracle":
                    level = int(source.best(metric))
                else:
                    continue
                column = int(np.searchsorted(starts, level, side="right")) - 1
                yield metric, rule, round_tau(taus, level), per_image[:, column]
