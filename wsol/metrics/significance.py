"""Whether numbers of several runs on the same images differ by more than the choice of images: paired bootstrap tests.

All of it takes the draws of ``wsol.metrics.bootstrap``: in every resample all runs meet the same images, so the
difference of two runs' draws is a draw of their difference.
"""

from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

ALPHA = 0.05  # chance of calling any difference within a family real where none is
_TIE = 1e-6  # a twentieth of one image in 50,000: sums of float32 are no finer


def pairs(runs: int) -> NDArray[np.int64]:
    """Return every pair of runs, ``(m, 2)``: the first with each later one, then the second, and so on."""
    return np.array([*combinations(range(runs), 2)], np.int64).reshape(-1, 2)


def p_values(differences: NDArray[np.float64], draws: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the two-sided p-value of each difference by itself.

    Chance alone would move a difference about zero as the resamples move it about what was found, so
    ``p = (1 + #{r: |d_r - d| >= |d|}) / (1 + R)`` (Davison & Hinkley, "Bootstrap Methods and their Application", 1997,
    section 4.2, eq. 4.11; the shift to zero: Riezler & Maxwell, "On Some Pitfalls in Automatic Evaluation and
    Significance Testing for MT", 2005, figure 2). Draws that lie as far out as the difference itself count, so equal
    runs have p = 1. Where few images differ this is stricter than the percentile interval, which may then leave zero
    out although p is above 0.05.

    Args:
        differences: ``(m,)``, on all images, metrics in [0, 1].
        draws: ``(R, m)``, in each resample; one with NaN is left out.

    Returns:
        ``(m,)``, from 1 / (1 + R) to 1.
    """
    draws = _finite(draws)
    reached = np.abs(draws - differences) >= np.abs(differences) - _TIE
    values: NDArray[np.float64] = (1 + reached.sum(0)) / (1 + len(draws))
    return values


def corrected_p_values(differences: NDArray[np.float64], draws: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the p-values of several differences, corrected for being several: the step-down maximum.

    Romano & Wolf, "Exact and Approximate Stepdown Methods for Multiple Hypothesis Testing", JASA 2005, in the form of
    "Efficient Computation of Adjusted p-Values for Resampling-Based Stepdown Multiple Testing", 2016: each difference
    is divided by its standard error, and from the largest to the smallest held against the largest that chance gives
    among itself and all smaller ones, in the same resamples. A single difference keeps its own p-value. Holm's
    correction (1979) would multiply p-values that are never below 1 / (1 + R) by the number of pairs: with R = 1000 and
    eleven runs everything would be a tie.

    Args:
        differences: ``(m,)``, as for ``p_values``.
        draws: ``(R, m)``, likewise.

    Returns:
        ``(m,)``, never below ``p_values``. The chance of any below ``ALPHA`` among those that differ by nothing is at
        most about ``ALPHA``.
    """
    draws = _finite(draws)
    error = np.maximum(draws.std(0) if len(draws) else 0, _TIE)
    found, chance = np.abs(differences) / error, np.abs(draws - differences) / error
    order = np.argsort(-found, kind="stable")
    largest = np.maximum.accumulate(chance[:, order[::-1]], axis=1)[:, ::-1]
    reached = largest >= (found - _TIE / error)[order]
    values = np.empty(len(differences))
    values[order] = np.maximum.accumulate((1 + reached.sum(0)) / (1 + len(draws)))
    return values


def winners(
    differences: NDArray[np.float64], p: NDArray[np.float64], better: Literal["higher", "lower"]
) -> NDArray[np.int64]:
    """Return which run of each pair is better beyond chance.

    Args:
        differences: ``(m,)``, the first's value less the second's.
        p: ``(m,)``, corrected p-values.
        better: Whether ``higher`` or ``lower`` values are better.

    Returns:
        ``(m,)``: 0 for the first, 1 for the second, -1 for a tie.
    """
    second = (differences < 0) == (better == "higher")
    return np.where(p < ALPHA, second.astype(np.int64), -1)


def ranks(winning: NDArray[np.int64], runs: int) -> NDArray[np.int64]:
    """Return the rank of each run: 1, and one more for every run that is better beyond chance.

    Args:
        winning: Of ``winners``, in the order of ``pairs(runs)``.
        runs: How many there are.

    Returns:
        ``(runs,)``; those of the same rank are ties.
    """
    decided = winning >= 0
    losers = pairs(runs)[decided, 1 - winning[decided]]
    return 1 + np.bincount(losers, minlength=runs)


def _finite(draws: NDArray[np.float64]) -> NDArray[np.float64]:
    return draws[~np.isnan(draws).any(1)]
