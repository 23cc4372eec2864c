"""All metrics of a run under all threshold rules, overall and per class."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from wsol.errors import InputError
from wsol.metrics.base import METRICS, Evidence, Metric, TauRule
from wsol.metrics.bootstrap import interval, resampled_means

COLUMNS = ["metric", "tau_rule", "tau", "value", "ci_low", "ci_high", "n"]


def summarise(
    evidence: Evidence, taus: NDArray[np.float64], fixed: float, validation: Evidence | None = None
) -> pd.DataFrame:
    """Computes every metric under every threshold rule that applies.

    ``fixed`` takes the given tau; ``val`` the tau at which the same metric is best on the validation split; ``oracle``
    the tau at which it is best on these images themselves. Of equally good taus the smallest is taken.

    Args:
        evidence: Of the evaluated images.
        taus: float64 ``(levels,)``, the grid of the curves.
        fixed: The fixed tau, one of the grid.
        validation: Of the validation split; without it no row has the rule ``val``.

    Returns:
        One row a metric and rule: metric, tau_rule, tau, value (percent), ci_low, ci_high, n. Rule and tau are empty
        where no threshold enters. The interval is the 95 % bootstrap over images; under ``oracle`` the best tau is
        taken again in every resample, the tau of ``val`` stays.
    """
    rows = []
    for metric, rule, tau, values in _values(evidence, taus, fixed, validation):
        mean = 100 * float(values.mean(dtype=np.float64))
        ends = [100 * end for end in interval(_draws(metric, rule, evidence, values))]
        rows.append([metric.name, rule, tau, mean, *ends, len(values)])
    return pd.DataFrame(rows, columns=COLUMNS)


def per_class(
    evidence: Evidence,
    labels: NDArray[np.int64],
    names: tuple[str, ...],
    taus: NDArray[np.float64],
    fixed: float,
    validation: Evidence | None = None,
) -> pd.DataFrame:
    """Computes the same for the images of each class, at the taus of all images together.

    Args:
        evidence: Of the evaluated images.
        labels: int64 ``(n,)``, their classes.
        names: Class names in label order.
        taus: float64 ``(levels,)``, the grid of the curves.
        fixed: The fixed tau, one of the grid.
        validation: Of the validation split, if there is one.

    Returns:
        The columns of ``summarise`` behind class_id and class, for every class that has an image.
    """
    present, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    rows = []
    for metric, rule, tau, values in _values(evidence, taus, fixed, validation):
        means = 100 * np.bincount(inverse, values.astype(np.float64)) / counts
        for label, mean, n in zip(present.tolist(), means.tolist(), counts.tolist(), strict=True):
            rows.append([label, names[label], metric.name, rule, tau, mean, np.nan, np.nan, n])
    return pd.DataFrame(rows, columns=["class_id", "class", *COLUMNS])


def best_level(metric: Metric, evidence: Evidence) -> int:
    """Returns the index of the smallest tau at which a metric is best."""
    return int(_best_levels(metric, metric.per_image(evidence)))


def grid_level(tau: float, taus: NDArray[np.float64]) -> int:
    """Returns the index of a tau on the grid.

    Raises:
        InputError: It is not on the grid.
    """
    level = int(np.abs(taus - tau).argmin())
    if not abs(taus[level] - tau) <= 1e-6:  # so that NaN is refused too
        grid = f"0 to {taus[-1]:g} by {taus[1]:g}"
        raise InputError(f"tau {tau:g} is not on the protocol's grid, {grid}; the nearest is {taus[level]:g}")
    return level


def named_tau(taus: NDArray[np.float64], level: int) -> float:
    """Returns a tau as people write it: 0.142, not the 0.14200000000000002 that the grid's product gives."""
    return round(float(taus[level]), 9)


def _draws(
    metric: Metric, rule: TauRule | None, evidence: Evidence, values: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Returns the value of a metric in every resample."""
    if rule != "oracle":
        return resampled_means(values[:, None])[:, 0]
    every = metric.per_image(evidence)
    parts = [every] if every.ndim == 2 else [every[..., p] for p in range(every.shape[2])]
    best = []
    for part in parts:
        changes = (part[:, 1:] != part[:, :-1]).any(0)  # many thresholds give the same masks
        means = resampled_means(part[:, np.concatenate([[True], changes])])
        best.append(means.max(1) if metric.better == "higher" else means.min(1))
    mean: NDArray[np.float64] = np.mean(best, axis=0)
    return mean


def _values(
    evidence: Evidence, taus: NDArray[np.float64], fixed: float, validation: Evidence | None
) -> Iterator[tuple[Metric, TauRule | None, float, NDArray[np.float64]]]:
    """Yields metric, rule, tau and the value of each image."""
    for metric in map(METRICS.get, METRICS.names()):
        if metric.contours and evidence.contours is None:
            continue
        per_image = metric.per_image(evidence)
        if per_image.ndim == 3:
            levels = _best_levels(metric, per_image)
            values = per_image[:, levels, np.arange(len(levels))].mean(1)
            yield metric, "oracle", named_tau(taus, int(levels[0])) if len(levels) == 1 else np.nan, values
            continue
        if not metric.rules:
            yield metric, None, np.nan, per_image
        for rule in metric.rules:
            if rule == "val" and validation is None:
                continue
            if rule == "fixed":
                level = grid_level(fixed, taus)
            else:
                level = best_level(metric, validation if rule == "val" and validation else evidence)
            yield metric, rule, named_tau(taus, level), per_image[:, level]


def _best_levels(metric: Metric, per_image: NDArray[np.generic]) -> NDArray[np.int64]:
    """Returns the index of the smallest tau at which a metric, or each part of it, is best."""
    means = per_image.mean(axis=0, dtype=np.float64)
    best: NDArray[np.int64] = means.argmax(0) if metric.better == "higher" else means.argmin(0)
    return best
