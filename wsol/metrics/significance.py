"""Paired bootstrap tests: do several runs on the same images differ by more than chance?

The tests use the draws of ``wsol.metrics.bootstrap``: every resample has the same images for all runs, so the
difference of two runs' draws is a draw of their difference.
"""

from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

ALPHA = 0.05  # chance of declaring any difference of a family significant if there is none
_TIE = 1e-6  # a twentieth of one image in 50,000: the resolution of sums of float32


def pairs(runs: int) -> NDArray[np.int64]:
    """Return all pairs of runs, ``(m, 2)``: the first with each later one, then the second, and so on."""
    return np.array([*combinations(range(runs), 2)], np.int64).reshape(-1, 2)


def p_values(differences: NDArray[np.float64], draws: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the two-sided p-value of each difference, not corrected for multiple tests.

    Under the null hypothesis a difference varies about zero as the resamples vary about the observed difference, so
    ``p = (1 + #{r: |d_r - d| >= |d|}) / (1 + R)`` (Davison & Hinkley, "Bootstrap Methods and their Application", 1997,
    section 4.2, eq. 4.11; the shift to zero: Riezler & Maxwell, "On Some Pitfalls in Automatic Evaluation and
    Significance Testing for MT", 2005, figure 2). Draws exactly as far out as the difference count, so equal runs have
    p = 1. Where few images differ this is stricter than the percentile interval, which may then exclude zero although p
    is above 0.05.

    Args:
        differences: ``(m,)``, differences on all images of metrics in [0, 1].
        draws: ``(R, m)``, differences in each resample; a resample with NaN is ignored.

    Returns:
        ``(m,)``, from 1 / (1 + R) to 1.
    """
    draws = _drop_nan(draws)
    reached = np.abs(draws - differences) >= np.abs(differences) - _TIE
    values: NDArray[np.float64] = (1 + reached.sum(0)) / (1 + len(draws))
    return values


def corrected_p_values(differences: NDArray[np.float64], draws: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the p-values of several differences, corrected for multiple tests by the step-down maximum.

    Romano & Wolf, "Exact and Approximate Stepdown Methods for Multiple Hypothesis Testing", JASA 2005, in the form of
    "Efficient Computation of Adjusted p-Values for Resampling-Based Stepdown Multiple Testing", 2016: each difference
    is divided by its standard error and, from the largest to the smallest, compared with the maximum over itself and
    all smaller ones under the null hypothesis, in the same resamples. A single difference keeps its own p-value. Holm's
    correction (1979) would multiply p-values, which are never below 1 / (1 + R), by the number of pairs: with R = 1000
    and eleven runs everything would be a tie.

    Args:
        differences: ``(m,)``, as for ``p_values``.
        draws: ``(R, m)``, as for ``p_values``.

    Returns:
        ``(m,)``, never below ``p_values``. The chance that any is below ``ALPHA`` among differences that are truly zero
        is at most about ``ALPHA``.
    """
    draws = _drop_nan(draws)
    error = np.maximum(draws.std(0) if len(draws) else 0, _TIE)
    observed, null = np.abs(differences) / error, np.abs(draws - differences) / error
    order = np.argsort(-observed, kind="stable")
    largest = np.maximum.accumulate(null[:, order[::-1]], axis=1)[:, ::-1]
    reached = largest >= (observed - _TIE / error)[order]
    values = np.empty(len(differences))
    values[order] = np.maximum.accumulate((1 + reached.sum(0)) / (1 + len(draws)))
    return values


def winners(
    differences: NDArray[np.float64], p: NDArray[np.float64], better: Literal["higher", "lower"]
) -> NDArray[np.int64]:
    """Return the run of each pair that is significantly better.

    Args:
        differences: ``(m,)``, the first run's value minus the second's.
        p: ``(m,)``, corrected p-values.
        better: Whether ``higher`` or ``lower`` values are better.

    Returns:
        ``(m,)``: 0 for the first, 1 for the second, -1 for a tie.
    """
    second = (differences < 0) == (better == "higher")
    return np.where(p < ALPHA, second.astype(np.int64), -1)


def ranks(winning: NDArray[np.int64], runs: int) -> NDArray[np.int64]:
    """Return the rank of each run: 1 plus the number of runs that are significantly better.

    Args:
        winning: Result of ``winners``, in the order of ``pairs(runs)``.
        runs: Number of runs.

    Returns:
        ``(runs,)``; runs of the same rank are ties.
    """
    decided = winning >= 0
    losers = pairs(runs)[decided, 1 - winning[decided]]
    return 1 + np.bincount(losers, minlength=runs)


def _drop_nan(draws: NDArray[np.float64]) -> NDArray[np.float64]:
    return draws[~np.isnan(draws).any(1)]
