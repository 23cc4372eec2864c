"""Tables of all metrics of a run under all threshold rules, over all images and over groups of images."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from wsol.metrics._values_by_tau import ValuesByTau, average
from wsol.metrics.base import METRICS, LocalizationStats, Metric, TauRule, split_by_images
from wsol.metrics.bootstrap import (
    group_intervals,
    intervals,
    resampled_class_means,
    resampled_means,
    resampled_means_within,
)
from wsol.metrics.intervals import NO_INTERVAL, Interval, find_interval, interval_kind, wilson_ends
from wsol.metrics.resamples import RESAMPLES
from wsol.metrics.tau import find_tau_index, round_tau

COLUMNS = ["metric", "tau_rule", "tau", "value", "ci_low", "ci_high", "n", "interval"]
ALL_COLUMNS = [*COLUMNS, "optimism"]
"""The columns of metrics of all images; a group of them has no tau of its own."""


def summarize(
    stats: LocalizationStats,
    taus: NDArray[np.float64],
    fixed: float | None,
    validation: LocalizationStats | None = None,
    bootstrap: int = RESAMPLES,
) -> pd.DataFrame:
    """Compute every metric under every threshold rule that applies.

    ``fixed`` uses the given tau; ``val`` the tau at which the same metric is best on the validation split; ``oracle``
    the tau at which it is best on these images themselves. Ties go to the smallest tau.

    Args:
        stats: Statistics of the evaluated images.
        taus: float64 ``(taus,)``, the grid of the curves; empty if the protocol has no threshold.
        fixed: The fixed tau, one of the grid; None for no row with that rule.
        validation: Statistics of the validation split; without them no row has the rule ``val``.
        bootstrap: Number of resamples; 0 for no intervals, whose ends are then NaN.

    Returns:
        One row per metric and rule: metric, tau_rule, tau, value (percent), ci_low, ci_high, n, interval, optimism.
        Rule and tau are empty for metrics without a threshold. ``interval`` is the kind of the 95 % interval, see
        ``wsol.metrics.intervals``. Under ``oracle``, the optimism is the estimated number of points by which the value
        is better than that of new images at this tau, and the interval is moved by three quarters of it; it is NaN
        under other rules and without intervals.
    """
    return metric_table(resample_metrics(stats, taus, fixed, validation, bootstrap))


def metric_table(results: Iterable["ResampledMetric"]) -> pd.DataFrame:
    """Return the table of ``summarize``."""
    rows = []
    for result in results:
        kind, low, high = result.interval
        value, *ends, optimism = (100 * number for number in (result.value, low, high, result.optimism))
        rows.append([result.metric.name, result.rule, result.tau, value, *ends, result.n, kind, optimism])
    return pd.DataFrame(rows, columns=ALL_COLUMNS)


@dataclass(frozen=True)
class ResampledMetric:
    """A metric under a threshold rule, on all images and in every resample of them.

    Attributes:
        metric: The metric.
        rule: The threshold rule; None for a metric without a threshold.
        tau: The threshold; NaN if there is none or more than one.
        value: Value on all images, in [0, 1].
        draws: float64 ``(RESAMPLES,)``, value in each resample; runs on the same number of images have the same
            resamples; under ``oracle`` the best tau is chosen again in each. Empty without intervals.
        interval: Its interval.
        optimism: Optimism of an oracle number, in [0, 1]; NaN under other rules and without intervals.
        n: Number of images.
        per_image: Value of each image at the threshold, ``(n,)``; ``(n, k)`` for a function of means.
        at_tau: float64 ``(RESAMPLES,)``, value in each resample at the threshold of all images; ``draws`` itself except
            under ``oracle``.
        spread: Standard deviation over seeds (n - 1) of a mean over several trainings, see ``wsol.metrics.seeds``; NaN
            for a single one, whose spread is unknown.
        seeds: Number of trainings.
    """

    metric: Metric
    rule: TauRule | None
    tau: float
    value: float
    draws: NDArray[np.float64]
    interval: Interval
    optimism: float
    n: int
    per_image: NDArray[np.generic] = field(repr=False)
    at_tau: NDArray[np.float64] = field(repr=False)
    spread: float = np.nan
    seeds: int = 1


def resample_metrics(
    stats: LocalizationStats,
    taus: NDArray[np.float64],
    fixed: float | None,
    validation: LocalizationStats | None = None,
    bootstrap: int = RESAMPLES,
    metrics: Iterable[Metric] | None = None,
) -> Iterator[ResampledMetric]:
    """Yield every metric under every threshold rule that applies, with its resamples; arguments as ``summarize``.

    ``metrics`` replace the registered ones.
    """
    every = map(METRICS.get, METRICS.names()) if metrics is None else metrics
    for chosen, (counted, held_out) in split_by_images(every, stats, validation):
        assert counted is not None
        source = ValuesByTau(counted.on_grid)
        for metric, rule, tau, values in _values_by_rule(chosen, counted, source, taus, fixed, held_out):
            value = _overall_value(metric, counted, values)
            draws = at_tau = np.empty(0)
            interval, optimism = NO_INTERVAL, np.nan
            if bootstrap:
                draws, at_tau, optimism = _resample(metric, rule, source, values)
                moved = 0.0 if rule != "oracle" else optimism
                interval = find_interval(metric, value, values, counted.labels, at_tau, moved)
            yield ResampledMetric(metric, rule, tau, value, draws, interval, optimism, len(values), values, at_tau)


def summarize_groups(
    stats: LocalizationStats,
    groups: Mapping[tuple[str, str], NDArray[np.int64]],
    results: Iterable[ResampledMetric],
    bootstrap: int = RESAMPLES,
) -> pd.DataFrame:
    """Compute every metric for groups of images, at the taus of all images together.

    Args:
        stats: Statistics of the evaluated images.
        groups: Indices of the images of each group, by grouping criterion and name; empty groups are omitted.
        results: The metrics of all images, from ``resample_metrics``.
        bootstrap: Number of resamples; 0 for no intervals.

    Returns:
        ``by`` and ``group``, then the columns of ``summarize`` but the last. Intervals are those of the images of the
        group at a given tau, percentiles over resamples of all images. Images that only classification counts are in no
        group. A value that no image of a group has, such as the PxAP of images that show no object, has no row.
    """
    if stats.objects is not None:
        return _summarize_both(stats, groups, results, bootstrap)
    by_image = [(result, result.per_image[: len(stats)]) for result in results if not result.metric.by_class]
    plain = [values for result, values in by_image if not result.metric.aggregate]
    columns = np.stack(plain, 1).astype(np.float64) if plain else np.empty((len(stats), 0))
    is_share = np.array([values.dtype == np.bool_ for values in plain], bool)
    present = {key: indices for key, indices in groups.items() if len(indices)}
    all_ends = np.full((len(present), len(plain), 2), np.nan)
    if present and bootstrap and not is_share.all():
        all_ends[:, ~is_share] = group_intervals(columns[:, ~is_share], [*present.values()])
    rows = []
    for ((by, name), indices), group_ends in zip(present.items(), all_ends, strict=True):
        means = columns[indices].mean(0)
        if bootstrap:
            group_ends[is_share] = wilson_ends(means[is_share], len(indices)).T
        numbers_of_plain = iter(zip(means, *group_ends.T, strict=True))
        for result, values in by_image:
            metric = result.metric
            if metric.aggregate:
                draws = np.empty(0)
                if bootstrap:
                    draws = metric.aggregate(resampled_means_within(values[indices], indices, len(stats)))
                numbers = _overall_value(metric, stats, values[indices]), *intervals(draws[:, None])[:, 0]
            else:
                numbers = next(numbers_of_plain)
            percent = 100 * np.array(numbers)
            kind = interval_kind(metric, values) if bootstrap else None
            rows.append([by, name, metric.name, result.rule, result.tau, *percent, len(indices), kind])
    return pd.DataFrame(rows, columns=["by", "group", *COLUMNS])


def _summarize_both(
    stats: LocalizationStats,
    groups: Mapping[tuple[str, str], NDArray[np.int64]],
    results: Iterable[ResampledMetric],
    bootstrap: int,
) -> pd.DataFrame:
    """Return ``summarize_groups`` of metrics that count images without an object, and of those that do not."""
    assert stats.objects is not None
    places, every = np.cumsum(stats.objects) - 1, [*results]
    shown = {key: places[indices[stats.objects[indices]]] for key, indices in groups.items()}
    boxes, others = ([each for each in every if each.metric.counts_empty is kind] for kind in (False, True))
    tables = [
        summarize_groups(stats.with_objects, shown, boxes, bootstrap),
        summarize_groups(replace(stats, objects=None), groups, others, bootstrap),
    ]
    both = pd.concat([table[table["value"].notna()] for table in tables if len(table)], ignore_index=True)
    order = {key: place for place, key in enumerate(groups)}
    rank = [order[key] for key in zip(both["by"], both["group"], strict=True)]
    return both.iloc[np.argsort(rank, kind="stable")].reset_index(drop=True)


def best_tau_index(metric: Metric, stats: LocalizationStats) -> int:
    """Return the index of the smallest tau of the grid at which a metric is best."""
    tau_index = int(ValuesByTau(stats.counted_by(metric).on_grid).best_tau_indices(metric))
    return tau_index + (stats.off_grid is not None and tau_index >= stats.off_grid)


def _overall_value(metric: Metric, stats: LocalizationStats, values: NDArray[np.generic]) -> float:
    """Return the value of a metric on all images from the value of each image."""
    if metric.aggregate:
        return float(metric.aggregate(values.mean(0, dtype=np.float64)))
    return float(average(metric, stats, values[:, None])[0])


def _resample(
    metric: Metric, rule: TauRule | None, source: ValuesByTau, values: NDArray[np.generic]
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Return the value of a metric in every resample, its value at the tau of all images, and the optimism."""
    if rule == "oracle":
        return source.resample_oracle(metric)
    if metric.aggregate:
        draws = metric.aggregate(resampled_means(values))
    elif metric.by_class:
        draws = resampled_class_means(values[:, None], source.stats.labels)[:, 0]
    else:
        draws = resampled_means(values[:, None])[:, 0]
    return draws, draws, np.nan


def _values_by_rule(
    metrics: Iterable[Metric],
    stats: LocalizationStats,
    source: ValuesByTau,
    all_taus: NDArray[np.float64],
    fixed: float | None,
    validation: LocalizationStats | None,
) -> Iterator[tuple[Metric, TauRule | None, float, NDArray[np.generic]]]:
    """Yield metric, rule, tau and the values of all images at that tau; ``source`` has those of the grid alone."""
    taus = all_taus if stats.off_grid is None or not len(all_taus) else np.delete(all_taus, stats.off_grid)
    own = source if stats.off_grid is None else ValuesByTau(stats)  # also has a tau that is not on the grid
    held_out = ValuesByTau(validation.on_grid) if validation else None
    for metric in metrics:
        if not metric.applies(source.stats):
            continue
        per_image, starts = source.per_image(metric)
        if not metric.rules:
            yield metric, None, np.nan, per_image
        elif not len(taus):
            if "fixed" in metric.rules:
                yield metric, None, np.nan, per_image[:, 0]
        elif per_image.ndim == 3:
            best = source.best_tau_indices(metric)
            columns = np.searchsorted(starts, best, side="right") - 1
            parts = per_image[:, columns, np.arange(len(best))]
            values = parts[:, 0] if len(best) == 1 else parts.mean(1)
            yield metric, "oracle", round_tau(taus, int(best[0])) if len(best) == 1 else np.nan, values
        else:
            for rule in metric.rules:
                if rule == "fixed" and fixed is not None:
                    tau_index = find_tau_index(fixed, all_taus)
                    yield metric, rule, round_tau(all_taus, tau_index), own.values_at(metric, tau_index)
                elif rule == "val" and held_out and metric.applies(held_out.stats):
                    tau_index = int(held_out.best_tau_indices(metric))
                    yield metric, rule, round_tau(taus, tau_index), source.values_at(metric, tau_index)
                elif rule == "oracle":
                    tau_index = int(source.best_tau_indices(metric))
                    yield metric, rule, round_tau(taus, tau_index), source.values_at(metric, tau_index)
